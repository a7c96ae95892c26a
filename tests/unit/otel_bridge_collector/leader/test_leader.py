"""
The leader's rounds where the log is in memory, so that there is no election.

The lease needs Redis: see ``tests/integration/test_leader_takeover.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from otel_bridge_collector.leader.leader import Leader

from otel_bridge.publish.redis_keys import DEFAULT_KEYS


class Stage:
    """A leader with two duties that are recorded, over a log that is read or not."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.rounds = 0
        self.is_live = True
        self.failures: list[Exception] = []
        self.leader = Leader(
            "one",
            interval_sec=0.001,
            duties=(self._first, self._second),
            is_live=self._is_live,
            redis=None,
            lease_key=DEFAULT_KEYS.collector_leader,
        )

    def _is_live(self) -> bool:
        self.rounds += 1
        return self.is_live

    async def _first(self) -> None:
        if self.failures:
            raise self.failures.pop()
        self.done.append("first")

    async def _second(self) -> None:
        self.done.append("second")

    async def full_rounds(self, count: int) -> None:
        """Wait until this many more rounds are over."""
        goal = self.rounds + count + 1
        async with asyncio.timeout(10):
            while self.rounds < goal:
                await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.leader.stop()


async def test_a_round_runs_the_duties_in_order(stage: Stage) -> None:
    """Without Redis the only collector leads, and each round runs every duty in its order."""
    stage.leader.start()
    await stage.full_rounds(2)
    assert stage.leader.is_leader
    assert stage.done[:4] == ["first", "second"] * 2


async def test_a_collector_that_does_not_read_the_log_cannot_lead(stage: Stage) -> None:
    """No duty runs while the log is not read, since all workers would look dead; later it does."""
    stage.is_live = False
    stage.leader.start()
    await stage.full_rounds(2)
    assert (stage.done, stage.leader.is_leader) == ([], False)
    stage.is_live = True
    await stage.full_rounds(1)
    assert stage.done[:2] == ["first", "second"]
    assert stage.leader.is_leader


async def test_an_exception_costs_one_round(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception of a duty ends its round, is logged, and the next round runs."""
    stage.failures = [ZeroDivisionError("a bug")]
    stage.leader.start()
    await stage.full_rounds(2)
    assert stage.done[:2] == ["first", "second"]
    assert [record.getMessage() for record in caplog.records] == ["a round of the leader failed"]


async def test_an_unreachable_redis_is_logged_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """While rounds time out at Redis one line is logged, and the collector leads again after."""
    stage.failures = [TimeoutError(), TimeoutError()]
    stage.leader.start()
    await stage.full_rounds(3)
    assert stage.leader.is_leader
    assert [record.getMessage() for record in caplog.records] == [
        "this collector cannot lead, Redis failed: TimeoutError"
    ]


async def test_after_stop_no_round_begins(stage: Stage) -> None:
    """``stop`` ends the rounds; it may be called without a start, and twice."""
    await Stage().leader.stop()
    stage.leader.start()
    await stage.full_rounds(1)
    await stage.leader.stop()
    await stage.leader.stop()
    assert not stage.leader.is_leader
    rounds = stage.rounds
    await asyncio.sleep(0)
    assert stage.rounds == rounds
