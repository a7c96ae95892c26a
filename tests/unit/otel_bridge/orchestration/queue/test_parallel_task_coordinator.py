"""The coordinator on an embedded Redis; tests/integration/test_coordinator.py has the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.orchestration.queue.errors import PermanentJobError
from otel_bridge.orchestration.queue.parallel_task_coordinator import ParallelTaskCoordinator
from otel_bridge.orchestration.queue.task_types import Priority, QueuedJob, TaskStatus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.coordinator import ended, eventually, running
from tests.support.queue_clients import embedded


@pytest.fixture
async def client() -> AsyncIterator[redis_asyncio.Redis]:
    made = embedded()
    yield made
    await made.aclose()


def job(name: str, **fields: Any) -> QueuedJob:
    return QueuedJob(**{"id": name, "type": "search", "parent_task_id": "parent", **fields})


async def echo(task: QueuedJob) -> Mapping[str, Any]:
    return {"id": task.id, "project": task.project_id}


async def test_jobs_are_submitted_once_and_their_results_kept(client: redis_asyncio.Redis) -> None:
    """Submitting known ids again returns them and runs nothing a second time."""
    ran = []

    async def count(task: QueuedJob) -> Mapping[str, Any]:
        ran.append(task.id)
        return await echo(task)

    async with running(client, {"search": count}) as coordinator:
        jobs = [job("a"), job("b", payload={"project_id": "p"})]
        for _ in range(2):
            assert await coordinator.submit_tasks(jobs) == ["a", "b"]
            await ended(coordinator, "a", "b")
        assert await coordinator.result("a") == {"id": "a", "project": None}
        assert await coordinator.result("b") == {"id": "b", "project": "p"}
        assert await coordinator.status("a") is TaskStatus.COMPLETED
        assert (await coordinator.status("x"), await coordinator.result("x")) == (None, None)
    assert sorted(ran) == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "attempts"), [(ValueError("page"), 3), (PermanentJobError("page"), 1)]
)
async def test_a_permanent_error_is_not_retried(
    client: redis_asyncio.Redis, error: Exception, attempts: int
) -> None:
    """Any other error is retried as often as the job allows."""
    ran = []

    async def fail(task: QueuedJob) -> Mapping[str, Any]:
        ran.append(task.retry_count)
        raise error

    async with running(client, {"search": fail}) as coordinator:
        await coordinator.submit_tasks([job("a", max_retries=2)])
        await ended(coordinator, "a")
        assert await coordinator.status("a") is TaskStatus.FAILED
        assert await coordinator.queue.error("a") == f"{type(error).__name__}: page"
    assert ran == list(range(attempts))
    assert await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == ["a"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"page": object()}, "the result of search is not JSON: "),
        ({"page": float("nan")}, "the result of search is not JSON: "),
    ],
)
async def test_a_result_that_is_not_json_fails_the_job(
    client: redis_asyncio.Redis, result: Mapping[str, Any], reason: str
) -> None:
    """What cannot be stored would not be JSON the next time either."""

    async def handler(task: QueuedJob) -> Mapping[str, Any]:
        return result

    async with running(client, {"search": handler}) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await ended(coordinator, "a")
        assert reason in str(await coordinator.queue.error("a"))


async def test_a_type_without_a_handler_fails_with_the_known_types(
    client: redis_asyncio.Redis,
) -> None:
    """The error lists what the workers can run."""
    async with running(client, {"search": echo, "extract": echo}) as coordinator:
        await coordinator.submit_tasks([job("a", type="dance")])
        await ended(coordinator, "a")
        assert str(await coordinator.queue.error("a")).endswith(
            "no handler for task type 'dance'; known: extract, search"
        )


async def test_an_unreadable_job_fails_and_the_worker_goes_on(client: redis_asyncio.Redis) -> None:
    """A job whose limits this release does not accept fails with the reason; the next one runs."""
    broken = job("broken").model_copy(update={"max_retries": 999})
    await client.set(DEFAULT_KEYS.task_data("broken"), broken.model_dump_json())
    await client.lpush(DEFAULT_KEYS.queue("normal"), "broken")
    async with running(client, {"search": echo}, workers=1) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await ended(coordinator, "broken", "a")
        assert str(await coordinator.queue.error("broken")).startswith("not a job: max_retries: ")
        assert await coordinator.status("a") is TaskStatus.COMPLETED


async def test_every_tenth_claim_starts_with_the_lowest_priority(
    client: redis_asyncio.Redis,
) -> None:
    """After nine jobs of high priority a job of low priority runs, although others wait."""
    order = []

    async def note(task: QueuedJob) -> Mapping[str, Any]:
        order.append(task.id)
        return {}

    async with running(client, {}, workers=0) as submitting:
        jobs = [job(f"high{number:02d}", priority=Priority.HIGH) for number in range(12)]
        names = await submitting.submit_tasks([job("low", priority=Priority.LOW), *jobs])
    async with running(client, {"search": note}, workers=1) as coordinator:
        await ended(coordinator, *names)
    assert order.index("low") == 9


async def test_a_throttle_is_asked_before_each_handler(client: redis_asyncio.Redis) -> None:
    """A rate limit waits in the throttle, and the handler runs after it."""
    steps = []

    async def throttle(task: QueuedJob) -> None:
        steps.append("throttle")

    async def handler(task: QueuedJob) -> Mapping[str, Any]:
        steps.append("handler")
        return {}

    async with running(client, {"search": handler}, throttle=throttle) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await ended(coordinator, "a")
    assert steps == ["throttle", "handler"]


async def test_a_stop_releases_what_does_not_end_in_time(client: redis_asyncio.Redis) -> None:
    """A released job waits in its queue again and counts neither a retry nor a crash."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def endless(task: QueuedJob) -> Mapping[str, Any]:
        started.set()
        await asyncio.Event().wait()
        return {}

    coordinator: ParallelTaskCoordinator
    async with running(client, {"search": endless}, stop=stop, grace_sec=0.01) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await started.wait()
        stop.set()

        async def is_pending() -> bool:
            return await coordinator.status("a") is TaskStatus.PENDING

        await eventually(is_pending, "the job was released")
    claim = await coordinator.queue.claim("other")
    assert claim is not None
    assert (claim.job_id, claim.retry_count, claim.attempt) == ("a", 0, 2)
