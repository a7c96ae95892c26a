"""
Many clients of ``/ws/views`` in one process, which read frames and answer pings, and no more.

``python -m tests.benchmarks.view_clients`` reads one JSON line (``port``, ``messages`` of each
client, ``is_deflated``), connects them all, and answers each further line with the bytes read. A
client library would need more of the processor than the collector does, and would take it away.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from typing import Any, Final

__all__ = ["Frames", "client_frame", "handshake"]

_PING: Final = 0x9
_PONG: Final = 0xA
_MASK: Final = b"\0\0\0\0"
"""RFC 6455 wants a mask of clients, and zeros will do."""


def client_frame(opcode: int, payload: bytes) -> bytes:
    """One frame of a client."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size)) + _MASK + payload
    return bytes((0x80 | opcode, 0xFE)) + struct.pack("!H", size) + _MASK + payload


def handshake(port: int, *, is_deflated: bool) -> bytes:
    """The request that opens ``/ws/views``."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if is_deflated else ""
    return (
        f"GET /ws/views HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Frames:
    """Takes a server's bytes apart; ``feed`` returns whole frames as (first byte, payload)."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_open = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that these bytes complete; the answer to the handshake is skipped."""
        data = self._rest + data
        offset = 0
        found = []
        if not self._is_open:
            head, end, _ = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = data
                return []
            assert head.startswith(b"HTTP/1.1 101"), head
            self._is_open, offset = True, len(head) + 4
        while (size := _size_at(data, offset)) is not None:
            start, length = size
            if start + length > len(data):
                break
            found.append((data[offset], data[start : start + length]))
            offset = start + length
        self._rest = data[offset:]
        return found


def _size_at(data: bytes, offset: int) -> tuple[int, int] | None:
    """Where the payload of a frame starts, and its length; None: the header is not whole."""
    if len(data) < offset + 2:
        return None
    size, start = data[offset + 1], offset + 2
    if size < 126:
        return start, size
    width = 2 if size == 126 else 8
    if len(data) < start + width:
        return None
    return start + width, int.from_bytes(data[start : start + width], "big")


class _Client(asyncio.Protocol):
    def __init__(self, port: int, messages: list[dict[str, Any]], is_deflated: bool) -> None:
        self._opening = handshake(port, is_deflated=is_deflated)
        self._messages = messages
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self.read = 0
        self.frames = 0
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._opening)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self.read += len(data)
        for first, payload in self._frames.feed(data):
            if not self.frames:  # hello: what is sent before the handshake's answer is discarded
                for message in self._messages:
                    self._transport.write(client_frame(1, json.dumps(message).encode()))
            self.frames += 1
            if first & 0xF == _PING:
                self._transport.write(client_frame(_PONG, payload))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True


async def _run() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    asked = json.loads(await reader.readline())
    clients = []
    for messages in asked["messages"]:
        client = _Client(asked["port"], messages, asked["is_deflated"])
        await loop.create_connection(lambda made=client: made, "127.0.0.1", asked["port"])  # type: ignore[misc]
        clients.append(client)
    while await reader.readline():
        figures = {
            "read": sum(client.read for client in clients),
            "frames": sum(client.frames for client in clients),
            "lost": sum(client.is_lost for client in clients),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(_run())
