"""``otel_bridge_collector.model.nodes``: records of nodes, jobs and tasks."""

from __future__ import annotations

import pytest
from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    JOB,
    PHASE,
    PROCESSING,
)
from otel_bridge_collector.model.nodes import (
    UNKNOWN,
    Host,
    Job,
    More,
    Node,
    Task,
    forget_times,
)


@pytest.mark.parametrize(("start", "end", "first"), [(3, 9, 3), (None, 9, 9), (None, 0, 0)])
def test_when_a_node_first_existed(start: int | None, end: int, first: int) -> None:
    """A node existed since its start, else since its end; 0 while neither is known."""
    task = Task("t")
    assert Node(1, JOB, task, task, start=start, end=end).first == first


def test_task_of_a_node() -> None:
    """A node's task is one expression, whether the node belongs to a job or to the task itself."""
    task = Task("t")
    owners: tuple[Job | Task, ...] = (task, Job(task, "j"))
    assert [Node(1, JOB, task, own).own.task for own in owners] == [task, task]


def test_nodes_of_a_job() -> None:
    """A job gives each node of its chain once; one without nodes gives none."""
    task = Task("t")
    job = Job(task, "j")
    assert list(job.nodes()) == []
    nodes = [Node(number, JOB, task, job) for number in (1, 2, 3)]
    for node in nodes:
        node.next, job.first = job.first, node
    assert {node.key for node in job.nodes()} == {1, 2, 3}
    assert len(list(job.nodes())) == 3


def test_only_a_virtual_phase_forgets_its_times() -> None:
    """Times of a phase that no span is are found again; a span's are its own."""
    task = Task("t")
    virtual = Node(None, PHASE, task, task, more=More(first=5, last=9))
    real = Node(1, PHASE, task, task, more=More(first=5, last=9))
    for at in (virtual, real, task, None):
        forget_times(Job(task, "j", at=at))
    assert virtual.more is not None
    assert real.more is not None
    assert (virtual.more.first, real.more.first) == (UNKNOWN, 5)


def test_ended_jobs_in_the_order_of_their_ends() -> None:
    """A task's jobs that completed or failed are listed with the one that ended first in front."""
    task = Task("t")
    for name, status, end in (
        ("late", COMPLETED, 30),
        ("open", PROCESSING, 0),
        ("early", FAILED, 10),
        ("middle", COMPLETED, 20),
    ):
        job = task.jobs[name] = Job(task, name, st=status)
        job.win = Node(end, JOB, task, job, end=end)
    assert [job.id for job in task.ended] == ["early", "middle", "late"]


def test_a_host_lives_by_itself() -> None:
    """What has no incarnations is kept alive by its own heartbeats, and begins with none seen."""
    host = Host(set())
    assert tuple(host.lives()) == (host,)
    assert (host.first, host.heartbeat, host.is_watched) == (None, 0, False)
