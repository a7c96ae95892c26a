"""What leaves first when there is more than the limits hold, and what stays of it."""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.model.events import COMPLETED, FAILED, PROCESSING
from otel_bridge_collector.model.eviction import NODE_BYTES, Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import GONE

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import apply, event, judged

REQUEST = "a" * 32


def job(task: str, seconds: float, kind: str, number: int, **fields: Any) -> MonitoringEvent:
    return event(seconds, kind, parent_task_id=task, task_id=f"j{number}", **fields)


def ended(task: str, seconds: float, numbers: range, kind: str = "task_completed") -> list[Any]:
    return [job(task, seconds, kind, number) for number in numbers]


def story() -> list[MonitoringEvent]:
    """Five nodes each: of a request that only enqueues, of work that is over, waits and runs."""
    found = []
    for number in range(5):
        ids: dict[str, Any] = {"trace_id": REQUEST, "parent_span_id": "f" * 16}
        sent = {**ids, "task_id": f"j{number}", "span_id": f"{number + 1:016x}"}
        found.append(event(0, "task_enqueued", **sent))
        found.append(job("waits", 1, "task_enqueued", number))
        found.append(job("runs", 2, "task_started", number))
    found += [
        *ended("over early", 3, range(2)),
        event(3, "task_completed", parent_task_id="over early", task_id="over early"),
        *ended("over late", 4, range(1)),
        event(4, "task_completed", parent_task_id="over late", task_id="over late"),
    ]
    return found


def test_what_waits_or_has_ended_leaves_before_what_runs() -> None:
    """Requests without card first, then what ended longest ago, then what waits; no run."""
    model = Fold(Limits(nodes=20))
    apply(model, *story())
    judged(model, 100)
    assert (model.tree.size, model.evicted) == (20, [])
    apply(model, *(job("new", 100, "task_started", number) for number in range(20)))
    assert model.evicted == [REQUEST, "over early", "over late", "waits"]
    assert [model.tasks.by_id[task].agg[PROCESSING] for task in ("runs", "new")] == [5, 20]


def test_what_runs_leaves_at_the_hard_limit_alone() -> None:
    """Past 5/4 of the limit the running task that is silent longest leaves, not the newcomer."""
    model = Fold(Limits(nodes=20))
    for second, task in enumerate(("silent", "heard", "new")):
        apply(model, *(job(task, second, "task_started", number) for number in range(9)))
    judged(model, 10)
    assert (model.evicted, model.tree.size) == (["silent"], 18)


def test_in_a_task_the_oldest_ended_jobs_leave_and_failed_ones_last() -> None:
    """Over its own limit a task lets completed jobs go, then failed ones, and none that runs."""
    model = Fold(Limits(nodes_per_task=20))
    apply(model, *(job("t", 0, "task_started", number) for number in range(100, 105)))
    apply(model, *ended("t", 1, range(5), "task_failed"), *ended("t", 2, range(5, 15)))
    task = model.tasks.by_id["t"]
    assert (task.size, task.not_held) == (20, 0)
    apply(model, job("t", 3, "task_completed", 15))
    assert (task.size, task.not_held) == (18, 3)
    assert not {"j5", "j6", "j7"} & task.jobs.keys()
    apply(model, *ended("t", 4, range(16, 40)))
    assert {f"j{number}" for number in (*range(5), *range(100, 105))} <= task.jobs.keys()
    apply(model, *(job("t", 5, "task_started", number) for number in range(105, 125)))
    assert [number for number in range(5) if f"j{number}" in task.jobs] == []
    assert all(f"j{number}" in task.jobs for number in range(100, 125))
    assert (task.agg[PROCESSING], task.agg[COMPLETED], task.agg[FAILED]) == (25, 35, 5)


def test_what_has_left_is_counted_where_it_was() -> None:
    """In the parent; what has no parent in its phase without a span, else in the task."""
    model = Fold(Limits(nodes_per_task=20))
    parent = {"span_id": "b" * 16}
    apply(model, event(0, "phase_started", parent_task_id="t", phase="q", **parent))
    for number in range(15):
        fields: dict[str, Any] = {"phase": "p"} if number % 3 else {}
        if number % 3 == 1:
            fields = {"span_id": f"{number:016x}", "parent_span_id": parent["span_id"]}
        apply(model, job("t", 1, "task_completed", number, **fields))
    task = model.tasks.by_id["t"]
    changes = task.changes = set()
    apply(model, *(job("t", 2, "task_started", number) for number in range(15, 25)))
    (above,) = (node for node in task.tops if node.key is not None)
    gone = [at.agg[GONE] for at in (task, above, task.virtual["p"]) if at.agg is not None]
    assert len(gone) == 3
    assert sum(gone) == task.not_held > 0
    assert {above, task.virtual["p"]} <= changes


