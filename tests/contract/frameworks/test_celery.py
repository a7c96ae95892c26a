"""Celery: whose a job is, which run, how it ended, where it waits; real workers on a real Redis."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import STATUS_NAMES, microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.runs import runs_of

from tests.support.redis_server import RedisServer, next_module_database
from tests.support.task_rig import TaskRig, bin_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()
_databases = itertools.count(1)

TRACE = "0af7651916cd43dd8448eb211c80319c"
STATES = {"task_completed", "task_failed", "task_retry"}


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


def is_clean(rig: TaskRig) -> bool:
    """Whether no error of ours is in the worker's log."""
    log = rig.log.read_text(encoding="utf-8", errors="replace")
    return not re.search(r"otel.bridge[^\n]*(failed|could not)|Failed to detach", log)


@pytest.fixture(scope="module")
def rig(redis_server: RedisServer) -> Iterator[TaskRig]:
    """A prefork worker of two processes, with Sentry and OpenTelemetry's own instrumentation."""
    url = f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}"
    with TaskRig("celery", url, BESIDE="sentry ours otel") as rig:
        rig.start_worker()
        rig.wait_for("worker_started", count=2)
        yield rig
        assert is_clean(rig), rig.log.read_text(encoding="utf-8")[-4000:]


def version(package: str = "celery") -> tuple[int, ...]:
    """Of the Celery that the tests run."""
    code = f"import {package}; print({package}.__version__)"
    found = subprocess.check_output([bin_of("celery") / "python", "-c", code], text=True)
    return tuple(int(part) for part in found.split(".")[:2])


def ends(rig: TaskRig, job: str) -> list[dict[str, Any]]:
    """The events that end an attempt at a job, the earliest first."""
    found = [event for event in rig.events(job) if event["event_type"] in STATES]
    return sorted(found, key=lambda event: event["ts"])


def folded(rig: TaskRig, seconds_later: float = 0.0) -> Fold:
    """The collector's model of all events so far, as it is so long after the last one."""
    model = Fold(heartbeat_ttl_sec=2)
    newest = 0
    for event in rig.events():
        known = {key: value for key, value in event.items() if value is not None}
        one = decode_event(json.dumps(known).encode())
        newest = max(newest, microseconds(one.ts))
        model.apply(one, microseconds(one.ts))
    model.sweep(newest + int(seconds_later * 1e6))
    return model


def job_in(model: Fold, task: str, job: str) -> Any:
    return model.tasks.by_id[task].jobs[job]


def status(model: Fold, task: str, job: str) -> str:
    return STATUS_NAMES[job_in(model, task, job).st]


# --- whose it is ---------------------------------------------------------------------------------


def check_whose(rig: TaskRig) -> None:
    """Jobs with and without a research task in turn: each belongs to what its message says."""
    for _ in range(3):
        task = name("task")
        nest = rig.submit("nest", research_task=task)
        rig.wait_for("task_completed", nest)
        plain = rig.submit("nest")
        rig.wait_for("task_completed", plain)
        (started,) = rig.events(nest, "task_started")
        assert (started["parent_task_id"], started["phase"]) == (task, "search")
        (outer,) = rig.events(plain, "task_started")
        assert (outer["parent_task_id"], outer["phase"]) == (outer["trace_id"], None)
        assert (outer["project_id"], started["project_id"]) == (None, "alpha")
        for one, whose in ((started, (task, "search")), (outer, (outer["trace_id"], None))):
            inside = wait_for_inside(rig, one["span_id"])
            rig.wait_for("task_completed", inside)
            for event in rig.events(inside):
                assert (event["parent_task_id"], event["phase"]) == whose
                assert event["trace_id"] == one["trace_id"]
    other = f"00-{TRACE}-b7ad6b716920333{next(_names) % 10}-01"
    job = rig.submit("add@traceparent", other)
    started = rig.wait_for("task_started", job)
    assert (started["trace_id"], started["parent_task_id"]) == (TRACE, TRACE)
    assert started["parent_span_id"] == other.split("-")[2]


def wait_for_inside(rig: TaskRig, span_id: str) -> str:
    """The id of the job that was enqueued inside a job."""
    found: list[str] = []

    def is_there() -> bool:
        enqueued = rig.events(kind="task_enqueued")
        found[:] = [one["task_id"] for one in enqueued if one["parent_span_id"] == span_id]
        return bool(found)

    wait_until(is_there, "the job inside", timeout_sec=20)
    assert len(found) == 1
    return found[0]


