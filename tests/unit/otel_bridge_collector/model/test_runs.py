"""Runs and attempts of one job id: which node says where the job stands, in every order."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.events import STATUS_NAMES, Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.runs import last_word, runs_of, winner

from tests.support.histories import event, fold_every_way, moment, span


def job(seconds: float, event_type: str, **fields: Any) -> Event:
    """An event of job ``j``."""
    return event(
        seconds, event_type, parent_task_id="t", project_id="p", **{"task_id": "j", **fields}
    )


def status(model: Fold, job_id: str = "j") -> str:
    """Where a job of the story stands."""
    return STATUS_NAMES[model.tasks.by_id["t"].jobs[job_id].st]


@pytest.mark.parametrize("spans", [True, False])
def test_job_runs_twice_under_its_id(spans: bool) -> None:
    """A second run after a success runs, and when it fails the job has failed."""
    one, two, enqueue = (
        ({"span_id": span(1)}, {"span_id": span(2)}, {"span_id": span(9)})
        if spans
        else ({}, {}, {})
    )
    story = [
        job(0, "task_enqueued", **enqueue),
        job(1, "task_started", **one),
        job(2, "task_completed", duration_ms=1000.0, **one),
        job(3, "task_started", **two),
        job(4, "task_failed", error="E", duration_ms=1000.0, **two),
    ]
    assert status(fold_every_way(story, 10)) == "failed"
    assert status(fold_every_way(story[:4], 10)) == "processing"


def test_requeued_by_hand_without_run_ids() -> None:
    """An attempt 0 that starts minutes after the last attempt's end is a new run."""
    story = [
        job(0, "task_started", retry_count=0, span_id=span(1)),
        job(1, "task_retry", retry_count=0, span_id=span(1)),
        job(2, "task_started", retry_count=1, span_id=span(2)),
        job(3, "task_failed", retry_count=1, span_id=span(2)),
        job(300, "task_started", retry_count=0, span_id=span(3)),
        job(301, "task_completed", retry_count=0, span_id=span(3)),
    ]
    assert status(fold_every_way(story, 310)) == "completed"


def test_run_ids_tell_runs_apart_at_once() -> None:
    """With run ids an attempt 0 a second later is a new run, and both runs are kept."""
    story = [
        job(0, "task_started", retry_count=1, span_id=span(1), run_id="a"),
        job(1, "task_failed", retry_count=1, span_id=span(1), run_id="a"),
        job(2, "task_started", retry_count=0, span_id=span(3), run_id="b"),
        job(3, "task_completed", retry_count=0, span_id=span(3), run_id="b"),
    ]
    model = fold_every_way(story, 9)
    assert status(model) == "completed"
    runs = runs_of(model.tasks.by_id["t"].jobs["j"])
    assert [[node.key for node in run.attempts] for run in runs] == [[1], [3]]


def test_next_attempt_on_a_slow_clock() -> None:
    """A retry on a machine whose clock is 5 s behind still decides."""
    story = [
        job(10, "task_started", retry_count=0, span_id=span(1)),
        job(11, "task_retry", retry_count=0, span_id=span(1)),
        job(6, "task_started", retry_count=1, span_id=span(2)),
        job(7, "task_completed", retry_count=1, span_id=span(2)),
    ]
    assert status(fold_every_way(story, 20)) == "completed"


def test_enqueued_again_after_success_is_pending() -> None:
    """A second enqueue of a job that completed waits; the first run stays to be read."""
    story = [
        job(0, "task_enqueued", span_id=span(1)),
        job(1, "task_started", span_id=span(2), parent_span_id=span(1)),
        job(2, "task_completed", span_id=span(2), parent_span_id=span(1)),
        job(3, "task_enqueued", span_id=span(3)),
    ]
    model = fold_every_way(story, 9)
    assert status(model) == "pending"
    runs = runs_of(model.tasks.by_id["t"].jobs["j"])
    assert [len(run.attempts) for run in runs] == [1, 0]


