"""What users do beyond the common contract: jobs run in place, called off, rejected, scheduled."""

from __future__ import annotations

import itertools

import pytest

from tests.support.task_rig import TaskRig

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


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


@pytest.mark.parametrize("framework", ["celery"])
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
