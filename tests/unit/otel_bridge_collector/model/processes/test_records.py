"""Workers, incarnations and processes as records: whose heartbeats keep what alive, and counts."""

from __future__ import annotations

from otel_bridge_collector.model.processes.records import Incarnation, Process, Worker

from tests.support.histories import event, fold_every_way, moment, span


def test_whose_heartbeats_keep_work_alive() -> None:
    """Those of its own incarnation; without any, those of all workers of its process."""
    process, worker = Process("p"), Worker("w")
    silent = Incarnation(worker, "p", process)
    heard = Incarnation(Worker("v"), "p", process)
    heard.first = 1
    process.incarnations += [silent, heard]
    assert list(heard.lives()) == [heard]
    assert list(silent.lives()) == list(process.lives()) == [silent, heard]
    worker.incarnations["p"] = silent
    assert list(worker.lives()) == [silent]
    assert worker.newest is None
    assert heard.worker.last_seen == 0


def test_ends_count_for_the_worker_and_for_its_process() -> None:
    """Of two processes with one id each has its own counts, and the worker their sum."""
    story = []
    for number, process in enumerate("aab", 1):
        ids = {"task_id": f"j{number}", "span_id": span(number), "parent_task_id": "t"}
        end = "task_failed" if number == 2 else "task_completed"
        story.append(event(number, end, worker_id="w", incarnation=process, **ids))
    worker = fold_every_way(story, 9).workers.by_id["w"]
    counts = {key: (one.completed, one.failed) for key, one in worker.incarnations.items()}
    assert counts == {"a": (1, 1), "b": (1, 0)}
    assert (worker.completed, worker.failed, worker.last_seen) == (2, 1, moment(3))
