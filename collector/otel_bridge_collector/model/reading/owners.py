"""
Whose an event is, for a process that only routes events: ``owner_key`` with its ``TraceTable``.

The collector, which holds all tasks in one process, does not use it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.tasks import is_link, names_task

__all__ = ["TraceTable", "owner_key"]

_MAX_TRACES: Final = 200_000


class TraceTable:
    """
    Remembers which task a trace belongs to, for a process that only routes events (``owner_key``).

    The collector, which holds all tasks in one process, does not use it. Without a lock: for one
    thread. Raises nothing for checked events.

    Args:
        max_traces: The limit, 200,000 by default; above it, the trace whose task was named longest
            ago is forgotten.
    """

    def __init__(self, max_traces: int = _MAX_TRACES) -> None:
        self._tasks: OrderedDict[str, str | None] = OrderedDict()
        self._max_traces = max_traces

    def task_of(self, trace_id: str) -> str | None:
        """
        Return the only task of a trace; None for none, and for more than one. Never raises.

        Where that is another trace, which this one continues, it is the task of that one, and so
        on; in a circle of them the smallest id.
        """
        found = self._tasks.get(trace_id)
        passed = [trace_id]
        while found is not None and (following := self._tasks.get(found)) is not None:
            if found in passed:
                return min(passed[passed.index(found) :])
            passed.append(found)
            found = following
        return found

    def note(self, event: Event) -> str | None:
        """
        Remember which task an event names for its trace; raises nothing for checked events.

        Over 200,000 traces (by default) the one named longest ago is forgotten.

        Returns:
            The trace id, if that changed the trace's task (a second task makes it None): what was
            held of the trace belongs elsewhere now. None: no change, or the event names no trace or
            no task.
        """
        trace_id = event.trace_id
        if trace_id is None or not (names_task(event) or is_link(event)):
            return None
        task_id = event.parent_task_id
        if trace_id in self._tasks:
            self._tasks.move_to_end(trace_id)
            if self._tasks[trace_id] in (task_id, None):
                return None
            self._tasks[trace_id] = None
            return trace_id
        self._tasks[trace_id] = task_id
        if len(self._tasks) > self._max_traces:
            self._tasks.popitem(last=False)
        return trace_id


def owner_key(event: Event, traces: TraceTable) -> str | None:
    """
    Return the key by which events would be divided among processes that fold them (merge them).

    Never raises; changes nothing. The collector, one process, does not use it. Use it in the thread
    of ``traces``.

    Args:
        event: Any event, checked.
        traces: Has noted the events so far.

    Returns:
        The id of the task that the event names, else of its trace's only task, else the trace id,
        else the job's id; None for an event without these, of a queue for example, which every
        process would need.
    """
    if names_task(event):
        return event.parent_task_id
    trace_id = event.parent_task_id if is_link(event) else event.trace_id or event.parent_task_id
    if trace_id is not None:
        return traces.task_of(trace_id) or trace_id
    return event.task_id
