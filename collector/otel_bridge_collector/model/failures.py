"""
Failures by cause: how many nodes failed with the same error, numbers, ids and quotes aside.

Counted are nodes whose end is ``failed`` (facts), not events: a failure that was reported twice
counts once, and one that a true end corrects counts no more. Kept per task, because a node that
turns out to belong to another task takes its failure with it, and because readers see failures by
project: a view sums the groups of the tasks that its reader may see.
"""

from __future__ import annotations

import re
from heapq import nlargest
from typing import Final

from otel_bridge_collector.model.nodes import Job, More, Node, Task

__all__ = ["NO_ERROR", "FailureGroup", "Failures", "error_key"]

_MAX_CAUSES: Final = 100
"""Of one task; failures of further causes count under ``OTHER_CAUSES``."""
OTHER_CAUSES: Final = "*"
_NEWEST: Final = 10
_VARIABLE: Final = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")
NO_ERROR: Final = "failed without a reason"


def error_key(error: str) -> str:
    """
    Return what failures of the same cause have in common: the text, with ``*`` for variable parts.

    Those are quoted texts, hex ids of 8 or more characters, and numbers. At most 160 characters;
    the rest is left out. Never raises; from any thread.
    """
    return _VARIABLE.sub("*", error)[:160]


class FailureGroup:
    """
    The failures of one task with one cause: the same error, apart from numbers, ids and quotes.

    Made by ``Failures``, at most 100 for each task; failures of further causes are in one whose
    cause is ``*``. Held until the task is evicted or no failure is left. Without a lock: for the
    collector's event loop. ``remove``, ``let_go`` and ``evicted`` raise ``KeyError`` for a node
    that is no member.

    Args:
        task: The task whose nodes (spans, or what stands for one) have failed.
        cause: What errors of this cause have in common: the publisher's text for it, else the error
            with ``*`` for numbers, ids and quotes.

    Attributes:
        task, cause: As given.
        count: Failed nodes, with those that were evicted from memory.
        members: Those that are held, in the order in which they were counted; no limit of its own.
    """

    __slots__ = (
        "_first",
        "_first_gone",
        "_last_gone",
        "_newest",
        "cause",
        "count",
        "members",
        "task",
    )

    def __init__(self, task: Task, cause: str) -> None:
        self.task = task
        self.cause = cause
        self.count = 0
        self.members: dict[Node, None] = {}
        self._newest: list[Node] | None = None
        self._first: int | None = None
        self._first_gone: int | None = None
        self._last_gone = 0

    def newest(self) -> list[Node]:
        """The latest ten that are held, the latest first."""
        if self._newest is None:
            self._newest = nlargest(_NEWEST, self.members, key=_by_end)
        return self._newest

    @property
    def first(self) -> int:
        """End of the earliest failure, microseconds."""
        if self._first is None:
            self._first = min((node.end for node in self.members), default=None)
        times = [time for time in (self._first, self._first_gone) if time is not None]
        return min(times, default=0)

    @property
    def last(self) -> int:
        """End of the latest failure, microseconds."""
        newest = self.newest()
        return max(newest[0].end if newest else 0, self._last_gone)

    def add(self, node: Node) -> None:
        """Count a node that failed."""
        self.count += 1
        self.members[node] = None
        newest = self._newest
        if newest is not None and (len(newest) < _NEWEST or _by_end(node) > _by_end(newest[-1])):
            newest.append(node)
            newest.sort(key=_by_end, reverse=True)
            del newest[_NEWEST:]
        if self._first is not None:
            self._first = min(self._first, node.end)

    def remove(self, node: Node) -> None:
        """Take a node back that did not fail after all, or failed otherwise."""
        self.count -= 1
        self.let_go(node)

    def let_go(self, node: Node) -> None:
        """A node leaves; ``evicted`` says that it still counts."""
        del self.members[node]
        self.end_moved()

    def end_moved(self) -> None:
        """The end of a member is another one than before."""
        self._newest = None
        self._first = None

    def evicted(self, node: Node) -> None:
        """A node is no longer held; it still counts."""
        self.let_go(node)
        self._last_gone = max(self._last_gone, node.end)
        earlier = self._first_gone
        self._first_gone = node.end if earlier is None else min(earlier, node.end)


def _by_end(node: Node) -> tuple[int, str, int, int, str]:
    own = node.own
    job_id = own.id if type(own) is Job else ""
    return node.end, job_id, node.key or 0, node.attempt, node.run or ""


def _cause_of(node: Node) -> str:
    more = node.more
    if more is not None and more.error_key is not None:
        return more.error_key
    return error_key(node.error or NO_ERROR)


class Failures:
    """All failure groups, by task and cause."""

    def __init__(self) -> None:
        self.of_task: dict[Task, dict[str, FailureGroup]] = {}

    def update(self, node: Node, is_failed: bool) -> None:
        """Count the node as failed, or no more, or with another cause or end."""
        more = node.more
        known = None if more is None else more.cause
        if known is None and not is_failed:
            return
        task = node.own.task
        if known is not None:
            self._remove(node, task, known)
        if is_failed:
            self._add(node, task)

    def moved(self, node: Node, old_task: Task) -> None:
        """The node belongs to another task than before."""
        more = node.more
        if more is not None and more.cause is not None:
            self._remove(node, old_task, more.cause)
            self._add(node, node.own.task)

    def _add(self, node: Node, task: Task) -> None:
        groups = self.of_task.setdefault(task, {})
        cause = _cause_of(node)
        if cause not in groups and len(groups) >= _MAX_CAUSES:
            cause = OTHER_CAUSES
        group = groups.get(cause)
        if group is None:
            group = groups[cause] = FailureGroup(task, cause)
        group.add(node)
        if node.more is None:
            node.more = More()
        node.more.cause = cause

    def _remove(self, node: Node, task: Task, cause: str) -> None:
        groups = self.of_task[task]
        group = groups[cause]
        group.remove(node)
        if not group.count:
            del groups[cause]
            if not groups:
                del self.of_task[task]
        assert node.more is not None
        node.more.cause = None

    def evicted(self, node: Node) -> None:
        """A node is no longer held; its group still counts it."""
        more = node.more
        if more is not None and more.cause is not None:
            self.of_task[node.own.task][more.cause].evicted(node)
            more.cause = None

    def forget(self, task: Task) -> None:
        """The task is evicted as a whole."""
        self.of_task.pop(task, None)
