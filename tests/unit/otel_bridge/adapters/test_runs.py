"""Attempts at jobs: found by context, ended once, with the outcome that the framework gave."""

from __future__ import annotations

import contextvars
import itertools
import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.base import start_worker
from otel_bridge.adapters.runs import Run, Runs, attempts_before, read_carrier, report_lost
from otel_bridge.bridge import Bridge
from otel_bridge.events import semconv
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.hostile import CARRIERS, HOSTILE
from tests.support.raised import chained
from tests.support.spans import SpanRecorder

TRACE, SPAN = "a" * 32, "b" * 16
CARRIER = {
    "traceparent": f"00-{TRACE}-{SPAN}-01",
    semconv.CARRIER_PARENT_TASK_ID: "t1",
    semconv.CARRIER_PROJECT_ID: "p1",
    semconv.CARRIER_PHASE: "search",
    semconv.CARRIER_RUN_ID: "00f067aa0ba902b7",
}

_names = itertools.count()


class Seen:
    def __init__(self, bridge: Bridge, recorder: SpanRecorder, log_name: str) -> None:
        self.bridge = bridge
        self.recorder = recorder
        self._log_name = log_name

    def ends(self) -> list[tuple[Any, Any, Any]]:
        """Job, outcome and error of each span that has ended."""
        keys = (semconv.TASK_ID, semconv.OUTCOME, semconv.ERROR)
        found = [span.attributes or {} for span in self.recorder.ended]
        return [(each.get(keys[0]), each.get(keys[1]), each.get(keys[2])) for each in found]

    def events(self) -> list[dict[str, Any]]:
        assert self.bridge.flush(10)
        entries = reversed(memory_log(self._log_name).newest(100, None))
        return [json.loads(entry.data) for entry in entries]


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    name = f"runs-{next(_names)}"
    recorder = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    bridge = otel_bridge.configure(
        tracer_provider=provider, settings=make_settings(bus_url=f"memory://{name}")
    )
    yield Seen(bridge, recorder, name)
    bridge.shutdown()


@pytest.fixture
def runs() -> Runs:
    return Runs()


def open_run(runs: Runs, task_id: Any = "j1", **options: Any) -> Run:
    defaults: dict[str, Any] = {"retry_count": 0, "queue": "q", "worker_id": "w"}
    return runs.open(task_id, "add", options.pop("carrier", CARRIER), **(defaults | options))


@pytest.mark.parametrize(
    ("value", "carrier"),
    [
        ({"traceparent": "x", "n": 3, 4: "four"}, {"traceparent": "x", "4": "four"}),
        ('{"traceparent": "x"}', {"traceparent": "x"}),
        ("no JSON", {}),
        ("[1]", {}),
        (b"{}", {}),
        (None, {}),
    ],
)
def test_a_carrier_is_a_mapping_or_its_json(value: Any, carrier: dict[str, str]) -> None:
    """Text items of a mapping are the carrier; anything else that came is an empty one."""
    assert read_carrier(value) == carrier


@pytest.mark.parametrize("name", HOSTILE)
def test_a_carrier_that_cannot_be_read_is_empty(name: str) -> None:
    """JSON that nests too deep, and a mapping that raises, are an empty carrier."""
    assert read_carrier(HOSTILE[name]()).keys() <= {"3", "None"}


def test_a_stack_comes_with_the_error_or_apart(seen: Seen, runs: Runs) -> None:
    """Of an exception by itself; beside a reason as text from an exception or as text."""
    error = chained()
    text = "".join(traceback.format_exception(error))
    pairs: list[tuple[BaseException | str, BaseException | str | None]]
    pairs = [(error, None), ("lost", error), ("lost", text)]
    for number, (reason, stack) in enumerate(pairs):
        run = open_run(runs, number)
        run.error, run.stack = reason, stack
        runs.close(number)
    failed = [event for event in seen.events() if event["event_type"] == "task_failed"]
    assert [event["stack"] for event in failed] == [True] * 3
    assert len({event["error_key"] for event in failed}) == 1


def test_an_attempt_completes_once(seen: Seen, runs: Runs) -> None:
    """A run that is closed ends its span; closing again, or another job, changes nothing."""
    run = open_run(runs, 7, retry_count=2)
    assert runs.get("7") is run
    runs.close("other")
    assert seen.ends() == []
    runs.close(7)
    runs.close(7)
    assert runs.get(7) is None
    assert seen.ends() == [("7", "completed", None)]
    (span,) = seen.recorder.ended
    attributes = span.attributes or {}
    assert (attributes[semconv.RETRY_COUNT], attributes[semconv.QUEUE]) == (2, "q")
    assert attributes[semconv.PARENT_TASK_ID] == "t1"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ValueError("bad page"), ("failed", "ValueError: bad page")),
        ("revoked", ("failed", "revoked")),
        (None, ("completed", None)),
    ],
)
def test_the_frameworks_outcome_is_the_spans(
    seen: Seen, runs: Runs, error: Any, end: tuple[str, str | None]
) -> None:
    """An error that was set before the end is a failure with that reason."""
    open_run(runs).error = error
    runs.close("j1")
    assert seen.ends() == [("j1", *end)]


@pytest.mark.parametrize(("error", "reason"), [("slow", "slow"), (None, "queued again")])
def test_a_job_that_is_queued_again_is_a_retry(
    seen: Seen, runs: Runs, error: str | None, reason: str
) -> None:
    """Whatever its error is, it is no failure; its next attempt gets a carrier with a link."""
    run = open_run(runs)
    carrier = run.queue_again()
    run.error = error
    runs.close("j1")
    assert carrier.items() >= CARRIER.items()
    assert semconv.CARRIER_PREVIOUS_ATTEMPT in carrier
    assert seen.ends() == [("j1", "retrying", reason)]


