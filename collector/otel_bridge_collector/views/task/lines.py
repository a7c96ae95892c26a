"""
The view ``lines``: the last log lines of one node of a task, as they come.

Lines are no part of the model: they are stored beside the log, and ``ViewState.lines`` holds those
of the nodes that this view was asked for lately.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from otel_bridge_collector.lines.table import HeldLines
from otel_bridge_collector.model.events import COMPLETED, FAILED
from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window, whole_window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task_index import IndexedTask
from otel_bridge_collector.wire.views.lines import LinesHead
from otel_bridge_collector.wire.views.params import LinesParams

__all__ = ["compute", "merge", "span_of"]

_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")


def compute(state: ViewState, params: LinesParams, scope: Scope) -> Listing:
    """
    List the last lines of a node that are held, and note that its lines are watched.

    The first time none are held yet, and ``state`` of the head says so. On the collector's event
    loop; costs microseconds without a text.

    Args:
        state: As of its latest refresh.
        params: The task, the node, and a text that lines must contain.
        scope: The projects that the reader may see; None: all. That the reader may read lines is
            checked before, by the hub and the route.

    Returns:
        One row for each line, the oldest first. ``sums`` are the fields of the head.

    Raises:
        GoneError: There is no such node in the task, or the reader may not see it. One that has
            left the collector's memory is shown to readers of all projects only: nothing says whose
            it was.
    """
    known = state.tasks.find(params.task, scope)
    span_id = span_of(params)
    node = None if span_id is None else state.model.tree.nodes.get(int(span_id, 16))
    if span_id is not None:
        _check(known, node, scope)
    held = HeldLines() if span_id is None else state.lines.watch(span_id)
    if span_id is None:
        held.state = "none"  # what has no span id was reported without spans, hence without lines
    keys = list(held.rows)
    if params.text:
        text = params.text.casefold()
        pairs = zip(keys, held.lines, strict=True)
        keys = [key for key, line in pairs if text in line.text.casefold()]
    first = max(0, len(keys) - params.count)
    last = max((line.n for line in held.lines), default=0)
    head = {
        "first": first,
        "matches": len(keys),
        "total": last if held.lines else None,
        "dropped": max(0, last - len(held.lines)) if held.lines else None,
        "ended": _has_ended(state, known, node),
        "last": last,
        "state": held.state,
    }
    order = [(index, key) for index, key in enumerate(keys[first:], start=first)]
    return Listing(order, held.rows.__getitem__, head)


def merge(parts: Sequence[Listing], params: LinesParams) -> Window:
    """
    Make the head and all rows, at most 200, of the one part that there is.

    On the collector's event loop.

    Args:
        parts: One listing: a node is held by one process.
        params: Not used: ``compute`` has taken the last rows.

    Raises:
        IndexError: There are no parts.
    """
    del params
    return whole_window(parts, LinesHead)


def span_of(params: LinesParams) -> str | None:
    """Return the span whose lines are asked for; None: the node has none. Never raises."""
    return params.node if _SPAN_ID.fullmatch(params.node) else None


def _check(known: IndexedTask, node: Node | None, scope: Scope) -> None:
    if node is not None and node.own.task is known.task:
        return
    if node is not None or scope is not None:
        raise GoneError("evicted" if known.task.not_held else "unknown")


def _has_ended(state: ViewState, known: IndexedTask, node: Node | None) -> bool:
    if node is None:
        return True  # what leaves the memory has ended
    status = state.model.rows.state(node, known.end or None).status
    return status in (COMPLETED, FAILED)