def test_a_job_belongs_to_what_its_message_says(rig: TaskRig) -> None:
    """Beside Sentry and OpenTelemetry's instrumentation nothing leaks from one job to the next."""
    check_whose(rig)


@pytest.mark.frameworks
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize("beside", ["ours otel", "otel ours", "ours otel@process", "ours sentry"])
def test_whatever_is_set_up_beside(redis_url: str, pool: str, beside: str) -> None:
    """The same in every order of set-up and every pool, at another concurrency of one."""
    with TaskRig("celery", redis_url, BESIDE=beside) as rig:
        rig.start_worker("--pool", pool, "--concurrency", "1")
        rig.wait_for("worker_started")
        check_whose(rig)
        assert is_clean(rig)


# --- which run -----------------------------------------------------------------------------------


def test_each_replacement_is_a_run(rig: TaskRig) -> None:
    """Paging by ``self.replace()``: three runs, each completed, none of them a retry."""
    task = name("task")
    job = rig.submit("page", 1, research_task=task)
    rig.wait_for("task_completed", job, count=3)
    assert rig.kinds(job).count("task_started") == 3
    assert "task_retry" not in rig.kinds(job)
    model = folded(rig)
    assert status(model, task, job) == "completed"
    runs = runs_of(job_in(model, task, job))
    assert [(len(run.enqueues), len(run.attempts)) for run in runs] == [(1, 1)] * 3
    for event in rig.events(job):
        assert (event["parent_task_id"], event["phase"]) == (task, "search")


@pytest.mark.parametrize(("body", "end"), [("a_body", "completed"), ("a_bad_body", "failed")])
def test_a_body_that_replaces_a_job_ends_it(rig: TaskRig, body: str, end: str) -> None:
    """``self.replace(chord)``: its body is a second run under the job's id, with its own end."""
    task = name("task")
    job = rig.submit("split", body, research_task=task)
    wait_until(lambda: len(ends(rig, job)) == 2, "both ends", timeout_sec=20)
    assert [event["event_type"] for event in ends(rig, job)] == ["task_completed", f"task_{end}"]
    model = folded(rig)
    assert status(model, task, job) == end
    runs = runs_of(job_in(model, task, job))
    assert [[node.name for node in run.attempts] for run in runs] == [["split"], [body]]
    assert {event["parent_task_id"] for event in rig.events(job)} == {task}


def test_a_job_that_enqueues_itself_has_two_runs(rig: TaskRig) -> None:
    """``apply_async(task_id=...)`` inside a job: two runs of one id, both completed."""
    job = rig.submit("loop", rig.path(name("marker")), research_task=name("task"))
    rig.wait_for("task_completed", job, count=2)
    runs = {event["run_id"] for event in rig.events(job)}
    assert len(runs) == 2
    kinds = ["task_completed"] * 2 + ["task_enqueued"] * 2 + ["task_started"] * 2
    rig.wait_for_kinds(job, kinds)


def test_a_lost_attempt_is_a_retry(rig: TaskRig) -> None:
    """``reject_on_worker_lost``: the killed attempt is a retry, then comes attempt 2, and one end.

    So it is for a time limit where the task is queued again.
    """
    task = name("task")
    died = rig.submit("die_once", rig.path(name("marker")), research_task=task)
    slow = rig.submit("slow_once", rig.path(name("marker")), research_task=task)
    for job, reason in ((died, "worker_lost"), (slow, "time_limit")):
        completed = rig.wait_for("task_completed", job)
        assert completed["retry_count"] == 1
        retry, _ = ends(rig, job)
        assert (retry["event_type"], retry["reason"], retry["ended_by"]) == (
            "task_retry",
            reason,
            "other",
        )
        assert (retry["retry_count"] or 0, retry["parent_task_id"]) == (0, task)
        for started in rig.events(job, "task_started"):
            assert started["span_id"] in (retry["span_id"], completed["span_id"])
        own = [event for event in rig.events(job) if event["event_type"].startswith("task_")]
        assert {event["run_id"] for event in own} == {completed["run_id"]}
        assert re.fullmatch(r".*:[12]", str(retry["worker_id"]))


