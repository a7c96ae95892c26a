"""Research tasks from request to CSV, on a real Redis and on the embedded one."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_bridge.bridge import Bridge, configure
from otel_bridge.errors import ConfigurationError
from otel_bridge.events import semconv
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob, ResearchTaskRequest, TaskStatus
from otel_bridge.orchestration.research.data_aggregation_orchestrator import PHASES
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.coordinator import eventually
from tests.support.queue_clients import connect, embedded
from tests.support.worker_process import start

Process = subprocess.Popen[bytes]

SETTINGS = BridgeSettings(
    bus_url="memory://orchestrator-test",
    queue_depth_interval_sec=0.1,
    progress_interval_sec=0.1,
    heartbeat_interval_sec=0.2,
)

PAGES = {
    "a.txt": b"Name: Quillmere Academy\nCounty: Bibb County, Georgia\nTuition: $9,100\n",
    "b.txt": b"Name: The Quillmere Acad.\nCounty: Bibb County, Georgia\nEnrollment: 88\n",
    "c.txt": b"Name: Fernholt School\nCounty: Cobb County, Georgia\nHead: Andr\xe9\nTuition: $7\n",
    "d.txt": b"Private school in Cobb County, Georgia\n" + bytes(range(256)) * 3,
    "e.txt": b"Head count\n\nFernholt School: 88 students.\n",
    "f.txt": b"Cobb County Fair, Georgia. No school today.\n",
}


def request(**config: Any) -> ResearchTaskRequest:
    return ResearchTaskRequest.model_validate(
        {
            "title": "Private Schools GA",
            "research_query": "List private schools",
            "research_type": "data_aggregation",
            "project_id": "proj",
            "data_aggregation_config": {
                "entities": ["private schools"],
                "attributes": ["tuition", "enrollment"],
                "search_space": "in Georgia",
                "domain_hint": "schools",
                **config,
            },
        }
    )


@pytest.fixture(params=["real", "embedded"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis_asyncio.Redis]:
    is_real = request.param == "real"
    made = connect(request.getfixturevalue("redis_url")) if is_real else embedded()
    yield made
    await made.aclose()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, data in PAGES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def bridge(exporter: InMemorySpanExporter) -> Iterator[Bridge]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = configure(tracer_provider=provider, settings=SETTINGS)
    yield made
    made.shutdown()


@pytest.fixture
def events(bridge: Bridge) -> Callable[[], list[dict[str, Any]]]:
    """What has been published since the test began."""
    log = memory_log("orchestrator-test")
    begin = log.last_position()

    def published() -> list[dict[str, Any]]:
        assert bridge.flush(5)
        return [json.loads(entry.data) for entry in log.entries_after(begin, 100_000)]

    return published


@asynccontextmanager
async def pool(
    client: redis_asyncio.Redis, data_dir: Path, **options: Any
) -> AsyncIterator[asyncio.Event]:
    """Workers and a research runner while the block is open."""
    stop = asyncio.Event()
    working = asyncio.create_task(
        run_workers(client, SETTINGS, data_dir=data_dir, stop=stop, **{"workers": 2, **options})
    )
    try:
        yield stop
    finally:
        stop.set()
        await working


async def finished(gateway: ResearchGateway, task_id: str) -> dict[str, Any]:
    async def is_over() -> bool:
        state = await gateway.get(task_id)
        return state is not None and state["status"] in ("completed", "failed")

    await eventually(is_over, f"research task {task_id} ended", 60)
    state = await gateway.get(task_id)
    assert state is not None
    return state


async def test_a_research_task_runs_from_request_to_csv(
    client: redis_asyncio.Redis, tmp_path: Path, corpus: Path, bridge: Bridge
) -> None:
    """Counties are searched, pages read, a gap filled, duplicates joined, rows written."""
    gateway = ResearchGateway(client)
    async with pool(client, tmp_path / "out", corpus_dir=corpus):
        task_id = await gateway.submit(request())
        state = await finished(gateway, task_id)
    assert state["status"] == "completed"
    assert state["counts"] == {"completed": 8, "failed": 1, "pending": 0}
    result = state["result"]
    assert {name: value for name, value in result.items() if not name.endswith("_path")} == {
        "units": 2,
        "pages": 5,
        "records": 4,
        "entities": 2,
        "complete_entities": 2,
        "phases": {
            "enumeration": {"completed": 1, "failed": 0},
            "search": {"completed": 2, "failed": 0},
            "extraction": {"completed": 4, "failed": 1},
            "enrichment": {"completed": 1, "failed": 0},
        },
    }
    with Path(result["csv_path"]).open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["name", "unit", "tuition", "enrollment", "sources", "conflicts"],
            ["The Quillmere Acad.", "Bibb County", "9100", "88", "a.txt b.txt", ""],
            ["Fernholt School", "Cobb County", "7", "88", "c.txt e.txt", ""],
        ]


async def test_the_whole_story_is_published_in_order(
    client: redis_asyncio.Redis,
    tmp_path: Path,
    corpus: Path,
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    """Research task, phases, jobs, counts, depths and workers: each event once, in order."""
    gateway = ResearchGateway(client)
    async with pool(client, tmp_path, corpus_dir=corpus, worker_ids=[1, 2]):
        task_id = await gateway.submit(request())
        await finished(gateway, task_id)
        seen = len(events())

        async def depth_was_published() -> bool:
            return any(one["event_type"] == "queue_depth_update" for one in events())

        await eventually(depth_was_published, "a queue depth")
    published = events()
    assert seen <= len(published)

    own = [one for one in published if one.get("task_id") == task_id]
    assert [one["event_type"] for one in own] == ["task_started", "task_completed"]
    assert own[0]["meta"]["title"] == "Private Schools GA"

    phases = [one for one in published if one["event_type"].startswith("phase_")]
    assert [
        (name, event_type) for name in PHASES for event_type in ("phase_started", "phase_completed")
    ] == [(one["phase"], one["event_type"]) for one in phases]

    # Heartbeats name the running job, too, but at any time.
    of_jobs = [one for one in published if one["event_type"].startswith("task_")]
    jobs = [one for one in of_jobs if str(one.get("task_id")).startswith(f"{task_id}:")]
    assert Counter(one["event_type"] for one in jobs) == {
        "task_enqueued": 9,
        "task_started": 11,
        "task_completed": 8,
        "task_retry": 2,
        "task_failed": 1,
    }
    for one in [*own, *phases, *jobs]:
        assert task_id == one["parent_task_id"]
        assert one["project_id"] == "proj"
        assert {"trace_id", "span_id"} <= one.keys()
    assert len({one["trace_id"] for one in [*own, *phases, *jobs]}) == 1
    (failed,) = [one for one in jobs if one["event_type"] == "task_failed"]
    assert (failed["phase"], failed["retry_count"]) == ("extraction", 1)
    assert "binary" in failed["error"]
    assert failed["duration_ms"] >= 0

    counts: dict[str, list[dict[str, int]]] = {}
    for one in published:
        if one["event_type"] == "stats_snapshot" and one.get("parent_task_id") == task_id:
            counts.setdefault(one["phase"], []).append(one["counts"])
    assert counts["search"][0] == {"completed": 0, "failed": 0, "pending": 2, "total": 2}
    assert counts["search"][-1] == {"completed": 2, "failed": 0, "pending": 0, "total": 2}
    assert counts["extraction"][0] == {"completed": 0, "failed": 0, "pending": 5, "total": 5}
    assert counts["extraction"][-1] == {"completed": 4, "failed": 1, "pending": 0, "total": 5}

    (depth, *_) = [one for one in published if one["event_type"] == "queue_depth_update"]
    assert {*DEFAULT_KEYS.queues, DEFAULT_KEYS.research_queue} == depth["counts"].keys()
    workers = Counter(
        (one["worker_id"], one["event_type"])
        for one in published
        if one["event_type"] in ("worker_started", "worker_stopped")
    )
    assert {
        (number, event_type): 1
        for number in (1, 2)
        for event_type in ("worker_started", "worker_stopped")
    } == workers


async def test_long_phases_report_while_they_run(
    client: redis_asyncio.Redis,
    tmp_path: Path,
    corpus: Path,
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    """A phase longer than the interval publishes counts of its group before its end."""
    gateway = ResearchGateway(client)
    async with pool(client, tmp_path, corpus_dir=corpus, workers=1, pace_sec=0.2):
        await finished(gateway, await gateway.submit(request()))
    between = [
        one["counts"]
        for one in events()
        if one["event_type"] == "stats_snapshot"
        and one.get("phase") == "extraction"
        and 0 < one["counts"]["pending"] < 5
    ]
    assert between
    assert all(
        sum(one[name] for name in ("completed", "failed", "pending")) == 5 for one in between
    )


async def test_the_generated_corpus_gives_a_sensible_result(
    tmp_path: Path, bridge: Bridge, exporter: InMemorySpanExporter
) -> None:
    """Over a hundred schools, some retries, a handful of failures, most rows complete."""
    client = embedded()
    gateway = ResearchGateway(client)
    async with pool(client, tmp_path, workers=4):
        state = await finished(
            gateway,
            await gateway.submit(request(attributes=["address", "tuition", "enrollment"])),
        )
    result = state["result"]
    assert 120 <= result["entities"] <= 150
    assert result["complete_entities"] >= 100
    assert 3 <= state["counts"]["failed"] <= 10
    retries = [
        span
        for span in exporter.get_finished_spans()
        if (span.attributes or {}).get(semconv.OUTCOME) == "retrying"
    ]
    assert 10 <= len(retries) <= 40
    await client.aclose()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"research_type": "data_aggregation"}, "title: Field required"),
        (
            {**request().model_dump(mode="json"), "research_type": "poetry"},
            "research_type: Input should be 'data_aggregation'",
        ),
    ],
)
async def test_a_research_task_that_is_none_fails_with_the_field(
    client: redis_asyncio.Redis,
    tmp_path: Path,
    bridge: Bridge,
    payload: Mapping[str, Any],
    reason: str,
) -> None:
    """What another producer puts into the queue is checked again before it runs."""
    bad = QueuedJob(id="bad", type="data_aggregation", payload=dict(payload))
    queue = TaskQueue(client)
    async with pool(client, tmp_path):
        await queue.submit(bad, queue=DEFAULT_KEYS.research_queue)

        async def has_failed() -> bool:
            return await queue.status("bad") is TaskStatus.FAILED

        await eventually(has_failed, "the research task failed")
    assert reason in str(await queue.error("bad"))


async def test_when_every_search_fails_the_research_task_fails(
    client: redis_asyncio.Redis, tmp_path: Path, corpus: Path, bridge: Bridge
) -> None:
    """A task that cannot go on says at which phase and why; its jobs are counted."""

    async def broken(job: QueuedJob) -> Mapping[str, Any]:
        raise ValueError("provider is down")

    gateway = ResearchGateway(client)
    async with pool(
        client, tmp_path, corpus_dir=corpus, handlers={"data_aggregation_search": broken}
    ):
        state = await finished(gateway, await gateway.submit(request()))
    assert (
        state["status"],
        state["error"],
    ) == ("failed", "OrchestrationError: search: all 2 searches failed")
    assert state["counts"] == {"completed": 1, "failed": 2, "pending": 0}


async def test_a_missing_corpus_stops_the_start(tmp_path: Path) -> None:
    """Nothing is begun with a corpus that is not there."""
    client = embedded()
    with pytest.raises(ConfigurationError, match="does not exist"):
        async with pool(client, tmp_path, corpus_dir=tmp_path / "nowhere"):
            pass
    await client.aclose()


def research_spans(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return [
        span
        for span in exporter.get_finished_spans()
        if (span.attributes or {}).get(semconv.SPAN_KIND) == semconv.KIND_RESEARCH_TASK
    ]


async def test_a_stopping_process_hands_its_research_task_over(
    client: redis_asyncio.Redis,
    tmp_path: Path,
    corpus: Path,
    bridge: Bridge,
    exporter: InMemorySpanExporter,
) -> None:
    """The next process goes on in the same trace; finished jobs are not run again."""
    gateway, queue = ResearchGateway(client), TaskQueue(client)
    async with pool(client, tmp_path, corpus_dir=corpus, workers=1, pace_sec=0.2):
        task_id = await gateway.submit(request())

        async def extraction_has_started() -> bool:
            return (await queue.progress(task_id, f"{task_id}:extraction:")).completed >= 1

        await eventually(extraction_has_started, "an extraction job has ended")
    assert await queue.status(task_id) == TaskStatus.PENDING
    async with pool(client, tmp_path, corpus_dir=corpus):
        state = await finished(gateway, task_id)
    assert state["status"] == "completed"
    assert state["counts"] == {"completed": 8, "failed": 1, "pending": 0}
    first, second = research_spans(exporter)
    assert [(span.attributes or {})[semconv.OUTCOME] for span in (first, second)] == [
        "failed",
        "completed",
    ]
    assert "interrupted" in str((first.attributes or {})[semconv.ERROR])
    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1
    completed = Counter(
        (span.attributes or {})[semconv.TASK_ID]
        for span in exporter.get_finished_spans()
        if (span.attributes or {}).get(semconv.SPAN_KIND) == semconv.KIND_JOB
        and (span.attributes or {})[semconv.OUTCOME] == "completed"
    )
    assert {1} == set(completed.values())


@pytest.fixture
def start_process(redis_url: str, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """Starts processes as ``otel-bridge worker`` would; whatever is left of them is killed."""
    processes: list[Process] = []

    def start_one(name: str) -> Process:
        processes.append(
            start("research", redis_url, name, workers=2, lease_sec=1, data_dir=tmp_path / "out")
        )
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()


async def test_one_research_task_is_one_trace_across_processes(
    redis_url: str, start_process: Callable[[str], Process]
) -> None:
    """Jobs run by another process are children in the orchestrating one's trace: one tree."""
    client = connect(redis_url)
    gateway = ResearchGateway(client)
    processes = [start_process(name) for name in ("one", "two")]
    task_id = await gateway.submit(request())
    assert (await finished(gateway, task_id))["status"] == "completed"
    for process in processes:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0

    entries: Any = await client.xrange(DEFAULT_KEYS.log_stream())
    published = [json.loads(fields["e"]) for _, fields in entries]
    story = [
        one
        for one in published
        if one.get("parent_task_id") == task_id and one["event_type"] != "stats_snapshot"
    ]
    assert len({one["trace_id"] for one in story}) == 1
    spans = {one["span_id"] for one in story}
    roots = {one["span_id"] for one in story if one.get("parent_span_id") not in spans}
    assert {one["span_id"] for one in story if one.get("task_id") == task_id} == roots
    enqueued = {
        one["span_id"]: one["task_id"] for one in story if one["event_type"] == "task_enqueued"
    }
    started = [
        one for one in story if one["event_type"] == "task_started" and one["task_id"] != task_id
    ]
    assert all(one["task_id"] == enqueued[one["parent_span_id"]] for one in started)
    assert {"one", "two"} == {str(one["worker_id"]).split("-")[0] for one in started}
    await client.aclose()


@pytest.mark.fault
async def test_a_killed_process_loses_no_research_task(
    redis_url: str, start_process: Callable[[str], Process]
) -> None:
    """SIGKILL of the orchestrating process: another one finishes the task after the lease."""
    client = connect(redis_url)
    gateway, queue = ResearchGateway(client), TaskQueue(client)
    first = start_process("first")
    task_id = await gateway.submit(request())

    async def extraction_has_started() -> bool:
        return (await queue.progress(task_id, f"{task_id}:extraction:")).completed >= 5

    await eventually(extraction_has_started, "five extraction jobs have ended")
    first.send_signal(signal.SIGKILL)
    first.wait()
    start_process("second")
    state = await finished(gateway, task_id)
    assert state["status"] == "completed"
    assert state["result"]["entities"] >= 100
    assert state["counts"]["pending"] == 0
    await client.aclose()
