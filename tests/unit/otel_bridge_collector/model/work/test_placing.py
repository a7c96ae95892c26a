"""``otel_bridge_collector.model.work.placing``: an event's node, and where the event puts it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import (
    ENQUEUE,
    JOB,
    PHASE,
    PROCESSING,
    SPAN,
    STALLED,
    TASK,
    Event,
)
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import (
    MAX_DEPTH,
    Job,
    Node,
)
from otel_bridge_collector.model.shape.containers import depth_of

from tests.support.histories import (
    TRACE,
    digest,
    event,
    fold,
    fold_every_way,
    moment,
    recount_differences,
    span,
)


def one(seconds: float, event_type: str, number: int | None = 1, **fields: Any) -> Event:
    """An event of task ``t``: of the span with this number, or of none; of a job by default."""
    if event_type.startswith("task"):
        fields = {"task_id": f"j{number}", **fields}
    if number is not None:
        fields = {"span_id": span(number), **fields}
    fields = {"parent_task_id": "t", **fields}
    return event(seconds, event_type, **fields)


def loose(seconds: float, event_type: str, number: int, **fields: Any) -> Event:
    """An event that knows only its trace."""
    fields = {"parent_task_id": TRACE, "trace_id": TRACE, **fields}
    return one(seconds, event_type, number, **fields)


def task_of(model: Fold, number: int = 1) -> str:
    """The task to which a span belongs."""
    return model.tree.nodes[number].own.task.id


def place_of(model: Fold, number: int = 1) -> object:
    """The container's key: a span's number, a virtual phase's name, or the task's id."""
    at = model.tree.nodes[number].up
    assert at is not None
    if isinstance(at, Node):
        return at.name if at.key is None else at.key
    return at.id


# --- the task -------------------------------------------------------------------------------------


def test_a_named_task_is_before_the_trace() -> None:
    """A span belongs to the task that an event of it named, though others know only its trace."""
    named = one(1, "task_completed", trace_id=TRACE)
    model = fold_every_way([loose(0, "task_started", 1), named], 9, ways=12)
    assert task_of(model) == "t"
    assert sorted(model.tasks.by_id["t"].jobs) == ["j1"]
    assert model.tasks.by_id[TRACE].agg[:6] == [0] * 6


def test_the_smaller_of_two_named_tasks() -> None:
    """Of two tasks that events of one span name, the smaller id has it, counts and all."""
    story = [
        one(0, "task_started", parent_task_id="b"),
        one(1, "task_failed", parent_task_id="a", error="E"),
    ]
    model = fold_every_way(story, 9, ways=12)
    assert task_of(model) == "a"
    assert [model.tasks.by_id[name].size for name in ("a", "b")] == [1, 0]
    assert [task.id for task in model.failures.of_task] == ["a"]


def test_a_trace_with_one_named_task_is_that_task() -> None:
    """What knows only its trace is the only named task's; with two tasks it is the parent's."""
    story = [
        one(0, "task_started", 1, trace_id=TRACE),
        loose(1, "task_started", 2),
        loose(1, "task_started", 3, parent_span_id=span(1)),
    ]
    model = fold_every_way(story, 9, ways=12)
    assert [task_of(model, number) for number in (1, 2, 3)] == ["t", "t", "t"]
    story.append(one(2, "task_started", 4, parent_task_id="u", trace_id=TRACE))
    model = fold_every_way(story, 9, ways=12)
    assert [task_of(model, number) for number in (1, 2, 3)] == ["t", TRACE, "t"]


def test_the_smaller_of_two_traces() -> None:
    """A span that was reported in two traces belongs to the smaller one, and to that one's task."""
    smaller = "aa" * 16
    story = [
        loose(0, "task_started", 1),
        loose(1, "task_completed", 1, parent_task_id=smaller, trace_id=smaller),
    ]
    for order in itertools.permutations(story):
        model = fold(order)
        assert task_of(model) == smaller
        model.apply(one(2, "task_started", 2, trace_id=smaller), moment(2))
        assert task_of(model) == "t"


