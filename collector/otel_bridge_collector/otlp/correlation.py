"""
Task correlation: what spans that come over OTLP alone inherit from the task that their trace is.

A service in another language, called from one of our jobs, knows the trace and not the task; the
model knows both. Such spans inherit the task, its project and the phase of the parent span, and
only

* from a task whose project the sender may use, and spans that name no other project
  (``InheritedContext.is_correlated``): a span of another project inside would hide the task from
  all who are limited to theirs;
* where it is one task: of two in a trace, that of the parent span, if the model knows it;
* while the trace has no card of that project (or of none) beside the task: what has started there
  goes on there, so that no start and end part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from otel_bridge.mapping.inheritance import InheritedContext, Key
from otel_bridge_collector.model.events import ENQUEUE
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.snapshot.bars import phase_of

__all__ = ["correlate"]


def correlate(
    model: Fold,
    parents: Mapping[str, Collection[str]],
    may_use: Callable[[str | None], bool],
) -> dict[Key, InheritedContext]:
    """
    Return the task, project and phase that spans of some traces inherit from known tasks.

    A service in another language sends only the trace's id; the collector knows the task of that
    trace. Call it on the event loop that changes ``model``, before the spans are mapped to events.
    The result has at most one entry for each id in ``parents`` and one for each trace; never
    raises.

    Args:
        model: The collector's state, built from all events (``Fold``); only read.
        parents: By trace id, the ids of the parents of its spans; all in hexadecimal.
        may_use: Whether the sender may use a project; its argument is None for no project.

    Returns:
        A task, its project and the parent's phase, by (trace id, parent span id) as integers; and
        by (trace id, 0) for spans whose parent is not known. No entry: nothing is inherited,
        because no task of the trace is known, the sender may not use its project, or several tasks
        are in the trace and the parent is not known.
    """
    tasks = model.tasks
    inherited: dict[Key, InheritedContext] = {}
    for trace_id in parents.keys() & tasks.of_trace.keys():
        beside = tasks.by_id.get(trace_id)
        # Of a trace that continues another, the task which that one belongs to.
        named = [tasks.only_task_of(task) or task for task in tasks.of_trace[trace_id]]
        key = int(trace_id, 16)
        for task in named:
            if task.is_mixed or not may_use(task.project):
                continue
            if beside is not None and beside.project in (None, task.project):
                continue
            context = InheritedContext(task.id, task.project, None, is_correlated=True)
            if len(named) == 1:
                inherited[key, 0] = context
            for span_id in parents[trace_id]:
                node = model.tree.nodes.get(int(span_id, 16))
                if node is not None and node.own.task is task:
                    inherited[key, int(span_id, 16)] = _inside(context, node)
    return inherited


def _inside(context: InheritedContext, node: Node) -> InheritedContext:
    own = node.own
    is_enqueue = node.kind == ENQUEUE and type(own) is Job
    return context._replace(
        phase=phase_of(node),
        # A consumer span names its job by the producer span that enqueued it.
        role="enqueue" if is_enqueue else None,
        task_id=own.id if is_enqueue and type(own) is Job else None,
    )
