"""What Dramatiq's users do beyond the common contract, with real workers."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from otel_bridge_collector.model.events import STATUS_NAMES, microseconds
from otel_bridge_collector.model.runs import runs_of

from otel_bridge.events.model import MonitoringEvent
from tests.support.commanded_worker import NAMESPACE, can_be_pid_1
from tests.support.folding import fold
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.task_rig import TaskRig, bin_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()

RAN = ["task_completed", "task_enqueued", "task_started"]
SITE_PACKAGES = bin_of("dramatiq").parent.glob("lib/*/site-packages")
HAS_ABORT = any((folder / "dramatiq_abort").is_dir() for folder in SITE_PACKAGES)


@pytest.fixture(scope="module")
def rig(redis_server: RedisServer) -> Iterator[TaskRig]:
    """Producer and worker, for all tests that need no other set-up."""
    url = f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}"
    with TaskRig("dramatiq", url) as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        yield rig
        rig.stop_worker()
        assert_nothing_of_ours_failed(rig)


def assert_nothing_of_ours_failed(rig: TaskRig) -> None:
    log = rig.log.read_text(encoding="utf-8", errors="replace")
    assert [line for line in log.splitlines() if re.match("otel-bridge(:| could)", line)] == []


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


def ids_of(rig: TaskRig, task: str, task_type: str) -> set[str]:
    """The ids of a research task's jobs of one type."""
    events = rig.events(kind="task_enqueued")
    return {
        event["task_id"]
        for event in events
        if (event["parent_task_id"], event["task_type"]) == (task, task_type)
    }


def wait_for_ids(rig: TaskRig, task: str, task_type: str, count: int = 1) -> set[str]:
    """Wait until the research task has so many jobs of one type; their ids."""
    what = f"{count} jobs {task_type} of {task}"
    wait_until(lambda: len(ids_of(rig, task, task_type)) >= count, what, timeout_sec=40)
    found = ids_of(rig, task, task_type)
    assert len(found) == count
    return found


def attempts(rig: TaskRig, task: str, job: str) -> list[list[tuple[str, str | None]]]:
    """Status and reason of a job's attempts, by run, at the time of the newest event."""
    told = [{k: v for k, v in event.items() if v is not None} for event in rig.events()]
    events = [MonitoringEvent.model_validate(event) for event in told]
    model = fold(events)
    model.sweep(microseconds(max(event.ts for event in events)))
    found = []
    for run in runs_of(model.tasks.by_id[task].jobs[job]):
        states = [model.rows.state(node, None) for node in run.attempts]
        found.append([(STATUS_NAMES[state.status], state.reason) for state in states])
    return found


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job_name", "reason", "error"),
    [
        ("old", "expired", "skipped: Message age limit exceeded"),
        ("unknown", "refused", "no worker knows an actor 'unknown'"),
        ("add@skip", "refused", "skipped: not today"),
        ("add@reject", "refused", "a middleware rejected the message"),
    ],
)
def test_a_message_that_is_refused_has_not_started(
    rig: TaskRig, job_name: str, reason: str, error: str
) -> None:
    """Too old, no such actor, or skipped or rejected by a middleware: failed once, and why."""
    arguments = [1] if job_name.startswith("add") else []
    job = rig.submit(job_name, *arguments, research_task=name("task"))
    failed = rig.wait_for("task_failed", job)
    rig.wait_for_kinds(job, ["task_enqueued", "task_failed"])
    assert (failed["reason"], failed["error"], failed["worker_id"]) == (reason, error, None)
    enqueued = rig.wait_for("task_enqueued", job)
    for key in ("parent_task_id", "project_id", "phase", "run_id", "trace_id"):
        assert failed[key] == enqueued[key]


def test_a_message_that_is_not_sent_is_no_job(rig: TaskRig) -> None:
    """A middleware that raises before the broker has taken it: nothing is shown."""
    unsent = rig.submit("add@unsent", 1)
    sent = rig.submit("add", 1)
    rig.wait_for("task_completed", sent)
    assert rig.events(unsent) == []


def test_a_message_that_is_put_off_waits_on(rig: TaskRig) -> None:
    """A middleware enqueues it again and skips it: one job, which runs once, later."""
    job = rig.submit("add@put off", 1)
    rig.wait_for("task_completed", job)
    rig.wait_for_kinds(job, RAN)