def test_retry_by_enqueueing_again_is_one_run() -> None:
    """A framework that retries by a further enqueue of the next attempt starts no new run."""
    story = [
        job(0, "task_enqueued", span_id=span(1)),
        job(1, "task_started", span_id=span(2), parent_span_id=span(1)),
        job(2, "task_enqueued", span_id=span(3), parent_span_id=span(2), retry_count=1),
        job(3, "task_retry", span_id=span(2), parent_span_id=span(1)),
    ]
    model = fold_every_way(story, 9)
    assert status(model) == "retrying"
    assert len(runs_of(model.tasks.by_id["t"].jobs["j"])) == 1
    story += [
        job(5, "task_started", span_id=span(4), parent_span_id=span(3), retry_count=1),
        job(6, "task_completed", span_id=span(4), parent_span_id=span(3), retry_count=1),
    ]
    assert status(fold_every_way(story, 9)) == "completed"


def test_end_reported_by_another_process() -> None:
    """An end without span id ends the open span of its attempt, and is no attempt of its own."""
    story = [
        job(1, "task_started", span_id=span(1), retry_count=0, worker_id="w"),
        job(5, "task_failed", retry_count=0, error="WorkerLostError"),
    ]
    model = fold_every_way(story, 9)
    found = model.tasks.by_id["t"].jobs["j"]
    assert status(model) == "failed"
    assert [len(run.attempts) for run in runs_of(found)] == [1]
    node, report = winner(found)
    assert node is model.tree.nodes[1]
    assert report is not None
    assert report.end == moment(5)
    story.append(job(6, "task_completed", span_id=span(1), retry_count=0, worker_id="w"))
    assert status(fold_every_way(story, 9)) == "completed"


def test_raw_events_beside_spans_count_once() -> None:
    """A job published as raw events and also as spans shows one attempt."""
    both: tuple[dict[str, Any], ...] = ({}, {"span_id": span(1)})
    story = [job(1, "task_started", worker_id="w", **one) for one in both]
    story += [job(2, "task_retry", worker_id="w", error="E", **one) for one in both]
    story += [
        job(3, "task_started", worker_id="w", retry_count=1),
        job(4, "task_failed", worker_id="w", retry_count=1, error="E"),
        job(3, "task_started", worker_id="w", retry_count=1, span_id=span(2)),
        job(4, "task_failed", worker_id="w", retry_count=1, error="E", span_id=span(2)),
    ]
    model = fold_every_way(story, 9)
    task = model.tasks.by_id["t"]
    assert task.retries == 1
    assert model.workers.by_id["w"].failed == 1
    assert [group.count for group in model.failures.of_task[task].values()] == [1]
    assert [len(run.attempts) for run in runs_of(task.jobs["j"])] == [2]


def numbers(model: Fold) -> list[list[int]]:
    """The numbers of the attempts of each run of the job."""
    runs = runs_of(model.tasks.by_id["t"].jobs["j"])
    return [[run.numbers[node] for node in run.attempts] for run in runs]


def states(model: Fold) -> dict[int | None, tuple[str, int | None, str | None]]:
    """Status, end and reason of each attempt, by its span."""
    job = model.tasks.by_id["t"].jobs["j"]
    found = {}
    for run in runs_of(job):
        for node in run.attempts:
            state = model.rows.state(node, None)
            found[node.key] = STATUS_NAMES[state.status], state.ended, state.reason
    return found


def life(seconds: float, worker: str, incarnation: str, kind: str = "heartbeat") -> Event:
    """A worker event of one process."""
    meta = {"host": worker, "pid": 1}
    return event(seconds, f"worker_{kind}", worker_id=worker, incarnation=incarnation, meta=meta)


def delivered(seconds: float, number: int, worker: str, **fields: Any) -> list[Event]:
    """Events of an attempt that keeps number 0, because its broker delivers the job again."""
    ids: dict[str, Any] = {"span_id": span(number), "worker_id": worker}
    ids |= {"incarnation": f"i-{worker}", "retry_count": 0, "run_id": "r"}
    return [job(seconds, "task_started", **ids, **fields)]


