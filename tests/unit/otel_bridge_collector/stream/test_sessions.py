"""``ClientSession``: what it writes, in which shape, and how long its client has read nothing."""

from __future__ import annotations

import pytest
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.stream.sessions import MAX_BATCH_EVENTS, ClientSession, text_frame
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from tests.support.sinks import RecordingSink


def read_frame(data: bytes) -> Frame:
    """Read one unmasked frame with the reader of the websockets library."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as stopped:
        next(parsing)
    found: Frame = stopped.value.value
    return found


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_frame_of_every_length_is_readable(size: int) -> None:
    """The websockets library reads a frame with each of RFC 6455's three length forms."""
    frame = read_frame(text_frame(b"x" * size))
    assert (Opcode.TEXT, True, size) == (frame.opcode, frame.fin, len(frame.data))


def entries(count: int) -> list[Entry]:
    """Events of two projects in turn, numbered from 1."""
    return [
        Entry(f"e:{n}", str(n).encode(), "task_started", project_id="pq"[n % 2])
        for n in range(1, count + 1)
    ]


def test_entries_are_one_write_of_one_message_each() -> None:
    """Without batches each entry that passes the filter is a message, all in one write."""
    sink = RecordingSink()
    session = ClientSession(sink, EventFilter(project_id="q"))
    assert session.send_entries(entries(6)) == 3
    assert (sink.messages(), len(sink.writes)) == ([1, 3, 5], 1)


def test_batched_entries_are_bounded_arrays() -> None:
    """With batches the entries are JSON arrays of at most ``MAX_BATCH_EVENTS`` events."""
    sink = RecordingSink()
    session = ClientSession(sink, ALL_EVENTS, batch_ms=50)
    assert session.send_entries(entries(MAX_BATCH_EVENTS + 1)) == MAX_BATCH_EVENTS + 1
    assert [len(array) for array in sink.messages()] == [MAX_BATCH_EVENTS, 1]


@pytest.mark.parametrize("batch_ms", [None, 50])
def test_no_matching_entry_writes_nothing(batch_ms: int | None) -> None:
    """Entries that do not pass the filter cause no write, not even of an empty array."""
    sink = RecordingSink()
    session = ClientSession(sink, EventFilter(project_id="other"), batch_ms=batch_ms)
    assert (session.send_entries(entries(3)), sink.writes) == (0, [])


def test_a_control_message_has_the_shape_of_the_events() -> None:
    """A control message is an array of one for a client that asked for batches."""
    plain, batched = RecordingSink(), RecordingSink()
    ClientSession(plain, ALL_EVENTS).send(b'{"type":"tick"}')
    ClientSession(batched, ALL_EVENTS, batch_ms=50).send(b'{"type":"tick"}')
    assert (plain.messages(), batched.messages()) == ([{"type": "tick"}], [[{"type": "tick"}]])


def test_time_without_progress_starts_again_with_each_byte_taken() -> None:
    """The time counts while bytes wait and none is taken, and is zero while none wait."""
    sink = RecordingSink()
    session = ClientSession(sink, ALL_EVENTS)
    assert session.sec_without_progress(100) == 0
    sink.is_stopped = True
    session.send(b"x" * 50)
    assert [session.sec_without_progress(now) for now in (101, 104)] == [1, 4]
    sink.drain(1)
    assert [session.sec_without_progress(now) for now in (105, 107)] == [0, 2]
    sink.drain()
    assert session.sec_without_progress(110) == 0
