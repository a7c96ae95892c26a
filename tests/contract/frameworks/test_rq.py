"""RQ with real workers: who, which run, how it ended, whose it is, and how far it is."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import START, fold, judged
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.task_rig import TaskRig, bin_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()
RAN = ["task_completed", "task_enqueued", "task_started"]
FAILED = ["task_enqueued", "task_failed", "task_started"]


def in_worker(code: str) -> str:
    """What a line of Python prints in the worker's environment."""
    command = [f"{bin_of('rq')}/python", "-c", f"import importlib.metadata as m; {code}"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def version(package: str) -> tuple[int, ...]:
    """The numbers of its version there."""
    found = in_worker(f"print(m.version('{package}'))").split(".")
    return tuple(int(part) for part in found if part.isdigit())


def is_installed(package: str) -> bool:
    """Whether it is installed there."""
    return in_worker(f"print(len([*m.Distribution.discover(name='{package}')]))") != "0"


RQ, REDIS = version("rq"), version("redis")


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


@pytest.fixture(scope="module")
def rig(redis_server: RedisServer) -> Iterator[TaskRig]:
    """A worker with RQ's scheduler, for the tests that need none of their own."""
    with TaskRig("rq", f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}") as rig:
        rig.start_worker("--name", "shared", "--scheduler")
        rig.wait_for("worker_started")
        yield rig
        assert_quiet(rig)


@pytest.fixture
def new_rig(redis_url: str) -> Iterator[TaskRig]:
    """A producer; the test starts the workers."""
    with TaskRig("rq", redis_url) as rig:
        yield rig
        assert_quiet(rig)


def assert_quiet(rig: TaskRig) -> None:
    """No error of ours is in the worker's log."""
    log = rig.log.read_text(errors="replace") if rig.log.exists() else ""
    assert [line for line in log.splitlines() if re.search("otel-bridge(?!-rig)", line)] == []


def enqueue(
    rig: TaskRig, function: str, *args: Any, task: str | None = None, **options: Any
) -> str:
    return rig.submit("enqueue", function, list(args), options, research_task=task)


def order(rig: TaskRig, what: str, *args: Any) -> str:
    return rig.submit("order", what, *args)


def model_of(rig: TaskRig, later_sec: float = 0.0) -> Fold:
    """The model of all events of the rig, looked at so many seconds from now."""
    sent = [{name: value for name, value in e.items() if value is not None} for e in rig.events()]
    events = [MonitoringEvent.model_validate(event) for event in sent]
    return judged(fold(events), (datetime.now(UTC) - START).total_seconds() + later_sec)


def job_of(model: Fold, job: str) -> Job:
    (found,) = [task.jobs[job] for task in model.tasks.by_id.values() if job in task.jobs]
    return found


def status(rig: TaskRig, job: str, later_sec: float = 0.0) -> str:
    return STATUS_NAMES[job_of(model_of(rig, later_sec), job).st]


def reason(rig: TaskRig, job: str) -> tuple[str | None, str | None, str]:
    """Reason, reporter and error of a job's one failure."""
    rig.wait_for("task_failed", job)
    (failed,) = rig.events(job, "task_failed")
    return failed["reason"], failed["ended_by"] or "self", failed["error"]


def assert_belongs(rig: TaskRig, job: str, task: str) -> None:
    """Each event of it names its research task and phase."""
    found = {(event["parent_task_id"], event["phase"]) for event in rig.events(job)}
    assert found == {(task, "search")}


def attempts(rig: TaskRig, job: str) -> list[int]:
    """The numbers of the attempts that started, in their order."""
    starts = sorted(rig.events(job, "task_started"), key=lambda event: event["ts"])
    return [event["retry_count"] or 0 for event in starts]


def runs(rig: TaskRig, job: str, kind: str) -> list[str]:
    return [event["run_id"] for event in rig.events(job, kind)]


# --- who -----------------------------------------------------------------------------------------


def test_a_worker_is_named_by_its_user_and_host(rig: TaskRig) -> None:
    """Its id is ``name@host``, its meta has the queues, and its jobs name its incarnation."""
    job = rig.submit("add", 1)
    rig.wait_for_kinds(job, RAN)
    (worker,) = rig.events(kind="worker_started")
    assert worker["worker_id"] == f"shared@{worker['meta']['host']}"
    assert worker["meta"]["queues"] == ["default"]
    ran = [event for event in rig.events(job) if event["event_type"] != "task_enqueued"]
    assert {event["worker_id"] for event in ran} == {worker["worker_id"]}
    assert {event["incarnation"] for event in ran} == {worker["incarnation"]}


def test_workers_without_a_name(new_rig: TaskRig) -> None:
    """They are ``host:pid``, and each of their queues is in their meta."""
    new_rig.start_worker("--queues", "a,b", "--kind", "RoundRobinWorker")
    started = new_rig.wait_for("worker_started")
    meta = started["meta"]
    assert started["worker_id"] == f"{meta['host']}:{meta['pid']}"
    assert meta["queues"] == ["a", "b"]


def kill(rig: TaskRig) -> None:
    """SIGKILL for the worker and its work-horse, which has a process group of its own."""
    assert rig.worker is not None
    children = Path(f"/proc/{rig.worker.pid}/task/{rig.worker.pid}/children").read_text().split()
    for pid in (*map(int, children), rig.worker.pid):
        os.kill(pid, signal.SIGKILL)
    rig.worker.wait()
    rig.worker = None


@pytest.mark.parametrize("retries", [pytest.param(0, marks=pytest.mark.frameworks), 2])
def test_a_worker_killed_with_its_work_horse(new_rig: TaskRig, retries: int) -> None:
    """
    Its job is stalled, started again under its name or not, until RQ's clean-up decides.

    The clean-up of another worker ends the attempt once: as failed, or as a retry.
    """
    rig, task, gate = new_rig, name("task"), new_rig.path("gate")
    rig.start_worker("--name", "w")
    options = {"retry": [retries]} if retries else {}
    job = enqueue(rig, "nap", gate, task=task, **options)
    started = rig.wait_for("task_started", job)
    wait_until(lambda: order(rig, "status", job) == "started", "RQ has started it")
    kill(rig)
    order(rig, "abandon", "w")
    # It has nothing to do in another queue, so it cleans nothing that is this one's.
    rig.start_worker("--name", "w", "--queues", "other")
    rig.wait_for("worker_started", count=2)
    lives = {event["incarnation"] for event in rig.events(kind="worker_started")}
    assert len(lives) == 2
    assert status(rig, job, later_sec=0) == "processing"  # another pid proves nothing yet
    model = model_of(rig, later_sec=31)
    found = job_of(model, job)
    verdict = model.liveness.job_verdict(found)
    assert STATUS_NAMES[found.st] == "stalled"
    assert verdict is not None
    assert verdict.reason == "worker_lost"
    rig.stop_worker()
    Path(gate).touch()
    rig.start_worker("--name", "cleaner")
    end = rig.wait_for("task_retry" if retries else "task_failed", job)
    assert (end["reason"], end["span_id"]) == ("worker_lost", started["span_id"])
    assert (end["ended_by"], end["worker_id"]) == ("other", started["worker_id"])
    assert "AbandonedJobError" in end["error"]
    if retries:
        rig.wait_for("task_completed", job)
        assert (attempts(rig, job), len({*runs(rig, job, "task_started")})) == ([0, 1], 1)
    rig.stop_worker()
    kinds = sorted(rig.kinds(job))
    assert kinds == (
        ["task_completed", "task_enqueued", "task_retry", *["task_started"] * 2]
        if retries
        else FAILED
    )
    assert status(rig, job) == ("completed" if retries else "failed")
    assert_belongs(rig, job, task)


def test_a_finished_job_that_is_cleaned_up(rig: TaskRig) -> None:
    """It stays completed if RQ takes it for abandoned, as 2.6.1 does: rq/rq#2424."""
    job = enqueue(rig, "add", 1, task=name("task"))
    rig.wait_for("task_completed", job)
    wait_until(lambda: order(rig, "status", job) == "finished", "RQ has recorded the end")
    order(rig, "leave_behind", job)
    last = enqueue(rig, "add", 1)
    rig.wait_for("task_completed", last)
    assert sorted(rig.kinds(job)) == RAN


@pytest.mark.frameworks
@pytest.mark.parametrize("retries", [0, 1])
def test_a_job_between_queue_and_worker(new_rig: TaskRig, retries: int) -> None:
    """RQ's clean-up finds that its worker was killed before the job started: rq/rq#2061."""
    rig, task = new_rig, name("task")
    job = enqueue(rig, "add", 1, task=task, **({"retry": [1]} if retries else {}))
    order(rig, "stick", job)
    rig.start_worker()
    end = rig.wait_for("task_retry" if retries else "task_failed", job)
    assert (end["reason"], end["ended_by"], end["span_id"]) == ("worker_lost", "other", None)
    assert "intermediate queue" in end["error"]
    if retries:
        rig.wait_for("task_completed", job)
        assert status(rig, job) == "completed"
    assert_belongs(rig, job, task)


@pytest.mark.frameworks
def test_a_cold_shutdown(new_rig: TaskRig) -> None:
    """Two signals end the worker and its work-horse: the job is stalled at once, rq/rq#2015."""
    rig = new_rig
    rig.start_worker()
    job = enqueue(rig, "nap", rig.path("gate"), task=name("task"), retry=[1])
    rig.wait_for("task_started", job)
    wait_until(lambda: order(rig, "status", job) == "started", "RQ has started it")
    assert rig.worker is not None

    def is_over() -> bool:
        assert rig.worker is not None
        rig.worker.terminate()  # RQ ignores a second one within a second
        return rig.worker.poll() is not None

    wait_until(is_over, "the worker to end", every_sec=0.3)
    rig.worker = None
    rig.wait_for("worker_stopped")
    assert status(rig, job) == "stalled"
    assert sorted(rig.kinds(job)) == ["task_enqueued", "task_started"]


# --- which run -----------------------------------------------------------------------------------


def test_a_job_that_runs_again_has_another_run(rig: TaskRig) -> None:
    """Requeued, repeated, put there again by hand: each run has its id, its nodes and its end."""
    task = name("task")
    requeued = rig.submit("boom", research_task=task)
    rig.wait_for("task_failed", requeued)
    rig.submit("requeue", requeued)
    repeated = enqueue(rig, "add", 1, task=task, repeat=[1])
    later = enqueue(rig, "add", 1, task=task, repeat=[1, 1])
    again = enqueue(rig, "add", 1, task=task)
    rig.wait_for("task_completed", again)
    order(rig, "again", again)
    for job in (requeued, repeated, later, again):
        rig.wait_for_kinds(job, 2 * (FAILED if job == requeued else RAN))
        enqueued = runs(rig, job, "task_enqueued")
        assert runs(rig, job, "task_started") == enqueued
        assert len({*enqueued}) == 2
        assert attempts(rig, job) == [0, 0]
        assert_belongs(rig, job, task)
        assert len({event["trace_id"] for event in rig.events(job)}) == 1


def test_a_later_run_that_fails(rig: TaskRig) -> None:
    """The job's status is that of its newest run."""
    job = enqueue(rig, "second_fails", rig.path(name("marker")), task=name("task"), repeat=[1])
    rig.wait_for_kinds(job, sorted(RAN + FAILED))
    assert status(rig, job) == "failed"


def test_a_job_that_enqueues_itself(rig: TaskRig) -> None:
    """Paging under one id: three runs, each with its start and its end."""
    task, job = name("task"), name("job")
    enqueue(rig, "pages", rig.path(job), task=task, job_id=job)
    rig.wait_for_kinds(job, 3 * RAN)
    for kind in ("task_enqueued", "task_started", "task_completed"):
        assert len({*runs(rig, job, kind)}) == 3
    assert_belongs(rig, job, task)
    assert status(rig, job) == "completed"


@pytest.mark.parametrize("interval", [0, 1])
def test_retries_are_attempts_of_one_run(rig: TaskRig, interval: int) -> None:
    """Given to ``enqueue()`` or returned by the job, at once or after an interval."""
    task = name("task")
    raised = enqueue(rig, "flaky", rig.path(name("m")), task=task, retry=[2, interval])
    returned = enqueue(rig, "asks_again", rig.path(name("m")), task=task)
    for job in (raised, returned):
        rig.wait_for_kinds(job, sorted([*RAN, "task_retry", "task_started"]))
        assert attempts(rig, job) == [0, 1]
        assert len({event["run_id"] for event in rig.events(job)}) == 1
        assert_belongs(rig, job, task)
    assert rig.events(returned, "task_retry")[0]["error"] == "the job returned Retry"


def test_retries_that_are_used_up(rig: TaskRig) -> None:
    """The last attempt has failed, once."""
    returned = enqueue(rig, "always_asks", task=name("task"))
    raised = enqueue(rig, "boom", task=name("task"), retry=[1])
    for job in (returned, raised):
        rig.wait_for_kinds(job, sorted([*FAILED, "task_retry", "task_started"]))
        assert status(rig, job) == "failed"
    assert rig.events(returned, "task_failed")[0]["error"] == "given up after 1 retries"


# --- how it ended --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "options", "error"),
    [
        ("add", {"on_success": "callback_raises"}, "RuntimeError: the callback failed"),
        ("boom", {"on_failure": "callback_raises"}, "RuntimeError: the callback failed"),
        ("leave", {}, "SystemExit: 3"),
    ],
)
def test_ends_that_are_failures(
    rig: TaskRig, function: str, options: dict[str, Any], error: str
) -> None:
    """A callback that raises, ``sys.exit``: failed once, by that."""
    args = [1] if function == "add" else [3] if function == "leave" else []
    job = enqueue(rig, function, *args, task=name("task"), **options)
    rig.wait_for_kinds(job, FAILED)
    why, by, text = reason(rig, job)
    assert (why, by) == (None, "self")
    assert error in text


