"""
``GET /ws/monitor``: the live stream over a WebSocket; and answers to misdirected handshakes.

What ``/ws/views`` does alike with a connection is here too: count it, accept it, notice its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple, cast

from fastapi import APIRouter, Request, Response, WebSocket
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from otel_bridge.errors import PositionLostError
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import (
    Authenticator,
    TooManyConnectionsError,
    address_of,
    principal_of,
)
from otel_bridge_collector.security.refusals import refusal, send_refusal
from otel_bridge_collector.stream.frames import (
    EXTENSION,
    AsgiSink,
    SharedFramesProtocol,
    TransportSink,
)
from otel_bridge_collector.stream.sessions import ClientSession
from otel_bridge_collector.wire.close_codes import AUTH_REQUIRED, BAD_REQUEST
from otel_bridge_collector.wire.filters import EventFilter, FilterError, parse_flag
from otel_bridge_collector.wire.query import QueryValues, parse_number
from otel_bridge_collector.wire.subprotocol import choose_subprotocol

__all__ = [
    "StreamRequest",
    "accept",
    "connect",
    "monitor",
    "parse_stream_request",
    "route_websockets",
    "router",
    "wait_for_disconnect",
]

router = APIRouter()

MAX_BATCH_MS: Final = 5000


class StreamRequest(NamedTuple):
    """
    What a client of ``/ws/monitor`` asks for in its query, as ``parse_stream_request`` reads it.

    An immutable record; checks nothing and never raises.

    Attributes:
        event_filter: Which events it gets: those of a project, a task or some types; or all.
        wants_snapshot: True: a snapshot (the whole state) comes first, and after each gap (events
            that the client missed).
        since: The position in the log, as text, after which to resume; None: only new events.
        batch_ms: Collect events for so long before they are sent, 1 to 5000 ms; None: send each at
            once.
    """

    event_filter: EventFilter
    wants_snapshot: bool
    since: str | None
    batch_ms: int | None

    @property
    def has_extras(self) -> bool:
        """Whether it uses a parameter whose users get control messages: all but the filters."""
        return self.wants_snapshot or self.since is not None or self.batch_ms is not None


def parse_stream_request(query: Mapping[str, str]) -> StreamRequest:
    """
    Read the query of ``/ws/monitor``; unknown parameters are ignored.

    Args:
        query: Values by name: ``snapshot`` (true or false), ``since`` (a position, not checked
            here), ``batch_ms`` (1 to 5000 ms), and the filter's ``project_id`` and ``task_id`` (at
            most 512 characters), ``types`` and ``stats_only``. Empty ones count as absent.

    Returns:
        The values as a record; without parameters: no snapshot, only new events, each sent at once,
        no filter.

    Raises:
        FilterError: A parameter is invalid or given twice; the text is sent to the client.
    """
    return StreamRequest(
        event_filter=EventFilter.parse(query),
        wants_snapshot=parse_flag(query, "snapshot"),
        since=query.get("since") or None,
        batch_ms=parse_number(query, "batch_ms", 0, MAX_BATCH_MS) or None,
    )


async def monitor(websocket: WebSocket) -> None:
    """
    Stream events as JSON, one a message, until either side closes; there is no time limit.

    The query may have ``project_id``, ``task_id``, ``types`` and ``stats_only`` (filters),
    ``snapshot``, ``since`` and ``batch_ms``. What the client sends is ignored. Events are dropped
    for it while 4 MiB wait to be read (a ``gap`` message counts them), and after 8 s of that it is
    closed. The handshake gets 400 for an invalid parameter, 429 if the account has 100 WebSockets
    open or the address 500, and 503 with ``Retry-After`` if more than 200 come in a second (all
    defaults). Close codes: 3008 for a client that reads too slowly, 4401 when its credentials
    become invalid, 1012 when the collector stops, 1013 for a browser instead of 503. While the log
    cannot be reached, it stays open without events.
    """
    collector: Collector = websocket.app.state.collector
    try:
        request = parse_stream_request(QueryValues(websocket.query_params.multi_items()))
    except FilterError as error:
        await websocket.send_denial_response(refusal(websocket.scope, 400, str(error)))
        return
    principal = principal_of(websocket.scope)
    event_filter = request.event_filter.limited(principal.projects)
    request = request._replace(event_filter=event_filter)
    authenticator: Authenticator = websocket.app.state.authenticator
    slot = authenticator.concurrency.slot(principal, address_of(websocket.scope), "snapshot")

    async def stream(closers: list[Callable[[], None]]) -> None:
        await _stream(websocket, collector, request, closers, slot)

    await connect(websocket, stream)


@router.get("/ws/views", include_in_schema=False)
@router.get("/ws/monitor", include_in_schema=False)
async def needs_upgrade(request: Request) -> Response:
    """Answer 426 to a request that is no WebSocket handshake, or lost its Upgrade at a proxy."""
    why = (
        "this address speaks WebSocket only; connect with ws:// or wss://, and let every proxy "
        "pass the headers Upgrade and Connection on"
    )
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}  # RFC 9110, 15.5.22 and 7.8
    return refusal(request.scope, 426, why, headers)


async def unknown_path(websocket: WebSocket) -> None:
    """Refuse a handshake with 404 and a reason; Starlette's own answer is an empty 403."""
    answer = refusal(websocket.scope, 404, "no WebSocket is here; try /ws/views or /ws/monitor")
    await send_refusal(websocket.scope, websocket.receive, websocket.send, answer, BAD_REQUEST)


