"""Phases, jobs and enqueues: what their methods do to spans, events and metrics."""

from __future__ import annotations

import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.clock import iso_utc
from otel_bridge.events import semconv
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans import work_spans
from otel_bridge.workers.otel_metrics import OtelMetrics
from tests.support.hostile import failing_propagation
from tests.support.spans import SpanRecorder

_names = itertools.count()


@dataclass
class Seen:
    """A configured bridge with its spans, events and metrics."""

    bridge: Bridge
    recorder: SpanRecorder
    reader: InMemoryMetricReader
    log_name: str

    def span(self) -> ReadableSpan:
        (span,) = self.recorder.ended
        return span

    def attributes(self) -> dict[str, Any]:
        return dict(self.span().attributes or {})

    def events(self, event_type: str) -> list[dict[str, Any]]:
        assert self.bridge.flush(10)
        entries = reversed(memory_log(self.log_name).newest(1000, None))
        events = [json.loads(entry.data) for entry in entries]
        return [event for event in events if event["event_type"] == event_type]

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = data.resource_metrics[0].scope_metrics[0].metrics
        points: dict[str, Any] = {metric.name: metric.data.data_points[0] for metric in found}
        return {
            name: (getattr(point, "value", None), dict(point.attributes))
            for name, point in points.items()
        }


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    recorder, reader = SpanRecorder(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    name = f"work-spans-{next(_names)}"
    bridge = otel_bridge.configure(
        tracer_provider=provider, settings=make_settings(bus_url=f"memory://{name}")
    )
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    bridge.otel_metrics = OtelMetrics(meter_provider.get_meter("test"), lambda: 0)
    yield Seen(bridge, recorder, reader, name)
    bridge.shutdown()
    provider.shutdown()


# --- phases --------------------------------------------------------------------------------------


def test_a_phase_ends_with_its_counts(seen: Seen) -> None:
    """The counts of the whole phase are attributes of its span's end."""
    with otel_bridge.phase("search", total=5) as search:
        search.advance(completed=2, failed=1)
        search.advance(completed=1)
    counts = {
        key.removeprefix("nexus.count."): value
        for key, value in seen.attributes().items()
        if key.startswith("nexus.count.")
    }
    assert counts == {"total": 5, "completed": 3, "failed": 1, "pending": 1}


def test_pending_is_never_below_zero(seen: Seen) -> None:
    """More jobs than the total leave zero pending; without a total, pending is not known."""
    with otel_bridge.phase("search", total=1) as search:
        search.advance(completed=3)
    assert seen.events("stats_snapshot")[-1]["counts"]["pending"] == 0
    with otel_bridge.phase("search") as search:
        search.advance(completed=3)
    assert "pending" not in seen.events("stats_snapshot")[-1]["counts"]


def test_progress_keeps_a_total_that_is_not_given(seen: Seen) -> None:
    """``submitted`` sets the total, ``progress`` without one leaves it; both publish at once."""
    with otel_bridge.research_task("t1"), otel_bridge.phase("search") as search:
        search.submitted(4)
        search.progress(completed=1, failed=1, pending=2)
        snapshots = seen.events("stats_snapshot")
    assert [event["counts"] for event in snapshots] == [
        {"completed": 0, "failed": 0, "pending": 4, "total": 4},
        {"completed": 1, "failed": 1, "pending": 2, "total": 4},
    ]
    assert {(event["parent_task_id"], event["phase"]) for event in snapshots} == {("t1", "search")}


@pytest.mark.parametrize("wrong", [0.5, "many", float("nan"), float("inf"), object()])
def test_a_count_that_is_no_whole_number_changes_nothing(
    seen: Seen, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    """It is logged with its name and value, the counts stay, and the span ends."""
    with otel_bridge.phase("search", total=4) as search:
        search.advance(completed=1)
        search.advance(completed=wrong)
        search.advance(completed=1, failed=wrong)
        search.progress(completed=1, pending=wrong)
        search.submitted(wrong)
    assert seen.events("stats_snapshot")[-1]["counts"] == {
        "total": 4,
        "completed": 1,
        "failed": 0,
        "pending": 3,
    }
    assert seen.attributes()["nexus.count.completed"] == 1
    assert trace.get_current_span() is trace.INVALID_SPAN
    errors = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert errors == [
        f"{name}={wrong} is no whole number; use an int"
        for name in ("completed", "failed", "pending", "pending")
    ]


def test_whole_numbers_of_other_types_count(seen: Seen) -> None:
    """A float without a fraction and a text of digits are published as whole numbers."""
    two: Any = 2.0
    one: Any = "1"
    with otel_bridge.phase("search", total=two) as search:
        search.advance(completed=one)
        search.advance(completed=one)
    assert json.dumps(seen.events("stats_snapshot")[-1]["counts"]) == json.dumps(
        {"total": 2, "completed": 2, "failed": 0, "pending": 0}
    )


def test_a_total_that_is_no_whole_number_is_unknown(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and left out; the jobs of the phase are counted all the same."""
    total: Any = "many"
    with otel_bridge.phase("search", total=total) as search:
        search.advance(completed=1)
    (record,) = caplog.records
    assert record.getMessage() == (
        "otel-bridge: phase(search): total=many is no whole number; use an int"
    )
    assert seen.events("stats_snapshot")[-1]["counts"] == {"completed": 1, "failed": 0}


def test_a_phase_whose_counts_cannot_be_published_still_ends(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the last progress event is logged; the span ends and is current no more."""
    with otel_bridge.phase("search") as search:
        search.advance(completed=1)
        search._counts["completed"] = Any  # type: ignore[assignment] # what no check let pass
    assert "could not close <phase search>" in caplog.text
    assert seen.span().name == "phase search"
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_forked_child_can_count(seen: Seen) -> None:
    """A lock that a thread of the parent held during the fork does not block the child."""
    with otel_bridge.phase("search") as search, work_spans._counts_lock:
        with warnings.catch_warnings():
            # Python 3.12 warns of forking with threads, which is what this test is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            is_free = work_spans._counts_lock.acquire(blocking=False)
            search.advance(completed=1)
            os._exit(0 if is_free else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# --- enqueues ------------------------------------------------------------------------------------


def test_a_queue_may_name_the_job(seen: Seen) -> None:
    """Without an id the job counts as enqueued once ``queued`` has named it."""
    span = otel_bridge.enqueue(task_id=None, task_type="find", queue="q")
    with span:
        span.queued("j1")
    assert seen.attributes()[semconv.TASK_ID] == "j1"
    assert [event["task_id"] for event in seen.events("task_enqueued")] == ["j1"]
    value, attributes = seen.metrics()["messaging.client.sent.messages"]
    assert (value, attributes["messaging.destination.name"]) == (1, "q")


def test_where_a_job_went_may_be_known_after_the_send(seen: Seen) -> None:
    """``queued`` names the queue, as a router chose it, and the time that the job waits for."""
    span = otel_bridge.enqueue(task_id=None, task_type="find")
    with span:
        span.queued("j1", queue="high", meta={"eta": "2026-11-24T12:00:00+00:00"})
    (enqueued,) = seen.events("task_enqueued")
    assert enqueued["queue"] == "high"
    assert enqueued["meta"] == {"eta": "2026-11-24T12:00:00+00:00"}
    _, attributes = seen.metrics()["messaging.client.sent.messages"]
    assert attributes["messaging.destination.name"] == "high"


def test_a_send_that_raises_is_a_failed_job(seen: Seen) -> None:
    """A block that raises gives task_failed about the PRODUCER span instead of task_enqueued."""
    with pytest.raises(ConnectionError), otel_bridge.enqueue(task_id="j1", task_type="find"):
        raise ConnectionError("away")
    (failed,) = seen.events("task_failed")
    context = seen.span().get_span_context()
    assert context is not None
    assert (failed["task_id"], failed["error"]) == ("j1", "ConnectionError: away")
    assert (failed["span_id"], failed["span_kind"]) == (f"{context.span_id:016x}", "PRODUCER")
    assert seen.events("task_enqueued") == []


def test_what_raises_after_the_send_is_no_failed_enqueue(seen: Seen) -> None:
    """Once ``queued`` was called the job is in its queue, whatever the block does then."""

    def send_and_fail() -> None:
        span = otel_bridge.enqueue(task_id=None, task_type="find")
        with span:
            span.queued("j1")
            raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        send_and_fail()
    assert [event["task_id"] for event in seen.events("task_enqueued")] == ["j1"]
    assert seen.events("task_failed") == []
    assert seen.metrics()["messaging.client.sent.messages"][0] == 1


def test_an_enqueue_is_published_when_the_block_has_ended(seen: Seen) -> None:
    """Inside the block the broker does not have the job yet; the event has the block's start."""
    with otel_bridge.enqueue(task_id="j1", task_type="find"):
        before = seen.events("task_enqueued")
    (event,) = seen.events("task_enqueued")
    start_ns = seen.span().start_time
    assert start_ns is not None
    assert (before, event["ts"]) == ([], iso_utc(start_ns))


def test_each_enqueue_is_a_run_that_all_attempts_share(seen: Seen) -> None:
    """The run is made by ``enqueue``, and travels in the carrier to each attempt."""
    runs = []
    for _ in range(2):
        with otel_bridge.enqueue(task_id="j1", task_type="find") as carrier:
            pass
        with otel_bridge.job(task_id="j1", task_type="find", carrier=carrier) as job:
            job.retry("again")
            again = job.retry_carrier
        with otel_bridge.job(task_id="j1", task_type="find", carrier=again, retry_count=1):
            pass
        runs.append(carrier[semconv.CARRIER_RUN_ID])
    shown = [
        [event["run_id"] for event in seen.events(kind)]
        for kind in ("task_enqueued", "task_retry", "task_completed")
    ]
    assert shown == [runs] * 3
    assert [len(bytes.fromhex(run)) for run in runs] == [8, 8]
    assert len({*runs}) == 2


def test_a_job_without_a_carrier_has_no_run(seen: Seen) -> None:
    """A job that no ``enqueue`` announced is of no known run."""
    with otel_bridge.job(task_id="j1", task_type="find"):
        pass
    (event,) = seen.events("task_started")
    assert "run_id" not in event


def test_a_job_that_was_not_queued_is_not_published(seen: Seen) -> None:
    """A send that fails, or a queue that has the job already, is no enqueued job."""
    with otel_bridge.enqueue(task_id=None, task_type="find"):
        pass
    with pytest.raises(ConnectionError), otel_bridge.enqueue(task_id=None, task_type="find"):
        raise ConnectionError
    assert seen.events("task_enqueued") == []
    assert "messaging.client.sent.messages" not in seen.metrics()


# --- jobs ----------------------------------------------------------------------------------------


def test_a_recorded_completion_outranks_a_later_exception(seen: Seen) -> None:
    """After ``complete`` the job has completed, although an exception leaves the block."""
    job = otel_bridge.job(task_id="j1", task_type="find")
    job.complete()
    with pytest.raises(ValueError, match="late"), job:
        raise ValueError("late")
    assert seen.attributes()[semconv.OUTCOME] == "completed"
    assert seen.events("task_failed") == []


def test_the_next_attempt_has_the_same_parent(seen: Seen) -> None:
    """The carrier of a retry is the job's own, with a link to the attempt that failed."""
    carrier = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "nexus-project-id": "p"}
    with otel_bridge.job(task_id="j1", task_type="find", carrier=carrier) as job:
        retry_carrier = job.retry_carrier
    context = seen.span().context
    assert context is not None
    previous = retry_carrier.pop(semconv.CARRIER_PREVIOUS_ATTEMPT)
    assert retry_carrier == carrier
    assert previous == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def test_a_failing_propagator_costs_the_link_only(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """If trace context cannot be injected, the carrier of the next attempt keeps the other ids."""
    carrier = {semconv.CARRIER_PROJECT_ID: "p1"}
    with (
        otel_bridge.job(task_id="j1", task_type="find", carrier=carrier) as job,
        failing_propagation(),
    ):
        assert job.retry_carrier == carrier
    assert "could not link the next attempt of <job find>" in caplog.text


def test_a_broken_link_is_left_out(seen: Seen) -> None:
    """A previous attempt that is no valid traceparent makes no link and no error."""
    carrier = {semconv.CARRIER_PREVIOUS_ATTEMPT: "nonsense"}
    with otel_bridge.job(task_id="j1", task_type="find", carrier=carrier):
        pass
    assert list(seen.span().links) == []


def test_jobs_are_measured(seen: Seen) -> None:
    """Started, running and a duration with the outcome and the class of the exception."""
    running = []
    with otel_bridge.job(task_id="j1", task_type="find", queue="q") as job:
        running.append(seen.metrics()["otel_bridge.jobs.running"][0])
        job.fail(ValueError("x"))
    metrics = seen.metrics()
    running.append(metrics["otel_bridge.jobs.running"][0])
    assert running == [1, 0]
    assert metrics["messaging.client.consumed.messages"][0] == 1
    attributes = metrics["messaging.process.duration"][1]
    assert (attributes["nexus.outcome"], attributes["error.type"]) == ("failed", "ValueError")


class MuteError(Exception):
    """A user's exception whose ``__str__`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_job_with_an_exception_without_text_is_measured(seen: Seen) -> None:
    """If the exception's ``__str__`` raises, the job still does not count as running any more."""
    with pytest.raises(MuteError), otel_bridge.job(task_id="j1", task_type="find"):
        raise MuteError
    metrics = seen.metrics()
    assert metrics["otel_bridge.jobs.running"][0] == 0
    assert metrics["messaging.process.duration"][1]["error.type"] == "MuteError"
