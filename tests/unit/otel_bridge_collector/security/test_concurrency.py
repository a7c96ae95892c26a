"""Expensive answers of one account come one after the other, and delay no other account."""

from __future__ import annotations

import asyncio

from otel_bridge_collector.security.concurrency import ConcurrencyLimits
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal

ALICE = Principal("alice", frozenset({"a"}), digest="1" * 64)
BOB = Principal("bob", None, digest="2" * 64)


async def test_an_account_has_one_slot() -> None:
    """A second answer waits for the first; one of another account or kind does not."""
    limits = ConcurrencyLimits()
    order: list[str] = []

    async def answer(name: str, principal: Principal, kind: str = "snapshot") -> None:
        async with limits.slot(principal, "", kind):
            order.append(name)

    async with limits.slot(ALICE, "", "snapshot"):
        waiting = asyncio.create_task(answer("alice again", ALICE))
        await answer("bob", BOB)
        await answer("alice's events", ALICE, "events")
        order.append("alice")
    await waiting
    assert order == ["bob", "alice's events", "alice", "alice again"]


async def test_anonymous_clients_are_limited_by_address() -> None:
    """Without authentication, one machine does not delay another."""
    limits = ConcurrencyLimits()
    async with (
        limits.slot(ANONYMOUS, "192.0.2.1", "snapshot"),
        limits.slot(ANONYMOUS, "192.0.2.2", "snapshot"),
    ):
        pass


async def test_a_client_that_leaves_frees_the_slot() -> None:
    """A client that leaves while it waits, and an answer that fails, let the next one in."""
    limits = ConcurrencyLimits()
    async with limits.slot(ALICE, "", "snapshot"):
        gone = asyncio.ensure_future(limits.slot(ALICE, "", "snapshot").__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
    try:
        async with limits.slot(ALICE, "", "snapshot"):
            raise LookupError
    except LookupError:
        pass
    async with limits.slot(ALICE, "", "snapshot"):
        assert limits.waiting(ALICE, "", "snapshot") == 1
    assert limits.waiting(ALICE, "", "snapshot") == 0


async def test_all_that_wait_are_counted() -> None:
    """The answer in progress and those that wait for it count, each account's for itself."""
    limits = ConcurrencyLimits()
    async with limits.slot(ALICE, "", "snapshot"):
        waiting = [
            asyncio.ensure_future(limits.slot(ALICE, "", "snapshot").__aenter__()) for _ in range(3)
        ]
        await asyncio.sleep(0)
        counts = [limits.waiting(ALICE, "", kind) for kind in ("snapshot", "events")]
        assert (counts, limits.waiting(BOB, "", "snapshot")) == ([4, 0], 0)
        for task in waiting:
            task.cancel()


async def test_no_account_is_remembered_after_its_last_answer() -> None:
    """Memory grows with the accounts that ask now, not with all that ever asked."""
    limits = ConcurrencyLimits()
    async with limits.slot(ALICE, "", "snapshot"):
        assert len(limits._slots) == 1
    assert limits._slots == {}
