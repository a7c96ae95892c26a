"""
Whose an event is: its own project, else that of the task that the fold found for it.

The filters of the raw stream ask this of every event that names no project, live and read back from
the log, so that a root or phase without project is not missed by those who asked for its task's.
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_bridge_collector.model.nodes import Node, Task
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["is_shared", "project_of", "project_of_past"]


def is_shared(task: Task) -> bool:
    """Whether readers limited to projects must not see it: events of several projects name it.

    Events that name neither task nor trace share one record with the empty id. The project noted
    there is that of one of them and says nothing of the others.
    """
    return task.is_mixed or not task.id


def project_of(task: Task | None) -> str | None:
    """The project of a task or of a trace's card; None if it has none, or is shared by several."""
    return None if task is None or is_shared(task) else task.project


def project_of_past(
    tasks: Tasks,
    nodes: Mapping[int, Node],
    task_id: str | None,
    trace_id: str | None,
    span_id: str | None,
) -> str | None:
    """
    The project of an event that was folded earlier, by the ids that it names.

    Args:
        tasks: All tasks held.
        nodes: All nodes held, by span id as an integer.
        task_id: ``parent_task_id`` of the event.
        trace_id: 32 hex characters.
        span_id: 16 hex characters.

    Returns:
        The project of its span's task; where the span is not held that of the task that it names,
        or of its trace's card, or of the only task of the trace; else None.
    """
    node = None if span_id is None else nodes.get(int(span_id, 16))
    if node is not None:
        return project_of(node.own.task)
    task = tasks.by_id.get(task_id or trace_id or "")
    if task is not None and (task.project is not None or task.is_named):
        return project_of(task)
    named = tasks.of_trace.get(trace_id or "", ())
    return project_of(named[0]) if len(named) == 1 and task_id in (None, trace_id) else None
