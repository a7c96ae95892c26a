"""The context managers: spans as OpenTelemetry sees them, events as the log holds them."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import otel_bridge
from otel_bridge.bridge import Bridge, current_bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans import context_managers
from otel_bridge.spans.work_spans import Phase
from tests.support.hostile import CARRIERS, HALF_OF_A_PAIR, HOSTILE
from tests.support.waiting import wait_until

_names = itertools.count()


@dataclass
class Seen:
    """A configured bridge, what an exporter got and what the log holds."""

    bridge: Bridge
    exporter: InMemorySpanExporter
    log_name: str

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def events(self) -> list[dict[str, Any]]:
        assert self.bridge.flush(10)
        newest_first = memory_log(self.log_name).newest(10_000, None)
        return [json.loads(entry.data) for entry in reversed(newest_first)]

    def types_and_ids(self) -> list[tuple[str, str | None]]:
        return [(event["event_type"], event.get("task_id")) for event in self.events()]


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    name = f"instrument-{next(_names)}"
    settings = make_settings(bus_url=f"memory://{name}", heartbeat_interval_sec=0.02)
    bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
    yield Seen(bridge, exporter, name)
    bridge.shutdown()
    provider.shutdown()


def test_a_research_task_is_one_tree(seen: Seen) -> None:
    """Root, phase, PRODUCER and CONSUMER spans are parent and child in one trace."""
    with (
        otel_bridge.research_task("t1", project_id="p1", task_type="data_aggregation"),
        otel_bridge.phase("search", total=1),
        otel_bridge.enqueue(task_id="j1", task_type="find") as carrier,
    ):
        pass
    carried = json.loads(json.dumps(carrier))
    with otel_bridge.job(task_id="j1", task_type="find", carrier=carried, worker_id=3):
        pass
    spans = seen.spans()
    chain = ["research_task data_aggregation", "phase search", "enqueue find", "job find"]
    ids = [spans[name].context.span_id for name in chain]
    parents = [span.parent.span_id if (span := spans[n]).parent else None for n in chain]
    assert parents == [None, *ids[:-1]]
    assert len({spans[name].context.trace_id for name in chain}) == 1
    assert [spans[name].kind for name in chain] == [
        SpanKind.INTERNAL,
        SpanKind.INTERNAL,
        SpanKind.PRODUCER,
        SpanKind.CONSUMER,
    ]


def test_ids_reach_a_job_through_the_carrier_alone(seen: Seen) -> None:
    """A job run elsewhere knows its research task, project and phase from the carrier."""
    with (
        otel_bridge.research_task("t1", project_id="p1"),
        otel_bridge.phase("search"),
        otel_bridge.enqueue(task_id="j1", task_type="find", queue="q") as carrier,
    ):
        pass
    with otel_bridge.job(task_id="j1", task_type="find", carrier=carrier, retry_count=2):
        pass
    started = [e for e in seen.events() if e["event_type"] == "task_started"][-1]
    shown = {k: started.get(k) for k in ("parent_task_id", "project_id", "phase", "retry_count")}
    assert shown == {
        "parent_task_id": "t1",
        "project_id": "p1",
        "phase": "search",
        "retry_count": 2,
    }


def test_the_events_of_a_job(seen: Seen) -> None:
    """Enqueued, started and completed come once each, in order."""
    with otel_bridge.research_task("t1"):
        with otel_bridge.enqueue(task_id="j1", task_type="find") as carrier:
            pass
        with otel_bridge.job(task_id="j1", task_type="find", carrier=carrier):
            pass
    assert seen.types_and_ids() == [
        ("task_started", "t1"),
        ("task_enqueued", "j1"),
        ("task_started", "j1"),
        ("task_completed", "j1"),
        ("task_completed", "t1"),
    ]


def test_an_exception_fails_the_job_and_propagates(seen: Seen) -> None:
    """An exception that leaves a job block is task_failed, ERROR in the span, and re-raised."""
    with (
        pytest.raises(ValueError, match="no address"),
        otel_bridge.job(task_id="j1", task_type="find"),
    ):
        raise ValueError("no address")
    failed = seen.events()[-1]
    assert (failed["event_type"], failed["error"]) == ("task_failed", "ValueError: no address")
    span = seen.spans()["job find"]
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


def test_a_retry_is_a_retry_and_links_to_the_attempt_before(seen: Seen) -> None:
    """job.retry ends as task_retry; the next attempt's span links to this one's."""
    with otel_bridge.job(task_id="j1", task_type="find", carrier={}) as first:
        first.retry(TimeoutError("slow"))
        carrier = first.retry_carrier
    with otel_bridge.job(task_id="j1", task_type="find", carrier=carrier, retry_count=1):
        pass
    kinds = [event["event_type"] for event in seen.events()]
    assert kinds == ["task_started", "task_retry", "task_started", "task_completed"]
    one, two = seen.exporter.get_finished_spans()
    assert [link.context.span_id for link in two.links] == [one.context.span_id]


def test_fail_ends_without_an_exception(seen: Seen) -> None:
    """job.fail ends as task_failed with the reason, and nothing is raised."""
    with otel_bridge.job(task_id="j1", task_type="find") as job:
        job.fail("no handler for this type")
    assert seen.events()[-1]["error"] == "no handler for this type"


def test_progress_is_published_at_once_and_advance_is_coalesced(seen: Seen) -> None:
    """Each ``progress`` is an event; a thousand ``advance`` are one event with the last counts."""
    with otel_bridge.research_task("t1"), otel_bridge.phase("search") as search:
        search.submitted(1000)
        for _ in range(1000):
            search.advance(completed=1)
    counts = [e["counts"] for e in seen.events() if e["event_type"] == "stats_snapshot"]
    assert counts[0] == {"total": 1000, "completed": 0, "failed": 0, "pending": 1000}
    assert counts[-1] == {"total": 1000, "completed": 1000, "failed": 0, "pending": 0}
    assert len(counts) < 10


def test_a_worker_starts_sends_heartbeats_and_stops(seen: Seen) -> None:
    """Heartbeats name the worker's current job; they lie between its start and its stop."""
    with (
        otel_bridge.worker(3, meta={"zone": "a"}),
        otel_bridge.job(task_id="j1", task_type="find"),
    ):
        wait_until(
            lambda: any(e["event_type"] == "worker_heartbeat" for e in seen.events()), "a heartbeat"
        )
    events = [e for e in seen.events() if e["event_type"].startswith("worker_")]
    assert (events[0]["event_type"], events[-1]["event_type"]) == (
        "worker_started",
        "worker_stopped",
    )
    heartbeat = events[1]
    assert (heartbeat["worker_id"], heartbeat["task_id"]) == (3, "j1")
    assert heartbeat["counts"] == {"dropped": 0}
    assert heartbeat["meta"]["zone"] == "a"
    assert {"host", "pid"} <= heartbeat["meta"].keys()


