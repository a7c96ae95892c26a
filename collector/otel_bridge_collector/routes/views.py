"""``GET /ws/views`` and ``GET /monitor/views/{view}``: views over a WebSocket, and one by HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.routing import WebSocketRoute

from otel_bridge_collector.routes.monitor import account_slot
from otel_bridge_collector.routes.websocket import accept, connect, wait_for_disconnect
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import refusal
from otel_bridge_collector.stream.view_session import ViewSession
from otel_bridge_collector.views.catalog import QueryError, parse_query
from otel_bridge_collector.wire.close_codes import AUTH_REQUIRED
from otel_bridge_collector.wire.filters import FilterError
from otel_bridge_collector.wire.query import QueryValues
from otel_bridge_collector.wire.view_messages import MAX_PARAMS_BYTES

__all__ = ["router"]

router = APIRouter()


@router.get("/monitor/views/{view}")
async def one_view(view: str, request: Request) -> Response:
    """
    Answer with one view as a ``full`` message: what ``/ws/views`` would send first.

    ``params`` is a JSON object of the view's parameters, at most 16 KiB; without it the defaults
    hold. 400 for an unknown view or parameter, 429 for too many requests of one account.
    """
    try:
        text = QueryValues(request.query_params.multi_items()).get("params") or "{}"
        query = parse_query(view, _json_object(text))
    except (FilterError, QueryError) as error:
        return refusal(request.scope, 400, str(error))
    collector: Collector = request.app.state.collector
    async with account_slot(request, "snapshot"):
        body = collector.view_json(query, principal_of(request.scope).projects)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def _json_object(text: str) -> dict[str, object]:
    if len(text) > MAX_PARAMS_BYTES:
        raise QueryError(f"params: at most {MAX_PARAMS_BYTES} bytes")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise QueryError('params: a JSON object, such as {"count":20}')
    return found


async def views(websocket: WebSocket) -> None:
    """Show views until either side closes; what the client sends asks for them."""

    async def serve(closers: list[Callable[[], None]]) -> None:
        await _serve(websocket, closers)

    await connect(websocket, serve)


# Starlette's route: FastAPI's keeps stacks of dependencies for the connection, 4 KiB each.
router.routes.append(WebSocketRoute("/ws/views", views))


async def _serve(websocket: WebSocket, closers: list[Callable[[], None]]) -> None:
    collector: Collector = websocket.app.state.collector
    hub = collector.views_hub
    scope = principal_of(websocket.scope).projects
    sink, protocol = await accept(websocket, takes_messages=True)
    session = ViewSession(sink, scope)
    if protocol is not None:
        protocol.on_pong = lambda: session.note_pong(collector.clock.monotonic())

    def close_unauthenticated() -> None:
        hub.leave(session)
        session.close(AUTH_REQUIRED)

    closers.append(close_unauthenticated)
    try:
        hub.join(session)
        await wait_for_disconnect(websocket, lambda text: hub.receive(session, text))
    finally:
        hub.leave(session)
        await sink.stop()