def route_websockets(endpoints: Mapping[str, Callable[[WebSocket], Awaitable[None]]]) -> ASGIApp:
    """
    Return an ASGI application that runs the endpoint of each WebSocket's path; 404 for others.

    Not FastAPI's routes: its and Starlette's layers are 15 calls that stay open as long as the
    connection does, 9 KiB of each client, and half of the CPU of a handshake.

    Args:
        endpoints: By path, below the application's root path.
    """

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        await endpoints.get(path, unknown_path)(WebSocket(scope, receive, send))

    return route


async def _stream(
    websocket: WebSocket,
    collector: Collector,
    request: StreamRequest,
    closers: list[Callable[[], None]],
    slot: AbstractAsyncContextManager[None],
) -> None:
    sink, _ = await accept(websocket)
    session = ClientSession(
        sink,
        request.event_filter,
        batch_ms=request.batch_ms,
        has_extras=request.has_extras,
        wants_snapshot=request.wants_snapshot,
    )

    def close_unauthenticated() -> None:
        collector.hub.leave(session)
        session.sink.close(AUTH_REQUIRED)

    closers.append(close_unauthenticated)
    try:
        await _join(collector, session, request, slot)
        await wait_for_disconnect(websocket)
    finally:
        collector.hub.leave(session)
        await sink.stop()


async def _join(
    collector: Collector,
    session: ClientSession,
    request: StreamRequest,
    slot: AbstractAsyncContextManager[None],
) -> None:
    hub = collector.hub
    lost: PositionLostError | None = None
    if request.since is not None:
        try:
            await collector.resumer.join(session, request.since)
        except PositionLostError as error:
            lost = error
        else:
            return
    async with slot if request.wants_snapshot else nullcontext():
        if session.is_closed:  # its token was revoked while it waited for the slot
            return
        if lost is not None:
            hub.send_gap(session, lost.reason, shards=lost.shards)
        elif request.wants_snapshot and hub.fetches_snapshots:
            await hub.join_with_snapshot(session)
            return
        elif request.wants_snapshot:
            hub.send_snapshot(session)
        hub.join(session)


# --- what both WebSocket routes do with a connection ---------------------------------------------


async def connect(
    websocket: WebSocket, serve: Callable[[list[Callable[[], None]]], Awaitable[None]]
) -> None:
    """
    Serve a WebSocket as long as its account may have it open (async).

    The handshake gets 429 with ``Retry-After`` if the account has 100 WebSockets open or the
    address 500 (defaults), which is logged once a minute; ``serve`` is not called then.

    Args:
        websocket: Not accepted yet.
        serve: Accepts the WebSocket and returns at its end; what it raises passes through. It is
            called with an empty list, to which it adds functions that close the WebSocket. They are
            called on the event loop when the credentials become invalid, and must not block or
            raise.
    """
    authenticator: Authenticator = websocket.app.state.authenticator
    principal, address = principal_of(websocket.scope), address_of(websocket.scope)
    closers: list[Callable[[], None]] = []

    def close_all() -> None:
        for close in closers:
            close()

    try:
        with authenticator.connected(principal, address, close_all):
            await serve(closers)
    except TooManyConnectionsError as error:
        websocket.app.state.admission.note_limit(str(error), address)
        again = {"Retry-After": "10"}
        why = "this token or address has too many WebSockets open; close one first"
        denial = refusal(websocket.scope, 429, why, again)
        await websocket.send_denial_response(denial)


async def accept(
    websocket: WebSocket, *, takes_messages: bool = False
) -> tuple[TransportSink | AsgiSink, SharedFramesProtocol | None]:
    """
    Accept a WebSocket, and return the object through which to send to it (async).

    Args:
        websocket: Not accepted yet; its headers are dropped to save memory.
        takes_messages: Whether the route reads what the client sends; default False: the server's
            protocol discards it.

    Returns:
        The sink, which sends messages without waiting for the client; end it with ``await
        sink.stop()``. And the server's protocol object of the connection; None if the server does
        not use ``SharedFramesProtocol``.

    Raises:
        starlette.websockets.WebSocketDisconnect: The client has gone away.
    """
    protocol: Any = websocket.scope.get("extensions", {}).get(EXTENSION)
    if protocol is not None:
        protocol.takes_messages = takes_messages
    await websocket.accept(choose_subprotocol(websocket.scope["headers"]))
    # The handshake's headers are not needed any more: with the request they are 10 % of an idle
    # connection's memory.
    websocket.scope["headers"] = []
    if protocol is None:
        return AsgiSink(_raw_send(websocket)), None
    return TransportSink(protocol), protocol


async def wait_for_disconnect(
    websocket: WebSocket, receive: Callable[[str], None] | None = None
) -> None:
    """
    Read what the client sends until it leaves (async), without a time limit.

    A connection that is lost ends it like one that is closed, without an error.

    Args:
        websocket: An accepted one.
        receive: Called with each text message, on the event loop; what it raises passes through.
            Default None: messages are ignored. They are read all the same, or the client's pongs
            and its close would not be noticed.
    """
    try:
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            if receive is not None and message.get("text") is not None:
                receive(message["text"])
    except WebSocketDisconnect:
        return


def _raw_send(websocket: WebSocket) -> Callable[[Any], Awaitable[None]]:
    async def send(message: Any) -> None:
        await websocket.send(cast(Message, message))

    return send
