"""
Failures by cause: how many nodes failed with the same error, numbers, ids and quotes aside.

Counted are nodes whose end is ``failed`` (facts), not events: a failure that was reported twice
counts once, and one that a true end corrects counts no more. Kept per task, because a node that
turns out to belong to another task takes its failure with it, and because readers see failures by
project: a view sums the groups of the tasks that its reader may see.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from heapq import merge, nlargest
from itertools import islice
from typing import Final

from otel_bridge_collector.model.nodes import More, Node, Task
from otel_bridge_collector.model.reading.failed import FailedJob, failed_job, order_of

__all__ = ["MAX_SHOWN", "NO_ERROR", "FailureGroup", "Failures", "error_key"]

_MAX_CAUSES: Final = 100
"""Of one task; failures of further causes count under ``OTHER_CAUSES``."""
OTHER_CAUSES: Final = "*"
_NEWEST: Final = 10
MAX_SHOWN: Final = 200
"""Of one group, the newest so many can be listed while their nodes are held."""
MAX_PAST: Final = 50
"""Of one group, so many of those whose nodes were evicted can still be listed, ..."""
MAX_PAST_IN_ALL: Final = 20_000
"""... and of all groups together: some 9 MiB."""
_VARIABLE: Final = re.compile(r"'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")
_NAMES_PARTS: Final = re.compile(
    r"(?:\w+\.)*(?:Key|Attribute|Name|UnboundLocal|Import|ModuleNotFound|Type|Reference)Error\b"
)
"""Errors whose quoted texts name parts of the program, or of its data: what the cause is."""
_PART: Final = re.compile(r"['\"][A-Za-z_]+(?:[.-][A-Za-z_]+)*['\"]")
"""Such a name: without digits, so that ids are no names."""
_MAX_NAME: Final = 60
NO_ERROR: Final = "failed without a reason"


def error_key(error: str) -> str:
    """
    Return what failures of the same cause have in common: the text, with ``*`` for variable parts.

    Those are quoted texts, hex ids of 8 or more characters, and numbers; but of a ``KeyError`` and
    of others that name parts of a program not a quoted name without digits: ``KeyError: 'title'``
    and ``KeyError: 'price'`` have two causes. At most 160 characters; the rest is left out. Never
    raises; from any thread.
    """
    if _NAMES_PARTS.match(error):
        return _VARIABLE.sub(_variable_or_name, error)[:160]
    return _VARIABLE.sub("*", error)[:160]


def _variable_or_name(found: re.Match[str]) -> str:
    text = found[0]
    return text if len(text) <= _MAX_NAME and _PART.fullmatch(text) else "*"


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
        past: What is said of the newest 50 that are no longer held, the latest last.
    """

    __slots__ = (
        "_first",
        "_first_gone",
        "_last_gone",
        "_newest",
        "cause",
        "count",
        "members",
        "past",
        "task",
    )

    def __init__(self, task: Task, cause: str) -> None:
        self.task = task
        self.cause = cause
        self.count = 0
        self.members: dict[Node, None] = {}
        self.past: list[FailedJob] = []
        self._newest: list[Node] | None = None
        """The newest that are held, at most ``MAX_SHOWN``, the latest last; None: not known."""
        self._first: int | None = None
        self._first_gone: int | None = None
        self._last_gone = 0

    def newest(self, count: int = _NEWEST) -> list[Node]:
        """The latest that are held, the latest first; ten by default, at most 200."""
        if self._newest is None:
            self._newest = nlargest(MAX_SHOWN, self.members, key=order_of)
            self._newest.reverse()
        return self._newest[: -count - 1 : -1]

    def newest_jobs(self, count: int = _NEWEST) -> Iterator[FailedJob]:
        """
        Iterate what is said of the newest failures, the latest first; never raises.

        Args:
            count: At most this many; default ten. At most 200 of those held, and 50 of those that
                are not, are known.
        """
        held = map(failed_job, self.newest(count))
        if not self.past:
            return held
        past = reversed(self.past)
        return islice(merge(held, past, key=lambda job: job.order, reverse=True), count)

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
        newest = self.newest(1)
        return max(newest[0].end if newest else 0, self._last_gone)

    def add(self, node: Node) -> None:
        """Count a node that failed."""
        self.count += 1
        self.members[node] = None
        newest = self._newest
        if newest is not None:
            insort(newest, node, key=order_of)
            del newest[:-MAX_SHOWN]
        if self._first is not None:
            self._first = min(self._first, node.end)

    def remove(self, node: Node) -> None:
        """Take a node back that did not fail after all, or failed otherwise."""
        self.count -= 1
        self.let_go(node)

    def let_go(self, node: Node) -> None:
        """A node leaves; ``evicted`` says that it still counts."""
        newest = self._newest
        if newest is not None and node in newest:
            # By identity: its end may be another one already than that by which it is sorted.
            newest.remove(node)
            if len(newest) < len(self.members) - 1:
                self._newest = None
        del self.members[node]
        self._first = None

    def evicted(self, node: Node) -> int:
        """A node is no longer held; it still counts. Returns by how many ``past`` has grown."""
        self.let_go(node)
        self._last_gone = max(self._last_gone, node.end)
        earlier = self._first_gone
        self._first_gone = node.end if earlier is None else min(earlier, node.end)
        past = self.past
        insort(past, failed_job(node), key=lambda job: job.order)
        if len(past) <= MAX_PAST:
            return 1
        del past[0]
        return 0


def _cause_of(node: Node) -> str:
    more = node.more
    if more is not None and more.error_key is not None:
        return more.error_key
    return error_key(node.error or NO_ERROR)


class Failures:
    """
    All failure groups, by task and cause; for the collector's event loop, without a lock.

    Attributes:
        of_task: By task, then by cause; a task without failures is not in it.
        past_size: Failures of which only what they were is held; at most 20,000.
    """

    def __init__(self) -> None:
        self.of_task: dict[Task, dict[str, FailureGroup]] = {}
        self._past: OrderedDict[FailureGroup, None] = OrderedDict()
        """Groups with failures whose nodes were evicted, the one that lost one last at the end."""
        self.past_size = 0

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
        """A node is no longer held; its group still counts it, and says what it was."""
        more = node.more
        if more is None or more.cause is None:
            return
        group = self.of_task[node.own.task][more.cause]
        self.past_size += group.evicted(node)
        self._past[group] = None
        self._past.move_to_end(group)
        more.cause = None
        if self.past_size > MAX_PAST_IN_ALL:
            oldest, _ = self._past.popitem(last=False)
            del oldest.past[0]
            self.past_size -= 1
            if oldest.past:
                self._past[oldest] = None
                self._past.move_to_end(oldest, last=False)

    def forget(self, task: Task) -> None:
        """The task is evicted as a whole."""
        for group in self.of_task.pop(task, {}).values():
            if group.past:
                self.past_size -= len(group.past)
                del self._past[group]
