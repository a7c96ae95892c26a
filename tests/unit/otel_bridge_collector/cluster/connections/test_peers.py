"""What a member answers: bad messages, slow peers, unknown questions."""

from __future__ import annotations

import asyncio
import time

import pytest
from otel_bridge_collector.cluster.connections.frames import Answer, pieces, read_answer
from otel_bridge_collector.cluster.connections.peers import Peers
from otel_bridge_collector.cluster.states import States

from tests.support.cluster_members import cluster_of, links_of, until

pytestmark = pytest.mark.redis
SUB = (
    '{"op":"sub","sub":7,"view":"overview","params":{},"scope":null,"partitions":%s,"around":null}'
)


class Asking:
    """A peer whose texts the test gives, and that takes answers only while it may."""

    def __init__(self, peers: Peers) -> None:
        self.got: list[Answer] = []
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self.task = asyncio.create_task(peers.serve(self._send, self._texts.get))

    def say(self, text: str) -> None:
        for piece in pieces(text):
            self._texts.put_nowait(piece)

    async def leave(self) -> None:
        self._texts.put_nowait(None)
        await self.task

    async def _send(self, message: bytes) -> None:
        await self.may_take.wait()
        self.got.append(read_answer(message))

    def parts(self) -> list[bytes]:
        return [one.body for one in self.got if "sub" in one.fields]


async def test_a_peer_gets_what_it_asks_for(redis_url: str) -> None:
    """The part of partitions that are held, facts each second, and errors of questions."""
    async with cluster_of(redis_url, 1) as (member,):
        peers = links_of(member).peers
        peer = Asking(peers)
        peer.say(SUB % "[0,1,2]")
        await until(peer.parts, "a part")
        await until(lambda: any("facts" in one.fields for one in peer.got), "facts")
        peer.say('{"op":"call","n":1,"name":"nonsense"}')
        await until(lambda: any(one.fields.get("error") == "unknown" for one in peer.got), "error")
        peer.say('{"op":"call","n":2,"name":"snapshot","args":{}}')
        await until(lambda: any(one.fields.get("n") == 2 for one in peer.got), "another error")
        peer.say('{"op":"later"}')
        peer.say('{"op":"unsub","sub":7}')
        await until(lambda: not peers.links[0].subscriptions, "no subscription")
        await peer.leave()
        assert len(peers) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"op":"sub"}',
        SUB % '"x"',
        (SUB % "[0]").replace("overview", "nonsense"),
        (SUB % "[0]").replace('"around":null', '"around":"x"'),
        '{"op":"call"}',
    ],
)
async def test_a_bad_message_ends_the_connection(redis_url: str, text: str) -> None:
    """It is counted and logged once, and raises nothing."""
    async with cluster_of(redis_url, 1) as (member,):
        peers = links_of(member).peers
        for _ in range(2):
            peer = Asking(peers)
            peer.say(text)
            async with asyncio.timeout(10):
                await peer.task
        assert peers.counters["bad"] == 2


async def test_a_slow_peer_gets_the_latest_only(redis_url: str) -> None:
    """Nothing waits for it in memory but what it is being sent."""
    async with cluster_of(redis_url, 1) as (member,):
        peers = links_of(member).peers
        peer = Asking(peers)
        peer.may_take.clear()
        peer.say(SUB % "[0,1,2]")
        before = peers.counters["skipped"]
        await until(lambda: peers.counters["skipped"] > before + 2, "skipped rounds")
        assert len(peers.links[0]._waiting) <= 2
        peer.may_take.set()
        await until(lambda: any("tick" in one.fields for one in peer.got), "life again")
        await peer.leave()


async def test_a_member_with_expensive_views_is_not_silent() -> None:
    """Its rounds are rare then; between two of them it says four times a second that it lives."""
    refreshed = 0

    def refresh() -> None:
        nonlocal refreshed
        refreshed += 1
        ends_at = time.monotonic() + 0.15
        while time.monotonic() < ends_at:
            pass

    def ticks() -> int:
        return sum("tick" in one.fields for one in peer.got)

    peers = Peers("m", States(), refresh=refresh, position=lambda: "0:1-1", calls={})
    peer = Asking(peers)
    peer.say(SUB % "[0]")
    running = asyncio.create_task(peers.run())
    await until(lambda: refreshed == 2, "the subscription, then a round")
    before, rounds = ticks(), peers.counters["rounds"]
    await until(lambda: ticks() >= before + 3, "three signs of life")
    assert peers.counters["rounds"] == rounds
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await peer.leave()
