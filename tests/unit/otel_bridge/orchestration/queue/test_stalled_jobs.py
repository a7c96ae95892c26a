"""What an observer may do to a job whose worker stopped answering."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.orchestration.queue.stalled_jobs import fail_stalled, requeue_stalled
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import Priority, QueuedJob
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.queue_clients import embedded

Act = Callable[[redis_asyncio.Redis, str, str], Awaitable[bool]]


async def fail(client: redis_asyncio.Redis, job_id: str, worker_id: str) -> bool:
    return await fail_stalled(client, job_id, worker_id, "lost")


@pytest.fixture
async def client() -> AsyncIterator[redis_asyncio.Redis]:
    made = embedded()
    yield made
    await made.aclose()


async def claimed(client: redis_asyncio.Redis) -> TaskQueue:
    """A queue in which worker ``w`` has claimed job ``j``."""
    queue = TaskQueue(client)
    await queue.submit(QueuedJob(id="j", type="search", priority=Priority.HIGH))
    assert await queue.claim("w") is not None
    return queue


async def test_requeueing_a_leased_job_expires_its_lease(client: redis_asyncio.Redis) -> None:
    """The queue's own maintenance then takes the job back and counts the crash."""
    queue = await claimed(client)
    assert await requeue_stalled(client, "j", "w")
    assert await client.zscore(DEFAULT_KEYS.leases, "j") == 0
    assert (await queue.maintain()).requeued == ("j",)
    claim = await queue.claim("w2")
    assert claim is not None
    assert (claim.job_id, claim.crashes, claim.queue) == ("j", 1, DEFAULT_KEYS.queue("high"))


@pytest.mark.parametrize("queue", [DEFAULT_KEYS.queue("low"), None])
async def test_a_job_without_a_lease_goes_to_the_head_of_its_queue(
    client: redis_asyncio.Redis, queue: str | None
) -> None:
    """Another coordinator's job returns to the queue in its hash, else to the normal one."""
    await client.set(DEFAULT_KEYS.task_status("j"), "processing")
    if queue is not None:
        await client.hset(DEFAULT_KEYS.task_lease("j"), "queue", queue)
    expected = queue or DEFAULT_KEYS.queue("normal")
    await client.lpush(expected, "later")
    assert await requeue_stalled(client, "j", "w")
    assert await client.get(DEFAULT_KEYS.task_status("j")) == "pending"
    assert await client.lrange(expected, 0, -1) == ["later", "j"]


async def test_failing_a_job_ends_it(client: redis_asyncio.Redis) -> None:
    """Status, error, lease, processing list and dead-letter queue agree; nothing runs again."""
    queue = await claimed(client)
    assert await fail(client, "j", "w")
    assert await client.get(DEFAULT_KEYS.task_status("j")) == "failed"
    assert await queue.error("j") == "lost"
    for key in (DEFAULT_KEYS.task_status("j"), DEFAULT_KEYS.task_error("j")):
        assert 86_000 < await client.ttl(key) <= 86_400
    assert await client.zscore(DEFAULT_KEYS.leases, "j") is None
    assert await client.lrange(DEFAULT_KEYS.processing("w"), 0, -1) == []
    assert await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == ["j"]
    assert (await queue.maintain()).requeued == ()


async def test_the_dead_letter_queue_keeps_10_000(client: redis_asyncio.Redis) -> None:
    """A stalled job that fails takes the place of the oldest one."""
    await claimed(client)
    await client.rpush(DEFAULT_KEYS.dead_letters, *map(str, range(10_000)))
    assert await fail(client, "j", "w")
    letters = await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1)
    assert (len(letters), letters[0], letters[-1]) == (10_000, "j", "9998")


@pytest.mark.parametrize("act", [requeue_stalled, fail])
async def test_a_job_of_another_worker_is_left_alone(client: redis_asyncio.Redis, act: Act) -> None:
    """An event that names the wrong worker does nothing to a job."""
    await claimed(client)
    lease = await client.zscore(DEFAULT_KEYS.leases, "j")
    assert not await act(client, "j", "ghost")
    assert await client.get(DEFAULT_KEYS.task_status("j")) == "processing"
    assert await client.zscore(DEFAULT_KEYS.leases, "j") == lease


@pytest.mark.parametrize("act", [requeue_stalled, fail])
@pytest.mark.parametrize("status", ["completed", "failed", "pending", None])
async def test_a_job_that_does_not_run_is_left_alone(
    client: redis_asyncio.Redis, act: Act, status: str | None
) -> None:
    """A job that has ended, waits or is unknown is neither queued nor failed."""
    if status is not None:
        await client.set(DEFAULT_KEYS.task_status("j"), status)
    assert not await act(client, "j", "w")
    assert await client.get(DEFAULT_KEYS.task_status("j")) == status
    assert await client.keys() == ([DEFAULT_KEYS.task_status("j")] if status else [])