def test_what_is_below_follows_to_another_task() -> None:
    """When a span's task becomes known all that is below it and names none moves along."""
    story = [
        loose(0, "phase_started", 1, phase="a"),
        *(
            loose(1, "task_started", number, parent_span_id=span(number - 1))
            for number in range(2, 6)
        ),
    ]
    model = fold(story)
    assert model.tasks.by_id[TRACE].agg[PROCESSING] == 4
    late = one(2, "phase_completed", 1, phase="a", parent_task_id="u")
    model.apply(late, moment(2))
    assert [task_of(model, number) for number in range(1, 6)] == ["u"] * 5
    assert model.tasks.by_id["u"].agg[PROCESSING] == 4
    assert model.tasks.by_id[TRACE].agg[PROCESSING] == 0
    assert recount_differences(model) == []


# --- kind, job and phase --------------------------------------------------------------------------


def test_the_greater_kind() -> None:
    """Of two kinds that open spans report the greater counts."""
    story = [
        one(0, "span_started"),
        one(1, "task_started", span_kind="PRODUCER"),
        one(2, "task_started"),
    ]
    model = fold_every_way(story[:2], 9, ways=12)
    assert model.tree.nodes[1].kind == ENQUEUE
    model = fold_every_way(story, 9, ways=12)
    assert model.tree.nodes[1].kind == JOB
    assert list(model.tasks.by_id["t"].spans) == []


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [
        ({"event_type": "phase_started", "phase": "a"}, {"event_type": "task_completed"}, JOB),
        ({"event_type": "task_started"}, {"event_type": "phase_completed", "phase": "a"}, PHASE),
        ({"event_type": "task_started"}, {"event_type": "span_ended"}, SPAN),
        ({"event_type": "task_started", "task_id": "t"}, {"event_type": "task_completed"}, JOB),
        ({"event_type": "task_started"}, {"event_type": "task_completed", "task_id": "t"}, TASK),
    ],
)
def test_the_kind_that_the_end_reports(
    start: dict[str, Any], end: dict[str, Any], kind: int
) -> None:
    """What the span's own end says of its kind counts, greater or not, in every order."""
    story = [
        one(0, **start),
        one(5, **end),
        one(1, "task_started", 2, parent_span_id=span(1)),
    ]
    model = fold_every_way(story, 9, ways=12)
    assert model.tree.nodes[1].kind == kind
    assert place_of(model, 2) == 1
    other = {**end, "ended_by": "other"}
    model = fold_every_way([story[0], one(5, **other)], 9, ways=12)
    assert model.tree.nodes[1].kind == max(kind, fold([story[0]]).tree.nodes[1].kind)


def test_a_job_that_is_an_agent_is_a_container() -> None:
    """A job that turns out to be a phase is a job no more, and its tools count in it."""
    story = [
        one(0, "task_started", 1),
        one(1, "task_completed", 2, parent_span_id=span(1)),
        one(5, "phase_completed", 1, phase="agent"),
    ]
    model = fold_every_way(story, 9, ways=12)
    task = model.tasks.by_id["t"]
    assert list(task.jobs) == ["j2"]
    assert [node.key for node in task.tops] == [1]
    assert task.agg[:6] == [0, 0, 0, 1, 0, 0]


def test_the_smaller_job_id_while_the_span_is_no_job() -> None:
    """Job ids that are known while the span is not a job decide once it is one."""
    story = [
        one(0, "task_started", 1, task_id="c"),
        one(1, "task_progress", 1, task_id="b"),
        one(2, "phase_started", 1, phase="p"),
        one(3, "task_completed", 1, task_id="d"),
    ]
    for order in itertools.permutations(story):
        assert list(fold(order, 9).tasks.by_id["t"].jobs) == ["b"]