def test_changes_that_are_not_read_do_not_hold_what_has_left() -> None:
    """Over twice as many as the task may have nodes, none are reported any more."""
    model = Fold(Limits(nodes_per_task=20))
    task = model.tasks.get_or_make("t")
    task.changes = set()
    apply(model, *ended("t", 1, range(15)))
    assert len(task.changes) == 15
    apply(model, *ended("t", 1, range(15, 80)))
    assert task.changes is None


def test_a_repeated_event_of_what_has_left_counts_nothing() -> None:
    """An evicted job is known by 8 bytes: its events, sent again, change no count."""
    model = Fold(Limits(nodes_per_task=20, event_ids=2))
    events = [*ended("t", 1, range(50)), *ended("t", 2, range(50, 60), "task_failed")]
    apply(model, *events)
    task = model.tasks.by_id["t"]
    counts, not_held = list(task.agg), task.not_held
    apply(model, *events)
    assert (task.agg, task.not_held) == (counts, not_held)
    assert model.stats.events_not_held >= not_held
    assert model.stats.events_in == 2 * len(events)
    assert len(task.gone or ()) == not_held


def test_what_there_is_no_room_for_counts_once() -> None:
    """A node refused at the hard limit counts once as not held, until there is room for it."""
    model = Fold(Limits(nodes=20))
    running = [job("t", 0, "task_started", number) for number in range(30)]
    spans, again = (
        [job("t", 0, kind, number, span_id=f"{number:016x}") for number in range(30, 35)]
        for kind in ("task_started", "task_completed")
    )
    ends = [job("t", 1, "task_progress", number) for number in range(28)]
    apply(model, *running, *spans, *again, *ends, job("t", 2, "task_completed", 29))
    task = model.tasks.by_id["t"]
    assert (task.size, task.not_held) == (26, 9)
    assert model.stats.events_not_held == 4 + 2 * 5 + 2 + 1
    assert model.stats.events_in == 30 + 2 * 5 + 28 + 1
    apply(model, *(job("t", 3, "task_completed", number) for number in range(5)))
    apply(model, *(job("t", 3, "task_started", n, span_id=f"{n:016x}") for n in range(30, 33)))
    assert (task.size, task.not_held) == (25, 10)


def test_bytes_are_bounded_too() -> None:
    """Long ids of jobs count, so that few nodes may be too many."""
    model = Fold(Limits(bytes=20 * NODE_BYTES))
    apply(model, *ended("over", 1, range(5)))
    apply(model, event(1, "task_completed", parent_task_id="over", task_id="over"))
    judged(model, 2)
    long_id = "x" * 100
    for number in range(16):
        apply(model, event(2, "task_started", parent_task_id="t", task_id=f"{long_id}{number}"))
    assert (model.evicted, model.tree.size) == (["over"], 16)


def start(model: Fold, number: int, kind: str = "task_started", seconds: float = 0) -> None:
    """An event of a research task that is a span; at its number by default."""
    fields = {"parent_task_id": f"t{number}", "task_id": f"t{number}"}
    apply(model, event(seconds or number, kind, **fields, span_id=f"{number + 1:016x}"))


def test_a_task_that_ends_leaves_at_a_small_limit() -> None:
    """Past a limit of ten tasks that all run, the first one that ends makes room for the next."""
    model = Fold(Limits(tasks=10))
    for number in range(12):
        start(model, number)
    start(model, 5, "task_completed", seconds=12)
    judged(model, 13)
    start(model, 13)
    assert model.evicted == ["t5"]
    for number in range(14, 40):
        start(model, number)
    assert len(model.tasks.by_id) <= 13


def test_a_queue_behind_an_ended_request_leaves_before_a_lone_agent() -> None:
    """What waits below a request that has ended is waiting, though it is the newest."""
    model = Fold(Limits(nodes=20))
    ids: dict[str, Any] = {"trace_id": REQUEST, "span_id": "d" * 16, "name": "POST /orders"}
    wrapper: dict[str, Any] = {**ids, "span_id": "e" * 16, "parent_span_id": "d" * 16}
    agent = {"trace_id": "b" * 32, "span_id": "c" * 16, "name": "planner", "phase": "planner"}
    apply(
        model,
        event(0, "phase_started", **agent),
        event(5, "span_started", **ids, span_kind="SERVER"),
        event(5, "span_started", **wrapper),
        *(
            event(5, "task_enqueued", **{**wrapper, "span_id": f"{n:016x}"}, task_id=f"j{n}")
            for n in range(1, 15)
        ),
        event(6, "span_ended", **wrapper),
        event(6, "span_ended", **ids, span_kind="SERVER"),
    )
    judged(model, 10)
    apply(model, *(job("new", 10, "task_started", number) for number in range(10)))
    assert model.evicted == [REQUEST]
