"""``MonitoringEvent``: what it accepts, what it defaults to, and its JSON."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.model import (
    STATS_EVENT_TYPES,
    MonitoringEvent,
    MonitoringEventType,
    TaskStatus,
)

TEXT = st.text(max_size=300)
ID = st.text(max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ID, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.builds(
    MonitoringEvent,
    ts=st.datetimes(
        min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
    ),
    event_type=st.sampled_from(MonitoringEventType),
    project_id=st.none() | ID,
    parent_task_id=st.none() | ID,
    task_id=st.none() | ID,
    worker_id=st.none() | st.integers(0, 1000) | ID,
    retry_count=st.none() | st.integers(0, 9),
    status=st.none() | st.sampled_from(TaskStatus),
    duration_ms=st.none() | st.integers(0, 2**53),
    counts=st.none() | st.dictionaries(ID, st.integers(-(2**53), 2**53), max_size=4),
    message=st.none() | TEXT,
    error=st.none() | TEXT,
    meta=st.none() | st.dictionaries(ID, JSON, max_size=5),
    trace_id=st.none() | st.just("0af7651916cd43dd8448eb211c80319c"),
    span_id=st.none() | st.just("b7ad6b7169203331"),
    queue=st.none() | ID | st.dictionaries(ID, st.integers(0, 9), max_size=3),
    incarnation=st.none() | ID,
    run_id=st.none() | ID,
    span_kind=st.none() | st.just("SERVER"),
    remote_parent=st.none() | st.booleans(),
    ended_by=st.none() | ID,
    beat_ms=st.none() | st.integers(0, 9000),
    name=st.none() | TEXT,
    error_key=st.none() | ID,
    stack=st.none() | st.booleans(),
    stack_of=st.none() | ID,
    reason=st.none() | ID,
    progress=st.none() | st.just({"done": 3, "total": None}),
    spans=st.none() | st.lists(ID, max_size=3),
)
STARTED = MonitoringEventType.TASK_STARTED


@given(EVENTS)
def test_json_is_what_pydantic_writes(event: MonitoringEvent) -> None:
    """The fast encoder and pydantic write the same bytes."""
    expected = event.model_dump_json(exclude_none=True).encode()
    assert event.to_json(10_000_000) == expected


@given(EVENTS)
def test_json_is_read_back_as_the_same_event(event: MonitoringEvent) -> None:
    """JSON loses nothing of an event."""
    assert MonitoringEvent.model_validate_json(event.to_json(10_000_000)) == event


@given(EVENTS, st.integers(1024, 4096))
def test_truncated_json_is_still_an_event(event: MonitoringEvent, max_bytes: int) -> None:
    """JSON that was truncated to its bound validates, and keeps the event's identity."""
    data = event.to_json(max_bytes)
    assert len(data) <= max_bytes
    read = MonitoringEvent.model_validate_json(data)
    assert (read.event_id, read.ts, read.event_type) == (event.event_id, event.ts, event.event_type)


def test_the_default_bound_is_8192_bytes() -> None:
    """Without an argument JSON has at most 8,192 bytes, and ids beyond that are an error."""
    event = MonitoringEvent(event_type=STARTED, message="x" * 20_000)
    assert 8192 - 24 <= len(event.to_json()) <= 8192
    with pytest.raises(EventTooLargeError):
        event.model_copy(update={"task_id": "x" * 9000}).to_json()


def test_event_types_and_statuses_are_those_on_the_wire() -> None:
    """The texts of types and statuses are a contract with every publisher and reader."""
    assert [str(kind) for kind in MonitoringEventType] == [
        "worker_started",
        "worker_heartbeat",
        "worker_stopped",
        "task_enqueued",
        "task_started",
        "task_progress",
        "task_retry",
        "task_completed",
        "task_failed",
        "task_stalled",
        "phase_started",
        "phase_completed",
        "queue_depth_update",
        "stats_snapshot",
        "span_started",
        "span_updated",
        "span_ended",
        "span_beats",
    ]
    assert [str(status) for status in TaskStatus] == [
        "pending",
        "processing",
        "completed",
        "failed",
        "retrying",
    ]
    assert {"queue_depth_update", "stats_snapshot"} == STATS_EVENT_TYPES


def test_plain_text_is_a_type_and_a_status() -> None:
    """A caller may write ``event_type="task_started"``; the event holds the enum's member."""
    event = MonitoringEvent(event_type="task_started", status="processing")
    assert event.event_type is MonitoringEventType.TASK_STARTED
    assert event.status is TaskStatus.PROCESSING


