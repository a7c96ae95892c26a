"""``GET /ws/views`` and ``GET /monitor/views/{view}``: views over a WebSocket, and one by HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request, Response, WebSocket

from otel_bridge_collector.routes.monitor import account_slot
from otel_bridge_collector.routes.websocket import accept, connect, wait_for_disconnect
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import refusal
from otel_bridge_collector.stream.view_session import ViewSession
from otel_bridge_collector.views.catalog import NO_RIGHT, QueryError, parse_query
from otel_bridge_collector.views.listing import GoneError, NotYetError
from otel_bridge_collector.wire.close_codes import AUTH_REQUIRED
from otel_bridge_collector.wire.filters import FilterError
from otel_bridge_collector.wire.query import QueryValues
from otel_bridge_collector.wire.views.messages import MAX_PARAMS_BYTES

__all__ = ["router", "views"]

router = APIRouter()

_GONE: Final = {
    "unknown": "what this view shows does not exist, or this account may not see it",
    "evicted": "what this view shows has left the collector's memory",
}
_NOT_YET: Final = "the collectors that may hold this do not answer yet; ask again"


@router.get("/monitor/views/{view}")
async def one_view(view: str, request: Request) -> Response:
    """
    Answer 200 with one page of the dashboard's data, a view, as JSON: ``{"t": "full", ...}``.

    It is the message that ``/ws/views`` sends first for the same view. ``view`` is ``events``,
    ``failure``, ``failures``, ``job``, ``lines``, ``overview``, ``queue``, ``queues``, ``search``,
    ``strip``, ``tasks``, ``tree``, ``worker`` or ``workers``. The query's ``params`` is a JSON
    object of the view's parameters, such as ``{"count": 20}``, at most 16 KiB; without it the
    defaults hold, but ``job`` needs ``task`` and ``job``, ``lines`` needs ``task`` and ``node``,
    ``search`` needs ``text``, ``strip`` and ``tree`` need ``task``, ``worker`` needs ``worker``,
    ``queue`` needs ``queue``, ``failure`` needs ``failure``. The account of the request sees its
    projects only, and gets one such answer, or ``/monitor/snapshot``, at a time; others wait. 400:
    the view or a parameter is unknown or wrong. 403: the view is ``lines``, and the token has
    neither ``rights=lines`` nor ``projects=*``. 404: what the view shows does not exist, or the
    account may not see it, or it has left the collector's memory. 429 with ``Retry-After``: 100
    requests of the account are waiting. 503 with ``Retry-After``: of several collectors that share
    the work, those that may hold it do not answer. 500: the view could not be computed, which is
    logged.
    """
    try:
        text = QueryValues(request.query_params.multi_items()).get("params") or "{}"
        query = parse_query(view, _json_object(text))
    except (FilterError, QueryError) as error:
        return refusal(request.scope, 400, str(error))
    collector: Collector = request.app.state.collector
    principal = principal_of(request.scope)
    if query.needs_lines and not principal.may_read_lines:
        return refusal(request.scope, 403, NO_RIGHT)
    async with account_slot(request, "snapshot"):
        try:
            body = await collector.answers.view(query, principal.projects)
        except GoneError as gone:
            return refusal(request.scope, 404, _GONE[gone.why])
        except NotYetError:
            return refusal(request.scope, 503, _NOT_YET, {"Retry-After": "1"})
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
    """
    Show views (pages of the dashboard's data) over a WebSocket until either side closes.

    There is no time limit. The client sends JSON: ``{"op":"sub","id":1,"view":"tasks"}`` to get a
    view and its changes, ``unsub`` to end that, ``hold`` to pause all but the overview. It may have
    16 subscriptions and send 20 messages a second of 16 KiB; at most 16 further ones wait, others
    are dropped. A bad message is answered with ``refused``. A client that does not keep up gets the
    latest state later, and is closed after 8 s. The handshake gets 429 if the account has 100
    WebSockets open or the address 500, and 503 with ``Retry-After`` if more than 200 come in a
    second (all defaults). Close codes: 1007 for text that is not UTF-8, 1009 for a message over
    16 KiB, 1012 when the collector stops, 1013 for a browser instead of 503, 3008 for a client that
    reads too slowly, 4401 when its credentials become invalid.
    """

    async def serve(closers: list[Callable[[], None]]) -> None:
        await _serve(websocket, closers)

    await connect(websocket, serve)


async def _serve(websocket: WebSocket, closers: list[Callable[[], None]]) -> None:
    collector: Collector = websocket.app.state.collector
    hub = collector.views_hub
    principal = principal_of(websocket.scope)
    sink, protocol = await accept(websocket, takes_messages=True)
    session = ViewSession(sink, principal.projects, may_read_lines=principal.may_read_lines)
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