def test_the_smaller_phase_of_a_job() -> None:
    """Of two phases that events of one job name, the smaller text counts, with spans or without."""
    for number in (1, None):
        story = [
            one(0, "task_started", number, task_id="j", phase="b"),
            one(1, "task_completed", number, task_id="j", phase="a"),
        ]
        model = fold_every_way(story, 9, ways=12)
        at = model.tasks.by_id["t"].jobs["j"].at
        assert isinstance(at, Node)
        assert at.name == "a"


def test_a_phase_names_only_what_is_in_none() -> None:
    """A job names its phase only where no phase is above it, known early or late."""
    story = [
        one(0, "phase_started", 1, phase="real"),
        one(1, "task_started", 2, parent_span_id=span(1)),
        one(2, "task_started", 3, parent_span_id=span(2), phase="named"),
    ]
    assert place_of(fold_every_way(story, 9, ways=12), 3) == 2
    assert place_of(fold_every_way(story[1:], 9, ways=12), 3) == "named"


# --- the parent, and how deep ---------------------------------------------------------------------


def test_a_parent_that_never_comes() -> None:
    """Children of a span that is never reported count in the task, each as a root."""
    story = [one(0, "task_started", number, parent_span_id=span(9)) for number in (1, 2)]
    model = fold_every_way(story, 9, ways=12)
    assert [place_of(model, number) for number in (1, 2)] == ["t", "t"]
    assert [model.tree.nodes[number].parent for number in (1, 2)] == [9, 9]


def test_a_span_below_another_tasks_span() -> None:
    """A span whose parent belongs to another task that it does not name counts in its own."""
    story = [
        one(0, "phase_started", 1, phase="a", parent_task_id="u"),
        one(1, "task_started", 2, parent_span_id=span(1)),
    ]
    model = fold_every_way(story, 9, ways=12)
    assert (task_of(model, 2), place_of(model, 2)) == ("t", "t")
    phase = model.tree.nodes[1]
    assert phase.agg is None or phase.agg[:6] == [0] * 6


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(1, 71)), bottom=st.integers(60, 70))
def test_a_chain_is_counted_to_depth_64(order: list[int], bottom: int) -> None:
    """A chain is nested as reported down to depth 64; what is deeper counts at its end."""
    model = fold(
        one(number, "task_started", number, parent_span_id=span(number - 1) if number > 1 else None)
        for number in order
        if number <= bottom
    )
    depths = [depth_of(model.tree.nodes[number]) for number in range(1, bottom + 1)]
    assert depths == [min(number, MAX_DEPTH + 1) for number in range(1, bottom + 1)]
    counted = [model.tree.nodes[number].agg for number in (1, MAX_DEPTH) if number <= bottom]
    below = [0 if agg is None else agg[PROCESSING] for agg in counted]
    assert below == [bottom - number for number in (1, MAX_DEPTH) if number <= bottom]
    assert recount_differences(model) == []


@settings(max_examples=60, deadline=None)
@given(
    parents=st.lists(st.integers(1, 8), min_size=8, max_size=8),
    order=st.permutations(range(8)),
)
def test_every_circle_has_one_top(parents: list[int], order: list[int]) -> None:
    """Whatever the parents, links never form a circle, and a circle's top is its smallest key."""
    story = [
        one(0, "phase_started", number, phase="p", parent_span_id=span(parent))
        for number, parent in enumerate(parents, 1)
    ]
    model = fold(story[index] for index in order)
    for number in range(1, 9):
        ring, at = [number], parents[number - 1]
        while at not in ring:
            ring.append(at)
            at = parents[at - 1]
        top = min(ring[ring.index(at) :])
        node = model.tree.nodes[number]
        for _ in range(9):
            if not isinstance(node.parent, Node):
                break
            node = node.parent
        assert (node.key, node.parent) == (top, parents[top - 1])


# --- publishers without spans ---------------------------------------------------------------------


