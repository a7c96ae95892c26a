"""What users do beyond the common contract: jobs run in place, called off, rejected, scheduled."""

from __future__ import annotations

import itertools

import pytest

from tests.support.task_rig import TaskRig

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
