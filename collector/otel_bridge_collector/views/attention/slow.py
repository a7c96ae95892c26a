"""
``Slowness``: how many times as long as the others of its type an attempt of a job takes.

The median of a type is found by a look at all jobs of a task, 0.2 us each, and only for a task in
which an attempt takes 10 s or more. To keep it up with each event would cost all jobs of all tasks
16 bytes and 0.3 us.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Final, NamedTuple

from otel_bridge_collector.model.events import COMPLETED, FAILED, JOB, PROCESSING, RETRYING
from otel_bridge_collector.model.nodes import Node, Task
from otel_bridge_collector.views.budget import Budget

__all__ = ["MIN_SLOW_US", "Slowness"]

MIN_SLOW_US: Final = 10_000_000
"""What takes less than 10 s is not worth a look, however short the others are."""
_MIN_FACTOR: Final = 3.0
_MIN_OTHERS: Final = 5
_EXACT: Final = 64
"""Up to so many completed jobs each change counts; of more, a sixteenth more of them."""
_MIN_MEDIAN_US: Final = 1000
_RAN: Final = (COMPLETED, FAILED, RETRYING)


class _Took(NamedTuple):
    """How long the completed jobs of one type took, microseconds."""

    number: int
    median: int
    median_of_others: int
    """Without one of the longer ones."""


class Slowness:
    """
    Says how many times as long as others an attempt takes, as ``TreeRow.slow``.

    For the collector's event loop, without a lock; raises nothing for what the model holds.

    Args:
        budget: Keeps the medians of a task, and decides when they are found again.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def factor(self, node: Node, status: int, ended: int | None, now: int) -> float | None:
        """
        Return how many times as long as the median an attempt took, or runs by now.

        None: it is not 3 times as long, is shorter than 10 s, has fewer than 5 completed jobs of
        its type and task beside it, has no type or start, or neither runs nor ended. Of one that
        runs, the number has one digit, so that a row does not change with each tick.

        Args:
            node: Any node; one that is no attempt gives None.
            status: Its status code.
            ended: When it ended, microseconds; None while it is open.
            now: Microseconds.
        """
        start = node.start
        if start is None or node.kind != JOB or node.name is None:
            return None
        if ended is None:
            is_known, took = status == PROCESSING, now - start
        else:
            is_known, took = status in _RAN, ended - start
        if took < MIN_SLOW_US or not is_known:
            return None
        known = self._of(node.own.task).get(node.name)
        if known is None:
            return None
        others, median = known.number, known.median
        if ended is not None and status == COMPLETED:
            others, median = others - 1, known.median_of_others
        found = took / max(median, _MIN_MEDIAN_US)
        if others < _MIN_OTHERS or found < _MIN_FACTOR:
            return None
        return _one_digit(found) if ended is None else int(found * 10) / 10

    def _of(self, task: Task) -> dict[str, _Took]:
        completed = task.agg[COMPLETED]
        version: tuple[int, int]
        if completed <= _EXACT:
            version = completed, task.seen
        else:
            bits = completed.bit_length()
            version = bits, completed >> (bits - 5)
        return self._budget.list(("took", task), partial(_took, task), version)[0]


def _took(task: Task) -> dict[str, _Took]:
    """The medians of the types of a task, of the jobs that are held."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for job in task.jobs.values():
        node = job.win
        if job.st != COMPLETED or node is None or node.name is None or node.kind != JOB:
            continue
        if node.start is not None and node.end >= node.start:
            found[node.name].append(node.end - node.start)
    medians = {}
    for name, times in found.items():
        if len(times) >= _MIN_OTHERS:
            times.sort()
            last = len(times) - 1
            medians[name] = _Took(len(times), times[last // 2], times[(last - 1) // 2])
    return medians


def _one_digit(factor: float) -> float:
    whole = int(factor)
    step = 10 ** (len(str(whole)) - 1)
    return float(whole // step * step)