def test_an_eager_job_runs_inside_its_caller(seen: Seen, runs: Runs) -> None:
    """Both attempts are found while they are open, and the outer one is current afterwards."""
    outer = open_run(runs, "outer")
    inner = open_run(runs, "inner", carrier=None)
    assert (runs.get("inner"), runs.get("outer")) == (inner, outer)
    assert inner.outer is outer
    runs.close("inner")
    assert (runs.get("inner"), runs.get("outer")) == (None, outer)
    runs.close("outer")
    assert [task_id for task_id, _, _ in seen.ends()] == ["inner", "outer"]


def test_attempts_are_found_by_context(seen: Seen, runs: Runs) -> None:
    """The next attempt at the same job, in another context, is another run."""
    other = contextvars.copy_context()
    first = open_run(runs)
    second = other.run(open_run, runs, retry_count=1)
    assert (runs.get("j1"), other.run(runs.get, "j1")) == (first, second)
    other.run(runs.close, "j1")
    assert first.is_open
    runs.close("j1")
    assert seen.ends() == [("j1", "completed", None)] * 2


def test_a_job_is_the_current_one_of_its_worker(seen: Seen, runs: Runs) -> None:
    """The heartbeat of the worker given carries the job while it runs."""
    heartbeat = start_worker("w")
    assert heartbeat is not None
    open_run(runs, heartbeat=heartbeat)
    current = [heartbeat.current_task_id]
    runs.close("j1")
    current.append(heartbeat.current_task_id)
    heartbeat.stop()
    assert current == ["j1", None]


def lost(carrier: Any = None, **options: Any) -> None:
    defaults: dict[str, Any] = {"error": "killed", "retry_count": 1, "worker_id": "w"}
    report_lost("j1", "add", carrier, **(defaults | options))


def test_a_lost_job_has_failed(seen: Seen) -> None:
    """The end of a job whose process died has every id of its carrier, and no span."""
    lost(json.dumps(CARRIER))
    (event,) = seen.events()
    assert event["event_type"] == "task_failed"
    assert {
        key: event[key] for key in ("task_id", "parent_task_id", "project_id", "phase", "trace_id")
    } == {
        "task_id": "j1",
        "parent_task_id": "t1",
        "project_id": "p1",
        "phase": "search",
        "trace_id": TRACE,
    }
    assert (event["error"], event["retry_count"], event["worker_id"]) == ("killed", 1, "w")
    assert (event["ended_by"], event["run_id"]) == ("other", "00f067aa0ba902b7")
    assert "span_id" not in event
    assert seen.recorder.started == []


def test_a_lost_job_has_its_span_where_it_is_known(seen: Seen) -> None:
    """A parent process that knows which span the job had ends that one."""
    lost(CARRIER, span_id=SPAN)
    (event,) = seen.events()
    assert event["span_id"] == SPAN


def test_a_lost_job_that_runs_again_is_a_retry(seen: Seen) -> None:
    """If the framework queues the job again, the end is a ``task_retry``."""
    lost(will_retry=True)
    (event,) = seen.events()
    assert (event["event_type"], event["status"]) == ("task_retry", "retrying")


@pytest.mark.parametrize(
    ("carrier", "parent_task_id"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, TRACE),
        ({"traceparent": "x"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}\n-{SPAN}-01"}, None),
        ({"traceparent": 3}, None),
        (None, None),
    ],
)
def test_a_lost_job_of_no_research_task_belongs_to_its_trace(
    seen: Seen, carrier: Any, parent_task_id: str | None
) -> None:
    """Without a research task the trace is its parent; a broken carrier raises nothing."""
    lost(carrier)
    (event,) = seen.events()
    assert event.get("parent_task_id") == parent_task_id


@given(CARRIERS | st.text(), st.text(st.characters()), st.integers())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_lost_job_is_published_whatever_its_message_holds(
    seen: Seen, carrier: Any, reason: str, retry_count: int
) -> None:
    """Any carrier, reason and number of attempts give one event that other programs can read."""
    assert seen.bridge.bus is not None
    before = seen.bridge.bus.counters.published
    lost(carrier, error=reason, retry_count=retry_count)
    lost(json.dumps(carrier), error=reason, retry_count=retry_count, will_retry=True)
    assert seen.bridge.flush(10)
    assert seen.bridge.bus.counters.published == before + 2


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_never_reach_the_framework(seen: Seen, runs: Runs, name: str) -> None:
    """Attempts open, are found and end, and a lost job is reported, whatever each value is."""
    wrong = HOSTILE[name]()
    run = runs.open(
        wrong, wrong, wrong, retry_count=attempts_before(wrong), queue=wrong, worker_id=wrong
    )
    assert runs.get(wrong) is run
    run.error = wrong
    run.queue_again()
    runs.close(wrong)
    assert not run.is_open
    wrong_kinds: Any = {"error": wrong, "retry_count": wrong, "worker_id": wrong}
    report_lost(wrong, wrong, wrong, **wrong_kinds)
    report_lost("j2", "add", wrong, error="killed", retry_count=0, worker_id=None)
    assert [event for event in seen.events() if event.get("task_id") == "j2"] != []


@pytest.mark.parametrize(
    ("value", "count"),
    [(3, 3), ("3", 3), (-1, 0), (None, 0), ("many", 0), (float("inf"), 0), ([1], 0)],
)
def test_attempts_are_a_number_of_at_least_0(value: Any, count: int) -> None:
    """What a message says about its attempts is a whole number, or it counts as 0."""
    assert attempts_before(value) == count


def test_before_configure_a_lost_job_is_not_published() -> None:
    """Without a bridge there is nothing to publish with, and nothing is raised."""
    lost(CARRIER)
