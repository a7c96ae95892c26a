"""``OpenSpans``: heartbeats of what a program without a worker has open, until it ends."""

from __future__ import annotations

import gc
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span

from otel_bridge.publish.open_spans import OpenSpans

THIRD_PARTY = {"name": "look_up", "event_type": "task_started"}


class FixedClock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return 1_000_000_000


def open_span() -> Any:
    return TracerProvider().get_tracer("agent").start_span("look_up")


def id_of(span: Span) -> str:
    return f"{span.get_span_context().span_id:016x}"


def test_an_open_span_has_heartbeats_until_it_ends() -> None:
    """Its start promises them; each interval has one event, and none once it has ended."""
    clock = FixedClock()
    spans = OpenSpans(10.0, clock)
    span = open_span()
    fields: dict[str, Any] = {**THIRD_PARTY, "project_id": "alpha"}
    spans.start(span, fields)
    assert fields["beat_ms"] == 10_000
    clock.now = 9.9
    assert spans.heartbeats() == []
    clock.now = 10.0
    (event,) = spans.heartbeats()
    assert (event["event_type"], event["project_id"]) == ("span_beats", "alpha")
    assert event["spans"] == [id_of(span)]
    assert spans.heartbeats() == []
    spans.end(span)
    clock.now = 30.0
    assert spans.heartbeats() == []


def test_a_span_that_the_program_lost_has_no_more() -> None:
    """Without an object no code can end it, so nothing says that it is alive."""
    clock = FixedClock()
    spans = OpenSpans(10.0, clock)
    lost, kept = open_span(), open_span()
    spans.start(lost, dict(THIRD_PARTY))
    spans.start(kept, dict(THIRD_PARTY))
    del lost
    clock.now = 10.0
    gc.collect()
    (event,) = spans.heartbeats()
    assert event["spans"] == [id_of(kept)]


def test_what_a_worker_or_this_library_watches_promises_nothing() -> None:
    """A worker has heartbeats of its own; a task of ours may outlive the process that began it."""
    spans = OpenSpans(10.0, FixedClock())
    of_worker = {**THIRD_PARTY, "worker_id": 3}
    own = {"event_type": "task_started"}
    spans.start(open_span(), of_worker)
    spans.start(open_span(), own)
    assert "beat_ms" not in of_worker
    assert "beat_ms" not in own


def test_many_spans_share_events() -> None:
    """One event holds 400 ids, which is what fits into the size of an event."""
    clock = FixedClock()
    spans = OpenSpans(10.0, clock)
    held = [open_span() for _ in range(401)]
    for span in held:
        spans.start(span, dict(THIRD_PARTY))
    clock.now = 10.0
    assert [len(event["spans"]) for event in spans.heartbeats()] == [400, 1]
