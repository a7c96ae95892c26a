"""
Turns: one costly answer at a time for each account, which then rests for as long as it took.

A snapshot for a filter that nobody else has costs 10 to 40 ms of the event loop, a look through the
log for something rare more. Measured: 50 connections of one token limited to a project, asking for
snapshots of tasks that do not exist, held everybody else's answers up by 0.9 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from collector.security.tokens import Principal

__all__ = ["Turns"]


class Turns:
    """Hands out turns, in the order of asking."""

    def __init__(self) -> None:
        # A lock lives as long as somebody holds or awaits it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

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
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            loop = asyncio.get_running_loop()
            began = loop.time()
            yield
            await asyncio.sleep(loop.time() - began)