@pytest.mark.parametrize("job_name", ["add", "unserialisable"])
def test_other_middleware_may_fail(rig: TaskRig, job_name: str) -> None:
    """One that raises in each hook, and a result that cannot be stored, leave one completion."""
    job = rig.submit(job_name, *([1] if job_name == "add" else []))
    rig.wait_for("task_completed", job)
    rig.wait_for_kinds(job, RAN)


def test_a_message_that_is_rejected_after_it_ran(rig: TaskRig) -> None:
    """A middleware that sends it to the dead-letter queue: the job has failed."""
    job = rig.submit("rejected")
    failed = rig.wait_for("task_failed", job)
    assert failed["error"] == "a middleware rejected the message"
    rig.wait_for_kinds(job, ["task_enqueued", "task_failed", "task_started"])


def test_a_retry_that_the_broker_does_not_take_is_a_failure(rig: TaskRig) -> None:
    """The job has failed with its own error: nothing runs it again."""
    job = rig.submit("not_again")
    failed = rig.wait_for("task_failed", job)
    assert failed["error"] == "ValueError: no such school"
    rig.wait_for_kinds(job, ["task_enqueued", "task_failed", "task_started"])


def test_a_time_limit_is_the_reason_of_each_attempt(rig: TaskRig) -> None:
    """A retry and then a failure, both by the time limit; what is sent then is of the same task."""
    task = name("task")
    job = rig.submit("slow_twice", research_task=task)
    failed = rig.wait_for("task_failed", job)
    (retry,) = rig.events(job, "task_retry")
    assert [(each["reason"], each["retry_count"]) for each in (retry, failed)] == [
        ("time_limit", 0),
        ("time_limit", 1),
    ]
    wait_for_ids(rig, task, "given_up")
    assert attempts(rig, task, job) == [[("retrying", "time_limit"), ("failed", "time_limit")]]


def test_an_actor_that_sends_its_own_message_again_has_two_runs(rig: TaskRig) -> None:
    """Both runs have an enqueue, a start and a completion of their own, in one research task."""
    task = name("task")
    job = rig.submit("page", rig.path(name("marker")), research_task=task)
    rig.wait_for_kinds(job, sorted(RAN * 2))
    assert attempts(rig, task, job) == [[("completed", None)], [("completed", None)]]
    runs = {event["run_id"] for event in rig.events(job)}
    assert len(runs) == 2
    assert {event["phase"] for event in rig.events(job)} == {"search"}


def test_a_message_that_is_sent_twice_has_two_runs(rig: TaskRig) -> None:
    """Sent again from outside, a message stays with the research task that it was sent in."""
    task = name("task")
    job = rig.submit("send_again", research_task=task)
    rig.wait_for("task_completed", job)
    assert rig.submit("send_again") == job
    rig.wait_for_kinds(job, sorted(RAN * 2))
    assert attempts(rig, task, job) == [[("completed", None)], [("completed", None)]]
    assert len({event["trace_id"] for event in rig.events(job)}) == 1


# --- whose it is, where it waits -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("job_name", "jobs"), [("pipeline", {"double": 2}), ("group", {"double": 2, "add": 1})]
)
def test_each_step_belongs_to_its_research_task(
    rig: TaskRig, job_name: str, jobs: dict[str, int]
) -> None:
    """The jobs of a pipeline or a group, and what follows them, are of the task that sent them."""
    task = name("task")
    rig.submit(job_name, 3, research_task=task)
    for task_type, count in jobs.items():
        for job in wait_for_ids(rig, task, task_type, count):
            rig.wait_for_kinds(job, RAN)
            assert {(each["project_id"], each["phase"]) for each in rig.events(job)} == {
                ("alpha", "search")
            }


def test_a_delayed_message_waits_in_its_own_queue(rig: TaskRig) -> None:
    """Enqueued once, in the delay queue, and started by its time; the worker takes from both."""
    job = rig.submit("add@1500", 1, research_task=name("task"))
    enqueued = rig.wait_for("task_enqueued", job)
    assert (enqueued["queue"], enqueued["meta"]["delay"]) == ("default.DQ", 1500)
    rig.wait_for_kinds(job, RAN)
    (started,) = rig.events(job, "task_started")
    assert started["queue"] == "default"
    times = [MonitoringEvent.model_validate(each).ts for each in (enqueued, started)]
    assert (times[1] - times[0]).total_seconds() >= 1.5
    (worker,) = rig.events(kind="worker_started")
    assert worker["meta"]["queues"] == ["default", "default.DQ"]
    first = rig.wait_for("queue_depth_update")
    assert first["counts"].keys() == {"default", "default.DQ"}


