"""
The view ``strip``: how many attempts of a task ended when, and how many of them failed.

Counting 50,000 jobs takes some 15 ms, so the counts are kept until the task has changed, and made
again as often as the budget of the views allows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic_core import to_json

from otel_bridge_collector.model.events import FAILED
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.reading.ends import is_ended_attempt
from otel_bridge_collector.model.reading.rows import end_of
from otel_bridge_collector.views.listing import Listing, Scope, Window, whole_window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import StripParams
from otel_bridge_collector.wire.views.tree import StripHead

__all__ = ["compute", "merge"]

_Counts = dict[int, tuple[int, int]]
"""(ended, failed) by the number of the step since the Unix epoch."""


def compute(state: ViewState, params: StripParams, scope: Scope) -> Listing:
    """
    Count the attempts of a task that ended, by time, in bars of a power of two milliseconds.

    The bars are as short as ``params.buckets`` allows for the time from the task's start to its
    end, or until now, and start at multiples of their length: they stay while the task grows, and
    double when there would be too many. An end before the start or after the end, by a clock that
    is wrong, counts in the first or last bar. Attempts that are no longer in memory count too, in
    bars of less than 1,024 ms not quite where they ended. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh; its budget keeps the counts.
        params: The task, and the number of bars at most.
        scope: The projects that the reader may see; None: all.

    Returns:
        One row for each bar in which an attempt ended; ``sums`` are the fields of the head.

    Raises:
        GoneError: There is no such task, or the reader may not see it.
    """
    known = state.tasks.find(params.task, scope)
    if not known.start:
        return Listing((), partial(_row, {}), dict(start=None, step=1, ended=0, failed=0))
    start_ms = known.start // 1000
    end_ms = max(start_ms, (known.end or state.now) // 1000)
    shift = 0
    while (end_ms >> shift) - (start_ms >> shift) >= params.buckets:
        shift += 1
    build = partial(_count, state.model, known.task, shift)
    counts, _ = state.budget.list(("strip", known.task, shift), build, known.changes)
    first, last = start_ms >> shift, end_ms >> shift
    bars: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for number in sorted(counts):
        ended, failed = counts[number]
        key = str(min(max(number, first), last) - first)
        bars[key] = bars[key][0] + ended, bars[key][1] + failed
    sums = {
        "start": first << shift,
        "step": 1 << shift,
        "ended": sum(ended for ended, _ in bars.values()),
        "failed": sum(failed for _, failed in bars.values()),
    }
    return Listing([(int(key), key) for key in bars], partial(_row, bars), sums)


def merge(parts: Sequence[Listing], params: StripParams) -> Window:
    """
    Make the head and all rows, at most 240, of the one part that there is.

    Pure.

    Args:
        parts: One listing: a task is held by one process.
        params: Not used: all bars are shown.

    Raises:
        IndexError: There are no parts.
    """
    del params
    return whole_window(parts, StripHead)


def _row(bars: dict[str, tuple[int, int]], key: str) -> bytes:
    ended, failed = bars[key]
    return to_json({"k": key, "ended": ended, "failed": failed})


def _count(model: Fold, task: Task, shift: int) -> _Counts:
    """What has ended, in memory or not."""
    found: dict[int, Any] = {}
    for job in task.jobs.values():
        node = job.first
        while node is not None:
            if node.ended and is_ended_attempt(node):
                cell = found.setdefault(end_of(node, node) // 1000 >> shift, [0, 0])
                cell[0] += 1
                cell[1] += node.ended & 7 == FAILED
            node = node.next
    for time_ms, ended, failed in model.evicted_ends.get(task, ()):
        cell = found.setdefault(time_ms >> shift, [0, 0])
        cell[0] += ended
        cell[1] += failed
    return {number: (ended, failed) for number, (ended, failed) in found.items()}
