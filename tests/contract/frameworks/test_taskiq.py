"""Taskiq: who ran it, which run, how it ended, whose it is; with real workers on a real Redis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.redis_server import RedisServer, next_module_database
from tests.support.rig_model import (
    Attempt,
    assert_no_error_of_ours,
    attempts,
    can_restart_pids,
    kill_worker,
    start_worker_as_in_a_container,
)
from tests.support.task_rig import TaskRig, bin_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()


def is_installed(distribution: str) -> bool:
    """Whether the worker's environment has a distribution whose name and version start so."""
    found = bin_of("taskiq").parent.glob(f"lib/python*/site-packages/{distribution}*.dist-info")
    return any(found)


IS_OLD = is_installed("taskiq-0.11")
"""Whether the worker has Taskiq 0.11: no SmartRetryMiddleware, a scheduler of whole minutes."""
HAS_OPENTELEMETRY = not IS_OLD and is_installed("psutil-")
"""Whether it has ``taskiq[opentelemetry]``, which Taskiq 0.12 is the first to have."""
RETRIED = ["task_completed", "task_enqueued", "task_retry", "task_started", "task_started"]


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


@pytest.fixture(scope="module")
def rig(redis_server: RedisServer) -> Iterator[TaskRig]:
    """One worker for the tests that need no set-up of their own."""
    with TaskRig(
        "taskiq", f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}"
    ) as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        yield rig


def end_of(rig: TaskRig, job: str, kind: str = "task_failed") -> tuple[str | None, str | None]:
    """Error and reason of a job's only end, once that of a later job is in the log as well."""
    rig.wait_for(kind, job)
    later = rig.submit("add", 1)
    rig.wait_for("task_completed", later)
    ends = [k for k in rig.kinds(job) if k not in ("task_enqueued", "task_started")]
    assert ends == [kind]
    (end,) = rig.events(job, kind)
    return end["error"], end["reason"]


# --- how it ended --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["before", "after"])
def test_another_middleware_that_raises(rig: TaskRig, place: str) -> None:
    """Before or after ours, in each hook: one end, and the right one; nothing is left running."""
    task = name("task")

    def submit(job: str, hook: str) -> str:
        return rig.submit(
            f"{job}!{place}:{hook}", *(() if job == "boom" else (1,)), research_task=task
        )

    refused = submit("add", "pre_execute")
    assert end_of(rig, refused) == (f"RuntimeError: {place} raises in pre_execute", "refused")
    unsaved = submit("add", "post_execute")
    assert end_of(rig, unsaved) == (f"RuntimeError: {place} raises in post_execute", None)
    failed = submit("boom", "on_error")
    assert end_of(rig, failed) == ("ValueError: no such school", None)
    saved = submit("add", "post_save")
    assert end_of(rig, saved, "task_completed") == (None, None)
    for job in (refused, unsaved, failed, saved):
        assert {event["parent_task_id"] for event in rig.events(job)} == {task}
    assert_no_error_of_ours(rig)


def test_a_result_that_cannot_be_stored(rig: TaskRig) -> None:
    """The function returned, but who waits for its result never gets it: failed, and it says so."""
    error, reason = end_of(rig, rig.submit("unserialisable"))
    assert error is not None
    assert error.startswith("the result could not be stored: ")
    assert reason is None


def test_ends_have_reasons(rig: TaskRig) -> None:
    """A time limit is not the job's own TimeoutError; reject() and sys.exit() fail."""
    assert end_of(rig, rig.submit("slow")) == (
        "TimeoutError: time limit of 1 s exceeded",
        "time_limit",
    )
    assert end_of(rig, rig.submit("own_timeout")) == ("TimeoutError: the page took too long", None)
    assert end_of(rig, rig.submit("reject")) == ("TaskRejectedError: Task was rejected", "refused")
    assert end_of(rig, rig.submit("leave")) == ("SystemExit: 3", None)
    error, reason = end_of(rig, rig.submit("unknown"))
    assert (error, reason) == ("no worker knows a task 'unknown'", "refused")


# --- which run -----------------------------------------------------------------------------------


def test_requeued_and_retried_attempts_are_numbered(rig: TaskRig) -> None:
    """``Context.requeue()`` is a retry of the same run; so is a retry by the middleware."""
    task = name("task")
    for job_name, error in (
        ("once_more", "requeued by the task"),
        ("flaky", "ConnectionError: try again"),
    ):
        job = rig.submit(job_name, rig.path(name("marker")), research_task=task)
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job) == [
            Attempt(0, "retrying", None),
            Attempt(1, "completed", None),
        ]
        assert len({event["run_id"] for event in rig.events(job)}) == 1
        assert rig.events(job, "task_retry")[0]["error"] == error
    silent = rig.submit("no_result")
    rig.wait_for_kinds(silent, ["task_completed", "task_enqueued", "task_started"])


