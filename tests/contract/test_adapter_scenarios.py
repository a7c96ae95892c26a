"""What users do beyond the common contract: jobs run in place, called off, rejected, scheduled."""

from __future__ import annotations

import itertools

import pytest

from tests.support.task_rig import TaskRig
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


def test_rq_runs_in_place(redis_url: str) -> None:
    """``Queue(is_async=False)``: whoever enqueues runs the job, and its end is told."""
    with TaskRig("rq", redis_url) as rig:
        task = name("task")
        done = rig.submit("add@here", 1, research_task=task)
        rig.wait_for_kinds(done, ["task_completed", "task_enqueued", "task_started"])
        bad = rig.submit("boom@here", research_task=task)
        rig.wait_for_kinds(bad, ["task_enqueued", "task_failed", "task_started"])
        assert rig.events(bad, "task_failed")[0]["error"] == "ValueError: no such school"
        told = [*rig.events(done), *rig.events(bad)]
        assert {(e["parent_task_id"], e["phase"]) for e in told} == {(task, "search")}


@pytest.mark.parametrize(
    ("order", "error"), [("revoke", "cancelled"), ("forget", "deleted before it began")]
)
def test_rq_jobs_that_are_called_off(redis_url: str, order: str, error: str) -> None:
    """A job cancelled or deleted while it waits has failed; one that has ended stays as it is."""
    with TaskRig("rq", redis_url) as rig:
        task = name("task")
        waiting = rig.submit("add", 1, research_task=task)
        rig.submit(order, waiting)
        failed = rig.wait_for("task_failed", waiting)
        assert (failed["error"], failed["parent_task_id"]) == (error, task)
        rig.start_worker()
        done = rig.submit("add", 1, research_task=task)
        rig.wait_for("task_completed", done)
        rig.submit(order, done)
        last = rig.submit("add", 1)
        rig.wait_for("task_completed", last)
        assert rig.kinds(waiting) == ["task_enqueued", "task_failed"]
        assert rig.kinds(done) == ["task_enqueued", "task_started", "task_completed"]


def test_an_rq_job_that_runs_again_has_another_run(redis_url: str) -> None:
    """A requeued job and one with a ``Repeat`` are enqueued again, as another run of one id."""
    with TaskRig("rq", redis_url) as rig:
        rig.start_worker()
        task = name("task")
        failed = rig.submit("boom", research_task=task)
        rig.wait_for("task_failed", failed)
        rig.submit("requeue", failed)
        twice = ["task_enqueued"] * 2 + ["task_failed"] * 2 + ["task_started"] * 2
        rig.wait_for_kinds(failed, twice)
        repeated = rig.submit("add@twice", 1, research_task=task)
        rig.wait_for_kinds(
            repeated, [kind.replace("failed", "completed") for kind in sorted(twice)]
        )
        for job in (failed, repeated):
            runs = [event["run_id"] for event in rig.events(job, "task_enqueued")]
            assert [event["run_id"] for event in rig.events(job, "task_started")] == runs
            assert len({*runs}) == 2
            events = rig.events(job)
            assert {(event["parent_task_id"], event["phase"]) for event in events} == {
                (task, "search")
            }
            assert len({event["trace_id"] for event in events}) == 1


def test_celerys_rejected_jobs(redis_url: str) -> None:
    """Dropped by ``Reject`` it failed, once and for good; given back to the queue it runs again."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker()
        dropped = rig.submit("reject", rig.path("dropped"), False)
        given_back = rig.submit("reject", rig.path("given back"), True)
        rig.wait_for_kinds(
            given_back,
            ["task_completed", "task_enqueued", "task_retry", "task_started", "task_started"],
        )
        rig.wait_for("task_failed", dropped)
        rig.stop_worker()
        assert rig.kinds(dropped) == ["task_enqueued", "task_started", "task_failed"]


@pytest.mark.parametrize("framework", ["arq", "celery", "dramatiq", "taskiq"])
def test_a_job_that_no_worker_knows(framework: str, redis_url: str) -> None:
    """A name that the worker has no function for: the job failed, in its research task."""
    with TaskRig(framework, redis_url) as rig:
        rig.start_worker()
        task = name("task")
        job = rig.submit("unknown", research_task=task)
        failed = rig.wait_for("task_failed", job)
        assert (failed["parent_task_id"], failed["project_id"]) == (task, "alpha")
        assert "unknown" in failed["error"]
        known = rig.submit("add", 1)
        rig.wait_for("task_completed", known)
        assert rig.kinds(job) == ["task_enqueued", "task_failed"]


def test_taskiqs_requeued_jobs(redis_url: str) -> None:
    """``Context.requeue()`` is a retry; a job that keeps no result has completed all the same."""
    with TaskRig("taskiq", redis_url) as rig:
        rig.start_worker()
        again = rig.submit("once_more", rig.path("marker"), research_task=name("task"))
        rig.wait_for_kinds(
            again,
            ["task_completed", "task_enqueued", "task_retry", "task_started", "task_started"],
        )
        assert rig.events(again, "task_retry")[0]["error"] == "requeued by the task"
        silent = rig.submit("no_result")
        rig.wait_for_kinds(silent, ["task_completed", "task_enqueued", "task_started"])


def ends_of(rig: TaskRig, task_type: str) -> list[str]:
    ends = rig.events(kind="task_completed")
    return [event["task_id"] for event in ends if event["task_type"] == task_type]


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


def test_arqs_jobs_aborted_before_they_begin(redis_url: str) -> None:
    """A job that is put off and aborted has failed, and says why."""
    with TaskRig("arq", redis_url) as rig:
        rig.start_worker()
        task = name("task")
        job = rig.submit("add@late", 1, research_task=task)
        rig.submit("revoke", job)
        failed = rig.wait_for("task_failed", job)
        assert (failed["error"], failed["parent_task_id"]) == ("aborted before it began", task)
        assert rig.kinds(job) == ["task_enqueued", "task_failed"]