@pytest.mark.frameworks
def test_a_result_that_cannot_be_stored(rig: TaskRig) -> None:
    """The job ends as RQ records it: RQ stores another text in place of the result."""
    job = enqueue(rig, "unserialisable", task=name("task"))
    rig.wait_for("task_started", job)
    wait_until(lambda: order(rig, "stores", job) != "done", "RQ has recorded the end")
    rig.wait_for_kinds(job, RAN if order(rig, "stores", job) == "SUCCESSFUL" else FAILED)


def test_a_time_limit_is_named(rig: TaskRig) -> None:
    """RQ's own time limit has the reason ``time_limit``."""
    job = rig.submit("slow")
    assert reason(rig, job)[:2] == ("time_limit", "self")


@pytest.mark.parametrize(
    ("function", "why", "text"),
    [("die", "killed", "signal 9"), ("vanish", "worker_lost", "terminated unexpectedly")],
)
def test_a_work_horse_that_ends_too_early(rig: TaskRig, function: str, why: str, text: str) -> None:
    """Its worker says how: killed by a signal, or gone; with the span of the attempt."""
    job = enqueue(rig, function, *([] if function == "die" else [3]), task=name("task"))
    found = reason(rig, job)
    assert found[:2] == (why, "other")
    assert text in found[2]
    for started in rig.events(job, "task_started"):
        assert rig.events(job, "task_failed")[0]["span_id"] == started["span_id"]


