"""
The leader's duties where the log is in memory and there is nobody to elect.

The lease, and what is done to stalled jobs, need Redis: see ``test_leader_takeover.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from otel_bridge_collector.leader.leader import Leader
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.model.old.snapshot import global_stats
from otel_bridge_collector.model.old.stalled import stalled_event
from otel_bridge_collector.model.old.state import LiveState
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, judge

IDS: dict[str, Any] = {"project_id": "p", "parent_task_id": "t", "task_id": "j"}


class Stage:
    """A leader over a state at one moment; what it publishes is kept."""

    def __init__(self, **options: Any) -> None:
        self.state = LiveState()
        self.stats = RollingStats()
        self.published: list[MonitoringEvent] = []
        self.rounds = 0
        self.seconds = 10.0
        self.is_live = True
        self.failures = 0
        self.leader = Leader(
            CollectorSettings(stats_interval_sec=0.1, **options),
            heartbeat_ttl_sec=30,
            stats=self.stats,
            make_judge=self._make_judge,
            publish=self.published.append,
            is_live=self._is_live,
            redis=None,
        )

    def _make_judge(self) -> Judge:
        return judge(self.state, self.seconds)

    def _is_live(self) -> bool:
        self.rounds += 1
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("a bug")
        return self.is_live

    def fold(self, *events: MonitoringEvent) -> None:
        for one in events:
            self.state.apply(one, microseconds(one.ts))
            self.stats.observe(one, microseconds(one.ts))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    async def full_rounds(self, count: int) -> None:
        """Wait until so many more rounds are over."""
        goal = self.rounds + count + 1
        await self.until(lambda: self.rounds >= goal)

    def told(self, kind: str) -> list[MonitoringEvent]:
        return [one for one in self.published if one.event_type == kind]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.leader.stop()


async def test_stats_are_told_for_all_and_for_each_active_project(stage: Stage) -> None:
    """A round tells the header's numbers once for everybody and once for each project."""
    stage.fold(event(5, "task_started", **IDS), event(6, "task_failed", **IDS))
    stage.leader.start()
    await stage.full_rounds(1)
    found = {one.project_id: one.meta for one in stage.told("stats_snapshot")}
    assert found == {
        project: global_stats(judge(stage.state, 10), stage.stats, project).model_dump(mode="json")
        for project in (None, "p")
    }
    assert stage.leader.is_leader


async def test_a_round_over_many_projects_lets_others_run(stage: Stage) -> None:
    """Between the numbers of two projects whatever else waits on the loop has its turn."""
    for number in range(20):
        stage.fold(event(5, "task_started", **IDS | {"project_id": f"p{number:02}"}))
    seen: set[int] = set()
    ending = asyncio.Event()

    async def look() -> None:
        while not ending.is_set():
            seen.add(len(stage.published))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    stage.leader.start()
    await stage.full_rounds(1)
    ending.set()
    await looking
    assert seen >= set(range(1, 22))


async def test_an_idle_log_is_not_filled_with_stats(stage: Stage) -> None:
    """With nothing new the numbers are told every five seconds at most, and at once with news."""
    stage.leader.start()
    await stage.full_rounds(3)
    assert len(stage.told("stats_snapshot")) == 1
    stage.fold(event(9, "worker_heartbeat", worker_id="w"))
    await stage.full_rounds(1)
    assert len(stage.told("stats_snapshot")) == 2


def lost_job() -> list[MonitoringEvent]:
    return [
        event(0, "worker_heartbeat", worker_id="w"),
        event(1, "task_started", **IDS, worker_id="w"),
    ]


@pytest.mark.parametrize("action", ["report", "requeue", "fail"])
async def test_a_stalled_job_is_told_once(action: str) -> None:
    """A job is told stalled in one round and no other; without Redis nothing else is done to it."""
    stage = Stage(stalled_action=action)
    stage.seconds = 40
    stage.fold(*lost_job())
    expected = stalled_event(stage.state.jobs["t", "j"], microseconds(at(40)))
    stage.leader.start()
    await stage.full_rounds(2)
    await stage.leader.stop()
    assert stage.told("task_stalled") == [expected]
    assert (stage.leader.stalled, stage.told("task_failed")) == (1, [])


async def test_the_next_attempt_is_told_again(stage: Stage) -> None:
    """A job that is run again and lost again is told again, as another event."""
    stage.seconds = 40
    stage.fold(*lost_job())
    stage.leader.start()
    await stage.until(lambda: stage.told("task_stalled"))
    stage.fold(event(41, "task_started", **IDS, worker_id="w", retry_count=1))
    stage.seconds = 90
    await stage.until(lambda: len(stage.told("task_stalled")) == 2)
    assert [one.retry_count for one in stage.told("task_stalled")] == [0, 1]


async def test_nobody_leads_blind(stage: Stage) -> None:
    """A collector that cannot read the log tells nothing, for all its workers would look dead."""
    stage.seconds = 40
    stage.fold(*lost_job())
    stage.is_live = False
    stage.leader.start()
    await stage.full_rounds(2)
    assert (stage.published, stage.leader.is_leader) == ([], False)
    stage.is_live = True
    await stage.until(lambda: stage.published)
    assert stage.leader.is_leader


async def test_a_bug_costs_one_round(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen exception is logged and the next round does its duty."""
    stage.failures = 1
    stage.leader.start()
    await stage.until(lambda: stage.published)
    assert [record.getMessage() for record in caplog.records] == ["a round of the leader failed"]


async def test_who_has_stopped_leads_no_more(stage: Stage) -> None:
    """After ``stop`` no round begins; it may be called without a start, and again."""
    await Stage().leader.stop()
    stage.leader.start()
    await stage.until(lambda: stage.leader.is_leader)
    await stage.leader.stop()
    await stage.leader.stop()
    assert not stage.leader.is_leader
    rounds = stage.rounds
    await asyncio.sleep(0)
    assert stage.rounds == rounds
