"""Browser sessions that several processes on one port share through a real Redis."""

from __future__ import annotations

import redis.asyncio as redis_asyncio
from otel_bridge_collector.security.sessions import Sessions
from otel_bridge_collector.security.tokens import Principal

ONE = Principal("ada", frozenset({"p1"}), digest="d1")


def sessions_on(client: redis_asyncio.Redis | None) -> Sessions:
    found = Sessions()
    found.redis = client
    return found


async def test_a_session_of_one_process_is_valid_at_another(redis_url: str) -> None:
    """It is found there with its principal, and nowhere after signing out at any of them."""
    async with redis_asyncio.from_url(redis_url) as client:
        here, there = sessions_on(client), sessions_on(client)
        session_id = here.open(ONE)
        assert await there.fetch(session_id) is None
        await here.share(session_id, ONE)
        assert await there.fetch(session_id) == ONE
        await there.end(session_id)
        assert await here.fetch(session_id) is None


async def test_an_account_has_a_hundred_sessions_at_most(redis_url: str) -> None:
    """The oldest end, whichever process opened them, and those of another account stay."""
    async with redis_asyncio.from_url(redis_url) as client:
        sessions = sessions_on(client)
        other = sessions.open(Principal("eve", None, digest="d2"))
        await sessions.share(other, Principal("eve", None, digest="d2"))
        opened = []
        for _ in range(102):
            opened.append(sessions.open(ONE))
            await sessions.share(opened[-1], ONE)
        live = [await sessions.fetch(one) is not None for one in opened]
        assert live == [False] * 2 + [True] * 100
        assert await sessions.fetch(other) is not None


async def test_without_an_answer_of_redis_the_sessions_of_this_process_count() -> None:
    """An outage is logged and raises nothing."""
    async with redis_asyncio.from_url("redis://127.0.0.1:1/0") as client:
        sessions = sessions_on(client)
        session_id = sessions.open(ONE)
        await sessions.share(session_id, ONE)
        assert await sessions.fetch(session_id) == ONE
        await sessions.end(session_id)
        assert await sessions.fetch(session_id) is None