@pytest.mark.frameworks
@pytest.mark.parametrize("retries", [0, 1])
def test_a_work_horse_that_leaves_without_a_word(new_rig: TaskRig, retries: int) -> None:
    """``os._exit(0)`` in a job: its worker ends the attempt at once, RQ's clean-up not again."""
    rig, task = new_rig, name("task")
    rig.start_worker("--name", "w")
    options = {"retry": [1]} if retries else {}
    job = enqueue(rig, "vanish_once", rig.path("marker"), task=task, **options)
    end = rig.wait_for("task_retry" if retries else "task_failed", job)
    assert (end["reason"], end["ended_by"]) == ("worker_lost", "other")
    assert end["span_id"] == rig.wait_for("task_started", job)["span_id"]
    rig.stop_worker()
    order(rig, "abandon", "w")
    rig.start_worker()
    if retries:
        rig.wait_for_kinds(job, sorted([*RAN, "task_retry", "task_started"]))
        assert attempts(rig, job) == [0, 1]
    else:
        wait_until(lambda: order(rig, "status", job) == "failed", "RQ's clean-up")
        last = enqueue(rig, "add", 1)
        rig.wait_for("task_completed", last)
        assert sorted(rig.kinds(job)) == FAILED
    assert_belongs(rig, job, task)


