"""
``ConcurrencyLimits``: one costly answer at a time for each account, then a pause as long.

A snapshot for a filter that nobody else has costs 10 to 40 ms of the event loop, a look through the
log for something rare more. Measured: 50 connections of one token limited to a project, asking for
snapshots of tasks that do not exist, held everybody else's answers up by 0.9 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from otel_bridge_collector.security.tokens import Principal

__all__ = ["MAX_WAITING", "ConcurrencyLimits"]

MAX_WAITING: Final = 100
"""HTTP requests of one account; whoever asks and goes still waits. WebSockets have a limit."""


class _Line:
    __slots__ = ("length", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.length = 0


class ConcurrencyLimits:
    """Hands out turns, in the order of asking."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line] = {}

    def waiting(self, principal: Principal, address: str, what: str) -> int:
        """How many stand in line for such a turn, the one whose turn it is included."""
        line = self._lines.get((principal.account or address, what))
        return 0 if line is None else line.length

    @asynccontextmanager
    async def of(self, principal: Principal, address: str, what: str) -> AsyncIterator[None]:
        """
        Hold the account's turn; where nobody is asked for a token, the address's.

        Args:
            principal: Who asks.
            address: From where.
            what: Kind of answer; each has turns of its own.
        """
        key = (principal.account or address, what)
        line = self._lines.setdefault(key, _Line())
        line.length += 1
        try:
            async with line.lock:
                loop = asyncio.get_running_loop()
                began = loop.time()
                yield
                await asyncio.sleep(loop.time() - began)
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[key]