def test_a_job_that_gives_itself_back_runs_again(rig: TaskRig) -> None:
    """``Reject(requeue=True)``: a retry, then attempt 2."""
    job = rig.submit("reject", rig.path(name("given back")), True)
    completed = rig.wait_for("task_completed", job)
    assert completed["retry_count"] == 1
    rig.wait_for_kinds(
        job, ["task_completed", "task_enqueued", "task_retry", "task_started", "task_started"]
    )


@pytest.mark.frameworks
def test_a_job_delivered_again_is_a_further_attempt(redis_url: str) -> None:
    """After the visibility time-out a job that still runs is started as attempt 2."""
    if version("kombu") < (5, 7):
        pytest.skip("before kombu 5.7 the time-out is looked at after 100 s at the earliest")
    with TaskRig("celery", redis_url, VISIBILITY_TIMEOUT="2") as rig:
        rig.start_worker()
        gate = rig.path("gate")
        job = rig.submit("again", rig.path("marker"), gate, research_task="t")
        completed = rig.wait_for("task_completed", job)
        assert completed["retry_count"] == 1
        assert status(folded(rig), "t", job) == "completed"
        Path(gate).touch()
        rig.wait_for("task_completed", job, count=2)
        starts = [event["retry_count"] or 0 for event in rig.events(job, "task_started")]
        assert starts == [0, 1]


@pytest.mark.frameworks
def test_celery_retries_what_a_lost_worker_ran(redis_url: str) -> None:
    """``retry_on_worker_lost`` of Celery 5.7: one enqueue, a retry, attempt 2 of the same run."""
    if version() < (5, 7):
        pytest.skip("Celery 5.7 was the first with retry_on_worker_lost")
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker()
        job = rig.submit("die_and_retry", rig.path("marker"), research_task="t")
        completed = rig.wait_for("task_completed", job)
        retry, _ = ends(rig, job)
        assert (retry["event_type"], retry["reason"]) == ("task_retry", "worker_lost")
        assert retry["error"].startswith("WorkerLostError")
        assert (completed["retry_count"], completed["parent_task_id"]) == (1, "t")
        assert rig.kinds(job).count("task_enqueued") == 1
        assert retry["run_id"] == completed["run_id"]


# --- how it ended --------------------------------------------------------------------------------

OTHER_ENDS = {
    "slow": ("TimeLimitExceeded(1", "time_limit"),
    "soft": ("SoftTimeLimitExceeded", "time_limit"),
    "die": ("WorkerLostError: Worker exited prematurely: signal 9", "killed"),
    "leave": ("SystemExit: 3", None),
    "interrupt": ("KeyboardInterrupt", None),
    "boom": ("ValueError: no such school", None),
    "unlucky": ("RuntimeError: on_failure", None),
    "unserialisable": ("EncodeError", None),
    "unknown": ("no worker knows a task 'unknown'", "refused"),
    "add@expired": ("expired before it began", "expired"),
}
"""What becomes of a job by the name it is submitted as: its error, and its reason."""


def test_each_end_comes_once_with_its_reason(rig: TaskRig) -> None:
    """However a job fails, it fails once, with its error, its reason and its span."""
    task = name("task")
    jobs = {}
    for kind in OTHER_ENDS:
        arguments = [1] if kind.startswith("add") else []
        jobs[kind] = rig.submit(kind, *arguments, research_task=task)
        if kind == "soft":
            # The next job kills its process: what ended less than 10 ms before would be lost.
            for job in jobs.values():
                rig.wait_for("task_failed", job)
    jobs["reject"] = rig.submit("reject", rig.path(name("marker")), False, research_task=task)
    expected = OTHER_ENDS | {"reject": ("rejected by the task", "refused")}
    for job in jobs.values():
        rig.wait_for("task_failed", job)
    beside = rig.submit("beside", research_task=task)
    rig.wait_for("task_completed", beside)
    after = [rig.submit("add", 1) for _ in range(4)]
    for job in after:
        rig.wait_for("task_completed", job)
    for kind, (error, reason) in expected.items():
        (end,) = ends(rig, jobs[kind])
        assert (end["event_type"], end["reason"]) == ("task_failed", reason), kind
        assert end["error"].startswith(error), kind
        assert end["parent_task_id"] == task
        for started in rig.events(jobs[kind], "task_started"):
            assert started["span_id"] == end["span_id"], kind
            assert started["worker_id"] == end["worker_id"], kind
    assert rig.kinds(beside) == ["task_enqueued", "task_started", "task_completed"]
    model = folded(rig)
    assert {status(model, task, job) for job in jobs.values()} == {"failed"}
    for job in jobs.values():
        assert sum(len(run.attempts) for run in runs_of(job_in(model, task, job))) == 1


