"""
Events that came before the project of their task was known: they get it as soon as it is.

A client that resumes finds them then. What is kept is bounded; an event that leaves stays without
project, and only readers of all projects see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from otel_bridge_collector.model.reading.projects import Owned, project_of
from otel_bridge_collector.stream.ring import Entry, ReplayRing

__all__ = ["KnownTasks", "LateProjects", "OwnedTask"]

_MAX_WAITING: Final = 200
"""Tasks whose project is not known yet, and of each the first events; they wait for it."""


class OwnedTask(Owned, Protocol):
    """A task, as far as it matters here: ``model.nodes.Task`` is one."""

    @property
    def id(self) -> str:
        """Of the task, or of the trace whose card it is."""


class KnownTasks(Protocol):
    """What is known of tasks and traces: ``model.tasks.Tasks`` is one."""

    def is_only_task(self, task_id: str, trace_id: str | None) -> bool:
        """Whether the events of a trace have named this task and no other."""


class LateProjects:
    """
    Keeps events without project until that of their task is known. For the reader's event loop.

    At most 200 tasks, and of each the first 200 events; past that all are given up.

    Args:
        ring: Holds the events.
        tasks: Says which task a trace has.

    Attributes:
        waiting: Events without project by the id of their task; only to be read.
    """

    def __init__(self, ring: ReplayRing, tasks: KnownTasks) -> None:
        self._ring = ring
        self._tasks = tasks
        self.waiting: dict[str, list[Entry]] = {}

    def note(self, entry: Entry, task: OwnedTask | None, trace_id: str | None) -> None:
        """
        Note an event that was folded: it waits for a project, or others have waited for its.

        Args:
            entry: The event, which is in the ring.
            task: What it belongs to; None: no task.
            trace_id: Its trace.
        """
        waiting = self.waiting
        if task is None or (entry.project_id is not None and not waiting):
            return
        if trace_id in waiting and self._tasks.is_only_task(task.id, trace_id):
            # What knew only the trace is this task's now.
            self._wait(task.id, waiting.pop(trace_id or ""))
        project_id = project_of(task)
        if project_id is not None:
            for earlier in waiting.pop(task.id, ()):
                self._ring.set_project(earlier, project_id)
        elif entry.project_id is None and not task.is_mixed:
            self._wait(task.id, [entry])

    def _wait(self, task_id: str, entries: Sequence[Entry]) -> None:
        waiting = self.waiting
        if len(waiting) >= _MAX_WAITING:
            waiting.clear()
        known = waiting.setdefault(task_id, [])
        known.extend(entries[: _MAX_WAITING - len(known)])