async def test_tasks_threads_and_async_with_keep_their_parents(seen: Seen) -> None:
    """Gathered tasks and ``to_thread`` inside an ``async with`` phase are children of it."""

    async def run(number: int) -> None:
        async with otel_bridge.job(task_id=f"a{number}", task_type="find"):
            await asyncio.sleep(0)

    def run_in_thread() -> None:
        with otel_bridge.job(task_id="thread", task_type="find"):
            pass

    async with otel_bridge.research_task("t1"), otel_bridge.phase("search"):
        await asyncio.gather(run(1), run(2), asyncio.to_thread(run_in_thread))
    jobs = [s for s in seen.exporter.get_finished_spans() if s.name == "job find"]
    phase_id = seen.spans()["phase search"].context.span_id
    assert [job.parent.span_id if job.parent else None for job in jobs] == [phase_id] * 3


class WithoutText:
    """A value whose ``__str__`` raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_threads_advance_one_phase_together(seen: Seen) -> None:
    """No step is lost when the threads of a pool count at once."""

    def advance(phase: Phase) -> None:
        for _ in range(5000):
            phase.advance(completed=1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with otel_bridge.research_task("t1"), otel_bridge.phase("search", total=40_000) as search:
            threads = [threading.Thread(target=advance, args=(search,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    attributes = seen.spans()["phase search"].attributes or {}
    assert attributes["nexus.count.completed"] == 40_000


@pytest.mark.parametrize("wrong_type", [object, WithoutText])
def test_wrong_arguments_never_reach_user_code(
    seen: Seen, wrong_type: type, caplog: pytest.LogCaptureFixture
) -> None:
    """Arguments that cannot be used are logged, and the work inside runs."""
    ran = []
    wrong: Any = wrong_type()
    with (
        otel_bridge.research_task(wrong, meta={"x": wrong, wrong: 1}),
        otel_bridge.research_task("t", meta=wrong),
        otel_bridge.phase(wrong, total=wrong) as search,
        otel_bridge.job(task_id=wrong, task_type=wrong, carrier=wrong),
    ):
        search.advance(wrong)
        search.progress(completed=wrong)
        otel_bridge.queue_depth({"q": wrong})
        otel_bridge.queue_depth(wrong)
        ran.append(True)
    assert ran == [True]
    assert "otel-bridge" in caplog.text


def test_off_is_a_no_op(make_settings: Callable[..., BridgeSettings]) -> None:
    """With NEXUS_MONITORING_ENABLED=false nothing is recorded, and context managers still nest."""
    bridge = otel_bridge.configure(settings=make_settings(enabled=False))
    try:
        assert (bridge.is_enabled, bridge.bus, bridge.tracer_provider) == (False, None, None)
        with (
            otel_bridge.worker(1),
            otel_bridge.research_task("t1"),
            otel_bridge.phase("search", total=1) as search,
            otel_bridge.enqueue(task_id="j1", task_type="find") as carrier,
            otel_bridge.job(task_id="j1", task_type="find", carrier=carrier) as job,
        ):
            search.advance(completed=1)
            job.message("done")
        assert "traceparent" not in carrier
    finally:
        bridge.shutdown()


def test_a_second_configure_keeps_the_first(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """A second configure() warns and returns the first bridge; after a shutdown there is none."""
    assert otel_bridge.configure() is seen.bridge
    assert "called again" in caplog.text
    assert seen.bridge.shutdown()
    assert current_bridge() is None


def test_wrong_settings_raise_at_once() -> None:
    """configure(strict=True) raises for a setting that cannot work, with its value and the fix."""
    with pytest.raises(otel_bridge.ConfigurationError, match=r"=5 must exceed .*at least 20"):
        otel_bridge.configure(strict=True, heartbeat_ttl_sec=5)
    with pytest.raises(otel_bridge.ConfigurationError, match=r"unknown transport 'ftp'.*known:"):
        otel_bridge.configure(strict=True, bus_url="ftp://somewhere")
    assert current_bridge() is None


def test_the_package_exports_these_functions() -> None:
    """Every public function of the module is the one that ``otel_bridge`` exports."""
    for name in context_managers.__all__:
        assert getattr(otel_bridge, name) is getattr(context_managers, name)


def test_the_default_worker_is_the_enclosing_one(seen: Seen) -> None:
    """A job has the id of the enclosing worker unless another one is given."""
    with otel_bridge.worker("w1"):
        with otel_bridge.job(task_id="j1", task_type="find"):
            pass
        with otel_bridge.job(task_id="j2", task_type="find", worker_id=2):
            pass
    started = [event for event in seen.events() if event["event_type"] == "task_started"]
    assert [event["worker_id"] for event in started] == ["w1", 2]


def test_arguments_take_precedence_over_the_carrier(seen: Seen) -> None:
    """Research task, project and phase: first the argument, then the carrier, none around."""
    carrier = {"nexus-parent-task-id": "t-carrier", "nexus-project-id": "p-carrier"}
    with (
        otel_bridge.research_task("t-around", project_id="p-around"),
        otel_bridge.phase("phase-around"),
        otel_bridge.job(task_id="j1", task_type="find", carrier=carrier, project_id="p-given"),
    ):
        pass
    (started,) = [
        event
        for event in seen.events()
        if event["event_type"] == "task_started" and event["task_id"] == "j1"
    ]
    assert (started["parent_task_id"], started["project_id"], started.get("phase")) == (
        "t-carrier",
        "p-given",
        None,
    )


def test_a_queue_depth_is_one_event(seen: Seen) -> None:
    """The depths of all queues given are the counts of one event."""
    otel_bridge.queue_depth({"a": 3, "b": 0})
    (event,) = seen.events()
    assert (event["event_type"], event["counts"]) == ("queue_depth_update", {"a": 3, "b": 0})


def call_everything(wrong: Any) -> list[str]:
    """Give a value to each argument of each function and method; the blocks that ran."""
    ran = []
    with (
        otel_bridge.worker(wrong, meta=wrong),
        otel_bridge.research_task(
            wrong, title=wrong, project_id=wrong, task_type=wrong, domain=wrong, message=wrong
        ) as task,
        otel_bridge.research_task("t1", meta=wrong),
        otel_bridge.phase(wrong, total=wrong) as search,
        otel_bridge.phase("extract", total=3) as extract,
    ):
        task.message(wrong)
        for phase in (search, extract):
            phase.submitted(wrong)
            phase.advance(wrong, wrong)
            phase.progress(completed=wrong, failed=wrong, pending=wrong, total=wrong)
        with otel_bridge.enqueue(
            task_id=wrong,
            task_type=wrong,
            queue=wrong,
            parent_task_id=wrong,
            project_id=wrong,
            phase=wrong,
            retry_count=wrong,
        ) as carrier:
            json.dumps(carrier)
            ran.append("enqueue")
        enqueueing = otel_bridge.enqueue(task_id=None, task_type="find")
        with enqueueing:
            enqueueing.queued(wrong)
        with otel_bridge.job(
            task_id=wrong,
            task_type=wrong,
            carrier=wrong,
            worker_id=wrong,
            retry_count=wrong,
            queue=wrong,
            parent_task_id=wrong,
            project_id=wrong,
            phase=wrong,
        ) as job:
            job.retry(wrong)
            job.fail(wrong)
            dict(job.retry_carrier)
            ran.append("job")
        otel_bridge.queue_depth(wrong)
        otel_bridge.queue_depth({"q": wrong})
        task.fail(wrong)
    return ran


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arguments_never_reach_user_code(seen: Seen, name: str) -> None:
    """Whatever value an argument has, nothing is raised, the blocks run, and a carrier is JSON."""
    assert call_everything(HOSTILE[name]()) == ["enqueue", "job"]
    seen.bridge.flush(10)


@given(CARRIERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_job_takes_any_carrier(seen: Seen, carrier: dict[str, Any]) -> None:
    """A job with any carrier runs and is shown, and its next attempt gets all of the carrier."""
    with (
        otel_bridge.worker("w1"),
        otel_bridge.job(task_id="j1", task_type="find", carrier=carrier) as job,
        otel_bridge.phase("inner") as inner,
    ):
        inner.progress(completed=1)
        assert carrier.keys() <= job.retry_carrier.keys()
    assert job.span_id != 0


def test_ids_are_text_whatever_their_type(seen: Seen) -> None:
    """A UUID is the id that its text is, in the span and in the carrier, which stays JSON."""
    project = uuid.uuid4()
    wrong: Any = project
    with (
        otel_bridge.research_task("t1", project_id=wrong),
        otel_bridge.enqueue(task_id="j1", task_type="find") as carrier,
    ):
        pass
    assert json.loads(json.dumps(carrier))["nexus-project-id"] == str(project)
    (enqueued,) = [e for e in seen.events() if e["event_type"] == "task_enqueued"]
    assert enqueued["project_id"] == str(project)


def test_a_heartbeat_may_name_any_job(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """An id that is no Unicode text does not end the heartbeats of the worker that runs the job."""
    with (
        otel_bridge.worker("w1"),
        otel_bridge.job(task_id=f"j{HALF_OF_A_PAIR}", task_type="find"),
    ):
        wait_until(
            lambda: any(
                e["event_type"] == "worker_heartbeat" and e.get("task_id") == "j?"
                for e in seen.events()
            ),
            "a heartbeat with the job",
        )
    assert caplog.text == ""