def test_a_job_that_is_stopped(rig: TaskRig) -> None:
    """RQ's stop command: the job was revoked, although it had retries left."""
    job = enqueue(rig, "nap", rig.path(name("gate")), task=name("task"), retry=[2])
    rig.wait_for("task_started", job)
    wait_until(lambda: order(rig, "status", job) == "started", "RQ has started it")
    order(rig, "stop", job)
    assert reason(rig, job)[:2] == ("revoked", "other")
    rig.wait_for_kinds(job, FAILED)


@pytest.mark.frameworks
@pytest.mark.parametrize("handler", ["handler_raises", "handler_says_no"])
@pytest.mark.parametrize("retries", [0, 1])
def test_exception_handlers(new_rig: TaskRig, handler: str, retries: int) -> None:
    """
    One that raises ends the work-horse; one that returns False ends the chain of handlers.

    Either way each attempt ends once, by the job's own error.
    """
    rig = new_rig
    rig.start_worker("--handler", handler)
    job = enqueue(rig, "boom", task=name("task"), **({"retry": [1]} if retries else {}))
    ends = ["task_failed", *(["task_retry"] * retries)]
    rig.wait_for_kinds(job, sorted(["task_enqueued", *ends, *["task_started"] * (retries + 1)]))
    ended = [event for kind in ends for event in rig.events(job, kind)]
    assert {event["error"] for event in ended} == {"ValueError: no such school"}
    assert {event["reason"] for event in ended} == {None}