def test_a_job_that_enqueues_itself_has_further_runs(rig: TaskRig) -> None:
    """Each page has completed, as a run of its own under the one id, in the same research task."""
    task = name("task")
    job = rig.submit("page", 0, research_task=task)
    rig.wait_for("task_completed", job, 3)
    assert [each.status for each in attempts(rig, task, job)] == ["completed"] * 3
    assert len({event["run_id"] for event in rig.events(job, "task_enqueued")}) == 3
    assert {event["parent_task_id"] for event in rig.events(job)} == {task}


def test_an_id_that_is_used_again_is_a_further_run(rig: TaskRig) -> None:
    """The same id, sent twice by a program: two runs with an end each, of two research tasks."""
    tasks = [name("task"), name("task")]
    own = name("id")
    for number, task in enumerate(tasks):
        rig.submit(f"add~{own}", 1, research_task=task)
        rig.wait_for("task_completed", own, number + 1)
    assert [attempts(rig, task, own) for task in tasks] == [[Attempt(0, "completed", None)]] * 2


# --- whose it is, its progress -------------------------------------------------------------------


def test_each_step_of_a_pipeline_belongs_to_its_start(rig: TaskRig) -> None:
    """Steps, the job of each item and the job that waits: one research task, phase and trace."""
    task = name("task")
    last = rig.submit("pipeline", 3, research_task=task)
    rig.wait_for("task_completed", last)
    found = [event for event in rig.events() if event["parent_task_id"] == task]
    ours = [event for event in found if event["task_id"] not in (None, task)]
    jobs = {event["task_id"]: event["task_type"] for event in ours}
    assert sorted(jobs.values()) == [
        *("add", "add", "add", "count", "numbers", "taskiq_pipelines.shared.wait_tasks")
    ]
    assert len({event["trace_id"] for event in found}) == 1
    assert {event["phase"] for event in ours} == {"search"}
    spans = {event["span_id"] for event in found}
    assert {event["parent_span_id"] for event in found} - spans == {None}
    for job in jobs:
        rig.wait_for_kinds(job, ["task_completed", "task_enqueued", "task_started"])


def test_progress_from_inside_of_a_job(rig: TaskRig) -> None:
    """``job_progress()`` in a coroutine and in a thread, and Taskiq's own ``ProgressTracker``."""
    done = rig.submit("steps")
    assert rig.wait_for("task_completed", done)["progress"] == {"done": 5, "total": 5}
    tracked = rig.submit("tracked")
    assert rig.wait_for("task_completed", tracked)["progress"] == {"done": 2, "total": 4}
    gate = rig.path(name("gate"))
    in_thread = rig.submit("steps_in_thread", gate)
    assert rig.wait_for("task_progress", in_thread)["progress"] == {"done": 3, "total": 5}
    Path(gate).touch()
    rig.wait_for("task_completed", in_thread)


# --- who -----------------------------------------------------------------------------------------


@pytest.mark.frameworks
def test_each_process_is_a_worker_that_names_its_queues(redis_url: str) -> None:
    """Two processes of one command are two workers, with host, pid, incarnation and queues."""
    with TaskRig("taskiq", redis_url) as rig:
        rig.start_worker("--workers", "2")
        rig.wait_for("worker_started", count=2)
        started = rig.events(kind="worker_started")
        assert len({event["worker_id"] for event in started}) == 2
        assert len({event["incarnation"] for event in started}) == 2
        for event in started:
            meta = event["meta"]
            assert event["worker_id"] == f"taskiq@{meta['host']}:{meta['pid']}"
            assert meta["queues"] == ["taskiq"]
        depth = rig.wait_for("queue_depth_update")
        assert depth["counts"] == {"taskiq": 0}


def test_set_up_at_worker_startup(redis_url: str) -> None:
    """``configure()`` and ``instrument()`` at WORKER_STARTUP: worker, depths and jobs are shown."""
    with TaskRig("taskiq", redis_url, RIG_SETUP="startup") as rig:
        rig.start_worker()
        started = rig.wait_for("worker_started")
        task = name("task")
        job = rig.submit("flaky", rig.path("marker"), research_task=task)
        completed = rig.wait_for("task_completed", job)
        assert completed["worker_id"] == started["worker_id"]
        assert [each.status for each in attempts(rig, task, job)] == ["retrying", "completed"]
        rig.wait_for("queue_depth_update")
        rig.stop_worker()
        assert len(rig.events(kind="worker_stopped")) == 1
        assert_no_error_of_ours(rig)


