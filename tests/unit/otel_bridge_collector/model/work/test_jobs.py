"""``otel_bridge_collector.model.work.jobs``: a job's status, its counts, and who watches it."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    PENDING,
    PHASE,
    PROCESSING,
    RETRYING,
    STALLED,
    STATUS_NAMES,
    Event,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import UNKNOWN, Job, Node, Task
from otel_bridge_collector.model.work.jobs import note_first

from tests.support.histories import event, fold, fold_every_way, moment, span


def job(seconds: float, event_type: str, number: int = 1, **fields: Any) -> Event:
    """An event of job ``j``, of the span with this number; the first attempt by default."""
    fields = {"task_id": "j", "span_id": span(number), **fields}
    return event(seconds, event_type, parent_task_id="t", **fields)


def heartbeat(seconds: float, worker: str = "w") -> Event:
    """A heartbeat of a worker."""
    return event(seconds, "worker_heartbeat", worker_id=worker, meta={"host": "h", "pid": 1})


def found(model: Fold, job_id: str = "j") -> Job:
    """A job of the story."""
    return model.tasks.by_id["t"].jobs[job_id]


ENQUEUED = job(0, "task_enqueued", 9)
STARTED = job(1, "task_started")

STATUSES: dict[str, tuple[list[Event], int]] = {
    "enqueued": ([ENQUEUED], PENDING),
    "enqueued for a further attempt": ([job(0, "task_enqueued", 9, retry_count=1)], RETRYING),
    "started": ([ENQUEUED, STARTED], PROCESSING),
    "to be retried": ([ENQUEUED, STARTED, job(2, "task_retry")], RETRYING),
    "retried": (
        [STARTED, job(2, "task_retry"), job(3, "task_started", 2, retry_count=1)],
        PROCESSING,
    ),
    "completed": ([ENQUEUED, STARTED, job(2, "task_completed")], COMPLETED),
    "failed": ([ENQUEUED, STARTED, job(2, "task_failed")], FAILED),
    "failed, then completed": (
        [job(2, "task_failed"), job(4, "task_completed", 2, retry_count=1)],
        COMPLETED,
    ),
    "completed as attempt 0, failed as attempt 1": (
        [job(9, "task_completed"), job(4, "task_failed", 2, retry_count=1)],
        FAILED,
    ),
    "on a lost worker": ([heartbeat(0), job(1, "task_started", worker_id="w")], STALLED),
    "on a living worker": (
        [heartbeat(0), job(1, "task_started", worker_id="w"), heartbeat(50)],
        PROCESSING,
    ),
}


@pytest.mark.parametrize("case", STATUSES)
def test_a_job_is_counted_in_one_status(case: str) -> None:
    """A job counts once, in its status, in its task, its phase and its parent, in every order."""
    story, status = STATUSES[case]
    model = fold_every_way(story, 60, ways=12)
    assert STATUS_NAMES[found(model).st] == STATUS_NAMES[status]
    expected = [int(code == status) for code in range(6)]
    assert model.tasks.by_id["t"].agg[:6] == expected
    phase = event(0, "phase_started", parent_task_id="t", span_id=span(50), phase="a")
    inside = [one if one.task_id is None else event_below(one, 50) for one in story]
    model = fold_every_way([phase, *inside], 60, ways=12)
    agg = model.tree.nodes[50].agg
    assert agg is not None
    assert agg[:6] == expected


def event_below(one: Event, parent: int) -> Event:
    """The same event, of a span below another."""
    seconds = (one.ts - ENQUEUED.ts).total_seconds()
    fields = {"retry_count": one.retry_count, "worker_id": one.worker_id}
    assert one.span_id is not None
    number = int(one.span_id, 16)
    return job(seconds, one.event_type, number, parent_span_id=span(parent), **fields)


# --- who watches it -------------------------------------------------------------------------------


def test_an_open_job_is_its_workers() -> None:
    """A worker has the jobs that it runs or that are stalled on it, and none that ended."""
    story = [
        heartbeat(0),
        job(1, "task_started", 1, task_id="runs", worker_id="w"),
        job(1, "task_enqueued", 2, task_id="waits", worker_id="w"),
        job(1, "task_started", 3, task_id="ended", worker_id="w"),
        job(2, "task_completed", 3, task_id="ended", worker_id="w"),
        job(2, "task_retry", 4, task_id="retries", worker_id="w"),
    ]
    for seconds in (9, 60):
        model = fold_every_way(story, seconds, ways=12)
        assert [one.id for one in model.workers.by_id["w"].open] == ["runs"]


def test_a_job_moves_to_the_worker_of_its_attempt() -> None:
    """The next attempt's worker has the job, and the one of the attempt before has it no more."""
    story = [
        job(1, "task_started", 1, worker_id="a"),
        job(2, "task_retry", 1, worker_id="a"),
        job(3, "task_started", 2, worker_id="b", retry_count=1),
    ]
    model = fold_every_way(story, 9, ways=12)
    names = {name: [one.id for one in host.open] for name, host in model.workers.by_id.items()}
    assert names == {"a": [], "b": ["j"]}


