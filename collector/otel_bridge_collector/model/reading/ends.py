"""
When attempts of jobs ended: which ends count, and counts of those that are no longer in memory.

A task of 200,000 nodes lets ended jobs go while it runs, and what people saw of its past must not
shrink with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from otel_bridge_collector.model.events import COMPLETED, FAILED, JOB, RETRYING, RULE
from otel_bridge_collector.model.nodes import REPEATED, Node
from otel_bridge_collector.model.runs import has_ended

__all__ = ["EndCounts", "is_ended_attempt"]

_OVER: Final = (RETRYING, COMPLETED, FAILED)
"""An attempt that is to be tried again has ended as well."""
_FIRST_SHIFT: Final = 10
"""Steps of 1,024 ms at first."""
_MAX_STEPS: Final = 2048


def is_ended_attempt(node: Node) -> bool:
    """
    Return whether a node is an attempt that ended: completed, failed or to be tried again.

    False for what only repeats an attempt that ended as a span, for one that was found stalled, and
    for an end that a rule reported and a later sign of life overruled. Never raises.

    Args:
        node: One of the model's.
    """
    ended = node.ended
    return (
        ended & 7 in _OVER
        and node.kind == JOB
        and not node.marks & REPEATED
        and ((node.more is None and ended >> 3 != RULE) or has_ended(node))
    )


class EndCounts:
    """
    Counts ends by time, in at most 2,048 steps of a power of two milliseconds.

    Steps are 1,024 ms long at first; when there are too many, each is twice as long. Never raises;
    for the collector's event loop, without a lock.
    """

    __slots__ = ("_shift", "_steps")

    def __init__(self) -> None:
        self._shift = _FIRST_SHIFT
        self._steps: dict[int, tuple[int, int]] = {}

    def add(self, nodes: Iterable[Node]) -> None:
        """Count those nodes that are attempts which ended; others are left out."""
        for node in nodes:
            if is_ended_attempt(node):
                self._add(node.end // 1000 >> self._shift, 1, int(node.ended & 7 == FAILED))
        while len(self._steps) > _MAX_STEPS:
            self._shift += 1
            steps, self._steps = self._steps, {}
            for number, (ended, failed) in steps.items():
                self._add(number >> 1, ended, failed)

    def _add(self, number: int, ended: int, failed: int) -> None:
        known = self._steps.get(number, (0, 0))
        self._steps[number] = known[0] + ended, known[1] + failed

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(milliseconds since the Unix epoch, ended, failed) of each step, in its middle."""
        half = 1 << self._shift >> 1
        for number, (ended, failed) in self._steps.items():
            yield (number << self._shift) + half, ended, failed