def test_an_attempt_is_one_node() -> None:
    """Without span ids an attempt is known by its job, its number and whether it is a send."""
    story = [
        one(0, "task_enqueued", None, task_id="j"),
        one(1, "task_started", None, task_id="j"),
        one(2, "task_retry", None, task_id="j"),
        one(3, "task_started", None, task_id="j", retry_count=1),
        one(4, "task_completed", None, task_id="j", retry_count=1),
        one(5, "task_completed", None, task_id="k"),
    ]
    model = fold_every_way(story, 9, ways=12)
    nodes = sorted(
        (node.kind, node.attempt, node.start, node.end)
        for node in model.tasks.by_id["t"].jobs["j"].nodes()
    )
    assert nodes == [
        (ENQUEUE, 0, moment(0), 0),
        (JOB, 0, moment(1), moment(2)),
        (JOB, 1, moment(3), moment(4)),
    ]


def test_one_root_and_one_phase_without_spans() -> None:
    """Without span ids a task has one root, and one phase of each name."""
    story = [
        one(0, "task_started", None, task_id="t"),
        one(1, "phase_started", None, phase="a"),
        one(2, "phase_completed", None, phase="a"),
        one(3, "phase_started", None, phase="b"),
        one(4, "task_completed", None, task_id="t"),
    ]
    model = fold_every_way(story, 9, ways=12)
    task = model.tasks.by_id["t"]
    assert [(node.start, node.end) for node in task.roots] == [(moment(0), moment(4))]
    assert sorted((node.name, node.start, node.end) for node in task.tops) == [
        ("a", moment(1), moment(2)),
        ("b", moment(3), 0),
    ]


# --- heartbeats and what is no longer held --------------------------------------------------------


def test_heartbeats_wait_for_their_span() -> None:
    """The latest heartbeat of a span that is not known yet counts once it is."""
    beats = [event(at, "span_beats", spans=[span(1)]) for at in (40, 10, 25)]
    story = [*beats, one(0, "task_started", beat_ms=5000)]
    assert fold_every_way(story, 54, ways=12).tasks.by_id["t"].agg[PROCESSING] == 1
    model = fold_every_way(story, 56, ways=12)
    assert model.tasks.by_id["t"].agg[STALLED] == 1
    verdict = model.liveness.job_verdict(model.tasks.by_id["t"].jobs["j1"])
    assert verdict == ("heartbeat_lost", moment(40))


def test_a_late_event_of_what_is_not_held_makes_no_node() -> None:
    """An event of an evicted job, of a known span or a new one, makes neither node nor count."""
    story = [one(number, "task_completed", number) for number in range(1, 31)]
    model = fold(story, limits=Limits(nodes_per_task=10, event_ids=1))
    task = model.tasks.by_id["t"]
    size = task.size
    assert 2 not in model.tree.nodes
    for at in (40, 41):
        model.apply(one(at, "task_retry", 2, error="E"), moment(at))
    assert 2 not in model.tree.nodes
    assert (task.size, task.agg[:6]) == (size, [0, 0, 0, 30, 0, 0])
    assert task.retries == 1
    model.apply(one(42, "task_started", 77, task_id="j2"), moment(42))
    assert 77 not in model.tree.nodes
    assert (task.size, task.agg[:6]) == (size, [0, 0, 0, 30, 0, 0])


def test_a_new_node_of_a_living_task_is_held() -> None:
    """Where nodes were evicted, a job that was never seen is still held and counted."""
    story = [one(number, "task_completed", number) for number in range(1, 31)]
    model = fold([*story, one(50, "task_started", 99)], limits=Limits(nodes_per_task=10))
    own = model.tree.nodes[99].own
    assert isinstance(own, Job)
    assert own.st == PROCESSING
    assert model.tasks.by_id["t"].agg[:6] == [0, 1, 0, 30, 0, 0]


def test_a_repeated_parent_changes_nothing() -> None:
    """Events that name the parent again, or a greater one, leave the node where it is."""
    story = [
        one(0, "phase_started", 1, phase="a"),
        one(0, "phase_started", 2, phase="b"),
        one(1, "task_started", 3, parent_span_id=span(1)),
    ]
    expected = digest(fold(story, 9))
    again = one(1, "task_started", 3, parent_span_id=span(2))
    assert digest(fold([*story, again], 9)) == expected
