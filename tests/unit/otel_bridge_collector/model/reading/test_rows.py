"""``otel_bridge_collector.model.reading.rows``: how each node stands, and in which order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    JOB,
    OTHER,
    PENDING,
    PROCESSING,
    RETRYING,
    RULE,
    SELF,
    STALLED,
    Event,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.rows import NodeState

from tests.support.histories import event, fold, fold_every_way, moment, span

OPEN = NodeState(PROCESSING, None, None, 0)


def one(seconds: float, event_type: str, number: int, **fields: Any) -> Event:
    """An event of a span of the story's task: of a job with the span's number by default."""
    if event_type.startswith("task"):
        fields = {"task_id": f"j{number}", **fields}
    if event_type.startswith("phase"):
        fields = {"phase": f"p{number}", **fields}
    fields = {"parent_task_id": "t", "span_id": span(number), **fields}
    return event(seconds, event_type, **fields)


def heartbeat(seconds: float) -> Event:
    """A heartbeat of worker ``w``."""
    return event(seconds, "worker_heartbeat", worker_id="w", meta={"host": "h", "pid": 1})


def state(model: Fold, number: int, card_ended: int | None = None) -> NodeState:
    """How the span with this number stands."""
    return model.rows.state(model.tree.nodes[number], card_ended)


def state_after(story: list[Event], seconds: float, number: int = 1) -> NodeState:
    """The same after a story, in any order of its events."""
    return state(fold_every_way(story, seconds, ways=8), number)


def order(model: Fold) -> list[tuple[int | None, int]]:
    """Keys of the task's rows, each with its depth."""
    return [(node.key, depth) for node, depth in model.rows.nodes(model.tasks.by_id["t"])]


# --- state ----------------------------------------------------------------------------------------


def test_an_end_of_its_own() -> None:
    """A node that reported its end has that status and time, also when its card has ended."""
    story = [one(0, "task_started", 1), one(5, "task_failed", 1)]
    expected = NodeState(FAILED, moment(5), None, SELF)
    assert state_after(story, 9) == expected
    assert state(fold(story, 9), 1, moment(3)) == expected


def test_open_work() -> None:
    """An open job, phase or span runs, an open enqueue waits; no end of them was reported."""
    story = [
        one(0, "task_started", 1),
        one(0, "phase_started", 2),
        one(0, "span_started", 3),
        one(0, "task_enqueued", 4),
    ]
    model = fold_every_way(story, 9, ways=8)
    assert [state(model, number) for number in (1, 2, 3)] == [OPEN] * 3
    assert state(model, 4) == NodeState(PENDING, None, None, 0)


def test_nothing_of_an_ended_card_is_open() -> None:
    """Open work of a card that ended is stalled, and ends with the card or its own last event."""
    story = [one(0, "task_started", 1), one(2, "phase_started", 2), one(8, "task_enqueued", 3)]
    model = fold_every_way(story, 9, ways=8)
    for number in (1, 2, 3):
        late = NodeState(STALLED, moment(20), "card_ended", RULE)
        assert state(model, number, moment(20)) == late
        assert state(model, number, moment(5)) == NodeState(STALLED, moment(8), "card_ended", RULE)


def test_a_lost_job_says_why() -> None:
    """A job on a worker that is gone is stalled since the worker's last heartbeat, by a rule."""
    story = [heartbeat(0), one(1, "task_started", 1, worker_id="w"), heartbeat(10)]
    assert state_after(story, 40) == OPEN
    assert state_after(story, 41) == NodeState(STALLED, moment(10), "worker_lost", RULE)


def test_a_reported_stall_says_its_reason() -> None:
    """A job that the leader reported as stalled carries the reason of that report."""
    story = [one(0, "task_started", 1), one(60, "task_stalled", 1, reason="worker_lost")]
    assert state_after(story, 61) == NodeState(STALLED, moment(60), "worker_lost", RULE)


def test_an_end_reported_by_another_process() -> None:
    """An open attempt whose end came without a span id has that end, by another process."""
    lost = event(7, "task_failed", parent_task_id="t", task_id="j1", error="lost")
    story = [one(0, "task_started", 1), lost]
    assert state_after(story, 9) == NodeState(FAILED, moment(7), None, OTHER)
    story.append(one(8, "task_completed", 1))
    assert state_after(story, 9) == NodeState(COMPLETED, moment(8), None, SELF)


def test_an_enqueued_next_attempt() -> None:
    """The enqueue of a further attempt is a retry that waits."""
    story = [one(0, "task_enqueued", 1, retry_count=1)]
    assert state_after(story, 9) == NodeState(RETRYING, None, None, 0)