def test_jobs_that_are_called_off(new_rig: TaskRig) -> None:
    """Cancelled, deleted, or emptied out of their queue: revoked; one that has ended stays so."""
    rig, task = new_rig, name("task")
    off = {job: text for job, text in called_off(rig, task)}
    for job, text in off.items():
        assert reason(rig, job) == ("revoked", "other", text)
        assert_belongs(rig, job, task)
    rig.start_worker()
    done = rig.submit("add", 1, research_task=task)
    rig.wait_for("task_completed", done)
    rig.submit("revoke", done)
    rig.submit("forget", done)
    last = rig.submit("add", 1)
    rig.wait_for("task_completed", last)
    assert rig.kinds(done) == ["task_enqueued", "task_started", "task_completed"]
    for job in off:
        assert rig.kinds(job) == ["task_enqueued", "task_failed"]


def called_off(rig: TaskRig, task: str) -> Iterator[tuple[str, str]]:
    """Jobs that wait, each called off in one of RQ's ways, and what is said of it."""
    ways: list[tuple[Callable[[str], str], str]] = [
        (lambda job: rig.submit("revoke", job), "cancelled"),
        (lambda job: order(rig, "cancel_in_pipeline", job), "cancelled"),
        (lambda job: rig.submit("forget", job), "deleted before it started"),
        (lambda _: order(rig, "empty"), "its queue was emptied"),
        (lambda _: order(rig, "delete_queue", True), "its queue was emptied"),
        (lambda _: order(rig, "delete_queue", False), "its queue was deleted"),
    ]
    for call_off, text in ways:
        job = rig.submit("add", 1, research_task=task)
        call_off(job)
        yield job, text


def test_a_job_that_expires(new_rig: TaskRig) -> None:
    """Its ``ttl`` is over before a worker comes: expired, in its research task."""
    rig, task = new_rig, name("task")
    job = enqueue(rig, "add", 1, task=task, ttl=1)
    wait_until(lambda: not rig._client.exists(f"rq:job:{job}"), "the job to expire")
    rig.start_worker()
    found = reason(rig, job)
    assert found[:2] == ("expired", "other")
    ran = enqueue(rig, "add", 1, task=task, ttl=100)
    rig.wait_for_kinds(ran, RAN)
    rig.wait_for_kinds(job, ["task_enqueued", "task_failed"])
    assert_belongs(rig, job, task)
    assert not rig._client.exists(f"rq:job:{ran}:otel_bridge")


def test_dependencies(rig: TaskRig) -> None:
    """A dependent job waits, runs after its dependency, and ends when that one has failed."""
    task, gate = name("task"), rig.path(name("gate"))
    first = enqueue(rig, "nap", gate, task=task)
    follows = enqueue(rig, "add", 1, task=task, after=[first])
    Path(gate).touch()
    rig.wait_for_kinds(follows, RAN)
    assert rig.events(follows, "task_enqueued")[0]["meta"]["delay"] == "deferred"
    bad_gate = rig.path(name("gate"))
    blocker = enqueue(rig, "nap", bad_gate)
    bad = enqueue(rig, "boom", task=task)
    never = enqueue(rig, "add", 1, task=task, after=[bad])
    after_it = enqueue(rig, "add", 1, task=task, after=[never])
    anyway = enqueue(rig, "add", 1, task=task, after=[bad], allow_failure=True)
    Path(bad_gate).touch()
    rig.wait_for_kinds(anyway, RAN)
    rig.wait_for("task_completed", blocker)
    assert reason(rig, never) == (
        "refused",
        "other",
        f"not run: job {bad}, which it depends on, failed",
    )
    assert reason(rig, after_it)[0] == "refused"
    for job in (follows, never, after_it, anyway):
        assert_belongs(rig, job, task)
    rig.wait_for_kinds(never, ["task_enqueued", "task_failed"])
    assert {status(rig, job) for job in (never, after_it)} == {"failed"}


