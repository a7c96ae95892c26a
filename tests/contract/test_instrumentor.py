"""``CoordinatorInstrumentor`` over coordinators that were written without it, on a real Redis."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_bridge.bridge import Bridge, configure
from otel_bridge.coordinator.shape import PAYLOAD_KEY
from otel_bridge.errors import ConfigurationError
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.instrumentor import CoordinatorInstrumentor
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.spans.context_managers import research_task
from tests.support.coordinator import eventually
from tests.support.plain_coordinators import (
    LooseCoordinator,
    LooseTask,
    PlainOrchestrator,
    Research,
    StrictCoordinator,
    StrictTask,
    TaskType,
)
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

LOOSE = {
    "coordinator_class": LooseCoordinator,
    "submit_method": "enqueue_all",
    "worker_method": "work",
    "process_method": "execute",
}

Events = list[dict[str, Any]]


@pytest.fixture
def bridge(own_redis: RedisServer) -> Iterator[Bridge]:
    provider = TracerProvider()
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = configure(tracer_provider=provider, bus_url=own_redis.url, redis_url=own_redis.url)
    made.exporter = exporter  # type: ignore[attr-defined]
    yield made
    made.shutdown()


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[redis_asyncio.Redis]:
    made = redis_asyncio.Redis.from_url(own_redis.url)
    yield made
    await made.aclose()


@pytest.fixture
def instrument() -> Iterator[Callable[..., None]]:
    instrumentor = CoordinatorInstrumentor()

    def call(**arguments: Any) -> None:
        instrumentor.instrument(**{"coordinator_class": StrictCoordinator, **arguments})

    yield call
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def published(server: RedisServer, bridge: Bridge) -> Events:
    assert bridge.flush(5)
    with server.client() as looking:
        return [
            MonitoringEvent.model_validate_json(fields[b"e"]).model_dump(mode="json")
            for _, fields in looking.xrange(DEFAULT_KEYS.log_stream())
        ]


def of_job(events: Events, task_id: str) -> list[tuple[str, int]]:
    return [
        (event["event_type"], event["retry_count"] or 0)
        for event in events
        if event["task_id"] == task_id and event["event_type"].startswith("task_")
    ]


class Flaky:
    """Fails as often as a payload's ``fails`` says."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    async def __call__(self, payload: dict[str, Any]) -> str:
        name = str(payload["name"])
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.calls[name] <= int(payload.get("fails", 0)):
            raise LookupError(f"no {name} today")
        return name


def strict(name: str, **fields: Any) -> StrictTask:
    payload = {"name": name, "fails": fields.pop("fails", 0)}
    return StrictTask(
        id=name, type=TaskType.SEARCH, payload=payload, parent_task_id="parent", **fields
    )


async def statuses(client: redis_asyncio.Redis, *names: str) -> list[Any]:
    return await client.mget(names)


async def finish(
    client: redis_asyncio.Redis, coordinator: Any, working: asyncio.Future[Any], names: list[str]
) -> Any:
    """Let the workers go on until every status is an end, then stop them."""

    async def all_ended() -> bool:
        ends = (b"completed", b"failed", b"done")
        found = await statuses(client, *names)
        return all(value in ends or b"dead" in (value or b"") for value in found)

    try:
        await eventually(all_ended, "every job has ended")
    finally:
        coordinator.running = False
        done = await working
    return done


