"""The leader's statistics: for everything, per active project, and rarely while no event comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from otel_bridge_collector.leader.stats import StatsPublisher
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.header import Header

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import apply, event, judged

IDS: dict[str, Any] = {"project_id": "p", "parent_task_id": "t", "task_id": "j"}


class Stage:
    """A publisher over a model, ten seconds into the story; what it publishes is kept."""

    def __init__(self) -> None:
        self.model = Fold()
        self.published: list[MonitoringEvent] = []
        self.publisher = StatsPublisher(
            interval_sec=0.1,
            evaluate=lambda: judged(self.model, 10),
            publish=self.published.append,
        )

    def fold(self, *events: MonitoringEvent) -> None:
        apply(self.model, *events)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_round_covers_everything_and_each_active_project(stage: Stage) -> None:
    """A round publishes the header's numbers once for everything and once for each project."""
    stage.fold(event(5, "task_started", **IDS), event(6, "task_failed", **IDS))
    await stage.publisher.run_round()
    assert {one.event_type for one in stage.published} == {"stats_snapshot"}
    assert {one.project_id: one.meta for one in stage.published} == {
        project: Header(judged(stage.model, 10)).stats(project).model_dump(mode="json")
        for project in (None, "p")
    }


async def test_the_depths_are_in_queue_and_in_meta(stage: Stage) -> None:
    """Other dashboards read the depths of all queues from ``queue``, ours from ``meta``."""
    stage.fold(event(5, "queue_depth_update", counts={"high": 3}))
    await stage.publisher.run_round()
    (found,) = stage.published
    assert (found.queue, (found.meta or {})["queue_depth"]) == ({"high": 3}, {"high": 3})


async def test_a_round_over_many_projects_lets_other_tasks_run(stage: Stage) -> None:
    """Between the numbers of two projects, other tasks of the event loop run."""
    for number in range(20):
        stage.fold(event(5, "task_started", **IDS | {"project_id": f"p{number:02}"}))
    seen: set[int] = set()
    ending = asyncio.Event()

    async def look() -> None:
        while not ending.is_set():
            seen.add(len(stage.published))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await stage.publisher.run_round()
    ending.set()
    await looking
    assert seen >= set(range(1, 22))


async def test_an_idle_log_is_not_filled_with_statistics(stage: Stage) -> None:
    """Without new events a round within five seconds publishes nothing; with one it does."""
    for _ in range(3):
        await stage.publisher.run_round()
    assert len(stage.published) == 1
    stage.fold(event(9, "worker_heartbeat", worker_id="w"))
    await stage.publisher.run_round()
    assert len(stage.published) == 2
