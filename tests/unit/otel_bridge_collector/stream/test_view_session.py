"""Whether a client keeps up, how fast it may ask, and what of its messages waits."""

from __future__ import annotations

from otel_bridge_collector.stream.view_session import ViewSession
from otel_bridge_collector.wire.close_codes import SLOW_CLIENT

from tests.support.sinks import RecordingSink


def session() -> tuple[ViewSession, RecordingSink]:
    sink = RecordingSink()
    return ViewSession(sink, None), sink


def test_a_client_that_reads_keeps_up() -> None:
    """Nothing waits in its socket, and its pong came."""
    client, sink = session()
    client.ping(10)
    client.note_pong(10.1)
    assert not client.is_behind(20, 100)
    assert sink.pings == 1


def test_a_full_socket_is_behind() -> None:
    """More than the limit waits for it."""
    client, sink = session()
    sink.is_stopped = True
    client.out.append(b"x" * 101)
    client.flush()
    assert client.is_behind(1, 100)
    sink.drain()
    assert not client.is_behind(1, 100)


def test_a_reader_behind_a_proxy_is_behind_without_a_pong() -> None:
    """The proxy takes all that is sent; only the client's pong shows that it reads."""
    client, sink = session()
    client.ping(10)
    assert not client.is_behind(12, 100)
    assert client.is_behind(12.1, 100)
    client.ping(13)
    assert sink.pings == 1, "one ping is out at a time"
    client.note_pong(13)
    assert not client.is_behind(20, 100)


def test_pings_are_a_second_apart() -> None:
    """However often the hub ticks."""
    client, sink = session()
    for tenth in range(100, 130):
        client.ping(tenth / 10)
        client.note_pong(tenth / 10)
    assert sink.pings == 3


def test_a_sink_that_cannot_ping_is_waited_for_in_no_way() -> None:
    """Under a server without pings only the socket says whether the client reads."""
    client, sink = session()
    sink.can_ping = False
    client.ping(10)
    assert not client.is_behind(99, 100)


def test_twenty_messages_a_second() -> None:
    """The twenty-first has to wait; in the next second there is room again."""
    client, _ = session()
    assert [client.may_do(5.5) for _ in range(21)] == [True] * 20 + [False]
    assert client.may_do(6.0)


def test_of_what_waits_the_latest_of_each_id_counts() -> None:
    """At most sixteen wait; a further id does not."""
    client, _ = session()
    for number in range(16):
        assert client.wait(number, "old")
    assert client.wait(3, "new")
    assert not client.wait(99, "more")
    assert (client.waiting[3], len(client.waiting)) == ("new", 16)


def test_the_frames_of_a_tick_are_one_write() -> None:
    """And none if there is nothing to write."""
    client, sink = session()
    client.flush()
    client.out += [b"a", b"b"]
    client.flush()
    client.flush()
    assert sink.writes == [b"ab"]


def test_close() -> None:
    """It closes its connection with the code."""
    client, sink = session()
    client.close(SLOW_CLIENT)
    assert sink.closed_with == SLOW_CLIENT
