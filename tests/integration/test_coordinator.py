"""The coordinator at work, on a real Redis and on the embedded one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.exceptions import OutOfMemoryError, ResponseError

from otel_bridge.bridge import configure
from otel_bridge.events import semconv
from otel_bridge.orchestration.queue.errors import PermanentJobError, SharedQueueError
from otel_bridge.orchestration.queue.task_queue import Ownership, TaskQueue
from otel_bridge.orchestration.queue.task_types import Priority, QueuedJob, TaskStatus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.context_managers import phase, research_task
from tests.support.coordinator import ended, eventually, expire_lease, job_spans, running
from tests.support.queue_clients import connect, embedded
from tests.support.redis_server import RedisServer


@pytest.fixture(params=["real", "embedded"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis_asyncio.Redis]:
    is_real = request.param == "real"
    made = connect(request.getfixturevalue("redis_url")) if is_real else embedded()
    yield made
    await made.aclose()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What the spans of this test were, with monitoring on and a log in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    bridge = configure(
        tracer_provider=provider, settings=BridgeSettings(bus_url="memory://coordinator-test")
    )
    yield exporter
    bridge.shutdown()


def job(name: str, task_type: str = "search", **fields: Any) -> QueuedJob:
    return QueuedJob(id=name, type=task_type, parent_task_id="parent", **fields)


async def echo(task: QueuedJob) -> Mapping[str, Any]:
    return {"id": task.id, "attempt": task.retry_count}


async def test_a_job_is_one_child_span_of_its_enqueueing_with_everything_known(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """The consumer's span has the producer's trace and parent, and the ids the live view needs."""
    async with running(client, {"search": echo}, workers=1) as coordinator:
        with (
            research_task("parent", project_id="proj", task_type="data_aggregation"),
            phase("search"),
        ):
            assert await coordinator.submit_tasks([job("a")]) == ["a"]
            await ended(coordinator, "a")
    assert await coordinator.result("a") == {"id": "a", "attempt": 0}
    (attempt,) = job_spans(spans, "a")
    (enqueue,) = [span for span in spans.get_finished_spans() if "enqueue" in span.name]
    assert attempt.parent is not None
    assert enqueue.context.span_id == attempt.parent.span_id
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1
    attributes = dict(attempt.attributes or {})
    assert {
        semconv.TASK_ID: "a",
        semconv.TASK_TYPE: "search",
        semconv.PARENT_TASK_ID: "parent",
        semconv.PROJECT_ID: "proj",
        semconv.PHASE: "search",
        semconv.WORKER_ID: "w0",
        semconv.RETRY_COUNT: 0,
        semconv.QUEUE: DEFAULT_KEYS.queue("normal"),
        semconv.OUTCOME: "completed",
    }.items() <= attributes.items()


async def test_a_failing_job_is_tried_again_and_links_to_the_attempt_before(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """A retry has the next retry_count, the same trace, and a link to the failed attempt."""

    async def second_time_lucky(task: QueuedJob) -> Mapping[str, Any]:
        if task.retry_count == 0:
            raise ValueError("page is broken")
        return {"attempt": task.retry_count}

    async with running(client, {"search": second_time_lucky}) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await ended(coordinator, "a")
    first, second = job_spans(spans, "a")
    assert tuple(
        (first.attributes or {})[name]
        for name in (semconv.OUTCOME, semconv.ERROR, semconv.RETRY_COUNT)
    ) == ("retrying", "ValueError: page is broken", 0)
    assert tuple(
        (second.attributes or {})[name] for name in (semconv.OUTCOME, semconv.RETRY_COUNT)
    ) == ("completed", 1)
    assert [first.context.span_id] == [link.context.span_id for link in second.links]
    assert first.context.trace_id == second.context.trace_id
    assert await coordinator.result("a") == {"attempt": 1}
    assert await coordinator.queue.error("a") is None


async def test_retries_end(client: redis_asyncio.Redis, spans: InMemorySpanExporter) -> None:
    """After max_retries the job has failed, with the last error and the count."""

    async def never(task: QueuedJob) -> Mapping[str, Any]:
        raise OSError("no route")

    async with running(client, {"search": never}) as coordinator:
        await coordinator.submit_tasks([job("a", max_retries=2)])
        await ended(coordinator, "a")
    attempts = job_spans(spans, "a")
    assert [(span.attributes or {})[semconv.OUTCOME] for span in attempts] == [
        "retrying",
        "retrying",
        "failed",
    ]
    assert await coordinator.queue.error("a") == "OSError: no route"
    assert await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == ["a"]


async def not_json(task: QueuedJob) -> Mapping[str, Any]:
    return {"page": object()}


async def for_good(task: QueuedJob) -> Mapping[str, Any]:
    raise PermanentJobError("page is gone")


async def too_slow(task: QueuedJob) -> Mapping[str, Any]:
    await asyncio.Event().wait()
    return {}


@pytest.mark.parametrize(
    ("task_type", "reason"),
    [
        ("unheard_of", "no handler for task type 'unheard_of'; known: for_good, not_json"),
        ("not_json", "the result of not_json is not JSON"),
        ("for_good", "PermanentJobError: page is gone"),
        ("too_slow", "TimeoutError"),
    ],
)
async def test_a_hopeless_job_fails_with_the_reason_and_the_worker_lives(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter, task_type: str, reason: str
) -> None:
    """No handler, no JSON, a permanent error, no end: task_failed says why, the next job runs."""
    handlers = {"search": echo, "not_json": not_json, "for_good": for_good, "too_slow": too_slow}
    async with running(client, handlers, workers=1, job_timeout_sec=0.05) as coordinator:
        await coordinator.submit_tasks([job("a", task_type, max_retries=0), job("b")])
        await ended(coordinator, "a", "b")
    assert [await coordinator.status(name) for name in ("a", "b")] == [
        TaskStatus.FAILED,
        TaskStatus.COMPLETED,
    ]
    assert reason in str(await coordinator.queue.error("a"))
    (attempt,) = job_spans(spans, "a")
    assert (attempt.attributes or {})[semconv.OUTCOME] == "failed"


async def test_what_another_program_has_queued_stays_and_the_workers_stop(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """Running jobs are finished, the item stays, later jobs of ours wait, submitting is refused."""
    queue = DEFAULT_KEYS.queue("normal")
    theirs = json.dumps({"id": "a", "type": "search"})
    has_started, may_end = asyncio.Event(), asyncio.Event()

    async def held(task: QueuedJob) -> Mapping[str, Any]:
        has_started.set()
        await may_end.wait()
        return {}

    async with running(client, {}, workers=0) as submitting:
        await submitting.submit_tasks([job("a")])
        await client.lpush(queue, theirs)
        await client.set(DEFAULT_KEYS.task_data("b"), job("b").model_dump_json())
        await client.lpush(queue, "b")
    async with running(client, {"search": held}, workers=2, grace_sec=0) as coordinator:
        await has_started.wait()
        await coordinator.guard.tripped.wait()
        assert await coordinator.status("a") is TaskStatus.PROCESSING
        may_end.set()
        await ended(coordinator, "a")
        assert coordinator.guard.error is not None
        assert (coordinator.guard.error.queue, coordinator.guard.error.item) == (queue, theirs)
        with pytest.raises(SharedQueueError, match="MONITORING_KEY_PREFIX"):
            await coordinator.submit_tasks([job("c")])
    assert await coordinator.status("a") is TaskStatus.COMPLETED
    assert await client.lrange(queue, 0, -1) == ["b", theirs]
    assert await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == []
    assert [len(job_spans(spans, name)) for name in ("a", "b")] == [1, 0]


async def test_submitting_again_neither_runs_nor_announces_twice(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """A resubmitted id has no second enqueue span and no second attempt."""
    async with running(client, {"search": echo}) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await ended(coordinator, "a")
        assert await coordinator.submit_tasks([job("a"), job("b")]) == ["a", "b"]
        await ended(coordinator, "b")
    enqueued = [span for span in spans.get_finished_spans() if "enqueue" in span.name]
    assert [(span.attributes or {})[semconv.TASK_ID] for span in enqueued] == ["a", "b"]
    assert len(job_spans(spans, "a")) == 1


async def test_the_project_is_found_in_the_parents_record(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """A job that names no project gets that of nexus:task_meta of its parent."""
    await client.hset(DEFAULT_KEYS.task_meta("parent"), "project_id", "proj_9")
    async with running(client, {"search": echo}) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await ended(coordinator, "a")
    (attempt,) = job_spans(spans, "a")
    assert (attempt.attributes or {})[semconv.PROJECT_ID] == "proj_9"


async def test_low_priority_moves_under_load(client: redis_asyncio.Redis) -> None:
    """With the high queue never empty, the low one is served within ten claims."""
    order: list[str] = []

    async def note(task: QueuedJob) -> Mapping[str, Any]:
        order.append(task.id)
        return {}

    jobs = [job(f"h{number}", priority=Priority.HIGH) for number in range(20)]
    async with running(client, {"search": note}, workers=0) as idle:
        await idle.submit_tasks([*jobs, job("low", priority=Priority.LOW)])
    async with running(client, {"search": note}, workers=1) as coordinator:
        await ended(coordinator, "low", *(one.id for one in jobs))
    assert order.index("low") == 9


async def test_the_throttle_is_asked_before_each_job(client: redis_asyncio.Redis) -> None:
    """A rate limit per provider or model sees every job before its handler does."""
    seen: list[str] = []

    async def throttle(task: QueuedJob) -> None:
        seen.append(f"throttle {task.id}")

    async def note(task: QueuedJob) -> Mapping[str, Any]:
        seen.append(f"run {task.id}")
        return {}

    async with running(client, {"search": note}, workers=1, throttle=throttle) as coordinator:
        await coordinator.submit_tasks([job("a"), job("b")])
        await ended(coordinator, "a", "b")
    assert seen == ["throttle a", "run a", "throttle b", "run b"]


async def test_stopping_lets_a_job_finish_within_the_grace(client: redis_asyncio.Redis) -> None:
    """A job that runs when the worker is to stop is completed, and no other one is started."""
    started, may_end = asyncio.Event(), asyncio.Event()

    async def waits(task: QueuedJob) -> Mapping[str, Any]:
        started.set()
        await may_end.wait()
        return {}

    stop = asyncio.Event()
    async with running(
        client, {"search": waits}, workers=1, stop=stop, grace_sec=30
    ) as coordinator:
        await coordinator.submit_tasks([job("a"), job("b")])
        await started.wait()
        stop.set()
        may_end.set()
        await ended(coordinator, "a")
    assert [await coordinator.status(name) for name in ("a", "b")] == [
        TaskStatus.COMPLETED,
        TaskStatus.PENDING,
    ]


async def test_stopping_releases_a_long_job_uncharged(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """Past the grace the handler is cancelled and the job is the next one for another worker."""
    started = asyncio.Event()
    cancelled = asyncio.Event()

    async def endless(task: QueuedJob) -> Mapping[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    async with running(client, {"search": endless}, workers=1, grace_sec=0) as first:
        await first.submit_tasks([job("a")])
        await started.wait()
    assert cancelled.is_set()
    assert await first.status("a") == TaskStatus.PENDING
    assert await client.zrange(DEFAULT_KEYS.leases, 0, -1) == []
    async with running(client, {"search": echo}, prefix="v") as second:
        await ended(second, "a")
    assert await second.result("a") == {"id": "a", "attempt": 0}
    assert [(span.attributes or {})[semconv.OUTCOME] for span in job_spans(spans, "a")] == [
        "retrying",
        "completed",
    ]


async def test_a_worker_that_lost_its_lease_gives_up(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """When another attempt takes over, the handler is cancelled and its outcome not recorded."""
    started = asyncio.Event()

    async def stuck_at_first(task: QueuedJob) -> Mapping[str, Any]:
        if task.retry_count == 0:
            started.set()
            await asyncio.Event().wait()
        return {"attempt": task.retry_count}

    async with running(client, {"search": stuck_at_first}, lease_sec=0.3) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await started.wait()
        await expire_lease(client, "a")
        await ended(coordinator, "a")
        await eventually(
            lambda: _is_true(len(job_spans(spans, "a")) == 2), "both attempts have ended"
        )
    assert await coordinator.result("a") == {"attempt": 1}
    outcomes = {
        (span.attributes or {})[semconv.RETRY_COUNT]: (span.attributes or {})[semconv.OUTCOME]
        for span in job_spans(spans, "a")
    }
    assert outcomes == {0: "retrying", 1: "completed"}


async def _is_true(value: bool) -> bool:
    return value


async def test_a_poison_job_is_announced_as_failed_by_who_buries_it(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """The spans of a dead worker never end: the reaper says in its place that the job failed."""
    queue = TaskQueue(client, lease_sec=-1, max_deliveries=2)
    await queue.submit(job("poison"))
    assert await queue.claim("victim") is not None
    await queue.maintain()
    assert await queue.claim("victim") is not None
    async with running(client, {"search": echo}, max_deliveries=2) as coordinator:
        await ended(coordinator, "poison")
        await eventually(
            lambda: _is_true(len(job_spans(spans, "poison")) == 1), "the failure is announced"
        )
    (span,) = job_spans(spans, "poison")
    attributes = span.attributes or {}
    assert tuple(
        attributes[name]
        for name in (
            semconv.OUTCOME,
            semconv.WORKER_ID,
            semconv.RETRY_COUNT,
            semconv.PARENT_TASK_ID,
        )
    ) == ("failed", "victim", 2, "parent")


async def test_a_late_result_is_dropped_although_the_handler_ended(
    client: redis_asyncio.Redis, spans: InMemorySpanExporter
) -> None:
    """A job that another attempt completed meanwhile keeps that result."""
    started, may_end = asyncio.Event(), asyncio.Event()

    async def slow(task: QueuedJob) -> Mapping[str, Any]:
        started.set()
        await may_end.wait()
        return {"who": "late"}

    async with running(client, {"search": slow}, workers=1) as coordinator:
        await coordinator.submit_tasks([job("a")])
        await started.wait()
        await expire_lease(client, "a")
        queue = TaskQueue(client)
        other = await queue.claim("other")
        assert other is not None
        assert await queue.complete(other, '{"who": "other"}') == Ownership.OWNED
        may_end.set()
        await eventually(lambda: _is_true(bool(job_spans(spans, "a"))), "the late attempt ended")
    assert await coordinator.result("a") == {"who": "other"}


async def test_an_idle_worker_is_woken_by_any_submission(client: redis_asyncio.Redis) -> None:
    """A job queued by another client starts although the worker would look only once an hour."""
    async with running(client, {"search": echo}, workers=1, idle_sec=3600) as coordinator:
        for name in ("a", "b", "c"):
            await TaskQueue(client).submit(job(name))
            await ended(coordinator, name)


async def test_a_restarted_redis_loses_no_job(own_redis: RedisServer) -> None:
    """Redis killed and restarted with jobs waiting, running and to be retried: all complete."""
    client = connect(own_redis.url)
    running_jobs = asyncio.Semaphore(0)
    may_end = asyncio.Event()

    async def second_time_lucky(task: QueuedJob) -> Mapping[str, Any]:
        running_jobs.release()
        await may_end.wait()
        if task.retry_count == 0:
            raise ValueError("page is broken")
        return {}

    names = [f"j{number}" for number in range(20)]
    async with running(client, {"search": second_time_lucky}, workers=4) as coordinator:
        await coordinator.submit_tasks([job(name) for name in names])
        for _ in range(4):
            await running_jobs.acquire()
        own_redis.kill()
        may_end.set()
        own_redis.start()
        await ended(coordinator, *names)
    assert {name: {} for name in names} == await coordinator.queue.results(names)
    await client.aclose()


async def test_a_full_redis_is_waited_for(own_redis: RedisServer) -> None:
    """Jobs submitted while Redis refuses writes are queued when it takes them again."""
    client = connect(own_redis.url)
    async with running(client, {"search": echo}) as coordinator:
        await client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await coordinator.queue.submit(job("probe"))
        submitting = asyncio.create_task(coordinator.submit_tasks([job("a")]))
        # Refused at least once by the time these answers are here.
        for _ in range(20):
            with pytest.raises(OutOfMemoryError):
                await coordinator.queue.submit(job("probe"))
        assert not submitting.done()
        await client.config_set("maxmemory", 0)
        assert await submitting == ["a"]
        await ended(coordinator, "a")
    await client.aclose()


async def test_what_redis_refuses_for_good_is_not_tried_for_a_minute(
    client: redis_asyncio.Redis,
) -> None:
    """A key of the wrong type is a mistake, not an outage: it is raised at once."""
    await client.set(DEFAULT_KEYS.task_group("parent"), "not a set")
    async with asyncio.timeout(10):
        async with running(client, {"search": echo}, workers=0) as coordinator:
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await coordinator.submit_tasks([job("a")])


async def test_workers_stop_although_redis_is_away(own_redis: RedisServer) -> None:
    """While Redis is away a worker stops when it is to: the lease of its job will expire."""
    client = connect(own_redis.url)
    started = asyncio.Event()

    async def endless(task: QueuedJob) -> Mapping[str, Any]:
        started.set()
        await asyncio.Event().wait()
        return {}

    async with asyncio.timeout(30):
        async with running(client, {"search": endless}, workers=2, grace_sec=0) as coordinator:
            await coordinator.submit_tasks([job("a")])
            await started.wait()
            own_redis.kill()
    await client.aclose()