def test_a_job_delivered_again_after_a_crash() -> None:
    """Two attempts of one number are attempts 0 and 1: the first is lost, the second decides."""
    story = [
        life(0, "a", "i-a", "started"),
        life(0, "b", "i-b", "started"),
        *delivered(1, 1, "a"),
        life(10, "a", "i-a"),
        *delivered(12, 2, "b"),
        life(20, "b", "i-b"),
    ]
    model = fold_every_way(story, 21)
    assert numbers(model) == [[0, 1]]
    assert status(model) == "processing"
    assert states(model) == {
        1: ("stalled", moment(10), "worker_lost"),
        2: ("processing", None, None),
    }
    end = job(30, "task_completed", span_id=span(2), run_id="r", worker_id="b")
    model = fold_every_way([*story, end], 100)
    assert states(model) == {
        1: ("stalled", moment(10), "worker_lost"),
        2: ("completed", moment(30), None),
    }
    assert model.tasks.by_id["t"].agg[:6] == [0, 0, 0, 1, 0, 0]


def test_an_attempt_whose_process_is_heard_again_runs_on() -> None:
    """After a visibility time-out two processes run a job; that is what is shown."""
    story = [
        life(0, "a", "i-a", "started"),
        *delivered(1, 1, "a"),
        *delivered(12, 2, "b"),
        life(20, "a", "i-a"),
    ]
    assert states(fold_every_way(story, 21))[1] == ("processing", None, None)


def test_each_attempt_has_the_end_reported_for_it() -> None:
    """An end without span id belongs to the attempt of its number that ran then, and its run."""
    story = [
        *delivered(1, 1, "a"),
        job(5, "task_failed", retry_count=0, run_id="r", ended_by="other", error="killed",
            reason="killed"),
        *delivered(12, 2, "b"),
        job(20, "task_started", span_id=span(3), retry_count=0, run_id="s"),
        job(21, "task_failed", retry_count=0, run_id="s", ended_by="other", reason="time_limit"),
    ]  # fmt: skip
    model = fold_every_way(story, 30)
    assert numbers(model) == [[0, 1], [0]]
    assert status(model) == "failed"
    assert states(model) == {
        1: ("failed", moment(5), "killed"),
        2: ("processing", None, None),
        3: ("failed", moment(21), "time_limit"),
    }


def test_an_end_that_came_without_its_start() -> None:
    """A run that ended before any process started it is an attempt of its own."""
    story = [
        job(0, "task_enqueued", span_id=span(1), run_id="r"),
        job(1, "task_started", span_id=span(2), parent_span_id=span(1), run_id="r"),
        job(2, "task_completed", span_id=span(2), run_id="r"),
        job(3, "task_enqueued", span_id=span(3), run_id="s"),
        job(4, "task_failed", run_id="s", ended_by="other", reason="expired", retry_count=0),
    ]
    model = fold_every_way(story, 30)
    assert (status(model), numbers(model)) == ("failed", [[0], [0]])
    assert states(model)[None] == ("failed", moment(4), "expired")


@pytest.mark.parametrize("with_span", [True, False])
@pytest.mark.parametrize("own_end", [None, 4, 8])
def test_an_end_of_another_process_is_no_second_bar(with_span: bool, own_end: int | None) -> None:
    """With span id or without, before or after the span's own end: one attempt, its own end."""
    ids = {"span_id": span(1), "run_id": "r", "worker_id": "w"}
    other = {"run_id": "r", "ended_by": "other", "reason": "killed", "incarnation": "parent"}
    if with_span:
        other["span_id"] = span(1)
    story = [
        job(1, "task_started", **ids),
        job(6, "task_failed", **other, retry_count=0, worker_id="w"),
    ]
    if own_end is not None:
        story.append(job(own_end, "task_completed", **ids))
    model = fold_every_way(story, 30)
    assert numbers(model) == [[0]]
    own = (
        ("failed", moment(6), "killed") if own_end is None else ("completed", moment(own_end), None)
    )
    assert states(model) == {1: own}
    assert len(model.tasks.by_id["t"].jobs) == 1
    assert [node.key for node, _ in model.rows.nodes(model.tasks.by_id["t"])] == [1]
    assert model.workers.by_id["w"].failed == (own_end is None)


