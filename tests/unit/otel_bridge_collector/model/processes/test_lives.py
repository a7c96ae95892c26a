"""Whether a process lives: who took its place, what a stop says, and two nodes of one name."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import STATUS_NAMES, Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.liveness import Verdict
from otel_bridge_collector.model.processes.lives import UNWATCHED

from tests.support.histories import event, fold_every_way, moment, span


def worker(seconds: float, kind: str, process: str, **fields: Any) -> Event:
    """An event of worker ``w`` in a process; by default pid 1 of host ``h``, as in a container."""
    meta = {"host": "h", "pid": 1, **fields.pop("meta", {})}
    ids = {"worker_id": "w", "incarnation": process, **fields}
    return event(seconds, f"worker_{kind}", meta=meta, **ids)


def job(seconds: float, kind: str, number: int = 1, **fields: Any) -> Event:
    """An event of the job ``j1``, ``j2`` ..."""
    ids = {"task_id": f"j{number}", "span_id": span(number), "parent_task_id": "t", **fields}
    return event(seconds, f"task_{kind}", **ids)


def verdict(model: Fold, number: int = 1) -> Verdict | None:
    """Why a job of the story is stalled."""
    return model.liveness.job_verdict(model.tasks.by_id["t"].jobs[f"j{number}"])


@pytest.mark.parametrize("name", ["w", "another"])
def test_a_container_that_started_again_has_lost_what_ran_in_it(name: str) -> None:
    """At once, whatever the ids of its workers; its jobs end at the last heartbeat before."""
    story = [
        worker(0, "started", "one"),
        job(1, "started", worker_id="w", incarnation="one"),
        worker(10, "heartbeat", "one"),
    ]
    assert verdict(fold_every_way(story, 13)) is None
    story.append(worker(12, "started", "two", worker_id=name))
    model = fold_every_way(story, 13)
    assert verdict(model) == Verdict("worker_lost", moment(10))
    late = job(11, "completed", worker_id="w", incarnation="one")
    assert verdict(fold_every_way([*story, late], 13)) is None


def test_another_pid_or_host_proves_nothing() -> None:
    """Two nodes of one name live side by side; each ends by its own silence."""
    story = [
        worker(0, "started", "one"),
        job(1, "started", worker_id="w", incarnation="one"),
        worker(12, "started", "two", meta={"pid": 2}),
        worker(13, "started", "three", meta={"host": "g"}),
    ]
    model = fold_every_way(story, 14)
    assert verdict(model) is None
    living = model.workers.living(model.workers.by_id["w"], moment(14))
    assert sorted(one.key for one in living) == ["one", "three", "two"]
    assert verdict(fold_every_way(story, 31)) == Verdict("worker_lost", moment(1))


def test_two_containers_of_one_name_that_are_both_heard() -> None:
    """A process that is heard after another one started on its host and pid was not replaced."""
    story = [
        worker(0, "started", "one"),
        job(1, "started", worker_id="w", incarnation="one"),
        worker(12, "started", "two"),
        job(13, "started", 2, worker_id="w", incarnation="two"),
        worker(20, "heartbeat", "one"),
    ]
    model = fold_every_way(story, 21)
    assert (verdict(model), verdict(model, 2)) == (None, None)


def test_a_process_that_outlives_its_worker() -> None:
    """A stop ends the jobs of the worker at once; other work of its process by silence alone."""
    story = [
        event(
            0, "task_started", task_id="t", parent_task_id="t", span_id=span(9), incarnation="one"
        ),
        worker(0, "started", "one"),
        job(1, "started", worker_id="w", incarnation="one"),
        job(2, "started", 2, incarnation="one"),
        job(3, "started", 3, worker_id="never heard of", incarnation="one"),
        worker(20, "stopped", "one"),
    ]
    for seconds in (21, 60):
        model = fold_every_way(story, seconds)
        assert verdict(model) == Verdict("worker_lost", moment(20))
        assert (verdict(model, 2), verdict(model, 3)) == (None, None)
        assert model.workers.lost_at(model.tree.nodes[2], moment(seconds)) == UNWATCHED
        task = model.tasks.by_id["t"]
        assert STATUS_NAMES[model.cards.card(task).status] == "processing"
    model = fold_every_way(story, 950)
    assert (verdict(model, 2), verdict(model, 3)) == (Verdict("silent", moment(3)),) * 2
    assert model.cards.card(model.tasks.by_id["t"]).reason == "silent"


def test_a_process_whose_place_was_taken_has_not_outlived_its_worker() -> None:
    """After a stop too, another process on its host and pid says that it is gone."""
    story = [
        worker(0, "started", "one"),
        job(2, "started", incarnation="one"),
        worker(20, "stopped", "one"),
        worker(25, "started", "two"),
    ]
    assert verdict(fold_every_way(story[:3], 26)) is None
    assert verdict(fold_every_way(story, 26)) == Verdict("worker_lost", moment(2))


def test_a_process_whose_other_worker_is_silent() -> None:
    """Of two workers of a process one stopped and the other is silent: the process is gone."""
    story = [
        worker(0, "started", "one"),
        worker(0, "started", "one", worker_id="v"),
        job(2, "started", incarnation="one"),
        worker(10, "stopped", "one"),
    ]
    assert verdict(fold_every_way(story, 20)) is None
    assert verdict(fold_every_way(story, 31)) == Verdict("worker_lost", moment(2))