@pytest.mark.frameworks
def test_a_killed_worker_of_a_stream(redis_url: str) -> None:
    """Its message is delivered again: the first attempt is lost with its worker, then a second."""
    with TaskRig("taskiq", redis_url, RIG_BROKER="stream") as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        task, gate = name("task"), rig.path("gate")
        job = rig.submit("nap", gate, research_task=task)
        rig.wait_for("task_started", job)
        kill_worker(rig)
        assert attempts(rig, task, job, later_sec=60) == [Attempt(0, "stalled", "worker_lost")]
        with redis.Redis.from_url(redis_url) as client:
            # taskiq-redis 1.1 holds this lock for ever if its worker is killed while it has it.
            client.delete("autoclaim:taskiq:taskiq")
        rig.start_worker()
        rig.wait_for("worker_started", count=2)
        Path(gate).touch()
        # The broker looks for messages of the dead when a new one has come.
        wait_until(
            lambda: rig.submit("add", 1) and rig.events(job, "task_completed"),
            "the message to be delivered again",
            every_sec=0.3,
        )
        assert attempts(rig, task, job, later_sec=60) == [
            Attempt(0, "stalled", "worker_lost"),
            Attempt(1, "completed", None),
        ]
        assert len({event["run_id"] for event in rig.events(job)} - {None}) == 1
        assert_no_error_of_ours(rig)


@pytest.mark.frameworks
@pytest.mark.skipif(not can_restart_pids(), reason="needs the right to make a pid namespace")
def test_a_killed_worker_that_starts_again_under_its_id(redis_url: str) -> None:
    """As in a container, where each is process 1: what the former one ran is lost at once."""
    with TaskRig("taskiq", redis_url) as rig:
        start_worker_as_in_a_container(rig)
        rig.wait_for("worker_started")
        task, gate = name("task"), rig.path("gate")
        job = rig.submit("nap", gate, research_task=task)
        rig.wait_for("task_started", job)
        kill_worker(rig)
        assert attempts(rig, task, job) == [Attempt(0, "processing", None)]
        start_worker_as_in_a_container(rig)
        rig.wait_for("worker_started", count=2)
        started = rig.events(kind="worker_started")
        assert len({event["worker_id"] for event in started}) == 1
        assert len({event["incarnation"] for event in started}) == 2
        assert attempts(rig, task, job) == [Attempt(0, "stalled", "worker_lost")]
        Path(gate).touch()
        kill_worker(rig)


@pytest.mark.frameworks
def test_a_long_job_that_a_stream_delivers_twice(redis_url: str) -> None:
    """Its worker lives, but the message was idle for too long: two attempts, an end each."""
    with TaskRig("taskiq", redis_url, RIG_BROKER="stream") as rig:
        rig.start_worker("--max-async-tasks", "8")
        rig.wait_for("worker_started")
        task, gate = name("task"), rig.path("gate")
        job = rig.submit("nap", gate, research_task=task)
        wait_until(
            lambda: rig.submit("add", 1) and len(rig.events(job, "task_started")) == 2,
            "the message to be delivered again",
            every_sec=0.3,
        )
        Path(gate).touch()
        rig.wait_for("task_completed", job, 2)
        assert attempts(rig, task, job) == [
            Attempt(0, "completed", None),
            Attempt(1, "completed", None),
        ]


# --- beside others -------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_OPENTELEMETRY, reason="needs taskiq[opentelemetry] 0.12 or newer")
@pytest.mark.parametrize("order", ["before", pytest.param("after", marks=pytest.mark.frameworks)])
def test_beside_taskiqs_own_opentelemetry(redis_url: str, order: str) -> None:
    """Set up before or after ours: a nested job keeps its research task, nothing leaks."""
    with TaskRig("taskiq", redis_url, RIG_OTEL=order) as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        task = name("task")
        outer = rig.submit("nest", research_task=task)
        rig.wait_for("task_completed", outer)
        last = rig.submit("pipeline", 2, research_task=task, phase="collect")
        rig.wait_for("task_completed", last)
        alone = rig.submit("nest")
        rig.wait_for("task_completed", alone)
        wait_until(lambda: len(enqueued(rig, task)) == 7, "the jobs of the research task")
        (inner,) = [
            e for e in enqueued(rig, task) if e["phase"] == "search" and e["task_id"] != outer
        ]
        (started,) = rig.events(outer, "task_started")
        assert inner["parent_span_id"] == started["span_id"]
        phases = [event["phase"] for event in enqueued(rig, task)]
        assert sorted(phases) == ["collect"] * 5 + ["search"] * 2
        again = rig.submit("once_more", rig.path("marker"), research_task=name("task"))
        rig.wait_for_kinds(again, RETRIED)
        trace = rig.events(alone, "task_started")[0]["trace_id"]
        wait_until(lambda: len(enqueued(rig, trace)) == 2, "the jobs of no research task")
        assert {event["phase"] for event in enqueued(rig, trace)} == {None}
        assert_no_error_of_ours(rig)


