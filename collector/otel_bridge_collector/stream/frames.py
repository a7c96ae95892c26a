"""
WebSocket frames written once for many clients: a uvicorn protocol class, and two kinds of sink.

uvicorn accepts a WebSocket protocol class (``ws=``). Ours subclasses its sans-I/O class and offers
itself in the ASGI ``scope["extensions"]``, so that the hub can write finished frames directly to
the transport: one ``write`` of the same bytes to every client, where ``send_text`` validates,
frames and copies for each client (measured with 50 clients: 228 k against 105 k messages/s with
batches of one event, 1.6 M with batches of eight). The superclass handles handshakes, pings, pongs
and the peer's close. Hub and superclass write whole frames only, so these never interleave. Under a
server without the extension, a session uses ASGI ``send``.

If a client does not read, a closed socket keeps its descriptor for over 55 s, because closing waits
until the buffer has drained. So every close frame sent here is followed by ``abort``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from zlib import MAX_WBITS

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame
from websockets.http11 import Request

from otel_bridge_collector.stream.slim import SlimEvent, SlimQueue
from otel_bridge_collector.wire.close_codes import NOT_UTF8, RESTARTING, CloseCode

__all__ = ["EXTENSION", "AsgiSink", "SharedFramesProtocol", "TransportSink", "payloads"]

logger = logging.getLogger(__name__)

EXTENSION: Final = "otel_bridge.frames"
_ABORT_AFTER_SEC: Final = 1.0
"""Time for a close frame to reach a client that reads."""
_MAX_UNSENT_BYTES: Final = 16 * 1024
_PING_PAYLOAD: Final = b"views"
"""Distinguishes our pings from uvicorn's, which are 4 random bytes."""
_DEFLATED_PATH: Final = "/ws/views"
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True
)
_MAX_PONG_BYTES: Final = 64 * 1024
"""With more than this unsent, pings of a client that does not read are not answered."""