def test_an_earlier_attempt_without_an_end() -> None:
    """An attempt that is not the latest is evaluated by itself, and not by where its job stands."""
    story = [
        heartbeat(0),
        one(0, "task_started", 1, task_id="j", worker_id="w"),
        one(50, "task_started", 2, task_id="j", retry_count=1),
        one(55, "task_completed", 2, task_id="j", retry_count=1),
    ]
    model = fold_every_way(story, 60, ways=8)
    assert state(model, 1) == NodeState(STALLED, moment(0), "worker_lost", RULE)
    assert state(model, 2) == NodeState(COMPLETED, moment(55), None, SELF)


def test_a_phase_ends_with_its_parent() -> None:
    """An open phase or span whose parent has ended is stalled then, unless work in it runs."""
    story = [
        one(0, "phase_started", 1),
        one(1, "phase_started", 2, parent_span_id=span(1)),
        one(2, "span_started", 3, parent_span_id=span(1)),
        one(5, "phase_completed", 1),
    ]
    ended = NodeState(STALLED, moment(5), "parent_ended", RULE)
    model = fold_every_way(story, 9, ways=8)
    assert [state(model, number) for number in (2, 3)] == [ended, ended]
    story.append(one(3, "task_started", 4, parent_span_id=span(2)))
    model = fold_every_way(story, 9, ways=8)
    assert [state(model, number) for number in (2, 3)] == [OPEN, ended]


def test_a_phase_with_heartbeats_outlives_its_parent() -> None:
    """What FastAPI does in the background of a request runs on after the request's end."""
    story = [
        one(0, "span_started", 1),
        one(1, "phase_started", 2, parent_span_id=span(1), beat_ms=10_000),
        one(5, "span_ended", 1),
    ]
    assert state_after(story, 9, 2) == OPEN
    lost = NodeState(STALLED, moment(1), "heartbeat_lost", RULE)
    assert state_after(story, 60, 2) == lost


def test_a_phase_that_began_after_its_parents_end() -> None:
    """A phase that starts after its parent ended is no bar of negative length."""
    story = [one(5, "phase_completed", 1), one(8, "phase_started", 2, parent_span_id=span(1))]
    assert state_after(story, 9, 2) == NodeState(STALLED, moment(8), "parent_ended", RULE)


def test_a_job_outlives_its_parent() -> None:
    """A job whose parent has ended still runs: it may have been put into a queue."""
    story = [one(5, "phase_completed", 1), one(1, "task_started", 2, parent_span_id=span(1))]
    assert state_after(story, 9, 2) == OPEN


def test_an_enqueue_ends_nothing_below() -> None:
    """The end of the send is not the end of a phase below it."""
    story = [
        one(1, "task_failed", 1, span_kind="PRODUCER"),
        one(2, "phase_started", 2, parent_span_id=span(1)),
    ]
    assert state_after(story, 9, 2) == OPEN


def test_stalled_jobs_are_listed_with_their_reasons() -> None:
    """All stalled jobs are given with the open node and the reason, and no other job is."""
    story = [
        heartbeat(0),
        one(0, "task_started", 1, worker_id="w"),
        one(2, "task_started", 2, beat_ms=1000),
        one(0, "task_started", 3),
        one(1, "task_completed", 4, worker_id="w"),
    ]
    model = fold_every_way(story, 40, ways=8)
    found = {
        (job.id, node.key, verdict.reason, verdict.at)
        for job, node, verdict in model.rows.stalled()
    }
    assert found == {
        ("j1", 1, "worker_lost", moment(0)),
        ("j2", 2, "heartbeat_lost", moment(2)),
    }


# --- order ----------------------------------------------------------------------------------------


def test_siblings_by_start_then_by_id() -> None:
    """Siblings come by their starts, at one time by their ids, each with all that is below it."""
    story = [
        one(0, "phase_started", 9),
        one(2, "task_started", 3, parent_span_id=span(9)),
        one(1, "task_started", 5, parent_span_id=span(9)),
        one(1, "task_started", 4, parent_span_id=span(9)),
        one(3, "span_started", 8, parent_span_id=span(4)),
        one(7, "task_completed", 2),
        one(6, "task_started", 1),
    ]
    model = fold_every_way(story, 9, ways=8)
    assert order(model) == [(9, 0), (4, 1), (8, 2), (5, 1), (3, 1), (1, 0), (2, 0)]


