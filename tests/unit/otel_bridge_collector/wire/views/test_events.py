"""The models of the views of events and of search."""

from __future__ import annotations

from otel_bridge_collector.wire.views.events import EventRow

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType


def test_a_row_holds_the_event_as_it_travels() -> None:
    """What the event leaves out because it is None, the row leaves out too."""
    event = MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED, task_id="j1")
    row = EventRow(k="1-0", event=event)
    assert row.model_dump_json(exclude_none=True).count("null") == 0
    assert row.event.task_id == "j1"
