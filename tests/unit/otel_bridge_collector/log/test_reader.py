"""Reading one event of a stranger's bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.log.decoding import UnreadableEventError, decode_entry

from otel_bridge.publish.transports.base import splice_position

GOOD = b'{"event_id":"x","ts":"2026-11-24T12:00:00Z","event_type":"task_started","task_id":"j"}'


def test_bytes_pass_as_they_are() -> None:
    """A readable event reaches the clients byte for byte."""
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
def test_unreadable_bytes_say_why(data: bytes, reason: str) -> None:
    """Each kind of nonsense is one error with its reason."""
    with pytest.raises(UnreadableEventError, match=reason):
        decode_entry(data, None, 8192)


def test_second_position_is_refused() -> None:
    """An event cannot bring a position that would win over the log's in a browser."""
    data = splice_position("e:1", b'{"event_type":"task_started","position":"e:999"}')
    with pytest.raises(UnreadableEventError, match="not an event"):
        decode_entry(data, "e:1", 8192)


def test_strangers_event_is_completed() -> None:
    """An adopted event gets the id and time that its publisher left out."""
    event, entry = decode_entry(b'{"event_type":"task_started","extra":1}', None, 8192)
    assert event.event_id.encode() in entry.data
    assert b"extra" not in entry.data


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No bytes raise anything else."""
    with contextlib.suppress(UnreadableEventError):
        decode_entry(data, None, 8192)