def test_a_revoked_job_fails_once(rig: TaskRig) -> None:
    """Called off while it runs, or while it waits for its time: failed once, as revoked."""
    task = name("task")
    running = rig.submit("nap", rig.path(name("gate")), research_task=task)
    late = rig.submit("add@late", 1, research_task=task)
    started = rig.wait_for("task_started", running)
    rig.submit("revoke", running)
    rig.submit("revoke", late)
    failed = rig.wait_for("task_failed", running)
    assert (failed["error"], failed["reason"]) == ("revoked", "revoked")
    assert (failed["span_id"], failed["worker_id"]) == (started["span_id"], started["worker_id"])
    enqueued = rig.wait_for("task_enqueued", late)
    assert enqueued["meta"]["eta"]
    after = rig.submit("add", 1)
    rig.wait_for("task_completed", after)
    assert len(ends(rig, running)) == 1


def test_an_error_callback_belongs_to_the_task(rig: TaskRig) -> None:
    """What Celery's main process enqueues for a killed job belongs to the job's research task."""
    task = name("task")
    job = rig.submit("die@callback", research_task=task)
    rig.wait_for("task_failed", job)

    def others() -> list[dict[str, Any]]:
        enqueued = rig.events(kind="task_enqueued")
        return [one for one in enqueued if one["parent_task_id"] == task != one["task_id"]]

    wait_until(lambda: len(others()) == 2, "the callback's enqueue", timeout_sec=20)


def test_jobs_in_place_make_no_worker(rig: TaskRig) -> None:
    """``apply()`` in a producer has no worker; in a job it has that of the job."""
    task = name("task")
    here = rig.submit("add@here", 1, research_task=task)
    rig.wait_for_kinds(here, ["task_completed", "task_started"])
    assert {event["worker_id"] for event in rig.events(here)} == {None}
    assert {event["parent_task_id"] for event in rig.events(here)} == {task}
    outer = rig.submit("in_place", research_task=task)
    rig.wait_for("task_completed", outer)
    workers = [event["worker_id"] for event in rig.events(kind="worker_started")]
    assert all(re.fullmatch(r"celery@.*:[1-9]", worker) for worker in workers)


# --- where it waits ------------------------------------------------------------------------------


def test_a_job_is_in_the_queue_it_went_to(rig: TaskRig) -> None:
    """By routes, names, objects and topics: enqueued and started name the queue that held it."""
    for kind, queue in (
        ("routed", "high"),
        ("add@object", "high"),
        ("add@name", "high"),
        ("add@topic", "media"),
        ("add", "celery"),
    ):
        job = rig.submit(kind, *([] if kind == "routed" else [1]))
        rig.wait_for("task_completed", job)
        rig.wait_for("task_enqueued", job)
        assert {event["queue"] for event in rig.events(job)} == {queue}, kind


def test_depths_by_priority_and_the_queues_of_workers(rig: TaskRig) -> None:
    """Waiting jobs are counted by queue and priority; each worker names its queues."""
    gate = rig.path(name("gate"))
    jobs = [rig.submit("nap", gate) for _ in range(4)]
    jobs += [rig.submit("nap@urgent", gate) for _ in range(3)]
    found: list[Any] = []
    counts: dict[str, int] = {}

    def is_counted() -> bool:
        # Each queue is counted by one of the processes: they may be in events of two.
        updates = rig.events(kind="queue_depth_update")
        found[:] = [event for event in updates if (event["meta"] or {}).get("priorities")]
        for event in updates:
            counts.update(event["counts"])
        return bool(found) and "high" in counts

    try:
        wait_until(is_counted, "depths by priority", timeout_sec=20)
    finally:
        Path(gate).touch()
    by_priority = found[0]["meta"]["priorities"]["celery"]
    assert by_priority["9"] >= 1
    assert found[0]["counts"]["celery"] == sum(by_priority.values())
    assert counts["high"] == 0
    for event in rig.events(kind="worker_started"):
        assert sorted(event["meta"]["queues"]) == ["celery", "high", "media"]
    for job in jobs:
        rig.wait_for("task_completed", job)


