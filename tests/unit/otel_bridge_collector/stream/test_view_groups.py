"""Groups of equal subscriptions: how many there may be, and what each shows."""

from __future__ import annotations

from typing import Literal

import pytest
from otel_bridge_collector.stream import view_groups
from otel_bridge_collector.stream.frames import payloads
from otel_bridge_collector.stream.shared_message import SharedMessage
from otel_bridge_collector.stream.view_groups import ViewGroups, ViewsCounters
from otel_bridge_collector.views.catalog import Query, parse_query
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.wire.views.params import EventsParams

from tests.support.faults import FakeClock


class Stage:
    """Groups over a state that the test writes."""

    def __init__(self) -> None:
        self.counters = ViewsCounters()
        self.total = 1
        self.rows = 0
        self.clock = FakeClock()
        self.error: Exception | None = None
        self.groups = ViewGroups(
            refresh=lambda: None, window=self._window, counters=self.counters, clock=self.clock
        )

    def _window(self, query: Query, scope: Scope) -> Window:
        del query, scope
        if self.error is not None:
            raise self.error
        keys = range(max(0, self.rows - 60), self.rows)
        return Window({"total": self.total}, {str(key): b'{"k":"%d"}' % key for key in keys})


def text(message: SharedMessage | None) -> bytes:
    assert message is not None, "nothing is known yet"
    return payloads(message.frame(is_deflated=False))[0]


def test_equal_queries_of_one_scope_are_one_group() -> None:
    """Another scope makes another group; a closed one is made anew with a new number."""
    groups = Stage().groups
    query = parse_query("queues", {})
    first = groups.open(query, None)
    assert groups.open(parse_query("queues", {"count": 60}), None) is first
    assert groups.open(query, frozenset({"p"})) is not first
    groups.close(first)
    assert groups.open(query, None).number == 3
    assert len(groups) == len(list(groups)) == 2


def test_room_for_new_groups_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that is there has room for ever."""
    monkeypatch.setattr(view_groups, "MAX_GROUPS", 1)
    groups = Stage().groups
    query = parse_query("queues", {})
    groups.open(query, None)
    assert groups.has_room(query, None)
    assert not groups.has_room(parse_query("workers", {}), None)


def test_a_change_is_made_once_and_the_whole_when_it_is_asked_for() -> None:
    """What has not changed makes nothing; the whole is kept until something changes."""
    stage = Stage()
    group = stage.groups.open(parse_query("queues", {}), None)
    assert stage.groups.compute(group) is None
    assert stage.groups.whole(group) is stage.groups.whole(group)
    stage.total = 2
    change = stage.groups.compute(group)
    assert change is not None
    assert b'"v":2' in text(change)
    assert b'"v":2' in text(stage.groups.whole(group))
    assert stage.counters.changes == 1


def test_of_many_events_the_newest_come() -> None:
    """At most 20 at once, twice a second, and alone, so that no row is missing between them."""
    stage = Stage()
    stage.rows = 60
    group = stage.groups.open(Query("events", EventsParams()), None)
    stage.rows = 1000
    stage.clock.advance(0.4)
    assert stage.groups.compute(group) is None
    stage.clock.advance(0.1)
    assert stage.groups.compute(group) is not None
    assert group.shown is not None
    assert list(group.shown.rows) == [str(key) for key in range(980, 1000)]


@pytest.mark.parametrize("why", ["unknown", "evicted"])
def test_a_group_that_shows_nothing_says_why(why: Literal["unknown", "evicted"]) -> None:
    """An error later does not change the reason, nor what a working group shows."""
    stage = Stage()
    stage.error = GoneError(why)
    group = stage.groups.open(parse_query("queues", {}), None)
    stage.error = RuntimeError("broken")
    stage.groups.compute(group)
    assert f'"why":"{why}"'.encode() in text(stage.groups.whole(group))
    stage.error = None
    stage.groups.compute(group)
    stage.error = RuntimeError("broken")
    stage.groups.compute(group)
    assert b'"t":"full"' in text(stage.groups.whole(group))
    assert stage.counters.errors == 2