def test_a_job_that_is_deleted_or_cancelled_has_dependents(rig: TaskRig) -> None:
    """What waits for it will never run, and ends with it."""
    task, gate = name("task"), rig.path(name("gate"))
    blocker = enqueue(rig, "nap", gate, task=task)
    for call_off in ("forget", "revoke"):
        waits = enqueue(rig, "add", 1, task=task)
        never = enqueue(rig, "add", 1, task=task, after=[waits])
        rig.submit(call_off, waits)
        text = f"not run: job {waits}, which it depends on, will not run"
        assert reason(rig, never) == ("refused", "other", text)
        assert_belongs(rig, never, task)
    Path(gate).touch()
    rig.wait_for("task_completed", blocker)


def test_scheduled_jobs(rig: TaskRig) -> None:
    """``enqueue_in``: enqueued once, when it was asked for; not lost while its queue is empty."""
    task = name("task")
    later = enqueue(rig, "add", 1, task=task, wait_sec=3600)
    soon = enqueue(rig, "add", 1, task=task, wait_sec=1)
    rig.wait_for_kinds(soon, RAN)
    rig.wait_for_kinds(later, ["task_enqueued"])
    rig.wait_for("queue_depth_update", count=2)
    assert status(rig, later, later_sec=120) == "pending"
    assert_belongs(rig, soon, task)


@pytest.mark.frameworks
def test_a_job_that_its_worker_kills(new_rig: TaskRig) -> None:
    """60 s after a time limit that the job did not notice, RQ kills its work-horse."""
    rig = new_rig
    rig.start_worker("--monitoring-sec", "1")
    job = enqueue(rig, "stubborn", rig.path("gate"), task=name("task"), job_timeout=1)
    rig.wait_for("task_started", job)
    wait_until(lambda: rig.events(job, "task_failed"), "RQ to kill it", timeout_sec=90)
    assert reason(rig, job)[:2] == ("time_limit", "other")


@pytest.mark.frameworks
def test_a_pool_of_workers(redis_url: str) -> None:
    """``rq worker-pool``: each worker has its id, and the ends of its own work-horses alone."""
    with TaskRig("rq", redis_url) as rig:
        rig.start_beside("python", "-m", "tests.support.task_apps.rq_app", "--pool", "2")
        rig.wait_for("worker_started", count=2)
        assert len({event["worker_id"] for event in rig.events(kind="worker_started")}) == 2
        gates = [rig.path(f"gate{number}") for number in range(2)]
        jobs = [enqueue(rig, "die_at", gate, task="t") for gate in gates]
        started = [rig.wait_for("task_started", job) for job in jobs]
        assert len({event["worker_id"] for event in started}) == 2
        for gate, job, start in zip(gates, jobs, started, strict=True):
            Path(gate).touch()
            failed = rig.wait_for("task_failed", job)
            assert (failed["reason"], failed["span_id"]) == ("killed", start["span_id"])


# --- ghosts --------------------------------------------------------------------------------------


def test_a_pipeline_counts_when_it_is_executed(rig: TaskRig) -> None:
    """``enqueue(pipeline=p)`` without ``p.execute()`` is no job; ``enqueue_many`` is."""
    task = name("task")
    never = enqueue(rig, "add", 1, task=task, way="forgotten")
    for way in ("executed", "many"):
        rig.wait_for_kinds(enqueue(rig, "add", 1, task=task, way=way), RAN)
    gate = rig.path(name("gate"))
    first = enqueue(rig, "nap", gate)
    follows = rig.submit(
        "enqueue", "add", [1], {"way": "many", "after": [first]}, research_task=task
    )
    Path(gate).touch()
    rig.wait_for_kinds(follows, RAN)
    assert_belongs(rig, follows, task)
    assert rig.kinds(never) == []


