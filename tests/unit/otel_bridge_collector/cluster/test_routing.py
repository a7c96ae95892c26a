"""Events of random histories, routed into 24 states, make what one fold makes of them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from otel_bridge_collector.cluster.known import Spans
from otel_bridge_collector.cluster.partitions import PARTITIONS, partition_of
from otel_bridge_collector.cluster.routing import EVERY, NOWHERE, Router, forget
from otel_bridge_collector.log.late_projects import LateProjects
from otel_bridge_collector.model.events import (
    FACTS,
    STALLED,
    STATUS_NAMES,
    Event,
    microseconds,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import project_of, project_of_past
from otel_bridge_collector.stream.ring import Entry, ReplayRing

from tests.support.histories import (
    START,
    TRACE,
    disagreeing,
    event,
    fold,
    history,
    moment,
    span,
)
from tests.support.partitioned import RoutedEvents, encoded, shown_of

HISTORIES: Final = int(os.environ.get("ROUTED_HISTORIES", "12"))
many = settings(
    max_examples=HISTORIES,
    deadline=None,
    # The same histories in each run; others where a number of them is given.
    derandomize="ROUTED_HISTORIES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@many
@given(seed=st.integers(0, 2**32), judged=st.sampled_from((20, 100, 400, 2000)))
def test_routed_events_make_what_one_fold_makes(seed: int, judged: int) -> None:
    """Every task, job and span is in one of 24 states, as one fold shows it, in any order."""
    events = history(seed)
    expected = shown_of([fold(events, judged)])
    chooser = random.Random(seed)
    for is_shuffled in (False, True):
        if is_shuffled:
            chooser.shuffle(events)
        routed = RoutedEvents()
        routed.add([*events, *chooser.sample(events, len(events) // 4)])
        routed.judge(moment(judged))
        assert shown_of(routed.models.values()) == expected


@many
@given(seed=st.integers(0, 2**32))
def test_workers_and_statistics_add_up(seed: int) -> None:
    """Sums over the states are the numbers of one fold: events, ended jobs, attempts by worker."""
    events = history(seed)
    one = fold(events, 400)
    routed = RoutedEvents()
    routed.add(events)
    routed.judge(moment(400))
    models = list(routed.models.values())
    assert sum(model.stats.events_in for model in models) == one.stats.events_in
    for key, worker in one.workers.by_id.items():
        known = [model.workers.by_id[key] for model in models if key in model.workers.by_id]
        assert sum(each.completed for each in known) == worker.completed
        assert sum(each.failed for each in known) == worker.failed
        statuses = {
            model.workers.status(model.workers.by_id[key], model.liveness.now)
            for model in models
            if key in model.workers.by_id
        }
        assert statuses == {one.workers.status(worker, one.liveness.now)}
    for name, queue in one.queues.by_name.items():
        held = [model.queues.by_name[name] for model in models if name in model.queues.by_name]
        for line in ("pending", "lost", "running"):
            ids = {(job.task.id, job.id) for each in held for job in getattr(each, line)}
            assert ids == {(job.task.id, job.id) for job in getattr(queue, line)}
        assert {each.depth for each in held} == {queue.depth}


def _given_to_raw_clients(events: list[Event]) -> list[tuple[str | None, str | None]]:
    """What one collector's reader gives: each event's position and project, at the end."""
    model, ring = Fold(), ReplayRing("e:0", 20_000)
    late = LateProjects(ring, model.tasks)
    for number, one in enumerate(events, 1):
        if model.apply(one, microseconds(one.ts)):
            project = one.project_id or project_of(model.task)
            entry = Entry(f"e:{number}", encoded(one, f"e:{number}"), one.event_type, project)
            ring.append(entry)
            late.note(entry, model.task, one.trace_id)
    return [(entry.position, entry.project_id) for entry in ring.after_index(0)]


def _is_known(one: Event) -> bool:
    """Heartbeats of spans whose publisher knows no project belong to no task outside the fold."""
    return one.event_type != "span_beats" or one.project_id is not None


LOOSE: Final = {"trace_id": TRACE, "span_id": span(1)}
HELD: Final = st.sampled_from((range(PARTITIONS), range(0, PARTITIONS, 2), ()))


def _events_of(seed: int, *, is_bad: bool, is_shuffled: bool) -> list[Event]:
    events = [one for one in history(seed) if _is_known(one)]
    if is_bad:
        events = disagreeing(events, seed)
    if is_shuffled:
        random.Random(seed).shuffle(events)
    return events


@many
@given(seed=st.integers(0, 2**32), held=HELD, is_bad=st.booleans(), is_shuffled=st.booleans())
def test_raw_clients_get_the_same_from_each_member(
    seed: int, held: Sequence[int], is_bad: bool, is_shuffled: bool
) -> None:
    """Of each event a member knows the project that one collector knows, whatever it holds."""
    events = _events_of(seed, is_bad=is_bad, is_shuffled=is_shuffled)
    routed = RoutedEvents(held)
    routed.add(events)
    found = [(entry.position, entry.project_id) for entry in routed.ring.after_index(0)]
    assert found == _given_to_raw_clients(events)


@many
@given(seed=st.integers(0, 2**32), held=HELD, is_bad=st.booleans(), is_shuffled=st.booleans())
def test_clients_that_resume_get_the_same_from_each_member(
    seed: int, held: Sequence[int], is_bad: bool, is_shuffled: bool
) -> None:
    """Of an event of the log a member knows the project that one collector knows at the end."""
    events = _events_of(seed, is_bad=is_bad, is_shuffled=is_shuffled)
    model, routed = fold(events), RoutedEvents(held)
    routed.add(events)
    for one in events:
        if one.event_type in FACTS:
            ids = one.parent_task_id, one.trace_id, one.span_id
            expected = project_of_past(model.tasks, model.tree.nodes, *ids)
            assert routed.router.project_of_past(*ids) == expected


@many
@given(
    seed=st.integers(0, 2**32),
    bounds=st.sampled_from(((5, 50_000), (20_000, 4), (10, 4))),
    is_bad=st.booleans(),
)
def test_what_a_member_may_have_forgotten_is_withheld(
    seed: int, bounds: tuple[int, int], is_bad: bool
) -> None:
    """With a ring, or places, of a few events it says what one collector says, or no project."""
    ring_events, max_recent = bounds
    model, routed = Fold(), RoutedEvents((), ring_events)
    routed.router.tasks.spans = Spans(max_recent)
    for one in _events_of(seed, is_bad=is_bad, is_shuffled=False):
        model.apply(one, microseconds(one.ts))
        routed.add([one])
        assert project_of(routed.router.task) in (project_of(model.task), None)


@pytest.mark.parametrize(("ring_events", "project"), [(20_000, "q"), (3, None)])
def test_a_second_task_makes_earlier_spans_of_a_trace_count(
    ring_events: int, project: str | None
) -> None:
    """A span that named a task before the trace had two is that one's, or no limited reader's."""
    routed = RoutedEvents((), ring_events)
    of_v = {"trace_id": TRACE, "parent_task_id": "v", "task_id": "j", "span_id": span(1)}
    other = [event(2, "task_started", parent_task_id="w", task_id=f"j{n}") for n in range(5)]
    routed.add([event(1, "task_started", **of_v, project_id="q"), *other])
    of_u = {"trace_id": TRACE, "parent_task_id": "u", "task_id": "k", "span_id": span(2)}
    routed.add([event(3, "task_started", **of_u, project_id="p")])
    routed.add([event(4, "span_started", trace_id=TRACE, span_id=span(3), project_id="p")])
    routed.add([event(5, "span_updated", **LOOSE)])
    assert project_of(routed.router.task) == project


@many
@given(seed=st.integers(0, 2**32), held=st.sets(st.integers(0, PARTITIONS - 1)))
def test_two_members_hold_together_what_one_fold_has(seed: int, held: set[int]) -> None:
    """What one member does not hold the other does, also of groups that move between them."""
    events = history(seed)
    members = [RoutedEvents(held), RoutedEvents(set(range(PARTITIONS)) - held)]
    for one in members:
        one.add(events)
        one.states.sweep(moment(100))
    for one, other in (members, members[::-1]):
        one.states.set_peer_facts(other.states.facts())
    for one in members:
        one.judge(moment(100))
    models = [model for one in members for model in one.models.values()]
    assert shown_of(models) == shown_of([fold(events, 100)])


@pytest.mark.parametrize("ring_events", [20_000, 3])
def test_a_trace_moves_with_its_first_events(ring_events: int) -> None:
    """What was known by its trace alone leaves its state; if memory lacks it, the log is read."""
    routed = RoutedEvents(ring_events=ring_events)
    other = [event(2, "task_started", parent_task_id="u", task_id=f"j{n}") for n in range(5)]
    named = event(3, "task_started", trace_id=TRACE, parent_task_id="t", task_id="j")
    routed.add([event(1, "span_started", **LOOSE), *other])
    former = routed.states.held[partition_of(TRACE)].model
    assert TRACE in former.tasks.by_id
    routed.add([named])
    assert TRACE not in former.tasks.by_id
    counters = routed.router.counters
    model = routed.states.held[partition_of("t")].model
    if ring_events == 3:
        assert [move.position for move in routed.router.late_moves] == ["e:0"]
        assert (counters.moves, counters.moves_from_log) == (1, 1)
    else:
        assert set(model.tree.nodes) == {1}
        assert (counters.moves, counters.moves_from_log) == (1, 0)


def test_events_of_workers_and_queues_are_folded_by_every_state_and_counted_once() -> None:
    """Each state knows the worker; of the statistics only one counts its event."""
    routed = RoutedEvents()
    routed.add(
        [
            event(1, "worker_heartbeat", worker_id="w"),
            event(1, "queue_depth_update", counts={"q": 3}),
            event(1, "stats_snapshot", counts={"q": 3}),
        ]
    )
    models = routed.models.values()
    assert all("w" in model.workers.by_id and "q" in model.queues.by_name for model in models)
    assert sum(model.stats.events_in for model in models) == 2
    assert routed.router.counters.folded == 2 * PARTITIONS
    places = ("worker_started", EVERY), ("span_beats", EVERY), ("stats_snapshot", NOWHERE)
    assert all(routed.router.place(event(2, kind)) == place for kind, place in places)


def test_a_repeat_is_left_out() -> None:
    """An event with the id of an earlier one changes nothing, in any partition."""
    one = event(1, "task_started", parent_task_id="t", task_id="j")
    ring = ReplayRing("e:0", 10)
    router = Router(RoutedEvents(()).states, ring)
    assert not router.knows(one.event_id)
    assert router.admit([one.event_id]) is None
    router.fold(one, microseconds(START))
    assert router.admit(["other", one.event_id, "other"]) == [True, False, False]
    assert router.knows(one.event_id)
    assert (router.stats.events_in, router.counters.folded) == (2, 0)


def test_a_state_that_is_filled_meets_an_event_once() -> None:
    """Whether it is read back before it comes live, or after that."""
    one = event(1, "task_started", parent_task_id="t", task_id="j")
    other = event(2, "task_completed", parent_task_id="t", task_id="j")
    routed = RoutedEvents(())
    state = routed.states.open(partition_of("t"))
    assert state.model.apply(one, microseconds(START))
    for each in (one, other):
        assert routed.router.admit([each.event_id]) is None
        routed.router.fold(each, microseconds(START))
    assert not state.model.apply(other, microseconds(START))
    assert state.model.stats.events_in == 2


EMPTIED: Final[list[dict[str, Any]]] = [
    {"event_type": "task_enqueued", "parent_task_id": "t", "task_id": "waits", "queue": "q"},
    {"event_type": "task_started", "parent_task_id": "u", "task_id": "runs", "queue": "q"},
]


@pytest.mark.parametrize("case", ["runs here", "runs at a peer", "the peer is silent", "nothing"])
def test_an_emptied_queue_stalls_nothing_while_one_of_its_jobs_may_run(case: str) -> None:
    """Jobs wait on while one of their queue runs in any partition, or may run in an unknown one."""
    waits, runs = (event(0, **fields) for fields in EMPTIED)
    assert partition_of("t") != partition_of("u")
    reports = [event(at, "queue_depth_update", counts={"q": 0}) for at in (70, 80)]
    mine, peer = RoutedEvents(), RoutedEvents()
    mine.add([waits, *([runs] if case == "runs here" else ()), *reports])
    peer.add([runs])
    peer.judge(moment(90))
    facts = {"runs at a peer": peer.states.facts(), "the peer is silent": None}
    if case in facts:
        mine.states.set_peer_facts(facts[case])
    mine.judge(moment(300))
    job = mine.models[partition_of("t")].tasks.by_id["t"].jobs["waits"]
    assert STATUS_NAMES[job.st] == ("stalled" if case == "nothing" else "pending")
    mine.states.set_peer_facts(RoutedEvents().states.facts())
    mine.states.is_whole = False
    mine.judge(moment(301))
    assert job.st != STALLED


def test_heartbeats_stay_with_a_span_that_comes_back() -> None:
    """A state that forgets a span keeps its heartbeats, which name no task, for its return."""
    routed = RoutedEvents()
    routed.add(
        [event(1, "span_started", **LOOSE), event(5, "span_beats", spans=[LOOSE["span_id"]])]
    )
    state = routed.states.held[partition_of(TRACE)]
    forget(state, [TRACE])
    assert not state.model.tree.nodes
    state.apply_moved(event(1, "span_started", **LOOSE), moment(1))
    more = state.model.tree.nodes[1].more
    assert more is not None
    assert (more.word, more.seen) == (moment(5), moment(5))
