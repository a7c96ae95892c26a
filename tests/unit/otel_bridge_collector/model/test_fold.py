"""The fold by property and by recorded log: any order and any repetition give one state."""

from __future__ import annotations

import os
import random
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from otel_bridge_collector.model.events import STATUS_NAMES, Event
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.keys import is_row
from otel_bridge_collector.model.reading.projects import project_of
from otel_bridge_collector.model.runs import runs_of
from otel_bridge_collector.model.shape.faces import is_request
from otel_bridge_collector.model.tasks import names_task

from tests.support.histories import (
    TRACE,
    digest,
    event,
    fold,
    fold_every_way,
    history,
    moment,
    recount_differences,
    span,
)
from tests.support.model_snapshot import expected_facts, fold_lines, shown_facts

HISTORIES: Final = int(os.environ.get("MODEL_HISTORIES", "150"))
"""More of them for a long run: 5,000 take about two minutes of one core."""
JUDGED_AFTER: Final = (20, 45, 100, 200, 400, 1000, 2000)

many = settings(
    max_examples=HISTORIES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@many
@given(seed=st.integers(0, 2**32), judged=st.sampled_from(JUDGED_AFTER))
def test_any_order_gives_one_state(seed: int, judged: int) -> None:
    """A history backwards, shuffled and half repeated, with and without event ids, is one state."""
    events = history(seed)
    model = fold(events, judged)
    expected = digest(model)
    assert recount_differences(model) == []
    chooser = random.Random(seed)
    for way in range(3):
        order = list(events)
        if way == 0:
            order.reverse()
        else:
            chooser.shuffle(order)
            order += chooser.sample(events, len(events) // 2)
        limits = Limits(event_ids=1) if way == 2 else None
        sweeps = [chooser.randrange(len(order) + 1) for _ in range(way)]
        other = fold(order, judged, limits=limits, sweeps=sweeps)
        assert digest(other) == expected
        assert recount_differences(other) == []


def _without_span(one: Event, number: int) -> Event:
    """The same as a coordinator's own raw event beside our spans."""
    ids = ("span_id", "parent_span_id", "trace_id", "incarnation", "run_id", "beat_ms")
    return replace(one, event_id=f"raw-{number}", **dict.fromkeys(ids))


def _counted(model: Fold) -> dict[str, object]:
    """What people see of jobs and workers, without messages and the counts that phases report."""
    found: dict[str, object] = {}
    for task in model.tasks.by_id.values():
        if model.tasks.is_shown(task):
            card = model.cards.card(task)
            groups = model.failures.of_task.get(task, {})
            nodes = [node for node, _ in model.rows.nodes(task) if is_row(node)]
            found[task.id] = (
                (task.agg[:6], task.retries, card.status, card.completed, card.failed),
                {cause: group.count for cause, group in groups.items()},
                [(node.key, model.rows.state(node, card.ended)) for node in nodes],
                {
                    job.id: [list(run.numbers.values()) for run in runs_of(job)]
                    for job in task.jobs.values()
                },
            )
    for worker in model.workers.by_id.values():
        if worker.completed or worker.failed:
            status = model.workers.status(worker, model.liveness.now)
            found[f"worker {worker.id}"] = worker.completed, worker.failed, status
    return found


@many
@given(seed=st.integers(0, 2**32))
def test_raw_events_beside_spans_change_nothing(seed: int) -> None:
    """A coordinator that publishes events of its own for what also comes as spans counts once."""
    events = [
        one
        for one in history(seed, is_evictable=True)
        if one.event_type not in ("task_stalled", "stats_snapshot")
        and not (one.event_type.startswith("phase") and one.span_id is None)
    ]
    raw = [
        _without_span(one, number)
        for number, one in enumerate(events)
        if one.parent_task_id is not None
        and names_task(one)
        and one.event_type.startswith(("task", "phase", "worker"))
        and one.span_kind is None
        and one.ended_by is None
    ]
    both = [*events, *raw]
    random.Random(seed).shuffle(both)
    assert _counted(fold(both, 20)) == _counted(fold(events, 20))


@many
@given(seed=st.integers(0, 2**32), judged=st.sampled_from(JUDGED_AFTER))
def test_requests_cut_anywhere_give_one_state(seed: int, judged: int) -> None:
    """The same spans in one request or in many, each reported children first, are one state."""
    events = history(seed)
    chooser = random.Random(seed)
    expected = digest(fold(events, judged))
    pieces = []
    left = list(events)
    while left:
        size = chooser.randrange(1, 12)
        pieces.append(left[:size][::-1])
        left = left[size:]
    assert digest(fold([one for piece in pieces for one in piece], judged)) == expected


# Not after 300 s of silence: whether a job that is nested in another keeps that one alive is known
# only while both are held.
@many
@given(seed=st.integers(0, 2**32), judged=st.sampled_from(JUDGED_AFTER[:4]))
@example(seed=2441998, judged=200)
@example(seed=546086, judged=100)
@example(seed=546246, judged=100)
def test_eviction_keeps_counts_and_statuses(seed: int, judged: int) -> None:
    """Whatever leaves a task that goes on, its counts are those of a model that held all."""
    events = history(seed, is_evictable=True)
    whole = fold(events, judged)
    chooser = random.Random(seed)
    for way in range(3):
        order = list(events)
        if way:
            chooser.shuffle(order)
            order += chooser.sample(events, len(events) // 2)
        small = fold(
            order, judged, limits=Limits(nodes_per_task=chooser.choice((3, 6, 12)), event_ids=1)
        )
        for task_id, task in whole.tasks.by_id.items():
            held = small.tasks.by_id[task_id]
            assert held.agg[:6] == task.agg[:6]
            assert held.retries == task.retries
            if task.is_named or not any(map(is_request, task.spans)):
                # A request's card is that of a job which may have left.
                assert small.cards.status(held) == whole.cards.status(task)
            counts = {
                cause: group.count for cause, group in whole.failures.of_task.get(task, {}).items()
            }
            kept = small.failures.of_task.get(held, {})
            assert {cause: group.count for cause, group in kept.items()} == counts


def test_a_late_start_still_names_the_worker_of_its_queue() -> None:
    """Of a job that is no longer held, a late start still says which worker serves its queue."""
    own = {"parent_task_id": "t", "queue": "q"}
    busy = {"parent_task_id": "t", "task_id": "busy", "worker_id": "w", "queue": "other"}
    ends = [event(n, "task_completed", **own, task_id=f"j{n}", span_id=span(n)) for n in (1, 2, 3)]
    story = [
        *ends,
        event(4, "task_enqueued", **own, task_id="waits", span_id=span(4)),
        event(5, "task_started", **busy, span_id=span(5)),
        event(0, "task_started", **own, task_id="j2", span_id=span(2), worker_id="w"),
        *(event(seconds, "queue_depth_update", counts={"q": 0}) for seconds in (10, 20)),
    ]
    for limits in (Limits(), Limits(nodes_per_task=2)):
        model = fold(story, 100, limits=limits)
        task = model.tasks.by_id["t"]
        assert ("j2" in task.jobs) is (limits.nodes_per_task > 2)
        assert STATUS_NAMES[task.jobs["waits"].st] == "pending"


@pytest.mark.parametrize(
    "name", ["absolute_counts", "endings", "own_traces", "phase_names", "running_task"]
)
def test_recorded_logs(name: str) -> None:
    """Each recorded log gives the facts of the snapshot that is kept beside it."""
    lines, now, expected = expected_facts(name)
    assert shown_facts(fold_lines(lines, now)) == expected


def test_repeated_event_is_known() -> None:
    """An event whose id was folded is refused, and its id is known."""
    model = Fold()
    one = event(0, "task_started", parent_task_id="t", task_id="j")
    assert model.apply(one, moment(0))
    assert not model.apply(one, moment(1))
    assert model.knows(one.event_id)
    assert not model.knows("another")


def test_ids_are_forgotten_in_two_generations() -> None:
    """Of 200 remembered ids the newest hundred are always known."""
    model = Fold(Limits(event_ids=200))
    events = [event(0, "unknown_type") for _ in range(301)]
    for one in events:
        model.apply(one, moment(0))
    assert all(model.knows(one.event_id) for one in events[-100:])
    assert not model.knows(events[0].event_id)
    assert model.skipped == 301


def test_unknown_type_changes_nothing() -> None:
    """An event of a type that this version does not know is counted, and folded by nothing."""
    model = fold(
        [event(0, "worker_started", worker_id="w"), event(1, "job_frozen", worker_id="w")], 5
    )
    assert model.skipped == 1
    assert model.stats.events_in == 2
    assert model.workers.by_id["w"].incarnations["None:None@?"].seen == moment(0)


def test_project_of_an_event_is_its_tasks() -> None:
    """An event without project belongs to the project of its task, and to none if that is mixed."""
    model = Fold()
    job = {"parent_task_id": "t", "task_id": "j"}
    first = event(0, "task_started", **job)
    model.apply(first, moment(0))
    assert project_of(model.task) is None
    named = event(1, "phase_started", parent_task_id="t", phase="a", project_id="p")
    model.apply(named, moment(1))
    last = event(2, "task_completed", **job)
    model.apply(last, moment(2))
    assert model.task is model.tasks.by_id["t"]
    assert project_of(model.task) == "p"
    model.apply(event(3, "task_retry", **job, project_id="q"), moment(3))
    again = event(4, "task_completed", **job)
    model.apply(again, moment(4))
    assert project_of(model.task) is None


def test_dirty_names_changed_tasks() -> None:
    """After an event its task is dirty; a card that only time changes becomes dirty in a sweep."""
    model = Fold()
    model.apply(event(0, "task_enqueued", parent_task_id="t", task_id="j"), moment(0))
    model.sweep(moment(1))
    task = model.tasks.by_id["t"]
    assert task in model.dirty
    model.dirty.clear()
    model.sweep(moment(30))
    assert model.dirty == set()
    model.sweep(moment(61))
    assert model.dirty == {task}


def test_spans_of_another_request_join_their_task() -> None:
    """Spans reported before their task was named join it, with their phase, within its project."""
    loose = {"parent_task_id": TRACE, "trace_id": TRACE, "project_id": "p"}
    inner = {**loose, "task_id": "x", "span_id": span(3), "parent_span_id": span(2)}
    outer = {**loose, "phase": "planner", "span_id": span(2), "parent_span_id": span(1)}
    named = {"parent_task_id": "t", "project_id": "p", "trace_id": TRACE, "span_id": span(1)}
    story = [
        event(1, "task_started", **inner),
        event(2, "task_completed", **inner),
        event(1, "phase_started", **outer),
        event(0, "task_started", task_id="j", **named),
    ]
    model = fold_every_way(story, 9)
    assert sorted(model.tasks.by_id["t"].jobs) == ["j", "x"]
    assert model.tree.nodes[2].agg is not None
    assert model.tree.nodes[2].agg[:6] == [0, 0, 0, 1, 0, 0]
    other = {**inner, "project_id": "q", "parent_span_id": span(1)}
    story[:3] = [event(1, "task_started", **other), event(2, "task_completed", **other)]
    model = fold_every_way(story, 9)
    assert sorted(model.tasks.by_id["t"].jobs) == ["j"]
    assert sorted(model.tasks.by_id[TRACE].jobs) == ["x"]


def test_span_beats_keep_open_spans_alive() -> None:
    """Heartbeats of spans count for each by its id, also when they come before its start."""
    job = {"parent_task_id": "t", "task_id": "j", "span_id": span(1)}
    story = [
        event(0, "task_started", **job, beat_ms=5000),
        event(20, "span_beats", spans=[span(1), span(2), "no id"]),
    ]
    model = fold_every_way(story, 30)
    assert model.tasks.by_id["t"].agg[:6] == [0, 1, 0, 0, 0, 0]
    model = fold_every_way(story, 36)
    assert model.tasks.by_id["t"].agg[:6] == [0, 0, 0, 0, 0, 1]


ID: Final = {"trace_id": TRACE, "parent_task_id": "t"}
CHANGES: Final = {
    "a node comes": ([event(1, "span_started", **ID, span_id=span(9))], [9]),
    "a job comes": ([event(1, "task_started", **ID, task_id="k", span_id=span(9))], [9]),
    "a start is corrected": (
        [event(7, "task_completed", **ID, task_id="j", span_id=span(4), duration_ms=6500.0)],
        [3, 4],
    ),
    "a waiting job starts": (
        [event(3, "task_started", **ID, task_id="w", span_id=span(9), parent_span_id=span(5))],
        [5, 9],
    ),
    "a parent is named": (
        [event(3, "span_updated", **ID, span_id=span(6), parent_span_id=span(2))],
        [6],
    ),
    "a parent comes": (
        [event(1, "span_started", **ID, span_id=span(8), parent_span_id=span(2))],
        [7, 8],
    ),
    "a phase reports numbers": (
        [event(3, "stats_snapshot", **ID, phase="p", span_id=span(2), counts={"total": 3})],
        [2],
    ),
    "a span has a heartbeat": ([event(3, "span_beats", spans=[span(6)])], [6]),
    "a node leaves for another task": (
        [event(3, "span_updated", trace_id=TRACE, parent_task_id="a", span_id=span(6))],
        [6],
    ),
    "nothing of it": ([event(3, "task_started", parent_task_id="u", task_id="u")], []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_is_reported_to_a_reader_of_the_tree(name: str) -> None:
    """The nodes of a task that an event changed, and no others; of a job all of its nodes."""
    model = fold(
        [
            event(0, "task_started", **ID, task_id="t", span_id=span(1)),
            event(0, "phase_started", **ID, phase="p", span_id=span(2), parent_span_id=span(1)),
            event(1, "task_enqueued", **ID, task_id="j", span_id=span(3), parent_span_id=span(2)),
            event(2, "task_started", **ID, task_id="j", span_id=span(4), parent_span_id=span(3)),
            event(1, "task_enqueued", **ID, task_id="w", span_id=span(5), parent_span_id=span(2)),
            event(1, "span_started", **ID, span_id=span(6), parent_span_id=span(9999)),
            event(1, "span_started", **ID, span_id=span(7), parent_span_id=span(8)),
        ],
        10,
    )
    task = model.tasks.by_id["t"]
    events, expected = CHANGES[name]
    assert task.changes is None
    changes = task.changes = set()
    for one in events:
        model.apply(one, moment(11))
    assert {node.key for node in changes} == set(expected)


def test_a_verdict_on_a_job_is_reported_to_a_reader_of_the_tree() -> None:
    """Time alone makes it: the sweep of a lost worker reports each of its jobs."""
    common = {"worker_id": 1, "incarnation": "a" * 16}
    model = fold(
        [
            event(0, "worker_heartbeat", **common),
            event(1, "task_started", **ID, task_id="j", span_id=span(4), **common),
        ],
        10,
    )
    changes = model.tasks.by_id["t"].changes = set()
    model.sweep(moment(20))
    assert changes == set()
    model.sweep(moment(60))
    assert {node.key for node in changes} == {4}
