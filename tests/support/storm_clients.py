"""
Thousands of WebSocket clients that connect at once, in processes of their own.

``python -m tests.support.storm_clients '{"port": ..., "clients": 500}'`` is one process. Each
client shakes hands by hand over a plain socket, which is the cheapest there is, comes back when a
503 says so, and at once when it loses its connection; it answers pings, and counts what it gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import uvloop

__all__ = ["CrowdReport", "StormCrowd", "raise_open_files"]

ROOT: Final = Path(__file__).parents[2]
MARK: Final = '"event_id"'
"""Every event has it once."""
_CLIENTS_AN_ADDRESS: Final = 10_000
"""Loopback has 28,000 ports for each pair of addresses."""
_CONNECT_TIMEOUT_SEC: Final = 60.0


def raise_open_files() -> int:
    """Let this process open as many files as it may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@dataclass(slots=True)
class CrowdReport:
    """
    What the clients of a crowd have seen.

    Attributes:
        is_in: Clients that are connected.
        in_after_sec: When the last of them was in, since the start.
        attempts: Handshakes sent.
        refused: Of these answered 503.
        without_retry_after: Of these without a number of seconds from 1 to 60.
        errors: Of these that failed otherwise, by what was read or raised.
        events: Marked events received by all clients, over the connections that they have now.
        least: Of these by the client that got fewest.
        most: Of these by the client that got most.
        closed: Connections lost, by close code.
    """

    is_in: int = 0
    in_after_sec: float = 0.0
    attempts: int = 0
    refused: int = 0
    without_retry_after: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    events: int = 0
    least: int = 0
    most: int = 0
    closed: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: CrowdReport) -> CrowdReport:
        return CrowdReport(
            self.is_in + other.is_in,
            max(self.in_after_sec, other.in_after_sec),
            self.attempts + other.attempts,
            self.refused + other.refused,
            self.without_retry_after + other.without_retry_after,
            dict(Counter(self.errors) + Counter(other.errors)),
            self.events + other.events,
            min(self.least, other.least),
            max(self.most, other.most),
            dict(Counter(self.closed) + Counter(other.closed)),
        )


class _Client(asyncio.Protocol):
    """One connection: the handshake's answer, then frames."""

    def __init__(self, request: bytes, mark: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.events = 0
        self.close_code: int | None = None
        self._request = request
        self._mark = mark
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self.answer.done():
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            if not end:
                return
            self._rest = rest
            self.answer.set_result(head)
        self._read_frames()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(self._rest or repr(exc).encode())
        self.lost.set_result(None)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _read_frames(self) -> None:
        data, at = self._rest, 0
        while len(data) >= at + 2:
            size, start = data[at + 1] & 0x7F, at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start + size:
                break
            self._take(data[at] & 0x0F, data[start : start + size])
            at = start + size
        self._rest = data[at:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 0x9:
            # Masked with zeros, which leaves the payload as it is.
            self._transport.write(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        elif opcode == 0x8:
            self.close_code = int.from_bytes(payload[:2], "big")
        else:
            self.events += payload.count(self._mark)


class _Crowd:
    """The clients of this process."""

    def __init__(self, port: int, path: str, mark: str) -> None:
        self.report = CrowdReport()
        self._mark = mark.encode()
        self._port = port
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._connected: set[_Client] = set()
        self._started = time.monotonic()

    async def stay(self, address: str) -> None:
        """Keep one client connected, however often it takes."""
        closed = self.report.closed
        while True:
            client = await self._connect(address)
            if client is not None:
                self._connected.add(client)
                self.report.in_after_sec = time.monotonic() - self._started
                await client.lost
                self._connected.remove(client)
                code = str(client.close_code)
                closed[code] = closed.get(code, 0) + 1

    async def _connect(self, address: str) -> _Client | None:
        report, loop = self.report, asyncio.get_running_loop()
        client = _Client(self._request, self._mark)
        report.attempts += 1
        wait_sec = 1.0
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_SEC):
                # Not by host and port: uvloop would look both addresses up, in threads.
                link = socket.socket()
                link.setblocking(False)
                link.bind((address, 0))
                await loop.sock_connect(link, ("127.0.0.1", self._port))
                await loop.create_connection(lambda: client, sock=link)
                head = await client.answer
        except (OSError, TimeoutError) as error:
            client.abort()
            report.errors[type(error).__name__] = report.errors.get(type(error).__name__, 0) + 1
            await asyncio.sleep(random.uniform(0.5, 1.5))
            return None
        if head.startswith(b"HTTP/1.1 101 "):
            return client
        client.abort()
        if head.startswith(b"HTTP/1.1 503 "):
            report.refused += 1
            found = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
            wait_sec = float(found.get(b"retry-after", b"0"))
            report.without_retry_after += not 1 <= wait_sec <= 60
        else:
            name = head[:40].decode("latin-1")
            report.errors[name] = report.errors.get(name, 0) + 1
        await asyncio.sleep(wait_sec + random.uniform(0, 0.5))
        return None

    def count(self) -> CrowdReport:
        """The report as of now."""
        report, counts = self.report, [one.events for one in self._connected]
        report.is_in = len(counts)
        report.events, report.least = sum(counts), min(counts, default=0)
        report.most = max(counts, default=0)
        return report


async def _serve(options: dict[str, Any]) -> None:
    """Connect all, then print a report for each line of the input."""
    loop = asyncio.get_running_loop()
    crowd = _Crowd(options["port"], options["path"], options["mark"])
    first = options["first"]
    async with asyncio.TaskGroup() as group:
        for number in range(options["clients"]):
            address = f"127.0.0.{1 + (first + number) // _CLIENTS_AN_ADDRESS}"
            group.create_task(crowd.stay(address))
        group.create_task(_answer(loop, crowd))


async def _answer(loop: asyncio.AbstractEventLoop, crowd: _Crowd) -> None:
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(crowd.count())), flush=True)


class StormCrowd:
    """
    Clients in processes of their own, which connect as soon as it is entered.

    Args:
        port: Of the collector, on 127.0.0.1.
        clients: How many.
        processes: In so many processes.
        path: What they ask for.
        mark: Text that the events to count have once.
    """

    def __init__(
        self,
        port: int,
        clients: int,
        *,
        processes: int = 1,
        path: str = "/ws/monitor",
        mark: str = MARK,
    ) -> None:
        self.clients = clients
        each = clients // processes
        options = {"port": port, "path": path, "mark": mark, "clients": each}
        self._options = [{**options, "first": first} for first in range(0, clients, each)]
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for options in self._options:
            command = [sys.executable, "-m", "tests.support.storm_clients", json.dumps(options)]
            self._processes.append(
                subprocess.Popen(
                    command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            with contextlib.suppress(ValueError):
                process.communicate()

    def report(self) -> CrowdReport:
        """What all of them have seen so far."""
        first, *others = self._reports()
        return sum(others, first)

    def _reports(self) -> Iterator[CrowdReport]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "a process of clients has ended"
            yield CrowdReport(**json.loads(line))


if __name__ == "__main__":
    raise_open_files()
    uvloop.run(_serve(json.loads(sys.argv[1])))