def test_an_async_actor_reports_its_progress(rig: TaskRig) -> None:
    """Progress and what it sends belong to the job, though it runs on the event loop's thread."""
    gate, task = rig.path(name("gate")), name("task")
    job = rig.submit("gentle", gate, research_task=task)
    progress = rig.wait_for("task_progress", job)
    assert progress["progress"] == {"done": 3, "total": 10}
    Path(gate).touch()
    completed = rig.wait_for("task_completed", job)
    assert completed["progress"] == {"done": 3, "total": 10}
    (inner,) = wait_for_ids(rig, task, "add")
    (started,) = rig.events(job, "task_started")
    assert rig.events(inner, "task_enqueued")[0]["parent_span_id"] == started["span_id"]


def test_a_flushed_queue_leaves_no_ghost(rig: TaskRig) -> None:
    """What waited is revoked; the job that runs meanwhile completes."""
    gate, task = rig.path(name("gate")), name("task")
    running = rig.submit("nap", gate, research_task=task)
    rig.wait_for("task_started", running)
    waiting = [rig.submit("add", 1, research_task=task) for _ in range(3)]
    rig.submit("flush")
    Path(gate).touch()
    for job in waiting:
        failed = rig.wait_for("task_failed", job)
        assert (failed["reason"], failed["error"]) == ("revoked", "the queue was flushed")
        rig.wait_for_kinds(job, ["task_enqueued", "task_failed"])
    rig.wait_for_kinds(running, RAN)


# --- workers -------------------------------------------------------------------------------------


def test_a_worker_that_stops_interrupts_and_gives_back(redis_url: str) -> None:
    """A job interrupted by ``Shutdown`` is retried by the next worker; what waits runs there."""
    with TaskRig("dramatiq", redis_url, dramatiq_queue_prefetch="4") as rig:
        late = rig.submit("add@1500", 1)
        rig.submit("flush")
        rig.wait_for_kinds(late, ["task_enqueued", "task_failed"])
        task = name("task")
        rig.start_worker("--threads", "1")
        job = rig.submit("interrupted", rig.path("marker"), research_task=task)
        rig.wait_for("task_started", job)
        waiting = [rig.submit("add", 1, research_task=task) for _ in range(3)]
        rig.stop_worker()
        retry = rig.wait_for("task_retry", job)
        assert "Shutdown" in retry["error"]
        rig.start_worker()
        rig.wait_for("task_completed", job)
        for each in waiting:
            rig.wait_for_kinds(each, RAN)
        assert attempts(rig, task, job) == [[("retrying", None), ("completed", None)]]
        assert_nothing_of_ours_failed(rig)


def test_a_killed_worker_started_again_under_its_id(redis_url: str) -> None:
    """What it ran is stalled at once; redelivered by the broker it is a further attempt."""
    if not can_be_pid_1():
        pytest.skip("NOT PROVED: no new pid namespace can be made here (unshare of util-linux)")
    with TaskRig("dramatiq", redis_url, RIG_REDELIVERY="1") as rig:
        gate, task = rig.path("gate"), name("task")
        rig.start_worker(within=NAMESPACE)
        job = rig.submit("nap", gate, research_task=task)
        rig.wait_for("task_started", job)
        rig.kill_worker()
        rig.start_worker(within=NAMESPACE)
        rig.wait_for("worker_started", count=2)
        assert attempts(rig, task, job)[0][0] == ("stalled", "worker_lost")
        rig.wait_for("task_started", job, count=2)
        Path(gate).touch()
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job) == [[("stalled", "worker_lost"), ("completed", None)]]
        started = rig.events(kind="worker_started")
        assert len({event["worker_id"] for event in started}) == 1
        assert len({event["incarnation"] for event in started}) == 2
        rig.kill_worker()


@pytest.mark.frameworks
def test_a_message_that_two_workers_run(redis_url: str) -> None:
    """Redelivered while the first worker is frozen: two attempts of one run, each with its end."""
    with TaskRig("dramatiq", redis_url, RIG_REDELIVERY="1") as rig:
        gate, task = rig.path("gate"), name("task")
        rig.start_worker()
        job = rig.submit("nap", gate, research_task=task)
        rig.wait_for("task_started", job)
        frozen = rig.worker
        assert frozen is not None
        os.killpg(frozen.pid, signal.SIGSTOP)
        rig.start_worker()
        rig.wait_for("task_started", job, count=2)
        os.killpg(frozen.pid, signal.SIGCONT)
        Path(gate).touch()
        rig.wait_for("task_completed", job, count=2)
        assert attempts(rig, task, job) == [[("completed", None), ("completed", None)]]
        rig.stop_worker()
        rig.worker = frozen


