"""Members of a cluster on a real Redis: who is there, who is gone, who serves which partition."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio as redis_asyncio
from otel_bridge_collector.cluster.membership import Member, Membership
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.shared_fold import ClusterOptions, SharedFold
from otel_bridge_collector.stream.ring import ReplayRing

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.redis_server import RedisServer

ALL = frozenset(range(PARTITIONS))
README = Path(__file__).parents[4] / "deploy" / "README.md"

pytestmark = pytest.mark.redis


class Cluster:
    """Members of one Redis."""

    def __init__(self, url: str) -> None:
        self.client = redis_asyncio.Redis.from_url(url)
        self.members: list[Membership] = []

    def add(self, name: str) -> Membership:
        made = Membership(
            name, f"unix:{name}", redis=self.client, keys=DEFAULT_KEYS, cpu=lambda: 0.5
        )
        self.members.append(made)
        return made

    async def close(self) -> None:
        for member in self.members:
            await member.stop()
        await self.client.aclose()


@pytest.fixture
async def cluster(redis_url: str) -> AsyncIterator[Cluster]:
    made = Cluster(redis_url)
    yield made
    await made.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most 20 s."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_member_that_does_not_renew_is_gone_after_two_seconds(cluster: Cluster) -> None:
    """Three share the partitions; when one stops to renew its entry, two do, and all are owned."""
    first, second, third = (cluster.add(name) for name in "abc")
    await asyncio.gather(first.start(expected=3), second.start(expected=3), third.renew())
    assert len(first.members) == 3
    assert first.assigned() == second.assigned()
    assert [len(one.owned()) for one in (first, second)] == [8, 8]
    until_ms = await cluster.client.zscore(DEFAULT_KEYS.collectors, "c")
    await until(lambda: len(first.members) == len(second.members) == 2)
    assert until_ms is not None
    seconds, microseconds = await cluster.client.time()
    assert seconds * 1000 + microseconds / 1000 >= until_ms
    assert first.owned() | second.owned() == ALL
    assert not await cluster.client.hexists(DEFAULT_KEYS.collectors_info, "c")


async def test_a_member_that_leaves_is_gone_at_once(cluster: Cluster) -> None:
    """After ``stop`` its entry and what it said of itself are not there any more."""
    first, second = cluster.add("a"), cluster.add("b")
    await first.renew()
    await second.start(expected=2)
    await second.stop()
    await first.renew()
    assert set(first.members) == {"a"}
    assert await cluster.client.hkeys(DEFAULT_KEYS.collectors_info) == [b"a"]


async def test_the_owner_serves_once_it_is_ready(cluster: Cluster) -> None:
    """Until then a former owner does; what no member has ready is missing; news calls listeners."""
    first, second = cluster.add("a"), cluster.add("b")
    first.set_ready(ALL)
    await first.renew()
    await second.renew()
    await first.renew()
    assert second.members["a"] == Member("a", "unix:a", ALL, 0.5)
    assert first.serving() == second.serving() == {"a": ALL}
    calls: list[int] = []
    first.on_change(lambda: calls.append(1))
    second.set_ready(second.owned())
    await second.renew()
    await first.renew()
    await first.renew()
    assert len(calls) == 1
    assert first.serving() == {"a": first.owned(), "b": second.owned()}
    assert first.missing() == frozenset()
    first.set_ready(frozenset())
    assert first.missing() == ALL - second.owned()
    assert first.server_of(min(first.missing())) is None


async def test_news_of_ready_partitions_do_not_wait_for_the_next_renewal(cluster: Cluster) -> None:
    """A running member writes what it has ready at once."""
    one = cluster.add("a")
    await one.start()
    one.set_ready(frozenset({1, 23}))
    await until(lambda: one.members["a"].ready == {1, 23})


async def test_a_leaving_member_serves_what_others_are_to_own(cluster: Cluster) -> None:
    """It owns nothing once it says so; if all are leaving, none does, and each goes on serving."""
    first, second = cluster.add("a"), cluster.add("b")
    await first.renew()
    assert not first.has_successors, "there is no other"
    await second.renew()
    await first.renew()
    own = second.owned()
    first.set_ready(ALL - own)
    second.set_ready(own)
    second.set_leaving()
    await second.renew()
    await first.renew()
    assert first.members["b"].is_leaving
    assert (first.owned(), second.owned()) == (ALL, frozenset())
    assert first.serving() == {"a": ALL - own, "b": own}
    assert second.has_successors
    first.set_ready(ALL)
    await first.renew()
    await second.renew()
    assert first.serving() == second.serving() == {"a": ALL}
    first.set_leaving()
    await first.renew()
    await second.renew()
    assert (first.assigned(), first.missing()) == ((), frozenset())
    assert [one.has_successors for one in (first, second)] == [False, False]


async def test_what_is_not_understood_is_no_member(cluster: Cluster) -> None:
    """What another release or program wrote into the keys does not keep members from working."""
    one = cluster.add("a")
    for name, info in (("x", "{}"), ("y", "[1]"), ("z", '{"ready":"g","address":""}')):
        await cluster.client.zadd(DEFAULT_KEYS.collectors, {name: 1e15})
        await cluster.client.hset(DEFAULT_KEYS.collectors_info, name, info)
    await one.renew()
    assert set(one.members) == {"a"}


async def test_without_redis_a_member_keeps_what_it_knew(own_redis: RedisServer) -> None:
    """``failure`` reports an outage; members and owners stay those of the last answer."""
    client = redis_asyncio.Redis.from_url(own_redis.url, socket_timeout=0.5)
    one = Membership("a", "unix:a", redis=client, keys=DEFAULT_KEYS)
    await one.renew()
    assert (one.failure, one.is_current) == (None, True)
    own_redis.kill()
    await one.renew()
    assert one.failure
    assert one.owned() == ALL
    await one.stop()
    await client.aclose()


async def test_the_documented_redis_user_may_be_a_member(own_redis: RedisServer) -> None:
    """The collector's user of ``deploy/README.md``, with the three commands that it names there."""
    text = README.read_text(encoding="utf-8")
    (line,) = re.findall(r"^user (collector .*)$", text, flags=re.MULTILINE)
    (more,) = re.findall(r"shares the fold with others also needs `([^`]*)`", text)
    with own_redis.client() as admin:
        rule = f"{line} {more}".replace("CHANGE-ME", "pw").split()
        admin.execute_command("ACL", "SETUSER", *rule)
    fold = SharedFold(
        "a",
        ClusterOptions("unix:a"),
        url=f"redis://collector:pw@127.0.0.1:{own_redis.port}",
        keys=DEFAULT_KEYS,
        ring=ReplayRing("", 10),
        heartbeat_ttl_sec=30,
    )
    fold.router.tasks.join("t", "u")
    await fold.write_joined()
    await fold.join()
    assert (fold.membership.failure, set(fold.membership.members)) == (None, {"a"})
    await fold.stop()
    with own_redis.client() as admin:
        assert admin.acl_log() == []
        assert admin.zcard(DEFAULT_KEYS.collectors_joined) == 1
        assert not admin.exists(DEFAULT_KEYS.collectors)