def lines(model: Fold, name: str = "q") -> tuple[list[str], list[str], list[str]]:
    """Ids of a queue's jobs that wait, that are lost and that run."""
    queue = model.queues.by_name[name]
    pending, lost, running = (
        sorted(one.id for one in line) for line in (queue.pending, queue.lost, queue.running)
    )
    return pending, lost, running


def test_a_job_is_in_the_line_of_its_queue() -> None:
    """A queue has the jobs that wait in it and those that run from it; what ended is in none."""
    story = [
        job(0, "task_enqueued", 1, task_id="waits", queue="q"),
        job(0, "task_enqueued", 2, task_id="again", queue="q", retry_count=1),
        job(0, "task_enqueued", 3, task_id="runs", queue="q"),
        job(1, "task_started", 4, task_id="runs", parent_span_id=span(3)),
        job(0, "task_enqueued", 5, task_id="ended", queue="q"),
        job(1, "task_completed", 6, task_id="ended", queue="q"),
        job(1, "task_retry", 7, task_id="retries", queue="q"),
    ]
    assert lines(fold_every_way(story, 9, ways=12)) == (["again", "waits"], [], ["runs"])


def test_what_an_emptied_queue_has_lost() -> None:
    """A job that waits in a queue that was found empty twice is stalled, and lost in its line."""
    story = [job(0, "task_enqueued", 1, queue="q")]
    story += [event(at, "queue_depth_update", queue="q", counts={"q": 0}) for at in (70, 80)]
    model = fold_every_way(story, 90, ways=12)
    assert (found(model).st, lines(model)) == (STALLED, ([], ["j"], []))
    model.apply(job(95, "task_started", 2, queue="q"), moment(95))
    assert (found(model).st, lines(model)) == (PROCESSING, ([], [], ["j"]))


def test_jobs_that_run_are_listed() -> None:
    """The model lists the jobs that run; one that ends, waits or stalls leaves the list."""
    model = fold([heartbeat(0), job(1, "task_started", worker_id="w")], 2)
    assert model.running == {found(model)}
    model.sweep(moment(60))
    assert model.running == set()
    model.apply(heartbeat(61), moment(61))
    model.sweep(moment(62))
    assert model.running == {found(model)}
    model.apply(job(63, "task_completed", worker_id="w"), moment(63))
    assert model.running == set()


def test_a_job_without_nodes_is_gone() -> None:
    """A job whose only span turns out to be another's is removed, with counts and watchers."""
    first = job(0, "task_started", 1, worker_id="w", task_id="b", queue="q")
    model = fold([first], 1)
    held = found(model, "b")
    assert model.running == {held}
    model.apply(job(2, "task_progress", 1, worker_id="w", task_id="a"), moment(2))
    task = model.tasks.by_id["t"]
    assert list(task.jobs) == ["a"]
    assert model.running == set(task.jobs.values()) == model.workers.by_id["w"].open
    assert lines(model) == ([], [], ["a"])
    assert task.agg[PROCESSING] == 1


def test_a_stalled_job_makes_its_task_dirty() -> None:
    """When time alone changes a job its task looks different, and not a second time."""
    model = fold([heartbeat(0), job(1, "task_started", worker_id="w")], 2)
    model.dirty.clear()
    model.sweep(moment(20))
    assert model.dirty == set()
    model.sweep(moment(35))
    assert model.dirty == {model.tasks.by_id["t"]}
    model.dirty.clear()
    model.sweep(moment(40))
    assert model.dirty == set()


# --- both kinds of publishers ---------------------------------------------------------------------


def test_only_an_ended_span_repeats_an_attempt() -> None:
    """An attempt reported without a span counts until the span of that attempt has ended."""
    spanless = job(2, "task_failed", span_id=None, error="E", worker_id="w")
    story = [job(1, "task_started", worker_id="w"), spanless]
    model = fold_every_way(story, 9, ways=12)
    task = model.tasks.by_id["t"]
    assert model.workers.by_id["w"].failed == 1
    assert [group.count for group in model.failures.of_task[task].values()] == [1]
    model = fold_every_way([*story, job(3, "task_completed", worker_id="w")], 9, ways=12)
    assert (model.workers.by_id["w"].completed, model.workers.by_id["w"].failed) == (1, 0)
    assert model.failures.of_task == {}


def test_another_attempt_repeats_nothing() -> None:
    """The end of attempt 0 as a span leaves attempt 1, reported without one, as it is."""
    story = [
        job(1, "task_retry", error="E", worker_id="w"),
        job(2, "task_failed", span_id=None, error="E", retry_count=1, worker_id="w"),
    ]
    model = fold_every_way(story, 9, ways=12)
    task = model.tasks.by_id["t"]
    assert (found(model).st, task.retries, model.workers.by_id["w"].failed) == (FAILED, 1, 1)


# --- a phase that only jobs name ------------------------------------------------------------------


def test_the_first_of_a_phase() -> None:
    """The earliest known time counts; none at all, and times to be found again, stay so."""
    task = Task("t")
    phase = Node(None, PHASE, task, task)
    seen = []
    for first in (0, 7, 9, 3, 0):
        note_first(phase, first)
        assert phase.more is not None
        seen.append(phase.more.first)
    assert seen == [0, 7, 7, 3, 3]
    assert phase.more is not None
    phase.more.first = UNKNOWN
    note_first(phase, 1)
    assert phase.more.first == UNKNOWN
