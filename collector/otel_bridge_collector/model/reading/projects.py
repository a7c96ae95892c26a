"""
Whose an event is: its own project, else that of the task that the fold found for it.

The filters of the raw stream ask this of every event that names no project, live and read back from
the log, so that a root or phase without project is not missed by those who asked for its task's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.model.tasks import Tasks

__all__ = ["Owned", "is_shared", "project_of", "project_of_past"]


class Owned(Protocol):
    """What has a project: a ``Task``, or what is known of one that another process holds."""

    @property
    def project(self) -> str | None:
        """The smallest of the projects that events of it have named."""

    @property
    def is_mixed(self) -> bool:
        """Whether events of it have named several."""


def is_shared(task: Owned) -> bool:
    """
    Return whether readers limited to projects must not see a task; never raises.

    True if events of several projects name it, and for the record with the empty id, which all
    events that name neither task nor trace share. False else. On the collector's event loop.
    """
    return task.is_mixed


def project_of(task: Owned | None) -> str | None:
    """
    Return the project of a task or of a trace's card, on which a trace without a task is shown.

    None if there is no task, it has no project, or events of several projects name it. Never
    raises; on the collector's event loop.
    """
    return None if task is None or is_shared(task) else task.project


def project_of_past(
    tasks: Tasks,
    nodes: Mapping[int, Node],
    task_id: str | None,
    trace_id: str | None,
    span_id: str | None,
) -> str | None:
    """
    Return the project of an event that was folded (merged into the state) earlier, by its ids.

    Only reads what is held in memory now; on the collector's event loop.

    Args:
        tasks: All tasks held.
        nodes: All nodes (spans) held, by span id as an integer.
        task_id: ``parent_task_id`` of the event; None: it has none, as for the next two.
        trace_id: 32 hex characters; another text is not known.
        span_id: 16 hex characters.

    Returns:
        The project of its span's task. Where the span is not held, that of the task that it names,
        else of its trace's card, else of the only task of the trace. None if none of these is held
        or has a project, and for a task of several projects.

    Raises:
        ValueError: ``span_id`` is not hex.
    """
    node = None if span_id is None else nodes.get(int(span_id, 16))
    if node is not None:
        return project_of(node.own.task)
    task = tasks.by_id.get(task_id or trace_id or "")
    if task is not None and (task.project is not None or task.is_named):
        return project_of(task)
    named = tasks.of_trace.get(trace_id or "", ())
    if task is not None and task_id not in (None, trace_id):
        # Another trace, which its own continues.
        host = tasks.only_task_of(task)
        return None if host is None else project_of(host)
    return project_of(named[0]) if len(named) == 1 and task_id in (None, trace_id) else None
