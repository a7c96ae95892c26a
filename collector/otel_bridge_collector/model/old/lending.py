"""
What the state lends to spans that come over OTLP alone: the research task that their trace is.

A service in another language, called from one of our jobs, knows the trace and nothing of the task;
the state knows both. Lent are the task, its project and the phase of the parent span, and only

* to whoever may use the task's project, and to spans that name no other one
  (``InheritedContext.is_correlated``): a span of another project inside would hide the task from all who are limited to theirs;
* where it is one task: of two in a trace, that of the parent span, if the state knows it;
* while the trace has no card of that project (or of none) beside the task: what has been told there
  goes on there, so that no start and end part.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Final

from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge_collector.model.old.records import TaskRecord

__all__ = ["TraceIndex", "lend"]

_MAX_TRACES: Final = 20_000
_MAX_TASKS: Final = 8
"""Of one trace; those after are no match."""


class TraceIndex:
    """Which research tasks a trace has; bounded, the trace heard of longest ago leaves first."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def note(self, trace_id: str | None, task_id: str) -> None:
        """An event of the task names the trace; a trace that is its own task is not remembered."""
        if trace_id is None or trace_id == task_id:
            return
        known = self._tasks.get(trace_id, ())
        if task_id in known or len(known) == _MAX_TASKS:
            self._tasks.move_to_end(trace_id)
            return
        self._tasks[trace_id] = (*known, task_id)
        if len(self._tasks) > _MAX_TRACES:
            self._tasks.popitem(last=False)

    def known_of(self, traces: Collection[str]) -> set[str]:
        """Those of the traces that have a task."""
        return self._tasks.keys() & traces

    def tasks_of(self, trace_id: str) -> tuple[str, ...]:
        """The tasks of a trace; some may have been forgotten since."""
        return self._tasks.get(trace_id, ())


def lend(
    traces: TraceIndex,
    tasks: Mapping[str, TaskRecord],
    wanted: Mapping[str, Collection[str]],
    may_use: Callable[[str | None], bool],
) -> dict[Key, InheritedContext]:
    """
    What spans of these traces may inherit; on the loop that folds.

    Args:
        traces: Of the state.
        tasks: Of the state.
        wanted: Ids of a request's traces, and of the parents of their spans.
        may_use: Whether the sender may use a project.

    Returns:
        By (trace, parent span), and by (trace, 0) for spans whose parent nobody knows.
    """
    lent: dict[Key, InheritedContext] = {}
    for trace_id in traces.known_of(wanted.keys()):
        beside = tasks.get(trace_id)
        found = [tasks[task] for task in traces.tasks_of(trace_id) if task in tasks]
        lenders = [
            task
            for task in found
            if not task.is_mixed
            and may_use(task.project_id)
            and (beside is None or beside.project_id not in (None, task.project_id))
        ]
        key = int(trace_id, 16)
        for task in lenders:
            whole = InheritedContext(task.task_id, task.project_id, None, is_correlated=True)
            if len(found) == 1:
                lent[key, 0] = whole
            for span_id in wanted[trace_id]:
                span = task.spans.get(span_id)
                if span is not None and span.trace_id == trace_id:
                    # Whoever takes the job from its queue goes by the name that it was put in by.
                    is_queued = span.kind == "enqueue"
                    lent[key, int(span_id, 16)] = whole._replace(
                        phase=span.phase,
                        role="enqueue" if is_queued else None,
                        task_id=span.task_id if is_queued else None,
                    )
    return lent
