"""``otel_bridge_collector.model.workers``: ids used again, and the life of each process."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import STATUS_NAMES, Event
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold

from tests.support.histories import event, fold, fold_every_way, moment, span


def worker(seconds: float, kind: str, pid: int = 1, **fields: Any) -> Event:
    """An event of worker ``w``, of a publisher before 1.0."""
    return event(
        seconds, f"worker_{kind}", worker_id="w", meta={"host": "vm", "pid": pid}, **fields
    )


def job(seconds: float, event_type: str, job_id: str = "j", **fields: Any) -> Event:
    """An event of a job on worker ``w``."""
    fields = {"worker_id": "w", **fields}
    return event(seconds, event_type, parent_task_id="t", task_id=job_id, **fields)


def status(model: Fold, job_id: str = "j") -> str:
    """Where a job of the story stands."""
    return STATUS_NAMES[model.tasks.by_id["t"].jobs[job_id].st]


def test_restarted_container() -> None:
    """A worker that starts again with its host and pid has lost its job at once."""
    story = [
        worker(0, "started"),
        job(1, "task_started", span_id=span(1)),
        worker(5, "heartbeat"),
        worker(8, "started"),
        job(9, "task_started", "k", span_id=span(2)),
        worker(20, "heartbeat"),
    ]
    model = fold_every_way(story, 21)
    assert (status(model), status(model, "k")) == ("stalled", "processing")
    late = job(30, "task_completed", span_id=span(1), duration_ms=29000.0)
    assert status(fold_every_way([*story, late], 31)) == "completed"


def test_another_process_under_the_same_id() -> None:
    """Another pid under the same id proves nothing: the old job waits for its own process' TTL."""
    story = [
        worker(0, "started", 1),
        job(1, "task_started", span_id=span(1)),
        worker(5, "heartbeat", 1),
        worker(8, "started", 2),
        job(9, "task_started", "k", span_id=span(2)),
        *(worker(seconds, "heartbeat", 2) for seconds in range(10, 60, 10)),
    ]
    assert status(fold_every_way(story, 31)) == "processing"
    model = fold_every_way(story, 40)
    assert (status(model), status(model, "k")) == ("stalled", "processing")


def test_two_processes_of_one_id() -> None:
    """By incarnation, of two living processes of one id only the killed one's job is lost."""

    def exact(seconds: float, kind: str, life: str, pid: int) -> Event:
        fields = {"worker_id": 0, "incarnation": life, "meta": {"host": "h", "pid": pid}}
        return event(seconds, f"worker_{kind}", **fields)

    story = [
        exact(0, "started", "A", 10),
        exact(0, "started", "B", 11),
        job(1, "task_started", "ja", worker_id=0, incarnation="A", span_id=span(1)),
        job(1, "task_started", "jb", worker_id=0, incarnation="B", span_id=span(2)),
        exact(5, "heartbeat", "A", 10),
        *(exact(seconds, "heartbeat", "B", 11) for seconds in range(5, 60, 5)),
    ]
    model = fold_every_way(story, 58)
    assert (status(model, "ja"), status(model, "jb")) == ("stalled", "processing")


def test_exact_incarnation_started_again() -> None:
    """A new incarnation with the same host and pid ends what ran in the former one at once."""

    def exact(seconds: float, kind: str, life: str) -> Event:
        fields = {"worker_id": "w", "incarnation": life, "meta": {"host": "h", "pid": 1}}
        return event(seconds, f"worker_{kind}", **fields)

    story = [
        exact(0, "started", "A"),
        job(1, "task_started", incarnation="A", span_id=span(1)),
        exact(5, "heartbeat", "A"),
        exact(8, "started", "B"),
    ]
    model = fold_every_way(story, 9)
    assert status(model) == "stalled"
    verdict = model.liveness.job_verdict(model.tasks.by_id["t"].jobs["j"])
    assert verdict == ("worker_lost", moment(5))


