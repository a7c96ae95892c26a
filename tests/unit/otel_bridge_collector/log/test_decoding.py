"""Decoding the bytes of one event; any bytes may come."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.log.decoding import (
    UnreadableEventError,
    decode_entries,
    decode_entry,
    decode_for_fold,
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
        (b'{"event_type":7}', "not an event"),
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
    """An external event gets the id that its publisher left out, and keeps unknown fields."""
    event, entry = decode_entry(b'{"extra":[1],"event_type":"new_type"}', None, 8192)
    sent = json.loads(entry.data)
    assert list(sent) == ["event_id", "ts", "event_type", "extra"]
    assert (sent["event_id"], sent["event_type"], sent["extra"]) == (
        event.event_id,
        "new_type",
        [1],
    )


def test_secrets_of_an_external_event_are_masked() -> None:
    """What an external publisher sends is masked like our own events, unknown fields included."""
    event = {
        "event_type": "queue_depth_update",
        "queue": {"amqp://u:hunter2@host/q": 3},
        "counts": {"amqp://u:hunter2@host/q": 3},
        "task_type": "call https://h/a?token=hunter2",
        "error": "password=hunter2",
        "meta": {"api_key": "hunter2", "title": "redis://u:hunter2@db"},
        "extra": {"note": ["password=hunter2"]},
        "task_id": "id:hunter2",
    }
    for position_less in (decode_entry, decode_for_fold):
        _, decoded = position_less(json.dumps(event).encode(), None, 8192)
        data = decoded if isinstance(decoded, bytes) else decoded.data
        read = json.loads(data)
        assert read.pop("task_id") == "id:hunter2"
        assert "hunter2" not in json.dumps(read)
        assert read["queue"] == read["counts"] == {"amqp://u:[redacted]@host/q": 3}
        assert read["extra"] == {"note": ["password=[redacted]"]}


def test_unreadable_entries_of_a_page_are_left_out() -> None:
    """``decode_entries`` gives the readable entries in order."""
    raw = [
        LogEntry(position, splice_position(position, data))
        for position, data in (("e:1", GOOD), ("e:2", b'{"event_type":7}'), ("e:3", GOOD))
    ]
    assert [entry.position for entry in decode_entries(raw, 8192)] == ["e:1", "e:3"]


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_decoded_or_unreadable(data: bytes) -> None:
    """No bytes raise anything but ``UnreadableEventError``."""
    with contextlib.suppress(UnreadableEventError):
        decode_entry(data, None, 8192)


def padded(size: int) -> bytes:
    """An event of exactly this many bytes."""
    return GOOD[:-1] + b',"message":"' + b"x" * (size - len(GOOD) - 13) + b'"}'


def test_the_limit_leaves_room_for_the_position() -> None:
    """Beyond the limit an event may be 128 bytes longer, for its position; not one more."""
    assert decode_entry(splice_position("e:1", padded(1024)), "e:1", 1024)[1].position == "e:1"
    for size, is_readable in [(1024 + 128, True), (1024 + 129, False)]:
        data = splice_position("e:1", padded(size - 17))
        assert len(data) == size
        with contextlib.nullcontext() if is_readable else pytest.raises(UnreadableEventError):
            decode_entry(data, "e:1", 1024)


def test_an_entry_routes_by_the_events_own_fields() -> None:
    """Filters see the type, project, research task and job of the event."""
    data = b'{"event_type":"task_failed","project_id":"p","parent_task_id":"t","task_id":"j"}'
    entry = decode_entry(data, None, 8192)[1]
    assert (entry.position, entry.event_type) == (None, "task_failed")
    assert (entry.project_id, entry.parent_task_id, entry.task_id) == ("p", "t", "j")


def test_an_external_event_of_the_limit_is_kept_whole() -> None:
    """An external event within the limit keeps its texts; over it they are truncated."""
    whole = padded(1100)
    assert decode_entry(whole, None, 8192)[0].message == "x" * (1100 - len(GOOD) - 13)
    event = json.loads(decode_entry(padded(1100), None, 1024)[1].data)
    assert event["meta"] == {"truncated": True}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_a_browser_cannot_parse_is_unreadable(word: str) -> None:
    """A number that JSON does not have is no JSON; the same word in a text is."""
    with pytest.raises(UnreadableEventError, match="not JSON"):
        decode_entry(b'{"event_type":"task_started","meta":{"a":%s}}' % word.encode(), None, 8192)
    text = b'{"event_type":"task_started","message":"%s"}' % word.encode()
    assert decode_entry(text, None, 8192)[0].message == word


def test_times_from_1970_to_the_end_of_9998_are_readable() -> None:
    """The first moment of 1970 and the last of 9998 are times of events."""
    for text, is_readable in [
        ("1970-01-01T00:00:00Z", True),
        ("1969-12-31T23:59:59.999999Z", False),
        ("9998-12-31T23:59:59.999999Z", True),
        ("9999-01-01T00:00:00Z", False),
    ]:
        data = b'{"event_type":"task_started","ts":"%s"}' % text.encode()
        with contextlib.nullcontext() if is_readable else pytest.raises(UnreadableEventError):
            decode_entry(data, None, 8192)


def test_ids_that_cannot_be_shortened_make_an_external_event_oversized() -> None:
    """An external event whose ids alone exceed the limit is ``oversized``."""
    data = b'{"event_type":"task_started","task_id":"%s"}' % (b"x" * 1000)
    with pytest.raises(UnreadableEventError, match="oversized"):
        decode_entry(data, None, 1024)


def test_a_page_keeps_each_entry_with_its_decoded_form() -> None:
    """``decode_entries`` pairs nothing but readable entries, within the limit."""
    raw = [LogEntry("e:1", splice_position("e:1", GOOD)), LogEntry("e:2", b"x" * 5000)]
    (entry,) = decode_entries(raw, 1024)
    assert (entry.position, entry.task_id) == ("e:1", "j")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * 9000, "oversized"),
        (b'{"event_type":"task_started","task_id":"%s"}' % (b"x" * 8190), "oversized"),
        (b"{", "not JSON"),
        (b"{}", "not an event"),
        (b'{"event_type":"task_started","position":"e:1"}', "not an event"),
    ],
)
def test_a_reason_is_one_of_three(data: bytes, reason: str) -> None:
    """The text of the error is the reason and nothing else, as counters and logs group by it."""
    with pytest.raises(UnreadableEventError) as raised:
        decode_entry(data, None, 8192)
    assert str(raised.value) == reason


def test_a_resumed_event_has_the_project_of_its_task() -> None:
    """An event read back has its own project, else the one that its task is known to have."""
    other = GOOD[:-1] + b',"project_id":"own","parent_task_id":"t"}'
    entries = [
        LogEntry(position, splice_position(position, data))
        for position, data in (("e:1", GOOD[:-1] + b',"parent_task_id":"t"}'), ("e:2", other))
    ]
    found = decode_entries(
        entries, 8192, lambda task_id, *ids: {"t": "of the task"}.get(task_id or "")
    )
    assert [entry.project_id for entry in found] == ["of the task", "own"]


def test_the_fold_reads_what_clients_get() -> None:
    """The fold's event is that of the bytes, and an external event is encoded again for both."""
    data = splice_position("e:1", GOOD)
    event, sent = decode_for_fold(data, "e:1", 8192)
    assert (sent, event.position, event.task_id) == (data, "e:1", "j")
    event, sent = decode_for_fold(b'{"event_type":"task_started","task_id":"j"}', None, 8192)
    assert json.loads(sent)["event_id"] == event.event_id
    for unreadable in (splice_position("e:2", GOOD), b"x" * 9000):
        with pytest.raises(UnreadableEventError):
            decode_for_fold(unreadable, "e:1", 8192)
