"""Decoding the bytes of one event; any bytes may come."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.log.decoding import (
    UnreadableEventError,
    decode_entries,
    decode_entry,
)

from otel_bridge.publish.transports.base import LogEntry, splice_position

GOOD = b'{"event_id":"x","ts":"2026-11-24T12:00:00Z","event_type":"task_started","task_id":"j"}'


def test_an_event_of_the_log_keeps_its_bytes() -> None:
    """A readable event of the log reaches the clients byte for byte."""
    data = splice_position("e:1", GOOD)
    event, entry = decode_entry(data, "e:1", 8192)
    assert (data, "e:1", "task_started", "j") == (
        entry.data,
        entry.position,
        entry.event_type,
        event.task_id,
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not an event"),
        (b"[" * 5000, "not JSON"),
        (b'{"event_type":"task_started","meta":' + b'{"a":' * 1000, "not JSON"),
        (b'{"event_type":"nonsense"}', "not an event"),
        (b'{"event_type":"task_started","retry_count":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"event_type":"task_started","meta":{"a":NaN}}', "not JSON"),
        (b'{"event_type":"task_started","message":"\xff"}', "not JSON"),
        (b'{"event_type":"task_started","ts":"9999-12-31T23:59:59Z"}', "not an event"),
        (b'{"event_type":"task_started","ts":"1969-01-01T00:00:00Z"}', "not an event"),
        (b'{"event_type":"task_started","message":"' + b"x" * 9000 + b'"}', "oversized"),
        (b'{"position":"f:7","event_type":"task_started"}', "not an event"),
    ],
)
def test_unreadable_bytes_have_a_reason(data: bytes, reason: str) -> None:
    """Each kind of unreadable bytes raises ``UnreadableEventError`` with its reason."""
    with pytest.raises(UnreadableEventError, match=reason):
        decode_entry(data, None, 8192)


def test_an_event_with_a_second_position_is_unreadable() -> None:
    """An event cannot contain a position that a browser would take instead of the log's."""
    data = splice_position("e:1", b'{"event_type":"task_started","position":"e:999"}')
    with pytest.raises(UnreadableEventError, match="not an event"):
        decode_entry(data, "e:1", 8192)


def test_an_external_event_is_completed() -> None:
    """An external event gets the id that its publisher left out, and loses unknown fields."""
    event, entry = decode_entry(b'{"event_type":"task_started","extra":1}', None, 8192)
    assert event.event_id.encode() in entry.data
    assert b"extra" not in entry.data


def test_unreadable_entries_of_a_page_are_left_out() -> None:
    """``decode_entries`` gives the readable entries in order."""
    raw = [
        LogEntry(position, splice_position(position, data))
        for position, data in (("e:1", GOOD), ("e:2", b'{"event_type":"nonsense"}'), ("e:3", GOOD))
    ]
    assert [entry.position for entry in decode_entries(raw, 8192)] == ["e:1", "e:3"]


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_decoded_or_unreadable(data: bytes) -> None:
    """No bytes raise anything but ``UnreadableEventError``."""
    with contextlib.suppress(UnreadableEventError):
        decode_entry(data, None, 8192)