def test_raw_events_that_count_attempts_from_one() -> None:
    """Raw events beside spans are no further attempts, however their publisher counts."""
    spans = [
        job(0, "task_enqueued", span_id=span(9)),
        job(1, "task_started", worker_id="w", span_id=span(1), parent_span_id=span(9)),
        job(2, "task_retry", worker_id="w", error="E", span_id=span(1)),
        job(3, "task_started", worker_id="w", retry_count=1, span_id=span(2)),
        job(4, "task_failed", worker_id="w", retry_count=1, error="E", span_id=span(2)),
    ]
    raw = [
        job(0.5, "task_enqueued"),
        job(1.1, "task_started", worker_id="w", retry_count=1),
        job(2.1, "task_retry", worker_id="w", retry_count=1, error="E"),
        job(3.1, "task_started", worker_id="w", retry_count=2),
        job(4.1, "task_failed", worker_id="w", retry_count=2, error="E"),
    ]
    for count in range(len(spans)):
        model = fold_every_way([*spans[: count + 1], *raw[: count + 1]], 9, ways=20)
        alone = fold_every_way(spans[: count + 1], 9, ways=2)
        task, same = model.tasks.by_id["t"], alone.tasks.by_id["t"]
        assert task.agg[:6] == same.agg[:6]
        assert task.retries == same.retries
        assert [one.key for one, _ in model.rows.nodes(task)] == [
            one.key for one, _ in alone.rows.nodes(same)
        ]
        counts = [group.count for group in model.failures.of_task.get(task, {}).values()]
        assert counts == [group.count for group in alone.failures.of_task.get(same, {}).values()]
        if count:
            assert model.workers.by_id["w"].failed == alone.workers.by_id["w"].failed


def test_enqueue_that_failed() -> None:
    """A failed send is a failed job, not a pending one; a run of it after all wins."""
    story = [
        job(0, "task_enqueued", span_id=span(1)),
        job(1, "task_failed", span_id=span(1), span_kind="PRODUCER", error="no broker"),
    ]
    assert status(fold_every_way(story, 9)) == "failed"
    story.append(job(2, "task_started", span_id=span(2), parent_span_id=span(1)))
    assert status(fold_every_way(story, 9)) == "processing"


def test_last_word_is_the_latest_sign() -> None:
    """The latest sign of a node is its start or any later word of it."""
    story = [
        job(0, "task_started", span_id=span(1)),
        job(4, "span_updated", span_id=span(1)),
    ]
    model = fold_every_way(story, 9)
    assert last_word(model.tree.nodes[1]) == moment(4)


def test_a_start_after_a_success_is_a_new_run() -> None:
    """Without enqueue and run id a start after a success begins a run; a slow clock does not."""

    def attempts(again: float, number: int, **ids: str) -> tuple[str, list[list[int | None]]]:
        story = [
            job(3, "task_completed", span_id=span(1), retry_count=1, duration_ms=1000.0, **ids),
            job(again, "task_started", span_id=span(2), retry_count=number, **ids),
            job(1, "task_started", span_id=span(3), retry_count=2 - number, **ids),
        ]
        model = fold_every_way(story, 99)
        runs = runs_of(model.tasks.by_id["t"].jobs["j"])
        return status(model), [[node.key for node in run.attempts] for run in runs]

    assert attempts(5, 1) == ("processing", [[3, 1], [2]])
    assert attempts(70, 0) == ("processing", [[1, 3], [2]])
    assert attempts(5, 2) == ("processing", [[3, 1, 2]])
    assert attempts(5, 1, run_id="r") == ("processing", [[3, 1, 2]])


def test_a_run_after_a_success_is_found_beside_a_later_attempt() -> None:
    """A repeated attempt number is seen in every order, also where a greater one is known."""
    story = [
        job(2, "task_completed", span_id=span(1), retry_count=0, duration_ms=1000.0),
        job(1, "task_started", span_id=span(2), retry_count=1),
        job(9, "task_failed", span_id=span(3), retry_count=0, duration_ms=1000.0),
    ]
    assert status(fold_every_way(story, 10)) == "failed"
