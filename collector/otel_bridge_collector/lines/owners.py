"""
``Owners``: the node (task, phase or job) that a span's log lines are shown at.

It is the nearest one above the span. The model knows tasks, phases, jobs and few of the spans
between them; the parents of the others are remembered here as they come over OTLP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from otel_bridge_collector.model.events import JOB, PHASE, TASK
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import MAX_DEPTH, Node

__all__ = ["Owners"]

_MAX_PARENTS: Final = 20_000
_KINDS: Final = (JOB, PHASE, TASK)

Key = tuple[int, int]
"""Trace id and span id."""


class Owners:
    """
    Finds the node that a span's log lines belong to.

    Use it on the event loop of the model. It remembers the parents of 20,000 spans, the oldest are
    forgotten first. Raises nothing.

    Args:
        model: Only read.
        model_of: Returns the model of a trace instead, where there are several; default None.
    """

    def __init__(self, model: Fold, model_of: Callable[[int], Fold] | None = None) -> None:
        self._model_of = model_of or (lambda _: model)
        self._parents: OrderedDict[Key, int] = OrderedDict()

    def note_parents(self, parents: Iterable[tuple[Key, int]]) -> None:
        """Remember the parents of spans: trace and span id, and the parent's span id."""
        self._parents.update(parents)
        while len(self._parents) > _MAX_PARENTS:
            self._parents.popitem(last=False)

    def of_span(self, trace_id: int, span_id: int) -> Node | None:
        """
        Return the nearest task, phase or job above a span, itself included.

        Args:
            trace_id: Of the span.
            span_id: Any number.

        Returns:
            The node; None: the way up to it is not known, or not yet.
        """
        nodes = self._model_of(trace_id).tree.nodes
        for _ in range(MAX_DEPTH):
            at: Node | int | None = nodes.get(span_id)
            if at is None:
                at = self._parents.get((trace_id, span_id))
            elif type(at) is Node:
                if at.kind in _KINDS:
                    return at
                at = at.parent
            if at is None:
                return None
            if type(at) is Node:
                if at.key is None:
                    return None
                at = at.key
            assert type(at) is int
            span_id = at
        return None

    def of_trace(self, trace_id: int) -> Node | None:
        """
        Return the node of the task that a trace belongs to, as its card shows it.

        Args:
            trace_id: Any number.

        Returns:
            The node, which has a span; None: no such task is known, or more than one, or it has no
            span of its own.
        """
        tasks = self._model_of(trace_id).tasks
        name = f"{trace_id:032x}"
        named = tasks.of_trace.get(name, ())
        if len(named) > 1:
            return None
        task = (tasks.only_task_of(named[0]) or named[0]) if named else tasks.by_id.get(name)
        root = None if task is None else tasks.root_of(task)
        return None if root is None or root.key is None else root
