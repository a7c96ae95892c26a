"""The event's JSON: parity of the fast path with the model, and the bound on its size."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.encoding import MIN_EVENT_SIZE_BYTES, encode_event
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus

TEXT = st.text(max_size=3000)
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
    duration_ms=st.none() | st.floats(0, 1e12),
    counts=st.none() | st.dictionaries(ID, st.integers(-(2**53), 2**53), max_size=4),
    message=st.none() | TEXT,
    error=st.none() | TEXT,
    meta=st.none() | st.dictionaries(ID, JSON, max_size=5),
    trace_id=st.none() | st.just("0af7651916cd43dd8448eb211c80319c"),
    span_id=st.none() | st.just("b7ad6b7169203331"),
)


def utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


@given(EVENTS)
def test_json_is_what_pydantic_writes(event: MonitoringEvent) -> None:
    """The fast encoder and the model's own write the same bytes."""
    expected = event.model_dump_json(exclude_none=True).encode()
    assert event.to_json(10_000_000) == expected


@given(EVENTS)
def test_json_is_read_back_as_the_same_event(event: MonitoringEvent) -> None:
    """Nothing is lost on the way through JSON."""
    assert MonitoringEvent.model_validate_json(event.to_json(10_000_000)) == event


@given(EVENTS, st.integers(MIN_EVENT_SIZE_BYTES, 8192))
def test_json_never_exceeds_its_bound(event: MonitoringEvent, max_bytes: int) -> None:
    """Whatever the texts, the JSON has at most that many bytes, is valid and keeps the ids."""
    data = event.to_json(max_bytes)
    assert len(data) <= max_bytes
    read = MonitoringEvent.model_validate_json(data)
    kept = ("event_id", "ts", "event_type", "project_id", "parent_task_id", "task_id", "worker_id")
    assert [getattr(read, name) for name in kept] == [getattr(event, name) for name in kept]
    is_cut = read != event
    assert is_cut == (len(event.to_json(10_000_000)) > max_bytes)
    if is_cut:
        assert read.meta is not None
        assert read.meta["truncated"] is True


@pytest.mark.parametrize("char", ["x", "é", "€", "😀", "\x00", '"', "\\", "\n", "\u2028"])
def test_a_long_text_keeps_most_of_its_room(char: str) -> None:
    """Cutting wastes little, whatever a character costs in JSON."""
    event = MonitoringEvent(event_type=MonitoringEventType.TASK_FAILED, error=char * 20_000)
    data = event.to_json(2048)
    assert 2048 - 24 <= len(data) <= 2048
    error = json.loads(data)["error"]
    assert error.endswith("…")
    assert set(error[:-1]) == {char}


def test_short_texts_stay_whole_beside_a_long_one() -> None:
    """One length for all texts: only what is longer is cut."""
    event = MonitoringEvent(
        event_type=MonitoringEventType.TASK_FAILED,
        message="searching",
        error="x" * 9000,
        meta={"title": "Private Schools GA", "pages": [1, 2, 3]},
    )
    read = MonitoringEvent.model_validate_json(event.to_json(1024))
    assert read.message == "searching"
    assert read.meta == {"title": "Private Schools GA", "pages": [1, 2, 3], "truncated": True}


def test_meta_gives_way_before_the_ids() -> None:
    """A ``meta`` too bulky to cut keeps what the dashboard knows, and loses the rest."""
    event = MonitoringEvent(
        event_type=MonitoringEventType.TASK_STARTED,
        task_id="t1",
        meta={"title": "Schools", "domain": "schools", "rows": list(range(5000))},
    )
    read = MonitoringEvent.model_validate_json(event.to_json(1024))
    assert read.meta == {"title": "Schools", "domain": "schools", "truncated": True}


def test_counts_give_way_last() -> None:
    """Counts are dropped only when nothing else is left to drop."""
    event = MonitoringEvent(
        event_type=MonitoringEventType.QUEUE_DEPTH_UPDATE,
        counts={f"queue-{number}": number for number in range(500)},
    )
    read = MonitoringEvent.model_validate_json(event.to_json(1024))
    assert (read.counts, read.meta) == (None, {"truncated": True})


def test_ids_alone_over_the_bound_are_an_error() -> None:
    """An event that identifies nothing when cut is refused, with its size and the cure."""
    event = MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED, task_id="x" * 3000)
    with pytest.raises(EventTooLargeError, match="MONITORING_MAX_EVENT_SIZE_BYTES"):
        event.to_json(1024)


class Opaque:
    def __str__(self) -> str:
        return "opaque"


RING: dict[str, Any] = {}
RING["self"] = RING


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ("half \ud800 a pair", "half ? a pair"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (Opaque(), "opaque"),
        ({1: "x"}, {"1": "x"}),
        ({"a"}, ["a"]),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
    ],
)
def test_what_json_does_not_know_becomes_text_or_null(value: Any, expected: Any) -> None:
    """No value in ``meta`` can make an event unsendable."""
    event = MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED, meta={"value": value})
    assert json.loads(event.to_json())["meta"] == {"value": expected}


def test_a_meta_that_holds_itself_is_cut_off() -> None:
    """Endless nesting ends."""
    event = MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED).model_copy(
        update={"meta": RING}
    )
    assert b"\xe2\x80\xa6" in event.to_json()


def test_a_time_in_another_zone_is_written_in_utc() -> None:
    """``ts`` is UTC with six decimals, wherever it came from."""
    event = MonitoringEvent(
        event_type=MonitoringEventType.TASK_STARTED,
        ts=datetime(2026, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=2))),
    )
    assert json.loads(event.to_json())["ts"] == "2026-05-01T10:00:00.000000Z"


def test_ids_are_random_uuids() -> None:
    """Each event gets a version 4 UUID of its own."""
    ids = [
        uuid.UUID(MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED).event_id)
        for _ in range(10)
    ]
    assert {identifier.version for identifier in ids} == {4}
    assert len(set(ids)) == 10


def test_encoding_fields_leaves_them_alone() -> None:
    """Cutting works on a copy."""
    fields = {"event_id": "1", "event_type": "task_failed", "error": "x" * 5000, "meta": {"a": "b"}}
    before = json.dumps(fields)
    encode_event(fields, 1024)
    assert json.dumps(fields) == before
