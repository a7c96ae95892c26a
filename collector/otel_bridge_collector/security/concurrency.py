"""
``ConcurrencyLimits``: one expensive answer at a time for each account, then a pause as long.

A snapshot for a filter that no other client uses takes 10 to 40 ms of the event loop; a search
through the log for rare events takes more. Measured: 50 connections of one token limited to a
project, which asked for snapshots of tasks that do not exist, delayed all other answers by 0.9 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from otel_bridge_collector.security.tokens import Principal

__all__ = ["MAX_WAITING", "ConcurrencyLimits"]

MAX_WAITING: Final = 100
"""HTTP requests of one account that may wait; one whose client has gone away still counts. The
number of WebSockets is limited already."""


class _Slot:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class ConcurrencyLimits:
    """
    Lets the expensive requests of an account run one after the other, in the order of arrival.

    ``Authenticator`` makes one for the process. A request holds the account's slot, which is its
    right to run, by ``async with slot(...)``. The class itself sets no limit to the number of
    waiting requests: callers compare ``waiting`` with ``MAX_WAITING`` (100) and answer 429. All
    calls must come from one event loop; it raises no errors of its own and needs no closing.
    """

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], _Slot] = {}

    def waiting(self, principal: Principal, address: str, kind: str) -> int:
        """Return how many requests hold or wait for a slot; for the parameters see ``slot``."""
        slot = self._slots.get((principal.account or address, kind))
        return 0 if slot is None else slot.users

    @asynccontextmanager
    async def slot(self, principal: Principal, address: str, kind: str) -> AsyncIterator[None]:
        """
        Async context manager that holds the account's only slot for one kind of answer.

        Entering waits for ever until it is free: compare ``waiting`` with ``MAX_WAITING`` (100)
        before. Leaving waits, still holding the slot, for as long as the block took, so that an
        account is served half of the time at most; not if the block raised.
        Raises nothing of its own; a request that is cancelled gives its place or slot up.

        Args:
            principal: Its account is limited.
            address: Limited instead where there is no authentication, and so no account.
            kind: The kind of answer, ``snapshot`` for example; each kind has a slot of its own.
        """
        key = (principal.account or address, kind)
        slot = self._slots.setdefault(key, _Slot())
        slot.users += 1
        try:
            async with slot.lock:
                loop = asyncio.get_running_loop()
                started_at = loop.time()
                yield
                await asyncio.sleep(loop.time() - started_at)
        finally:
            slot.users -= 1
            if not slot.users:
                del self._slots[key]