def test_work_without_a_worker_belongs_to_its_process() -> None:
    """A job that names only its process lives while any worker of that process beats."""
    meta = {"host": "h", "pid": 1}
    story = [
        event(0, "worker_started", worker_id="w", incarnation="A", meta=meta),
        job(1, "task_started", worker_id=None, incarnation="A", span_id=span(1)),
    ]
    assert status(fold_every_way(story, 30)) == "processing"
    assert status(fold_every_way(story, 31)) == "stalled"


@pytest.mark.parametrize(
    ("story", "seconds", "expected"),
    [
        ([worker(0, "started")], 30, "online"),
        ([worker(0, "started")], 31, "offline"),
        ([worker(0, "started"), worker(5, "stopped")], 6, "stopped"),
        ([worker(0, "started"), worker(5, "stopped"), worker(6, "heartbeat")], 7, "online"),
        ([job(0, "task_started")], 30, "online"),
        ([job(0, "task_started")], 100, "online"),
        ([job(0, "task_started"), job(1, "task_completed")], 40, "unknown"),
    ],
)
def test_status(story: list[Event], seconds: float, expected: str) -> None:
    """A worker is online while it beats or, where nothing beats, while it runs a job."""
    model = fold(story, seconds)
    assert model.workers.status(model.workers.by_id["w"], moment(seconds)) == expected


def test_a_number_and_its_text_are_one_worker() -> None:
    """Worker 3 and worker "3" are one, shown as a number, with the facts of its latest event."""
    story = [
        event(0, "worker_started", worker_id="3", meta={"host": "a", "pid": 1}),
        event(
            9, "worker_heartbeat", worker_id=3, meta={"host": "b", "pid": 2}, counts={"dropped": 4}
        ),
    ]
    model = fold_every_way(story, 10)
    found = model.workers.by_id["3"]
    assert list(model.workers.by_id) == ["3"]
    assert found.id == 3
    newest = found.newest
    assert newest is not None
    assert (newest.host, newest.pid, newest.note[1]) == ("b", 2, 4)


def test_ends_count_for_their_worker() -> None:
    """Each attempt counts once for its worker, whatever is repeated or corrected."""
    story = [
        job(0, "task_started", span_id=span(1)),
        job(1, "task_failed", span_id=span(1), ended_by="other"),
        job(2, "task_completed", span_id=span(1)),
        job(3, "task_failed", "k", span_id=span(2)),
    ]
    model = fold_every_way(story, 9)
    found = model.workers.by_id["w"]
    assert (found.completed, found.failed) == (1, 1)


def test_idle_workers_leave_first() -> None:
    """Past the limit the idle worker that is silent longest leaves, and none that runs a job."""
    model = Fold(Limits(workers=3))
    for one in [
        event(0, "task_started", parent_task_id="t", task_id="j", worker_id="busy"),
        *(event(n, "worker_started", worker_id=f"w{n}") for n in range(1, 6)),
    ]:
        model.apply(one, moment(0) + 1)
    assert len(model.workers.by_id) == 3
    assert "busy" in model.workers.by_id


def test_processes_without_a_worker_are_bounded() -> None:
    """Of processes that send spans without a worker, idle ones leave past the limit of workers."""
    model = Fold(Limits(workers=20))
    beats = event(0, "worker_started", worker_id="w", incarnation="worker", meta={"host": "h"})
    busy = job(0, "task_started", "busy", worker_id=None, incarnation="busy", span_id=span(1))
    for one in (beats, busy):
        model.apply(one, moment(0))
    for number in range(2, 500):
        fields = {"worker_id": None, "incarnation": f"life {number}", "span_id": span(number)}
        for kind in ("task_started", "task_completed"):
            model.apply(job(1, kind, f"j{number}", **fields), moment(1))
    assert len(model.workers.processes) <= 20
    assert {"worker", "busy", "life 499"} <= model.workers.processes.keys()