async def test_jobs_of_a_strict_coordinator_are_told_whole(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """Swallowed exceptions, retries and a last failure come out as the events of the contract."""
    instrument(depth_interval_sec=0.05)
    coordinator = StrictCoordinator(client, Flaky())
    tasks = [strict("good"), strict("flaky", fails=1), strict("bad", fails=9)]
    with research_task("parent", project_id="proj"):
        assert await coordinator.submit_tasks(tasks) == ["good", "flaky", "bad"]
    assert all(PAYLOAD_KEY not in task.payload for task in tasks)
    working = asyncio.ensure_future(coordinator.run(2))
    done = await finish(client, coordinator, working, [f"nexus:task:{t.id}:status" for t in tasks])
    assert sum(done) == 1 + 2 + 3

    def is_sampled() -> bool:
        return any(e["event_type"] == "queue_depth_update" for e in published(own_redis, bridge))

    async def sampled() -> bool:
        return await asyncio.to_thread(is_sampled)

    await eventually(sampled, "a queue depth is published")
    events = published(own_redis, bridge)
    started, completed = ("task_started", 0), ("task_completed", 0)
    assert of_job(events, "good") == [("task_enqueued", 0), started, completed]
    assert of_job(events, "flaky") == [
        ("task_enqueued", 0),
        started,
        ("task_retry", 0),
        ("task_started", 1),
        ("task_completed", 1),
    ]
    assert of_job(events, "bad")[-1] == ("task_failed", 2)
    assert sum(kind == "task_retry" for kind, _ in of_job(events, "bad")) == 2
    of_jobs = [e for e in events if e["task_id"] in ("good", "flaky", "bad")]
    job_events = [e for e in of_jobs if e["event_type"] != "worker_heartbeat"]
    assert {e["parent_task_id"] for e in job_events} == {"parent"}
    assert {e["project_id"] for e in job_events} == {"proj"}
    assert {e["task_type"] for e in job_events} == {"data_aggregation_search"}
    (failed,) = [e for e in events if e["event_type"] == "task_failed"]
    assert failed["error"] == "LookupError: no bad today"
    assert {e["worker_id"] for e in events if e["event_type"] == "worker_started"} == {0, 1}
    assert {e["worker_id"] for e in events if e["event_type"] == "worker_stopped"} == {0, 1}
    depths = [e["counts"] for e in events if e["event_type"] == "queue_depth_update"]
    assert set(depths[-1]) == {"nexus:tasks:high_priority", "nexus:tasks:normal_priority"}
    assert len({e["trace_id"] for e in job_events}) == 1

    async def grouped() -> bool:
        return await client.smembers("nexus:task_group:parent") == {b"good", b"flaky", b"bad"}

    await eventually(grouped, "the group holds the jobs")
    assert await client.hget("nexus:task_meta:parent", "project_id") == b"proj"
    assert all(PAYLOAD_KEY not in payload for payload in coordinator.seen)


async def test_retries_are_siblings_that_link_to_the_attempt_before(
    bridge: Bridge, client: redis_asyncio.Redis, instrument: Callable[..., None]
) -> None:
    """The carrier survives the coordinator's own re-submission, with the last attempt in it."""
    instrument()
    coordinator = StrictCoordinator(client, Flaky())
    await coordinator.submit_tasks([strict("flaky", fails=2)])
    working = asyncio.ensure_future(coordinator.run(1))
    await finish(client, coordinator, working, ["nexus:task:flaky:status"])
    spans = bridge.exporter.get_finished_spans()  # type: ignore[attr-defined]
    jobs = [s for s in spans if s.attributes[semconv.SPAN_KIND] == semconv.KIND_JOB]
    (produced,) = [s for s in spans if s.attributes[semconv.SPAN_KIND] == semconv.KIND_ENQUEUE]
    assert [s.attributes[semconv.RETRY_COUNT] for s in jobs] == [0, 1, 2]
    assert {s.parent.span_id for s in jobs} == {produced.context.span_id}
    assert [[link.context.span_id for link in s.links] for s in jobs] == [
        [],
        [jobs[0].context.span_id],
        [jobs[1].context.span_id],
    ]


async def test_outcomes_kept_in_redis_only_are_read_from_the_commands(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """Other method names, slotted tasks, pipelines, words of its own, a retry pushed by hand."""
    instrument(**LOOSE)
    coordinator = LooseCoordinator(client, Flaky())
    tasks = [
        LooseTask(id=name, type="fetch", payload={"name": name, "fails": fails})
        for name, fails in (("good", "0"), ("flaky", "1"), ("bad", "9"))
    ]
    assert await coordinator.enqueue_all(tasks) == 6
    working = asyncio.ensure_future(coordinator.work(7))
    await finish(client, coordinator, working, [f"team:job:{t.id}:status" for t in tasks])
    events = published(own_redis, bridge)
    assert [kind for kind, _ in of_job(events, "good")] == [
        "task_enqueued",
        "task_started",
        "task_completed",
    ]
    assert of_job(events, "flaky")[2:] == [
        ("task_retry", 0),
        ("task_started", 1),
        ("task_completed", 1),
    ]
    assert of_job(events, "bad")[-1] == ("task_failed", 1)
    (failed,) = [e for e in events if e["event_type"] == "task_failed"]
    assert failed["error"] == "no bad today"
    of_flaky = [e for e in events if e["task_id"] == "flaky"]
    traces = {e["trace_id"] for e in of_flaky if e["event_type"].startswith("task_")}
    assert len(traces) == 1
    assert all(PAYLOAD_KEY not in payload for payload in coordinator.seen)


async def test_an_orchestrator_becomes_one_trace_with_phases_and_counts(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """The method that calls the phases is the root; each phase counts its own jobs."""
    instrument(
        orchestrator_class=PlainOrchestrator,
        phases={"run_search": "search", "run_extraction": "extraction"},
        progress_interval_sec=0.02,
    )

    async def handler(payload: dict[str, Any]) -> int:
        return int(payload["n"])

    coordinator = StrictCoordinator(client, handler)
    working = asyncio.ensure_future(coordinator.run(2))
    research = Research(id="r1", title="Schools", project_id="p1")
    assert await PlainOrchestrator(coordinator).handle(research) == {"found": 3, "kept": 3}
    coordinator.running = False
    await working

    def last_counts() -> dict[str, Any]:
        return {
            e["phase"]: e["counts"]
            for e in published(own_redis, bridge)
            if e["event_type"] == "stats_snapshot"
        }

    all_done = {"completed": 3, "failed": 0, "pending": 0, "total": 3}

    async def counted() -> bool:
        found = await asyncio.to_thread(last_counts)
        return found == {"search": all_done, "extraction": all_done}

    await eventually(counted, "both phases are counted to their end")
    events = published(own_redis, bridge)
    told = [(e["event_type"], e["phase"]) for e in events if e["event_type"].startswith("phase")]
    assert told == [
        ("phase_started", "search"),
        ("phase_completed", "search"),
        ("phase_started", "extraction"),
        ("phase_completed", "extraction"),
    ]
    assert [kind for kind, _ in of_job(events, "r1")] == ["task_started", "task_completed"]
    of_task = [e for e in events if not e["event_type"].startswith(("worker", "queue"))]
    assert {(e["parent_task_id"], e["project_id"], e["trace_id"]) for e in of_task} == {
        ("r1", "p1", of_task[0]["trace_id"])
    }
    assert {e["phase"] for e in events if e["task_type"] == "data_aggregation_extract"} == {
        "extraction"
    }


class Book:
    """A knowledge base that may be asked from any thread."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get_research_task(self, task_id: str) -> dict[str, str]:
        self.asked.append(task_id)
        return {"project_id": f"project of {task_id}"}


async def test_an_unknown_project_is_found_in_the_background(
    own_redis: RedisServer,
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
) -> None:
    """The first job has no project yet, later ones have it; the knowledge base is asked once."""
    book = Book()
    instrument(knowledge_base=book)
    coordinator = StrictCoordinator(client, Flaky())
    await coordinator.submit_tasks([strict("first")])

    async def known() -> bool:
        return await client.hget("nexus:task_meta:parent", "project_id") is not None

    await eventually(known, "the project was looked up")
    number = 0

    async def used() -> bool:
        nonlocal number
        number += 1
        await coordinator.submit_tasks([strict(f"later{number}")])
        events = await asyncio.to_thread(published, own_redis, bridge)
        return bool(events[-1]["project_id"] == "project of parent")

    await eventually(used, "later jobs carry it")
    assert book.asked == ["parent"]


async def run_jobs(client: redis_asyncio.Redis) -> tuple[Any, list[str], list[Any]]:
    """What a coordinator returns, hands to its handlers and leaves in Redis."""
    coordinator = StrictCoordinator(client, Flaky())
    tasks = [strict("good"), strict("flaky", fails=1), strict("bad", fails=9)]
    returned = await coordinator.submit_tasks(tasks)
    names = [f"nexus:task:{task.id}:status" for task in tasks]
    working = asyncio.ensure_future(coordinator.run(1))
    done = await finish(client, coordinator, working, names)
    left = await statuses(
        client, *names, "nexus:task:good:result", "nexus:task:bad:error", "nexus:task:flaky:error"
    )
    await client.delete(*names)
    return (returned, done), coordinator.seen, left


async def test_the_coordinator_behaves_as_before_in_every_weather(
    own_redis: RedisServer,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Bare, watched, switched off, and with a dead bus: same results, same order, same records."""
    bare = await run_jobs(client)
    instrument()
    assert await run_jobs(client) == bare
    weathers: tuple[dict[str, Any], ...] = ({"enabled": False}, {"bus_url": "redis://127.0.0.1:1"})
    for options in weathers:
        with caplog.at_level(logging.CRITICAL):
            bridge = configure(
                tracer_provider=TracerProvider(), **{"bus_url": own_redis.url, **options}
            )
            assert await run_jobs(client) == bare
            bridge.shutdown(timeout_sec=0.1)
    wait_until(
        lambda: "otel-bridge-bus" not in {thread.name for thread in threading.enumerate()},
        "the thread of the dead bus has ended",
    )


class UnreachableError(Exception):
    """What the coordinator's own Redis client raises in the test below."""


async def test_exceptions_pass_as_they_are(
    bridge: Bridge, client: redis_asyncio.Redis, instrument: Callable[..., None]
) -> None:
    """What raised still raises the same object, and payloads are given back."""
    instrument()
    error = UnreachableError("no way")

    class Raising(StrictCoordinator):
        async def _record(self, task: StrictTask) -> None:
            raise error

    coordinator = Raising(client, Flaky())
    task = strict("one")
    with pytest.raises(UnreachableError) as submitting:
        await coordinator.submit_tasks([task])
    with pytest.raises(UnreachableError) as processing:
        await coordinator._process_task(task, 0)
    assert (submitting.value, processing.value) == (error, error)
    assert task.payload == {"name": "one", "fails": 0}


async def test_uninstrument_restores_classes_and_clients(
    bridge: Bridge,
    client: redis_asyncio.Redis,
    instrument: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Own methods come back, inherited ones are uncovered, a second instrument() is refused."""

    class Derived(StrictCoordinator):
        async def _worker(self, worker_id: int) -> int:
            return 0

    before = dict(vars(Derived)), dict(vars(StrictCoordinator)), dict(vars(client))
    instrument(coordinator_class=Derived)
    instrument(coordinator_class=Derived)
    assert "already instrumented" in caplog.text
    coordinator = Derived(client, Flaky())
    await coordinator.submit_tasks([strict("one")])
    assert "execute_command" in vars(client)
    CoordinatorInstrumentor().uninstrument()
    assert (dict(vars(Derived)), dict(vars(StrictCoordinator)), dict(vars(client))) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator_class": None}, "coordinator_class"),
        ({"process_method": "_handle"}, "process_method"),
        ({"submit_method": "_queue"}, "not an async method"),
        ({"phases": {"run_search": "search"}}, "orchestrator_class"),
        (
            {"orchestrator_class": PlainOrchestrator, "phases": {"run_serach": "search"}},
            "run_serach",
        ),
    ],
)
def test_a_class_of_another_shape_is_refused_with_its_cure(
    instrument: Callable[..., None], arguments: dict[str, Any], message: str
) -> None:
    """The message names the method or argument, and nothing has been wrapped."""
    before = dict(vars(StrictCoordinator))
    with pytest.raises(ConfigurationError, match=message):
        instrument(**arguments)
    assert dict(vars(StrictCoordinator)) == before
    assert not CoordinatorInstrumentor().is_instrumented_by_opentelemetry
