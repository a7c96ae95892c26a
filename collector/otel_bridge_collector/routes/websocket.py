"""``GET /ws/monitor``: the live stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple, cast

from fastapi import APIRouter, WebSocket
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from otel_bridge.errors import PositionLostError
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import (
    Authenticator,
    TooManyConnectionsError,
    address_of,
    principal_of,
)
from otel_bridge_collector.security.refusals import refusal
from otel_bridge_collector.stream.frames import EXTENSION, AsgiSink, TransportSink
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.close_codes import AUTH_REQUIRED
from otel_bridge_collector.wire.filters import EventFilter, FilterError, parse_flag

router = APIRouter()

MAX_BATCH_MS: Final = 5000


class StreamRequest(NamedTuple):
    """What a client asked for."""

    wanted: EventFilter
    has_snapshot: bool
    since: str | None
    batch_ms: int | None

    @property
    def has_extras(self) -> bool:
        """Whether it used an added parameter, and so understands control messages."""
        return self.has_snapshot or self.since is not None or self.batch_ms is not None


def parse_stream_request(query: Mapping[str, str]) -> StreamRequest:
    """
    Read the query of ``/ws/monitor``.

    Raises:
        FilterError: Something in it makes no sense.
    """
    raw_batch = query.get("batch_ms") or None
    batch_ms = None
    if raw_batch is not None:
        is_number = raw_batch.isascii() and raw_batch.isdigit() and len(raw_batch) < 6
        if not is_number or not 1 <= int(raw_batch) <= MAX_BATCH_MS:
            raise FilterError(f"batch_ms: {raw_batch[:40]!r} is not 1 to {MAX_BATCH_MS}")
        batch_ms = int(raw_batch)
    return StreamRequest(
        wanted=EventFilter.parse(query),
        has_snapshot=parse_flag(query, "snapshot"),
        since=query.get("since") or None,
        batch_ms=batch_ms,
    )


async def monitor(websocket: WebSocket) -> None:
    """Stream events until one side closes."""
    collector: Collector = websocket.app.state.collector
    try:
        request = parse_stream_request(websocket.query_params)
    except FilterError as error:
        await websocket.send_denial_response(refusal(websocket.scope, 400, str(error)))
        return
    authenticator: Authenticator = websocket.app.state.authenticator
    principal = principal_of(websocket.scope)
    request = request._replace(wanted=request.wanted.limited(principal.projects))
    address = address_of(websocket.scope)
    close: list[Callable[[], None]] = []

    def close_all() -> None:
        for call in close:
            call()

    try:
        turn = authenticator.turns.of(principal, address, "snapshot")
        with authenticator.connected(principal, address, close_all):
            await _stream(websocket, collector, request, close, turn)
    except TooManyConnectionsError:
        again = {"Retry-After": "10"}
        denial = refusal(websocket.scope, 429, "too many connections", again)
        await websocket.send_denial_response(denial)


# A plain route: FastAPI's own keeps dependency stacks open with the connection, 4 KiB each.
router.routes.append(WebSocketRoute("/ws/monitor", monitor))


async def _stream(
    websocket: WebSocket,
    collector: Collector,
    request: StreamRequest,
    close: list[Callable[[], None]],
    turn: AbstractAsyncContextManager[None],
) -> None:
    await websocket.accept()
    # Nobody asks for them again; with the request, a tenth of what an idle client costs.
    websocket.scope["headers"] = []
    protocol: Any = websocket.scope.get("extensions", {}).get(EXTENSION)
    asgi_sink = None if protocol is not None else AsgiSink(_raw_send(websocket))
    session = ClientSession(
        asgi_sink or TransportSink(protocol),
        request.wanted,
        batch_ms=request.batch_ms,
        has_extras=request.has_extras,
        wants_snapshot=request.has_snapshot,
    )

    def refuse() -> None:
        collector.hub.leave(session)
        session.sink.close(AUTH_REQUIRED)

    close.append(refuse)
    try:
        await _join(collector, session, request, turn)
        await _until_gone(websocket)
    finally:
        collector.hub.leave(session)
        if asgi_sink is not None:
            await asgi_sink.stop()


async def _join(
    collector: Collector,
    session: ClientSession,
    request: StreamRequest,
    turn: AbstractAsyncContextManager[None],
) -> None:
    hub = collector.hub
    reason: str | None = None
    if request.since is not None:
        try:
            await collector.resumer.join(session, request.since)
        except PositionLostError as lost:
            reason = lost.reason
        else:
            return
    async with turn if request.has_snapshot else nullcontext():
        if session.is_closed:  # its token was taken back meanwhile
            return
        if reason is not None:
            hub.send_gap(session, reason)
        elif request.has_snapshot:
            hub.send_snapshot(session)
        hub.join(session)


async def _until_gone(websocket: WebSocket) -> None:
    # What a client says is read, so that its pongs and its close are seen, and ignored.
    try:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
    except WebSocketDisconnect:
        return


def _raw_send(websocket: WebSocket) -> Any:
    async def send(message: Any) -> None:
        await websocket.send(cast(Message, message))

    return send
