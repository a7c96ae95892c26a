"""One task with more nodes than a collector holds: its counts are exact, what failed is held."""

from __future__ import annotations

import pytest
from otel_bridge_collector.model.events import FAILED, JOB
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.nodes import Task

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.large_task import TASK_ID, publish
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis]

LIMITS = "otel_bridge_collector.model.fold.Limits"


def failed_nodes(task: Task) -> int:
    """Held nodes that have ended as failed: attempts and model calls."""
    return sum(
        node.ended & 7 == FAILED and node.kind == JOB
        for job in task.jobs.values()
        for node in job.nodes()
    )


@pytest.mark.parametrize(
    ("jobs", "limits"),
    [
        pytest.param(2000, Limits(nodes_per_task=2000), id="small"),
        pytest.param(
            50_000,
            Limits(),
            id="50000",
            marks=[pytest.mark.chaos, pytest.mark.timeout(900)],
        ),
    ],
)
def test_a_task_over_the_limit_has_exact_counts_and_every_failure(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, jobs: int, limits: Limits
) -> None:
    """Every job counts once, whatever is no longer held, and all that failed is still held."""
    monkeypatch.setattr(LIMITS, lambda: limits)
    settings = BridgeSettings(redis_url=own_redis.url)
    with AppServer(settings, stats_interval_sec=60) as site:
        expected = publish(own_redis.url, jobs)
        tasks = site.collector.model.tasks
        wait_until(lambda: TASK_ID in tasks.by_id, "the task")
        task = tasks.by_id[TASK_ID]
        wait_until(lambda: any(root.ended for root in task.roots), "the task's end", 300)
        (card,) = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
        (phase,) = card["phases"]
        names = ("status", "completed", "failed", "pending")
        counts = ["completed", expected.completed, expected.failed, 0]
        assert [card[name] for name in names] == counts
        assert [phase[name] for name in names] == counts
        assert card["retries"] == expected.retries
        not_held = site.collector.stats.events_not_held
        assert (task.size + task.not_held, not_held) == (expected.nodes, 0)
        assert 0 < task.size <= limits.nodes_per_task
        failed_ids = {job.id for job in task.jobs.values() if job.st == FAILED}
        assert failed_ids >= set(expected.failed_ids)
        assert failed_nodes(task) == expected.failed
