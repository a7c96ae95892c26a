"""States by partition: what they hold, their limits, and the parts of views that they give."""

from __future__ import annotations

from otel_bridge_collector.cluster.partitions import PARTITIONS, partition_of
from otel_bridge_collector.cluster.states import States
from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.views.catalog import CATALOG, parse_query

from tests.support.histories import event, moment
from tests.support.partitioned import RoutedEvents


def jobs(count: int) -> RoutedEvents:
    """One running job in each of so many tasks."""
    routed = RoutedEvents()
    routed.add(event(1, "task_started", parent_task_id=f"t{n}", task_id="j") for n in range(count))
    routed.states.refresh(moment(2))
    return routed


def test_a_view_is_merged_from_parts_of_states() -> None:
    """Of a list each state that is asked for and ready has a part; the rest is left out."""
    routed = jobs(50)
    query = parse_query("tasks", {"count": 200})
    parts = routed.states.parts(query, None, range(PARTITIONS))
    assert len(parts) == PARTITIONS
    assert len(CATALOG["tasks"].merge(parts, query.params).rows) == 50
    routed.states.held[3].is_ready = False
    routed.states.drop(4)
    assert len(routed.states.parts(query, None, range(5))) == 3
    assert routed.states.dropped == 1


def test_a_view_of_one_task_has_the_part_of_its_state() -> None:
    """States that do not know a task have no part of it; none at all means that it is gone."""
    routed = jobs(5)
    known, unknown = (parse_query("strip", {"task": name}) for name in ("t1", "other"))
    assert len(routed.states.parts(known, None, range(PARTITIONS))) == 1
    assert len(routed.states.parts(known, None, [partition_of("t1")])) == 1
    assert routed.states.parts(unknown, None, range(PARTITIONS)) == []


def test_events_have_one_part_of_the_ring() -> None:
    """The ring has the events of all partitions, so each member has one part of their view."""
    routed = jobs(5)
    query = parse_query("events", {})
    (part,) = routed.states.parts(query, None, [])
    assert len(CATALOG["events"].merge([part], query.params).rows) == 5


def test_a_state_is_not_shown_before_it_is_ready() -> None:
    """What is being rebuilt is held and not ready; opening it again gives the same state."""
    states = States()
    state = states.open(7)
    assert states.open(7) is state
    assert (set(states.held), states.ready()) == ({7}, frozenset())
    state.is_ready = True
    assert states.ready() == {7}


def test_a_state_shows_all_that_it_has_once_it_is_ready() -> None:
    """A view that is computed right after has its tasks, without another refresh."""
    states = States()
    state = states.open(7)
    for number in range(3):
        one = event(number, "task_started", parent_task_id=f"t{number}", task_id="j")
        state.model.apply(one, moment(number))
    states.finish(state, moment(9))
    for view, total in (("tasks", 3), ("overview", 3)):
        query = parse_query(view, {})
        shown = CATALOG[view].merge(states.parts(query, None, [7]), query.params)
        counts = shown.head["tasks"] if view == "overview" else {"all": shown.head["total"]}
        assert sum(counts.values()) == total


def test_limits_are_shared_by_what_is_held() -> None:
    """One large partition may use what the others leave free; together they keep the limit."""
    states = States(limits=Limits(tasks=240))
    for number in range(PARTITIONS):
        states.open(number).is_ready = True
    state = states.held[0]
    second = 0
    for number in range(400):
        one = event(number, "task_completed", parent_task_id=f"t{number}", task_id=f"t{number}")
        state.model.apply(one, moment(number))
        if number % 10 == 0:
            second += 1
            states.refresh(moment(second))
    held = [len(each.model.tasks.by_id) for each in states.held.values()]
    assert 200 < held[0] <= 1.25 * 240
    assert sum(held) == held[0]


def test_a_worker_with_a_slow_clock_is_not_lost_to_a_state_that_was_read_back() -> None:
    """Its heartbeat was received live by another state, long after the time that it says."""
    states = States()
    ready, filled = states.open(0), states.open(1)
    ready.is_ready = True
    beat = event(0, "worker_heartbeat", worker_id="w", incarnation="a" * 16)
    runs = event(0, "task_started", parent_task_id="t", task_id="j", worker_id="w")
    ready.model.apply(beat, moment(95))
    for one in (beat, runs):
        filled.model.apply(one, moment(0))
    states.finish(filled, moment(100))
    assert filled.is_ready
    assert STATUS_NAMES[filled.model.tasks.by_id["t"].jobs["j"].st] == "processing"
