"""
Which nodes of a task are rows of its tree, and the keys and names of these rows.

The views ``tree``, ``job`` and ``search`` use these functions, so that a key that one of them gives
names a row of the others. The row above a node is its container, ``node.up``; where that is the
task, it is the task's own row.
"""

from __future__ import annotations

from otel_bridge_collector.model.events import ENQUEUE, JOB, KIND_NAMES, PHASE, TASK
from otel_bridge_collector.model.nodes import Job, Node, Task
from otel_bridge_collector.model.processes.records import Incarnation, Worker
from otel_bridge_collector.model.runs import is_shadowed, runs_of
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["is_row", "node_key", "phase_of", "row_name", "row_path", "task_name", "worker_id_of"]


def node_key(node: Node) -> str:
    """
    Return the key of a node's row: the same for the same node, and no other row of its task has it.

    Its span id, 16 hex digits. Without a span, in a task ``t``: ``job:t/j#0`` for attempt 0 of the
    job ``j``, ``job:t/j#0@r`` if it is known to be of the run ``r``, ``enqueue:t/j#0`` for its
    enqueue, ``phase:t/p`` for the phase ``p``, ``task:t`` for the task. Never raises; from any
    thread.
    """
    key, own = node.key, node.own
    if key is not None:
        return f"{key:016x}"
    if type(own) is Job:
        kind = "enqueue" if node.kind == ENQUEUE else "job"
        run = "" if node.run is None else f"@{node.run}"
        return f"{kind}:{own.task.id}/{own.id}#{node.attempt}{run}"
    return f"phase:{own.task.id}/{node.name}" if node.kind == PHASE else f"task:{own.task.id}"


def is_row(node: Node) -> bool:
    """
    Return whether people see a row for a node; never raises. On the model's event loop.

    True for a task, an attempt of a job and any span. An enqueue has a row until an attempt of its
    run starts: after that it is the attempt's waiting time. A phase without a span has one while it
    has jobs, or if it was reported and is known by no span. False for what only repeats an attempt
    or a task that is known as a span.

    Args:
        node: One of the model's.
    """
    own = node.own
    if type(own) is Task:
        return node.key is not None or not _is_repeated(node, own)
    assert type(own) is Job
    if node.key is None and is_shadowed(node, own):
        return False
    if node.kind == JOB:
        return True
    kid = node.kids
    while kid is not None:
        if kid.kind == JOB:
            return False  # most that have started
        kid = kid.sib
    first = own.first
    return first is None or first.next is None or not _is_started(node, own)


def _is_repeated(node: Node, task: Task) -> bool:
    """Whether a phase or root without a span stands for nothing of its own."""
    if node.kind == TASK:
        return any(other.key is not None for other in task.roots)
    if node.agg is not None and any(node.agg):
        return False
    is_reported = node.start is not None or bool(node.ended)
    return not is_reported or any(
        other.key is not None and other.name == node.name for other in task.tops
    )


def _is_started(enqueue: Node, job: Job) -> bool:
    """Whether an attempt of its run is known that it, or a later enqueue of the run, led to."""
    for run in runs_of(job):
        if enqueue in run.enqueues:
            return any(node.attempt >= enqueue.attempt for node in run.attempts)
    return False


def row_name(node: Node) -> str:
    """Return what people call a row: the job's id, else the node's name or title. Never raises."""
    own = node.own
    if type(own) is Job:
        return own.id
    if node.kind == TASK:
        return (node.more and node.more.title) or own.task.id
    return node.name or KIND_NAMES[node.kind]


def task_name(tasks: Tasks, task: Task) -> str:
    """
    Return what people call a task: its title, else what its card shows, else its id. Never raises.

    Args:
        tasks: All tasks.
        task: One of them.
    """
    root = tasks.root_of(task)
    if root is not None:
        return row_name(root)
    face = None if task.is_named else tasks.face_of(task)
    return task.id if face is None else face.name or row_name(face)


def row_path(tasks: Tasks, node: Node) -> tuple[str, ...]:
    """
    Return the names of the rows above a node, the task's first; at most 66. Never raises.

    Args:
        tasks: All tasks.
        node: A node of one of them; for the root of a task the path is empty.
    """
    task = node.own.task
    root = tasks.root_of(task)
    if node is root:
        return ()
    names = []
    at = node.up
    while type(at) is Node:
        if at is not root:
            names.append(row_name(at))
        at = at.up
    return (task_name(tasks, task), *reversed(names))


def phase_of(node: Node) -> str | None:
    """Return the phase that a node is or is in, by the tree; else the one its events name."""
    if node.kind == TASK:
        return None
    at: Node | Task | None = node
    while type(at) is Node:
        if at.kind == PHASE:
            return at.name
        at = at.up
    return node.phase


def worker_id_of(node: Node) -> int | str | None:
    """The worker that ran a node; None if none is known."""
    host = node.worker
    if isinstance(host, Incarnation):
        return host.worker.id
    return host.id if isinstance(host, Worker) else None