@pytest.mark.frameworks
def test_a_spawn_worker(new_rig: TaskRig) -> None:
    """Its work-horses are new programs: all the same their jobs start, end and have children."""
    rig, task = new_rig, name("task")
    if REDIS[0] >= 8 and RQ < (3,):
        pytest.skip("RQ 2.6.1 cannot spawn a work-horse with redis-py 8")
    rig.start_worker("--kind", "SpawnWorker", "--name", "spawns")
    done = enqueue(rig, "add", 1, task=task)
    bad = enqueue(rig, "boom", task=task)
    tried = enqueue(rig, "flaky", rig.path("m"), task=task, retry=[1])
    dead = enqueue(rig, "die", task=task)
    rig.wait_for_kinds(done, RAN)
    rig.wait_for_kinds(bad, FAILED)
    assert reason(rig, bad)[2] == "ValueError: no such school"
    (failed,) = rig.events(bad, "task_failed")
    assert 'raise ValueError("no such school")' in rig.stack_of(failed)
    rig.wait_for_kinds(tried, sorted([*RAN, "task_retry", "task_started"]))
    assert attempts(rig, tried) == [0, 1]
    assert len({*runs(rig, tried, "task_started")}) == 1
    assert reason(rig, dead)[0] == "killed"
    nests = enqueue(rig, "nest", task=task)
    rig.wait_for_kinds(nests, RAN)
    (started,) = rig.events(nests, "task_started")
    wait_until(
        lambda: [
            event["task_id"]
            for event in rig.events(kind="task_completed")
            if event["parent_task_id"] == task and event["task_id"] not in (done, nests, tried)
        ],
        "the job inside",
    )
    inner = [
        e for e in rig.events(kind="task_enqueued") if e["parent_span_id"] == started["span_id"]
    ]
    assert [event["parent_task_id"] for event in inner] == [task]


# --- progress, meta, depths ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (40, {"done": 40, "total": 100}),
        (0.4, {"done": 40, "total": 100}),
        ({"done": 3, "total": 7}, {"done": 3, "total": 7}),
        ({"current": 3, "total": 7}, {"done": 3, "total": 7}),
    ],
)
def test_progress_in_the_meta(rig: TaskRig, value: Any, shown: dict[str, int]) -> None:
    """Saved by ``save_meta()`` it is the job's progress; the user's meta holds nothing of ours."""
    gate = rig.path(name("gate"))
    job = rig.submit("report", value, gate, research_task=name("task"))
    progress = rig.wait_for("task_progress", job)
    assert progress["progress"] == shown
    assert order(rig, "meta", job) == "['progress']"
    Path(gate).touch()
    assert rig.wait_for("task_completed", job)["progress"] == shown


@pytest.mark.frameworks
def test_depths_of_each_queue(new_rig: TaskRig) -> None:
    """Each queue's depth comes at once, and an emptied queue reports 0."""
    rig = new_rig
    for _ in range(3):
        enqueue(rig, "add", 1, queue="b")
    gate = rig.path("gate")
    enqueue(rig, "nap", gate, queue="a")
    rig.start_worker("--queues", "a,b")
    first = rig.wait_for("queue_depth_update")
    assert first["counts"]["b"] == 3
    Path(gate).touch()
    wait_until(
        lambda: rig.events(kind="queue_depth_update")[-1]["counts"] == {"a": 0, "b": 0},
        "both to be empty",
    )


def test_nothing_leaks_in_a_simple_worker(new_rig: TaskRig) -> None:
    """One process runs all jobs: each belongs to what its own carrier says, or to nothing."""
    rig, task = new_rig, name("task")
    rig.start_worker("--kind", "SimpleWorker")
    mine = enqueue(rig, "nest", task=task)
    rig.wait_for_kinds(mine, RAN)
    other = enqueue(rig, "nest")
    rig.wait_for_kinds(other, RAN)
    assert_belongs(rig, mine, task)
    for job in (mine, other):
        (started,) = rig.events(job, "task_started")
        inner = [
            e for e in rig.events(kind="task_enqueued") if e["parent_span_id"] == started["span_id"]
        ]
        assert [e["parent_task_id"] for e in inner] == [started["parent_task_id"]]
    assert {event["phase"] for event in rig.events(other)} == {None}


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "order_of_set_up", ["sentry,redis,ours", "ours,redis,sentry", "redis,ours,sentry"]
)
def test_beside_other_instrumentations(redis_url: str, order_of_set_up: str) -> None:
    """With Sentry's and OpenTelemetry's for Redis, in any order, whose a job is stays right."""
    if not is_installed("opentelemetry-instrumentation-redis"):
        order_of_set_up = order_of_set_up.replace("redis,", "")
    with TaskRig("rq", redis_url, RQ_APP_SET_UP=order_of_set_up) as rig:
        test_nothing_leaks_in_a_simple_worker(rig)
        bad = enqueue(rig, "boom", task="t")
        assert reason(rig, bad)[2] == "ValueError: no such school"
        assert_quiet(rig)