class SharedFramesProtocol(WebSocketsSansIOProtocol):
    """
    uvicorn's sans-I/O WebSocket protocol, to which finished frames can be written.

    What a client sends raises nothing to uvicorn: an invalid handshake or frame is answered and
    closed, and pings are not answered while 64 KiB wait for the client. A socket is freed 1 s after
    a close frame.

    Pass this class to uvicorn as ``ws=``. uvicorn makes an instance for each connection and calls
    it on the event loop; a route finds it in ``scope["extensions"][EXTENSION]``, unless the
    connection is compressed with a state of its own, and writes through a ``TransportSink``.

    On ``/ws/views`` the extension permessage-deflate is negotiated without such a state, in both
    directions. What the client sends stays within uvicorn's ``ws_max_size`` when it is inflated.

    Attributes:
        takes_messages: Whether the application reads what the client sends; a route sets it before
            it accepts. False, the default: the messages are discarded as they come.
        on_pong: Called without arguments for each pong of a ``TransportSink.ping``; None, the
            default: they are not reported. What it raises reaches uvicorn, so it must not raise.
        takes_deflated: Whether frames of ``SharedMessage`` may be compressed: negotiated, with the
            window of 32 KiB that these use. False at first.
    """

    takes_messages = False
    takes_deflated = False
    on_pong: Callable[[], None] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # asyncio's own have five deques, which an idle connection never uses: 3.7 KiB.
        self.queue: Any = SlimQueue()
        self.writable: Any = SlimEvent()

    def handle_connect(self, event: Request) -> None:
        """Handle a handshake, and offer this object to the application in the scope."""
        is_shared = event.path.partition("?")[0] == _DEFLATED_PATH
        if is_shared:
            self.conn.available_extensions = (_DEFLATE,)
        super().handle_connect(event)
        if is_shared:
            # A client may ask for a smaller window: it gets plain frames, which are always allowed.
            self.takes_deflated = any(
                isinstance(found, PerMessageDeflate) and found.local_max_window_bits == MAX_WBITS
                for found in self.conn.extensions
            )
        # Compression with state per connection would not fit frames that are shared.
        if hasattr(self, "scope") and (is_shared or not self.conn.extensions):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def connection_made(self, transport: Any) -> None:
        """Start the connection, without websockets' debug log of the handshake."""
        super().connection_made(transport)
        # Its debug lines contain the handshake's headers, and with them tokens and cookies.
        self.conn.debug = False

    def data_received(self, data: bytes) -> None:
        """Parse bytes of the client; refuse and close a handshake that is not valid."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()

    def handle_parser_exception(self) -> None:
        """Close with the parser's close code; refuse the handshake if it is not complete yet."""
        if self.conn.close_sent is None:
            self._refuse_handshake()
        else:
            super().handle_parser_exception()

    def _refuse_handshake(self) -> None:
        # uvicorn would neither send the parser's answer nor close, and would fail when it stops.
        if not self.close_sent:
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Pass a client's message on if a route reads them; text that is not UTF-8 closes."""
        payload, self.frames = b"".join(self.frames), []
        if not self.takes_messages:
            return
        try:
            payload.decode()
        except UnicodeDecodeError:  # uvicorn would log a traceback
            self.send_close(NOT_UTF8)
        else:
            self.frames = [payload]
            super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping, unless 64 KiB or more wait for a client that does not read."""
        if self.transport.get_write_buffer_size() < _MAX_PONG_BYTES:
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        """Note the answer to one of our pings; uvicorn notes those to its own."""
        if self.on_pong is not None and bytes(event.data) == _PING_PAYLOAD:
            self.on_pong()
        super().handle_pong(event)

    async def send(self, message: Any) -> None:
        """Send as uvicorn does; a refused handshake is complete, not an error to log."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    def release_handshake(self) -> None:
        """Free the handshake's request and response, 4 KiB a connection; may be called again."""
        request = self.__dict__.pop("request", None)
        if request is not None:
            request.headers.clear()  # websockets' parser keeps the object for the whole connection
        self.__dict__.pop("response", None)

    def send_close(self, code: CloseCode) -> None:
        """Send a close frame if none was sent, and abort the transport 1 s later; never waits."""
        if not self.close_sent and self.handshake_complete and not self.transport.is_closing():
            try:
                self.conn.send_close(code.code, code.reason)
            except InvalidState:
                logger.debug("the client closed first")
            else:
                self.close_sent = True
                self.transport.write(b"".join(self.conn.data_to_send()))
                event: Any = {
                    "type": "websocket.disconnect",
                    "code": code.code,
                    "reason": code.reason,
                }
                self.queue.put_nowait(event)
                # The peer's answer cancels this timer and closes; uvicorn's own would not abort.
                self.close_timer = self.loop.call_later(_ABORT_AFTER_SEC, self.transport.abort)
                return
        self.schedule_abort()

    def schedule_abort(self) -> None:
        """Abort the transport in a second, which frees the descriptor whatever the client does."""
        self.loop.call_later(_ABORT_AFTER_SEC, self.transport.abort)

    def shutdown(self) -> None:
        """Close with 1012 when uvicorn stops, so that the client reconnects."""
        self.stop_keepalive()
        if self.handshake_complete and not self.close_sent:
            self.send_close(RESTARTING)
        else:
            super().shutdown()
            self.schedule_abort()

    def keepalive_timeout(self) -> None:
        """Close when no pong came, without waiting for a buffer that will not drain."""
        super().keepalive_timeout()
        self.schedule_abort()


