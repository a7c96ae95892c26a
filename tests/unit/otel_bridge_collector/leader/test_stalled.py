"""
The leader's reports of stalled jobs where the log is in memory.

The claims between collectors, and what is done to the jobs, need Redis: see
``tests/integration/test_collector_faults.py``.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
from otel_bridge_collector.leader.stalled import StalledJobReporter
from otel_bridge_collector.leader.stalled_events import find_stalled, stalled_event
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.folding import apply, at, event, judged

IDS: dict[str, Any] = {"project_id": "p", "parent_task_id": "t", "task_id": "j"}


class Stage:
    """A reporter over the model of one job whose worker has been silent for 40 s."""

    def __init__(self, action: Literal["report", "requeue", "fail"] = "report") -> None:
        self.model = Fold()
        self.seconds = 40.0
        self.published: list[MonitoringEvent] = []
        self.reporter = StalledJobReporter(
            "one",
            action=action,
            evaluate=lambda: judged(self.model, self.seconds),
            publish=self.published.append,
            redis=None,
            keys=DEFAULT_KEYS,
        )
        self.fold(
            event(0, "worker_heartbeat", worker_id="w"),
            event(1, "task_started", **IDS, worker_id="w"),
        )

    def fold(self, *events: MonitoringEvent) -> None:
        apply(self.model, *events)


@pytest.mark.parametrize("action", ["report", "requeue", "fail"])
async def test_a_stalled_job_is_reported_once(action: Literal["report", "requeue", "fail"]) -> None:
    """A job is reported in one round and no other; without Redis no action is taken."""
    stage = Stage(action)
    (found,) = find_stalled(judged(stage.model, 40))
    expected = stalled_event(found, microseconds(at(40)))
    await stage.reporter.run_round()
    await stage.reporter.run_round()
    assert stage.published == [expected]
    assert stage.reporter.reported == 1


async def test_a_job_of_a_live_worker_is_not_reported() -> None:
    """A job whose worker was silent for less than the heartbeat TTL is left alone."""
    stage = Stage()
    stage.seconds = 29
    await stage.reporter.run_round()
    assert (stage.published, stage.reporter.reported) == ([], 0)


async def test_the_next_attempt_is_reported_again() -> None:
    """A job that is retried and stalls again is reported again, as another event."""
    stage = Stage()
    await stage.reporter.run_round()
    stage.fold(event(41, "task_started", **IDS, worker_id="w", retry_count=1))
    stage.seconds = 90
    await stage.reporter.run_round()
    assert [one.retry_count for one in stage.published] == [0, 1]
    assert len({one.event_id for one in stage.published}) == 2
