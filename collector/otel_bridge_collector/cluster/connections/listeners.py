"""
How a member's peers reach it: a Unix socket for processes of this machine, and a WebSocket route.

Several processes have one HTTP address. The one that the kernel gives a connection to passes it on
over the Unix socket of the one that it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import unix_connect
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from otel_bridge_collector.cluster.connections.frames import MAX_ANSWER_BYTES, MAX_TEXT_BYTES
from otel_bridge_collector.cluster.connections.group import LocalGroup, is_member_id
from otel_bridge_collector.cluster.connections.peers import Peers

__all__ = ["UnixListener", "relay"]

logger = logging.getLogger(__name__)

Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[str | None]]


class UnixListener:
    """
    Listens on the member's Unix socket; ``start`` and ``stop`` once each.

    The directory is private (mode 0700), so that only processes of the same user get in.

    Args:
        path: Of the socket.
        peers: Answers those who connect.
    """

    def __init__(self, path: str, peers: Peers) -> None:
        self._path = path
        self._peers = peers
        self._server: Any = None

    async def start(self) -> None:
        """Listen; raises ``OSError`` if the socket cannot be made."""
        self._server = await unix_serve(
            self._serve, self._path, compression=None, max_size=MAX_TEXT_BYTES, close_timeout=1.0
        )

    async def stop(self) -> None:
        """Close all connections, and remove the socket."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._server.wait_closed()
        _remove(Path(self._path))

    async def _serve(self, connection: ServerConnection) -> None:
        if not self._peers.has_room:
            return

        async def receive() -> str | None:
            try:
                message = await connection.recv()
            except ConnectionClosed:
                return None
            return message if isinstance(message, str) else None

        await self._peers.serve(connection.send, receive)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        # The last process removes the directory, should the parent not live to do it.
        path.parent.rmdir()


async def relay(group: LocalGroup | None, member_id: str, send: Send, receive: Receive) -> bool:
    """
    Pass a peer's connection on to another process of this machine, until either side closes it.

    Args:
        group: The processes of this machine; None: there are no others.
        member_id: Whom the connection is for; any text.
        send: Sends to the peer.
        receive: Waits for its next text; None: it has left.

    Returns:
        False if there is no such process, so that nothing was sent.
    """
    if group is None or not is_member_id(member_id):
        return False
    path = group.socket_of(member_id)
    try:
        connection = await unix_connect(
            path, "ws://localhost/", compression=None, max_size=MAX_ANSWER_BYTES
        )
    except (OSError, WebSocketException, TimeoutError):
        return False

    async def up() -> None:
        while (text := await receive()) is not None:
            await connection.send(text)

    async def down() -> None:
        async for message in connection:
            if isinstance(message, bytes):
                await send(message)

    tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await connection.close()
    return True