class TransportSink:
    """
    Where a client's frames are written: the transport of a ``SharedFramesProtocol``.

    It never blocks and never raises; what is written after a close is dropped. It does not limit
    the bytes that wait: the hub, which sends to all clients, asks ``buffered_bytes`` and stops
    writing above 4 MiB (64 KiB for views). Use it on the connection's event loop.

    Args:
        protocol: Of an accepted WebSocket; its handshake's request and response are freed.

    Attributes:
        buffered_bytes: Call it for the number of bytes that the kernel has not accepted.
        takes_deflated: Whether the client takes compressed messages.
    """

    __slots__ = ("_protocol", "_transport", "_write", "buffered_bytes", "takes_deflated")

    def __init__(self, protocol: SharedFramesProtocol) -> None:
        protocol.release_handshake()
        self._protocol = protocol
        self._transport = protocol.transport
        self._write = protocol.transport.write
        self.takes_deflated = protocol.takes_deflated
        self.buffered_bytes: Callable[[], int] = protocol.transport.get_write_buffer_size

    def write(self, frames: bytes) -> None:
        """Queue whole frames; never blocks, and drops them once the connection is closing."""
        if not self._transport.is_closing() and not self._protocol.close_sent:
            self._write(frames)

    async def stop(self) -> None:
        """Do nothing: no task runs for this sink."""

    def limit_kernel_buffer(self) -> None:
        """
        Let the kernel take at most 16 KiB that the network has not, where the system can.

        Its buffers hold 2 MB otherwise: 20 s of views before a client is seen not to read. Call it
        on the connection's event loop. Never raises; a system or socket without this option
        (``TCP_NOTSENT_LOWAT``) stays as it is.
        """
        connected = self._transport.get_extra_info("socket")
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if connected is not None and option is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                connected.setsockopt(socket.IPPROTO_TCP, option, _MAX_UNSENT_BYTES)

    def ping(self) -> bool:
        """Send a ping, whose pong ``SharedFramesProtocol.on_pong`` reports; returns True."""
        self.write(bytes((0x89, len(_PING_PAYLOAD))) + _PING_PAYLOAD)
        return True

    def close(self, code: CloseCode) -> None:
        """Send a close frame, and abort the connection 1 s later; may be called again."""
        self._protocol.send_close(code)


class AsgiSink:
    """
    Where a client's frames are written: ASGI ``send``, without ``SharedFramesProtocol``.

    It gets the same frames and takes them apart, so that the hub has only one kind of session.
    Making one starts a task; await ``stop`` at the end. Use it on that event loop. The bytes that
    wait are not limited here: the hub, which sends to all clients, asks ``buffered_bytes`` and
    stops writing above 4 MiB (64 KiB for views). If ``send`` raises, the task ends, what is written
    later is dropped, and ``stop`` does not raise it again.

    Args:
        send: The connection's ``send``; only a task of this object calls it.

    Raises:
        RuntimeError: No event loop runs.

    Attributes:
        takes_deflated: False: the server under us compresses what it likes.
    """

    takes_deflated = False

    def __init__(self, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._buffered = 0
        self._close_code: CloseCode | None = None
        self._task = asyncio.create_task(self._run(), name="asgi-sink")

    def write(self, frames: bytes) -> None:
        """Queue whole frames for the task, without limit; drop them once closed or failed."""
        if self._close_code is None and not self._task.done():
            self._queue.append(frames)
            self._buffered += len(frames)
            self._wake.set()

    def limit_kernel_buffer(self) -> None:
        """Do nothing: the server under us owns the socket."""

    def ping(self) -> bool:
        """Send nothing: ASGI has no pings; returns False, so no pong is waited for."""
        return False

    def buffered_bytes(self) -> int:
        """Return the number of bytes written that ``send`` has not taken completely."""
        return self._buffered

    def close(self, code: CloseCode) -> None:
        """
        Send a close frame after the frames in progress; frames that wait are dropped.

        The task is cancelled 1 s later, whether that was sent or not. May be called again; never
        raises on the event loop.
        """
        self._close_code = code
        self._wake.set()
        asyncio.get_running_loop().call_later(_ABORT_AFTER_SEC, self._task.cancel)

    async def stop(self) -> None:
        """Cancel the task and wait for its end; called once the connection is closed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and self._close_code is None:
                frames = self._queue.popleft()
                for payload in payloads(frames):
                    await self._send({"type": "websocket.send", "text": payload.decode()})
                self._buffered -= len(frames)
            if self._close_code is not None:
                code, reason = self._close_code
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
                return


def payloads(frames: bytes) -> list[bytes]:
    """
    Return the payloads of frames that stand one behind the other, in their order; without a limit.

    From any thread.

    Args:
        frames: Whole, unmasked, unfragmented frames, as ``text_frame`` makes them; other bytes give
            wrong payloads or raise IndexError.
    """
    found = []
    offset = 0
    while offset < len(frames):
        size = frames[offset + 1]
        offset += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(frames[offset : offset + width], "big")
            offset += width
        found.append(frames[offset : offset + size])
        offset += size
    return found