# --- its own progress ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "meta", "expected"),
    [
        ("PROGRESS", {"current": 3, "total": 10}, {"done": 3, "total": 10}),
        ("PROGRESS", {"percent": 42.5}, {"done": 42, "total": 100}),
        ("PROGRESS", {"phase": "reading"}, None),
        ("STARTED", {"current": 3, "total": 10}, None),
    ],
)
def test_the_state_progress_is_shown(
    rig: TaskRig, state: str, meta: dict[str, Any], expected: dict[str, int] | None
) -> None:
    """``update_state(state="PROGRESS")`` is the job's progress; other states and metas are not."""
    job = rig.submit("steps", state, [meta])
    completed = rig.wait_for("task_completed", job)
    assert completed["progress"] == expected


# --- reports of other tools' users ---------------------------------------------------------------


@pytest.mark.frameworks
def test_a_job_of_another_app_is_in_the_same_trace(rig: TaskRig) -> None:
    """``Celery("second").send_task()`` in a job (OpenTelemetry Python contrib, issue 609)."""
    task = name("task")
    job = rig.submit("elsewhere", research_task=task)
    (started,) = [rig.wait_for("task_started", job)]
    inside = wait_for_inside(rig, started["span_id"])
    completed = rig.wait_for("task_completed", inside)
    assert (completed["parent_task_id"], completed["trace_id"]) == (task, started["trace_id"])


@pytest.mark.frameworks
def test_headers_do_not_grow_with_retries(rig: TaskRig) -> None:
    """Each retry's message is as large as the first (Sentry Python, issue 2916)."""
    sizes = rig.path(name("sizes"))
    job = rig.submit("often", sizes, research_task=name("task"))
    completed = rig.wait_for("task_completed", job)
    assert completed["retry_count"] == 5
    lengths = [int(line) for line in Path(sizes).read_text(encoding="utf-8").split()]
    assert len(lengths) == 6
    # The first has no link to an attempt before it, and no number of attempts.
    assert max(lengths[1:]) - min(lengths[1:]) <= 8, lengths


@pytest.mark.frameworks
def test_a_received_job_that_is_revoked(redis_url: str) -> None:
    """It waits until the worker discards it, then it is revoked (Flower, issue 1319)."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker("--concurrency", "1")
        gate = rig.path("gate")
        running = rig.submit("nap", gate)
        rig.wait_for("task_started", running)
        waiting = rig.submit("add", 1, research_task="t")
        rig.submit("revoke", waiting)
        Path(gate).touch()
        failed = rig.wait_for("task_failed", waiting)
        assert (failed["reason"], failed["parent_task_id"]) == ("revoked", "t")
        assert rig.kinds(waiting) == ["task_enqueued", "task_failed"]


# --- who -----------------------------------------------------------------------------------------


def verdict(model: Fold, task: str, job: str) -> tuple[str, str | None]:
    """Status of a job, and why it is stalled if it is."""
    found = model.liveness.job_verdict(job_in(model, task, job))
    return status(model, task, job), None if found is None else found.reason


@pytest.mark.frameworks
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_node_killed_and_started_again_loses_its_job(redis_url: str, pool: str) -> None:
    """SIGKILL of a node and a start under its id: the job is stalled while the new one is alive."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker("--pool", pool)
        job = rig.submit("nap", rig.path("gate"), research_task="t")
        started = rig.wait_for("task_started", job)
        assert rig.worker is not None
        os.killpg(rig.worker.pid, signal.SIGKILL)
        rig.worker.wait()
        assert verdict(folded(rig), "t", job) == ("processing", None)
        before = {event["incarnation"] for event in rig.events(kind="worker_started")}
        rig.start_worker("--pool", pool)

        def is_stalled() -> bool:
            return verdict(folded(rig), "t", job) == ("stalled", "worker_lost")

        wait_until(is_stalled, "the job to be stalled", timeout_sec=30)
        again = rig.submit("add", 1, research_task="t")
        rig.wait_for("task_completed", again)
        workers = rig.events(kind="worker_started")
        now = {event["incarnation"] for event in workers} - before
        assert started["worker_id"] in {
            event["worker_id"] for event in workers if event["incarnation"] in now
        }
        model = folded(rig)
        worker = model.workers.by_id[started["worker_id"]]
        assert model.workers.status(worker, model.liveness.now) == "online"