def enqueued(rig: TaskRig, task: str) -> list[dict[str, Any]]:
    return [e for e in rig.events(kind="task_enqueued") if e["parent_task_id"] == task]


def ends_of(rig: TaskRig, task_type: str) -> list[str]:
    ends = rig.events(kind="task_completed")
    return [event["task_id"] for event in ends if event["task_type"] == task_type]


@pytest.mark.skipif(IS_OLD, reason="the scheduler of Taskiq 0.11 looks once a minute")
def test_taskiqs_scheduled_jobs(redis_url: str) -> None:
    """What is scheduled for one time is of the research task that scheduled it, not its own."""
    with TaskRig("taskiq", redis_url) as rig:
        rig.start_worker()
        app = "tests.support.task_apps.taskiq_app:scheduler"
        rig.start_beside("taskiq", "scheduler", app, "--update-interval", "1")
        task = name("task")
        rig.submit("add@once", 1, research_task=task)
        wait_until(lambda: ends_of(rig, "add"), "the scheduled job", timeout_sec=40)
        (job,) = ends_of(rig, "add")
        rig.wait_for_kinds(job, ["task_completed", "task_enqueued", "task_started"])
        told = rig.events(job)
        assert {(e["parent_task_id"], e["project_id"], e["phase"]) for e in told} == {
            (task, "alpha", "search")
        }
        (root,) = rig.events(task, "task_started")
        assert {event["trace_id"] for event in told} == {root["trace_id"]}


@pytest.mark.frameworks
@pytest.mark.skipif(IS_OLD, reason="Taskiq 0.11 has no SmartRetryMiddleware")
def test_a_retry_that_the_scheduler_sends(redis_url: str) -> None:
    """``SmartRetryMiddleware`` with a schedule source: the next attempt of the same run."""
    with TaskRig("taskiq", redis_url, RIG_RETRY="smart") as rig:
        rig.start_worker()
        app = "tests.support.task_apps.taskiq_app:scheduler"
        rig.start_beside("taskiq", "scheduler", app, "--update-interval", "1")
        task = name("task")
        job = rig.submit("flaky", rig.path("marker"), research_task=task)
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job) == [
            Attempt(0, "retrying", None),
            Attempt(1, "completed", None),
        ]
        assert len(rig.events(job, "task_enqueued")) == 1
        assert len({event["run_id"] for event in rig.events(job)}) == 1


# --- how many wait -------------------------------------------------------------------------------


@pytest.mark.frameworks
@pytest.mark.parametrize("kind", ["list", "stream"])
def test_the_depth_of_a_queue_that_is_deleted(redis_url: str, kind: str) -> None:
    """Known at once, then every 0.5 s: what waits, and 0 after the queue's key was deleted."""
    with TaskRig("taskiq", redis_url, RIG_BROKER=kind) as rig:
        gate = rig.path("gate")
        rig.start_worker()
        assert rig.wait_for("queue_depth_update")["counts"] == {"taskiq": 0}
        for _ in range(8):
            rig.submit("nap", gate)
        # From then on the worker takes no more; one that looked for more would end without the key.
        rig.wait_for("queue_depth_update", count=2)
        if kind == "list":
            # A stream gives its worker up to 100 messages at once, which wait in it.
            assert rig.events(kind="queue_depth_update")[-1]["counts"]["taskiq"] > 0
        with redis.Redis.from_url(redis_url) as client:
            client.delete("taskiq")
        seen = len(rig.events(kind="queue_depth_update"))
        wait_until(
            lambda: (
                {"taskiq": 0}
                in [event["counts"] for event in rig.events(kind="queue_depth_update")[seen:]]
            ),
            "a depth of 0",
        )
        Path(gate).touch()
