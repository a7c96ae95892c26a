"""Which node the lines of a span are shown at."""

from __future__ import annotations

from otel_bridge_collector.lines.owners import Owners
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import event, fold, job, root

TRACE = 0xAB
IDS = {"trace_id": f"{TRACE:032x}", "project_id": "p"}
ROOT, JOB, SPAN, INNER = 1, 2, 3, 4


def model_of(*more: MonitoringEvent) -> Fold:
    events = [
        root("t", 0, "task_started", span_id=f"{ROOT:016x}", **IDS),
        job("t", 1, "task_started", span_id=f"{JOB:016x}", parent_span_id=f"{ROOT:016x}", **IDS),
    ]
    return fold([*events, *more])


def key_of(node: Node | None) -> int | None:
    return None if node is None else node.key


def test_a_span_of_a_job_is_the_job() -> None:
    """The task's own is the task; of one that is not known there is none."""
    owners = Owners(model_of())
    assert [key_of(owners.of_span(TRACE, span)) for span in (ROOT, JOB, 9)] == [ROOT, JOB, None]


def test_a_span_inside_is_walked_up_from() -> None:
    """Through spans that the model knows, and through those that only came over OTLP."""
    inner = event(
        2,
        "span_started",
        span_id=f"{SPAN:016x}",
        parent_span_id=f"{JOB:016x}",
        name="request",
        parent_task_id="t",
        **IDS,
    )
    owners = Owners(model_of(inner))
    assert key_of(owners.of_span(TRACE, SPAN)) == JOB
    assert owners.of_span(TRACE, INNER) is None
    owners.note_parents([((TRACE, 5), INNER), ((TRACE, INNER), SPAN)])
    assert key_of(owners.of_span(TRACE, 5)) == JOB
    assert owners.of_span(TRACE + 1, 5) is None


def test_parents_in_a_circle_end() -> None:
    """Nothing is found, in bounded time."""
    owners = Owners(model_of())
    owners.note_parents([((TRACE, 7), 8), ((TRACE, 8), 7)])
    assert owners.of_span(TRACE, 7) is None


def test_the_oldest_parents_are_forgotten() -> None:
    """20,000 are remembered."""
    owners = Owners(model_of())
    owners.note_parents(((TRACE, 100 + number), JOB) for number in range(20_001))
    assert owners.of_span(TRACE, 100) is None
    assert key_of(owners.of_span(TRACE, 101)) == JOB


def test_the_task_of_a_trace_is_its_root() -> None:
    """Of a trace with two tasks, or without any, there is none."""
    assert key_of(Owners(model_of()).of_trace(TRACE)) == ROOT
    assert Owners(model_of()).of_trace(TRACE + 1) is None
    other = root("u", 3, "task_started", span_id="c" * 16, **IDS)
    assert Owners(model_of(other)).of_trace(TRACE) is None


def test_a_task_without_a_span_of_its_own_has_no_place_for_lines() -> None:
    """Its row has no span id under which they could be stored."""
    only_job = job("t", 1, "task_started", span_id=f"{JOB:016x}", **IDS)
    assert Owners(fold([only_job])).of_trace(TRACE) is None
