"""Of the snapshots of an open span only what is new is an event; the others are heartbeats."""

from __future__ import annotations

from otel_bridge_collector.otlp.snapshots import Known, Snapshots

SECOND = 1_000_000_000


class Clock:
    """Monotonic time that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


def beats(snapshots: Snapshots) -> list[tuple[str | None, int]]:
    found = snapshots.heartbeats(SECOND)
    snapshots.confirm()
    return [(event.project_id, len(event.spans or ())) for event in found]


def test_a_repeat_is_a_heartbeat_of_its_project() -> None:
    """Spans of two projects are two events, because each reader sees its own project only."""
    snapshots = Snapshots(Clock())
    for span_id in range(1, 11):
        snapshots.note((7, span_id), 1, "alpha" if span_id < 4 else None)
    snapshots.confirm()
    assert all(snapshots.is_repeat((7, span_id), 1) for span_id in range(1, 11))
    assert not snapshots.is_repeat((7, 1), 2)
    assert beats(snapshots) == [("alpha", 3), (None, 7)]


def test_heartbeats_wait_for_a_second() -> None:
    """A sender of many small requests gives one event a second; none of its spans is lost."""
    clock = Clock()
    snapshots = Snapshots(clock)
    for span_id in (1, 2):
        snapshots.note((7, span_id), 1, None)
    snapshots.confirm()
    snapshots.is_repeat((7, 1), 1)
    assert beats(snapshots) == [(None, 1)]
    snapshots.is_repeat((7, 1), 1)
    assert (beats(snapshots), snapshots.has_heartbeats) == ([], True)
    clock.now = 1.0
    snapshots.is_repeat((7, 2), 1)
    assert beats(snapshots) == [(None, 2)]
    assert (beats(snapshots), snapshots.has_heartbeats) == ([], False)


def test_heartbeats_are_returned_once() -> None:
    """Whether or not the log takes them: later they would revive a span that was killed."""
    snapshots = Snapshots(Clock())
    snapshots.hear((7, 1), "alpha")
    assert len(snapshots.heartbeats(SECOND)) == 1
    assert snapshots.heartbeats(SECOND) == []
    snapshots.hear((7, 1), "alpha")
    assert snapshots.heartbeats(SECOND) == []
    assert len(snapshots.heartbeats(SECOND, is_due=True)) == 1


def test_ten_thousand_heartbeats_are_25_events() -> None:
    """Of 400 ids each, which is within the size of an event; all ids are in them."""
    snapshots = Snapshots(Clock())
    for span_id in range(1, 10_001):
        snapshots.hear((7, span_id), "alpha")
    events = snapshots.heartbeats(SECOND)
    assert [len(event.spans or ()) for event in events] == [400] * 25
    assert len({span_id for event in events for span_id in event.spans or ()}) == 10_000
    assert max(len(event.to_json()) for event in events) <= 8192


def test_what_was_not_confirmed_is_new_again() -> None:
    """A request that the log did not take is sent again, and must not count as repeated."""
    snapshots = Snapshots(Clock())
    snapshots.note((7, 1), 1, None)
    assert not snapshots.is_repeat((7, 1), 1)
    snapshots.confirm()
    assert snapshots.is_repeat((7, 1), 1)


def test_what_an_unconfirmed_request_said_is_forgotten() -> None:
    """The next request must not confirm it."""
    snapshots = Snapshots(Clock())
    snapshots.note((7, 1), 1, None)
    snapshots.begin()
    snapshots.note((7, 2), 1, None, "task_started")
    snapshots.confirm()
    assert snapshots.last((7, 1)) is None
    assert snapshots.last((7, 2)) == Known(1, None, "task_started")


def test_a_span_that_ended_has_no_heartbeat() -> None:
    """Its last heartbeats are dropped, and a late snapshot is new."""
    snapshots = Snapshots(Clock())
    snapshots.note((7, 1), 1, None)
    snapshots.confirm()
    snapshots.is_repeat((7, 1), 1)
    snapshots.end((7, 1))
    assert beats(snapshots) == []
    assert not snapshots.is_repeat((7, 1), 1)