def test_jobs_of_the_release_before(new_rig: TaskRig) -> None:
    """A carrier in ``meta`` is read, and hidden from the job; its attempts are counted on."""
    rig = new_rig
    carrier = {
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "nexus-parent-task-id": "old",
        "nexus-run-id": "c" * 16,
    }
    meta = {"otel_bridge": carrier, "otel_bridge_attempt": 2, "own": 1}
    gate = Path(rig.path("gate"))
    gate.touch()
    with TaskRig("rq", rig.redis_url, RQ_APP_SET_UP="") as plain:
        job = enqueue(plain, "report", 40, str(gate), meta=meta)
    rig.start_worker()
    rig.wait_for("task_completed", job)
    (started,) = rig.events(job, "task_started")
    assert (started["parent_task_id"], started["run_id"]) == ("old", "c" * 16)
    assert (started["retry_count"], started["trace_id"]) == (2, "a" * 32)
    assert order(rig, "meta", job) == "['own', 'progress']"


@pytest.mark.frameworks
def test_the_settings_module_of_rq_worker(new_rig: TaskRig) -> None:
    """``rq worker -c module``: set-up in that module shows the worker and its jobs."""
    rig = new_rig
    rig.start_beside("rq", "worker", "-c", "tests.support.task_apps.rq_app", "-u", rig.redis_url)
    rig.wait_for_kinds(rig.submit("add", 1), RAN)
    assert rig.events(kind="worker_started")


@pytest.mark.frameworks
def test_zero_code(redis_url: str) -> None:
    """``opentelemetry-instrument rq worker``: the same, without a line of set-up."""
    if bin_of("rq") != Path(sys.executable).parent:
        pytest.skip("entry points are found only where otel-bridge is installed")
    with TaskRig("rq", redis_url, RQ_APP_SET_UP="") as rig:
        command = (f"{bin_of('rq')}/rq", "worker", "-u", redis_url)
        rig.start_beside("opentelemetry-instrument", *command)
        rig.wait_for("worker_started")
        job = rig.submit("add", 1)
        rig.wait_for_kinds(job, ["task_completed", "task_started"])


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("set_up", "text"),
    [
        ("adapter", "configure() was not called before Worker.work()"),
        ("", "instrument() was called while a job runs"),
    ],
)
def test_the_wrong_place(redis_url: str, set_up: str, text: str) -> None:
    """Set-up too late or not at all: one warning that names the right place."""
    with TaskRig("rq", redis_url, RQ_APP_SET_UP=set_up) as rig:
        if set_up:
            rig.start_worker()
        else:
            rig.start_beside("rq", "worker", "-u", redis_url)
            rig.submit("enqueue", "set_up", ["ours"], {})
        wait_until(lambda: text in rig.log.read_text(errors="replace"), "the warning")
        lines = rig.log.read_text(errors="replace").splitlines()
        assert sum("otel-bridge: " in line for line in lines) == 1
        assert "'rq worker -c'" in next(line for line in lines if text in line)


def test_runs_in_place(new_rig: TaskRig) -> None:
    """``Queue(is_async=False)``: the process that enqueues a job runs it, and its end is shown."""
    rig, task = new_rig, name("task")
    done = rig.submit("add@here", 1, research_task=task)
    rig.wait_for_kinds(done, RAN)
    bad = rig.submit("boom@here", research_task=task)
    rig.wait_for_kinds(bad, FAILED)
    assert rig.events(bad, "task_failed")[0]["error"] == "ValueError: no such school"
    for job in (done, bad):
        assert_belongs(rig, job, task)
