"""
The leader's reports of stalled jobs, and what it does when Redis fails during an action.

The claims between collectors: ``tests/integration/test_collector_faults.py``.
"""

from __future__ import annotations

from typing import Any, Literal

import fakeredis
import pytest
import redis.asyncio as redis_asyncio
from otel_bridge_collector.leader.stalled import StalledJobReporter
from otel_bridge_collector.leader.stalled_events import find_stalled, stalled_event
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.folding import apply, at, event, judged

IDS: dict[str, Any] = {"project_id": "p", "parent_task_id": "t", "task_id": "j"}


class Stage:
    """A reporter over the model of one job whose worker has been silent for 40 s."""

    def __init__(
        self,
        action: Literal["report", "requeue", "fail"] = "report",
        client: redis_asyncio.Redis | None = None,
    ) -> None:
        self.model = Fold()
        self.seconds = 40.0
        self.published: list[MonitoringEvent] = []
        self.reporter = StalledJobReporter(
            "one",
            action=action,
            evaluate=lambda: [judged(self.model, self.seconds)],
            publish=self.publish,
            redis=client,
            keys=DEFAULT_KEYS,
        )
        self.fold(
            event(0, "worker_heartbeat", worker_id="w"),
            event(1, "task_started", **IDS, worker_id="w"),
        )

    def publish(self, one: MonitoringEvent) -> None:
        self.published.append(one)

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


class RedisStage(Stage):
    """The same with a Redis that has the job, and that is lost when the report is published."""

    def __init__(self, action: Literal["report", "requeue", "fail"]) -> None:
        self.server = fakeredis.FakeServer()
        self.client: redis_asyncio.Redis = fakeredis.FakeAsyncRedis(
            server=self.server, decode_responses=True
        )
        self.queue = TaskQueue(self.client)
        super().__init__(action, self.client)

    def publish(self, one: MonitoringEvent) -> None:
        super().publish(one)
        self.server.connected = one.event_type != "task_stalled"

    async def claim_job(self) -> None:
        """Worker ``w`` has job ``j`` in Redis."""
        await self.queue.submit(QueuedJob(id="j", type="search"))
        assert await self.queue.claim("w") is not None

    async def lose_redis_after_the_report(self) -> None:
        """One round, in which Redis fails during the action; then the log has the report."""
        with pytest.raises(redis_asyncio.ConnectionError):
            await self.reporter.run_round()
        self.server.connected = True
        self.fold(*self.published)
        assert await self.client.get(DEFAULT_KEYS.task_status("j")) == "processing"


@pytest.mark.parametrize(
    ("action", "status", "types"),
    [
        ("requeue", "retrying", ["task_stalled"]),
        ("fail", "failed", ["task_stalled", "task_failed"]),
    ],
)
async def test_an_action_during_which_redis_failed_is_tried_again(
    action: Literal["requeue", "fail"], status: str, types: list[str]
) -> None:
    """The next round acts on the job without a second report; the round after it does nothing."""
    stage = RedisStage(action)
    await stage.claim_job()
    await stage.lose_redis_after_the_report()
    await stage.reporter.run_round()
    await stage.queue.maintain()  # takes a job back whose lease has expired
    assert await stage.client.get(DEFAULT_KEYS.task_status("j")) == status
    await stage.client.set(DEFAULT_KEYS.task_status("j"), "processing")
    await stage.client.delete(DEFAULT_KEYS.task_lease("j"))
    await stage.reporter.run_round()
    assert await stage.client.get(DEFAULT_KEYS.task_status("j")) == "processing"
    assert [one.event_type for one in stage.published] == types
    assert stage.reporter.reported == 1
    await stage.client.aclose()


async def test_the_job_of_a_worker_that_is_back_is_not_taken_from_it() -> None:
    """The action is left out in the next round if the worker's heartbeat key exists again."""
    stage = RedisStage("requeue")
    await stage.claim_job()
    await stage.lose_redis_after_the_report()
    await stage.client.set(DEFAULT_KEYS.worker_heartbeat("w"), "1")
    await stage.reporter.run_round()
    await stage.queue.maintain()
    assert await stage.client.get(DEFAULT_KEYS.task_status("j")) == "processing"
    await stage.client.aclose()


async def test_the_job_of_a_worker_whose_id_is_masked_is_reported_alone() -> None:
    """Neither its heartbeat key nor its lease can be found, so nothing is done to the job."""
    client: redis_asyncio.Redis = fakeredis.FakeAsyncRedis(decode_responses=True)
    stage = Stage("requeue", client)
    for job_id, worker_id in (("j", "w"), ("k", "host?token=[redacted]")):
        ids = IDS | {"task_id": job_id, "worker_id": worker_id}
        stage.fold(event(0, "worker_heartbeat", worker_id=worker_id))
        stage.fold(event(1, "task_started", **ids))
        await client.set(DEFAULT_KEYS.task_status(job_id), "processing")
    await stage.reporter.run_round()
    assert {one.task_id for one in stage.published} == {"j", "k"}
    assert await client.get(DEFAULT_KEYS.task_status("j")) != "processing"
    assert await client.get(DEFAULT_KEYS.task_status("k")) == "processing"
    await client.aclose()


async def test_a_job_whose_keys_are_wrong_keeps_no_other_waiting() -> None:
    """Redis' error about one job is raised after the other jobs were reported and acted on."""
    client: redis_asyncio.Redis = fakeredis.FakeAsyncRedis(decode_responses=True)
    stage = Stage("requeue", client)
    await client.rpush(DEFAULT_KEYS.task_status("j"), "a list where a text belongs")
    stage.fold(event(2, "task_started", **{**IDS, "task_id": "k"}, worker_id="w"))
    await client.set(DEFAULT_KEYS.task_status("k"), "processing")
    for _ in range(2):
        with pytest.raises(redis_asyncio.ResponseError):
            await stage.reporter.run_round()
    assert [one.task_id for one in stage.published] == ["j", "k"]
    assert await client.get(DEFAULT_KEYS.task_status("k")) == "pending"
    await client.aclose()