@pytest.mark.frameworks
def test_a_delay_queue_is_shown_until_it_is_empty(redis_url: str) -> None:
    """Its depth counts what a worker holds in memory, and goes back to 0."""
    with TaskRig("dramatiq", redis_url) as rig:
        rig.start_worker()
        rig.wait_for("queue_depth_update")
        # A sample every 5 s: one of them is taken while the message waits.
        rig.submit("add@6000", 1)
        depths: list[int] = []

        def is_seen() -> bool:
            depths[:] = [
                each["counts"]["default.DQ"] for each in rig.events(kind="queue_depth_update")
            ]
            return 1 in depths and depths[-1] == 0

        wait_until(is_seen, "a depth of 1, then of 0", timeout_sec=40)


@pytest.mark.frameworks
@pytest.mark.parametrize("hook", ["after_process_boot", "before_worker_boot", "after_worker_boot"])
def test_configure_may_be_called_in_a_hook(redis_url: str, hook: str) -> None:
    """Where Dramatiq's documents put set-up: both processes are workers, with jobs and depths."""
    with TaskRig("dramatiq", redis_url, RIG_CONFIGURE=hook) as rig:
        rig.start_worker("--processes", "2")
        rig.wait_for("worker_started", count=2)
        assert len({event["worker_id"] for event in rig.events(kind="worker_started")}) == 2
        gate = rig.path("gate")
        jobs = [rig.submit("nap", gate) for _ in range(4)]
        rig.wait_for("queue_depth_update")
        wait_until(lambda: len(rig.events(kind="task_started")) >= 2, "jobs on both workers")
        Path(gate).touch()
        for job in jobs:
            rig.wait_for_kinds(job, RAN)
        workers = {event["worker_id"] for event in rig.events(kind="task_started")}
        assert workers == {event["worker_id"] for event in rig.events(kind="worker_started")}
        rig.stop_worker()
        assert len(rig.events(kind="worker_stopped")) == 2
        assert_nothing_of_ours_failed(rig)


@pytest.mark.frameworks
@pytest.mark.parametrize("order", ["before", "after"])
def test_sentry_beside_it(redis_url: str, order: str) -> None:
    """Sentry set up before or after: a job of no research task gets nothing of the job before."""
    with TaskRig("dramatiq", redis_url, RIG_SENTRY=order) as rig:
        rig.start_worker("--threads", "1")
        task = name("task")
        first = rig.submit("boom", research_task=task)
        rig.wait_for("task_failed", first)
        skipped = rig.submit("add@skip", 1, research_task=task)
        rig.wait_for("task_failed", skipped)
        nested = rig.submit("nest")
        rig.wait_for("task_completed", nested)
        assert {event["parent_task_id"] for event in rig.events(first)} == {task}
        (trace_id,) = {event["trace_id"] for event in rig.events(nested)}
        wait_for_ids(rig, trace_id, "add")
        for event in rig.events(nested):
            assert (event["parent_task_id"], event["phase"]) == (trace_id, None)
        assert_nothing_of_ours_failed(rig)


@pytest.mark.frameworks
@pytest.mark.skipif(not HAS_ABORT, reason="dramatiq-abort is in the environments of the matrix")
def test_jobs_that_dramatiq_abort_calls_off(redis_url: str) -> None:
    """Waiting or running, a job that is aborted is revoked; the one that ran is retried."""
    with TaskRig("dramatiq", redis_url) as rig:
        waiting = rig.submit("add", 1)
        rig.submit("call_off", waiting)
        rig.start_worker()
        failed = rig.wait_for("task_failed", waiting)
        assert (failed["reason"], rig.kinds(waiting)) == (
            "revoked",
            ["task_enqueued", "task_failed"],
        )
        gate = rig.path("gate")
        running = rig.submit("nap", gate)
        rig.wait_for("task_started", running)
        rig.submit("call_off", running)
        assert rig.wait_for("task_retry", running)["reason"] == "revoked"
        assert_nothing_of_ours_failed(rig)
