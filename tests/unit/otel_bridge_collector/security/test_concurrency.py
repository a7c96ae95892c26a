"""One account's costly answers come one after the other, and delay no other account."""

from __future__ import annotations

import asyncio

from otel_bridge_collector.security.concurrency import ConcurrencyLimits
from otel_bridge_collector.security.tokens import ANYONE, Principal

ALICE = Principal("alice", frozenset({"a"}), digest="1" * 64)
BOB = Principal("bob", None, digest="2" * 64)


async def test_an_account_has_one_turn_at_a_time() -> None:
    """A second answer waits for the first; another account's, or kind of answer, does not."""
    turns = ConcurrencyLimits()
    order: list[str] = []

    async def answer(name: str, principal: Principal, what: str = "snapshot") -> None:
        async with turns.of(principal, "", what):
            order.append(name)

    async with turns.of(ALICE, "", "snapshot"):
        waiting = asyncio.create_task(answer("alice again", ALICE))
        await answer("bob", BOB)
        await answer("alice's events", ALICE, "events")
        order.append("alice")
    await waiting
    assert order == ["bob", "alice's events", "alice", "alice again"]


async def test_strangers_are_told_apart_by_their_address() -> None:
    """Where nobody is asked for a token, one machine does not hold another up."""
    turns = ConcurrencyLimits()
    async with turns.of(ANYONE, "192.0.2.1", "snapshot"), turns.of(ANYONE, "192.0.2.2", "snapshot"):
        pass


async def test_who_gives_up_leaves_nothing_behind() -> None:
    """A client that goes while it waits, and an answer that fails, let the next one in."""
    turns = ConcurrencyLimits()
    async with turns.of(ALICE, "", "snapshot"):
        gone = asyncio.ensure_future(turns.of(ALICE, "", "snapshot").__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
    try:
        async with turns.of(ALICE, "", "snapshot"):
            raise LookupError
    except LookupError:
        pass
    async with turns.of(ALICE, "", "snapshot"):
        assert turns.waiting(ALICE, "", "snapshot") == 1
    assert turns.waiting(ALICE, "", "snapshot") == 0