@pytest.mark.frameworks
def test_two_nodes_of_one_name_are_two(redis_url: str) -> None:
    """Killed, the one loses its job; a job on the other, under the same id, goes on."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker("--concurrency", "1")
        rig.wait_for("worker_started")
        gate = rig.path("gate")
        dead = rig.submit("nap", gate, research_task="t")
        rig.wait_for("task_started", dead)
        first, rig.worker = rig.worker, None
        assert first is not None
        rig.start_worker("--concurrency", "1")
        rig.wait_for("worker_started", count=2)
        # The first node has a free place for one message.
        others = [rig.submit("nap", gate, research_task="t") for _ in range(3)]
        wait_until(
            lambda: any(rig.events(job, "task_started") for job in others), "a job on the second"
        )
        (living,) = [job for job in others if rig.events(job, "task_started")]
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()

        def is_so() -> bool:
            model = folded(rig)
            return verdict(model, "t", dead) == ("stalled", "worker_lost")

        wait_until(is_so, "the first node's job to be stalled", timeout_sec=30)
        assert verdict(folded(rig), "t", living) == ("processing", None)
        ids = {event["worker_id"] for event in rig.events(kind="worker_started")}
        assert len(ids) == 1
        Path(gate).touch()
        rig.wait_for("task_completed", living)


@pytest.mark.frameworks
@pytest.mark.parametrize("place", ["celeryd_init", "worker_init", "worker_process_init"])
def test_set_up_in_a_signal(redis_url: str, place: str) -> None:
    """Workers, jobs, heartbeats and depths are shown; where ends would be missed, it warns once."""
    with TaskRig("celery", redis_url, SET_UP_IN=place) as rig:
        rig.start_worker()
        rig.wait_for("worker_started", count=2)
        rig.wait_for("worker_heartbeat", count=2)
        rig.wait_for("queue_depth_update")
        job = rig.submit("add", 1, research_task="t")
        completed = rig.wait_for("task_completed", job)
        workers = {event["worker_id"] for event in rig.events(kind="worker_started")}
        assert len(workers) == 2
        assert completed["worker_id"] in workers
        if place != "worker_process_init":
            killed = rig.wait_for("task_failed", rig.submit("die", research_task="t"))
            assert (killed["reason"], killed["worker_id"] in workers) == ("killed", True)
        rig.stop_worker()
        log = rig.log.read_text(encoding="utf-8")
        is_late = place == "worker_process_init"
        assert log.count("in the module that creates the app") == is_late
        assert is_clean(rig)


# --- ghosts --------------------------------------------------------------------------------------


@pytest.mark.frameworks
@pytest.mark.parametrize("way", ["purge", "delete"])
def test_an_emptied_queue_leaves_no_ghost(redis_url: str, way: str) -> None:
    """``control.purge()`` or a deleted queue: what waited in it is stalled, as queue_emptied."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker("--concurrency", "1")
        gate = rig.path("gate")
        jobs = [rig.submit("nap", gate, research_task="t") for _ in range(6)]
        wait_until(
            lambda: any(
                event["counts"].get("celery", 0) >= 3
                for event in rig.events(kind="queue_depth_update")
            ),
            "waiting jobs",
            timeout_sec=20,
        )
        if way == "purge":
            rig.submit("purge")
        else:
            rig.remove_keys("celery")
        Path(gate).touch()
        wait_until(
            lambda: (
                [
                    event["counts"].get("celery", 0)
                    for event in rig.events(kind="queue_depth_update")
                ][-2:]
                == [0, 0]
            ),
            "two reports that it is empty",
            timeout_sec=30,
        )
        model = folded(rig, 90)
        found = [verdict(model, "t", job) for job in jobs]
        assert ("stalled", "queue_emptied") in found
        assert set(found) <= {("completed", None), ("stalled", "queue_emptied")}