def test_a_row_without_its_parent_is_a_root() -> None:
    """What is below a span that is not held, or that is another task's, is at depth 0."""
    story = [
        one(0, "task_started", 1, parent_span_id=span(70)),
        one(1, "task_started", 2, parent_span_id=span(71)),
        event(0, "task_started", parent_task_id="u", task_id="k", span_id=span(71)),
        one(2, "task_started", 3, parent_span_id=span(2)),
        one(3, "task_started", 4, parent_span_id=span(3), parent_task_id="u"),
    ]
    assert order(fold_every_way(story, 9, ways=8)) == [(1, 0), (2, 0), (3, 1)]


def test_what_repeats_a_span_is_no_row() -> None:
    """An attempt that is known as a span has one row, and a phase that no span is has none."""
    story = [one(0, "task_started", 1)]
    story.append(event(5, "task_failed", parent_task_id="t", task_id="j1"))
    story.append(event(6, "task_started", parent_task_id="t", task_id="j2", phase="a"))
    story.append(event(6, "phase_started", parent_task_id="t", phase="b"))
    assert order(fold_every_way(story, 9, ways=8)) == [(1, 0), (None, 0)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_node_has_one_row_below_its_parent(seed: int) -> None:
    """In any tree each span has one row, one deeper than its parent and later in the list."""
    rng = random.Random(seed)
    kinds = ("task_started", "phase_started", "span_started", "task_enqueued")
    parents = {number: rng.randrange(0, number) for number in range(1, rng.randrange(2, 15))}
    story = [
        one(
            rng.randrange(4),
            rng.choice(kinds),
            number,
            parent_span_id=span(parent) if parent else None,
        )
        for number, parent in parents.items()
    ]
    rng.shuffle(story)
    model = fold(story, 9)
    rows = order(model)
    assert sorted(key for key, _ in rows if key is not None) == sorted(parents)
    depths = dict(rows)
    places = {key: index for index, (key, _) in enumerate(rows)}
    for number, parent in parents.items():
        assert depths[number] == (depths[parent] + 1 if parent else 0)
        assert not parent or places[parent] < places[number]
    for parent in {0, *parents.values()}:
        siblings = [key for key, _ in rows if key is not None and parents[key] == parent]
        firsts = [(model.tree.nodes[key].first, key) for key in siblings]
        assert firsts == sorted(firsts)


@pytest.mark.parametrize(
    ("kind", "ended_by", "status"),
    [
        ("task_failed", "other", FAILED),
        ("task_failed", "rule", FAILED),
        ("task_retry", "other", RETRYING),
        ("task_stalled", "rule", STALLED),
    ],
)
@pytest.mark.parametrize("has_span", [True, False])
def test_the_work_of_a_lost_worker_ends_when_that_was_last_heard(
    kind: str, ended_by: str, status: int, has_span: bool
) -> None:
    """The loss is reported 30 s later; the bars of the job and of its phase end before that."""
    ran = {"task_id": "j1", "worker_id": "w", "incarnation": "a" * 16, "phase": "get"}
    known = {"span_id": span(1)} if has_span else {"span_id": None}
    lost = {"ended_by": ended_by, "reason": "worker_lost", "error": "gone"}
    story = [
        heartbeat_of("w", "a" * 16, 0),
        one(1, "task_started", 1, **ran),
        heartbeat_of("w", "a" * 16, 3),
        one(34, kind, 1, **{"task_id": "j1", "phase": "get", **lost, **known}),
    ]
    model = fold_every_way(story, 60, ways=20)
    task = model.tasks.by_id["t"]
    (node,) = [one for one in model.tree.nodes.values() if one.kind == JOB]
    state = model.rows.state(node, None)
    assert (state.status, state.ended, state.reason) == (status, moment(3), "worker_lost")
    if status == FAILED:
        (phase,) = model.cards.card(task).phases
        assert (phase.ended, phase.failed) == (moment(3), 1)


def test_a_lost_worker_without_heartbeats_was_last_heard_at_the_report() -> None:
    """Then the report says when its work ended; an end of its own is what it is."""
    lost = {"reason": "worker_lost", "error": "gone"}
    for fields in ({"ended_by": "other"}, {"ended_by": "self"}):
        story = [one(1, "task_started", 1), one(34, "task_failed", 1, **lost, **fields)]
        model = fold_every_way(story, 60, ways=20)
        assert model.rows.state(model.tree.nodes[1], None).ended == moment(34)


def heartbeat_of(worker_id: str, incarnation: str, seconds: float) -> Event:
    return event(seconds, "worker_heartbeat", worker_id=worker_id, incarnation=incarnation)