def test_the_text_of_a_newer_release_is_kept() -> None:
    """A type and a status that this release does not know are read as text and sent again."""
    event = MonitoringEvent.model_validate({"event_type": "new_type", "status": "new_status"})
    assert (event.event_type, event.status) == ("new_type", "new_status")
    written = json.loads(event.to_json())
    assert (written["event_type"], written["status"]) == ("new_type", "new_status")


def test_an_event_needs_its_type_only() -> None:
    """Id and time default to new ones, everything else to None, and None is not in the JSON."""
    before = datetime.now(UTC)
    event = MonitoringEvent(event_type=STARTED)
    assert before <= event.ts <= datetime.now(UTC)
    assert list(json.loads(event.to_json())) == ["event_id", "ts", "event_type"]
    with pytest.raises(ValidationError):
        MonitoringEvent.model_validate({})


def test_ids_are_random_uuids() -> None:
    """Each event gets a version 4 UUID of its own."""
    ids = [uuid.UUID(MonitoringEvent(event_type=STARTED).event_id) for _ in range(10)]
    assert {identifier.version for identifier in ids} == {4}
    assert len(set(ids)) == 10


def test_a_duration_is_sent_as_a_whole_number() -> None:
    """Fractions of a millisecond are read and cut off when sent, in JSON as in the fields."""
    event = MonitoringEvent.model_validate_json('{"event_type":"task_failed","duration_ms":12.9}')
    assert event.duration_ms == 12.9
    assert (event.to_fields()["duration_ms"], json.loads(event.to_json())["duration_ms"]) == (
        12,
        12,
    )


def test_queue_is_a_name_or_depths_by_name() -> None:
    """Both spellings of ``queue`` that publishers send are read and sent as they came."""
    for queue in ("high", {"high": 3, "low": None}):
        event = MonitoringEvent.model_validate({"event_type": "stats_snapshot", "queue": queue})
        assert json.loads(event.to_json())["queue"] == queue


def test_fields_are_in_model_order_without_none() -> None:
    """``to_fields`` is the input of the encoder: model order, no None, ``ts`` as text."""
    event = MonitoringEvent(
        message="m", event_type=STARTED, event_id="1", ts=datetime(2026, 5, 1, tzinfo=UTC)
    )
    assert list(event.to_fields().items()) == [
        ("event_id", "1"),
        ("ts", "2026-05-01T00:00:00.000000Z"),
        ("event_type", "task_started"),
        ("message", "m"),
    ]


def test_a_time_in_another_zone_is_written_in_utc() -> None:
    """``ts`` is UTC with six decimals, whatever its time zone was."""
    event = MonitoringEvent(
        event_type=STARTED, ts=datetime(2026, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    )
    assert json.loads(event.to_json())["ts"] == "2026-05-01T10:00:00.000000Z"


def test_unknown_fields_are_ignored() -> None:
    """An event of a newer publisher is read without the fields that this release lacks."""
    read = MonitoringEvent.model_validate({"event_type": "task_started", "colour": "red"})
    assert not hasattr(read, "colour")


def test_an_event_cannot_be_changed() -> None:
    """Events are frozen: one event may be shared by many readers."""
    with pytest.raises(ValidationError, match="frozen"):
        MonitoringEvent(event_type=STARTED).task_id = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_type": 1},
        {"ts": "2026-05-01T10:00:00"},
        {"status": 1},
        {"retry_count": -1},
        {"duration_ms": -0.5},
        {"duration_ms": "NaN"},
        {"counts": {"total": "many"}},
        {"trace_id": "0AF7651916CD43DD8448EB211C80319C"},
        {"trace_id": "0af7651916cd43dd8448eb211c80319"},
        {"span_id": "b7ad6b71692033310"},
        {"parent_span_id": "x" * 16},
    ],
)
def test_an_invalid_value_is_rejected(wrong: dict[str, Any]) -> None:
    """External publishers cannot bring a value that a reader would not expect."""
    with pytest.raises(ValidationError):
        MonitoringEvent.model_validate({"event_type": "task_started", **wrong})


def test_times_are_in_utc_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own time zone changes neither the time of a new event nor its JSON."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        event = MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED)
        written = json.loads(event.to_json())["ts"]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert event.ts.tzinfo is UTC
    assert written == event.ts.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
