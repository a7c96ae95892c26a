"""Heartbeats of open spans: one event for many, none for no span."""

from __future__ import annotations

from otel_bridge.events.encoding import DEFAULT_MAX_EVENT_SIZE_BYTES, encode_event
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.span_heartbeats import span_heartbeats

NOW_NS = 1_790_000_000_000_000_000


def test_projects_and_many_spans_are_events_of_their_own() -> None:
    """Readers of one project see its spans only, and each event is within its limit."""
    alive = [*((number, "a") for number in range(1, 902)), (999, None)]
    events = span_heartbeats(alive, NOW_NS)
    assert [(one.get("project_id"), len(one["spans"])) for one in events] == [
        ("a", 400),
        ("a", 400),
        ("a", 101),
        (None, 1),
    ]
    assert events[-1]["spans"] == ["00000000000003e7"]
    assert len({one["event_id"] for one in events}) == 4
    for one in events:
        assert MonitoringEvent.model_validate(one).event_type == "span_beats"
        assert len(encode_event(one, 1_000_000)) < DEFAULT_MAX_EVENT_SIZE_BYTES


def test_without_spans_there_is_no_event() -> None:
    """A program in which nothing is open sends nothing."""
    assert span_heartbeats([], NOW_NS) == []
