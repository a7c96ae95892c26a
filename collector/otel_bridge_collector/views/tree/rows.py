"""
The rows of a tree as JSON, each made once and kept until it changes.

Making one costs 10 us, and a window of 60 is asked for ten times a second by each reader who looks
elsewhere. A row depends on nothing but the model, so all readers share its bytes. What an event
changes drops it (``TreeIndex``); what time alone changes is found by comparing the state of rows
that are not over, when they are in a window.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import to_json

from otel_bridge_collector.model.events import (
    ENQUEUE,
    FAILED,
    JOB,
    KIND_NAMES,
    PENDING,
    PROCESSING,
    RETRYING,
    RULE,
    STALLED,
    STATUS_NAMES,
    TASK,
    shorten,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import GONE, Job, Node, Task
from otel_bridge_collector.model.reading.cards import Standing
from otel_bridge_collector.model.reading.keys import node_key, row_name, task_name
from otel_bridge_collector.model.reading.phases import virtual_standing
from otel_bridge_collector.model.reading.rows import NodeState
from otel_bridge_collector.model.runs import is_open, runs_of
from otel_bridge_collector.model.snapshot.bars import (
    ENDED_BY_NAMES,
    places_of,
    queued_at,
    worker_id_of,
)
from otel_bridge_collector.views.attention.slow import MIN_SLOW_US, Slowness
from otel_bridge_collector.views.task.job import error_of, progress_of, queued_time
from otel_bridge_collector.views.tree.blocks import Item
from otel_bridge_collector.views.tree.listed import is_final, is_virtual

__all__ = ["TYPED", "RowMaker", "gone_below", "state_of"]

_MAX_ERROR: Final = 300
_OPEN: Final = (PENDING, PROCESSING, RETRYING)
TYPED: Final = (ENQUEUE, JOB, TASK)
"""What has a type; the name of other spans is their name."""
_NO_COUNTS: Final = [0] * 8
_MORE: Final = NodeState(0, None, None, 0)


def gone_below(task: Task, item: Item, *, is_task: bool) -> int:
    """How many rows directly below one (of a task's own: of it) are no longer in memory."""
    node = item.node
    gone = 0 if node is None or node.agg is None else node.agg[GONE]
    return gone + task.agg[GONE] if is_task else gone


def state_of(model: Fold, task: Task, node: Node, standing: Standing) -> NodeState:
    """
    Return the status of a node's row, and where its bar ends, as of the latest sweep.

    Changes no counts and raises nothing; on the collector's event loop.

    Args:
        model: The state.
        task: The node's task.
        node: Not the one that the task's own row shows.
        standing: Where the task stands: what is open in a task that is over is stalled.
    """
    ended = standing.ended
    if not is_virtual(node):
        return model.rows.state(node, ended)
    status, _, last = virtual_standing(task, node)
    if status in _OPEN and ended is not None:
        return NodeState(STALLED, max(ended, model.tasks.last_seen(task)), "card_ended", RULE)
    return NodeState(status, last, None, node.ended >> 3)


class RowMaker:
    """
    Gives the JSON of a task's rows, and keeps each in its item until it is another one.

    For the collector's event loop; raises nothing for items of the tree.

    Args:
        model: The state.
        task: Whose tree it is.
        standing: Where the task stands as of now; used until there is another ``RowMaker``.

    Attributes:
        slowness: Says which attempts are slow; None, as at first: none is called so.
    """

    def __init__(self, model: Fold, task: Task, standing: Standing) -> None:
        self.standing = standing
        self.slowness: Slowness | None = None
        self._model = model
        self._task = task
        self._values: dict[Item, dict[str, Any]] = {}

    def row(self, item: Item, depth: int) -> bytes:
        """
        Return the JSON of a row, as ``TreeRow`` describes it.

        Args:
            item: The row; ``row``, ``depth`` and ``state`` of it are kept up.
            depth: Rows above it.
        """
        state = self.state(item)
        slow = self._slow(item, state)
        if item.row is None or item.depth != depth or item.state != state or item.slow != slow:
            item.depth = depth
            item.state = state
            item.slow = slow
            item.row = to_json(self._fields(item, depth, state or self.now(item)))
        return item.row

    def values(self, item: Item, depth: int) -> dict[str, Any]:
        """
        Return a row as JSON values, which must not be changed.

        Made once for each state of the model: all windows of a task have the same few rows above
        them. To make ``row`` and parse it would cost 7 us instead of 3.

        Args:
            item: The row.
            depth: Rows above it.
        """
        values = self._values.get(item)
        if values is None:
            values = self._values[item] = self._fields(item, depth, self.now(item))
        return values

    def state(self, item: Item) -> NodeState | Standing | None:
        """Status and end of a row that time may change; None for one that only an event can."""
        node = item.node
        if item.parent is None:
            return self.standing
        if node is None or is_final(node):
            return None
        return state_of(self._model, self._task, node, self.standing)

    def now(self, item: Item) -> NodeState | Standing:
        """Status and end of a row."""
        state, node = self.state(item), item.node
        if state is not None:
            return state
        if node is None:
            return _MORE
        reason = None if node.more is None else node.more.reason
        return NodeState(node.ended & 7, node.end, reason, node.ended >> 3)

    @property
    def task_name(self) -> str:
        """What the task's row is called where no node is the task itself."""
        return task_name(self._model.tasks, self._task)

    def started(self, item: Item) -> int | None:
        """When a row started, or was queued if it is an enqueue, microseconds; None if unknown."""
        node = item.node
        if item.parent is None:
            return self.standing.started
        if node is None:
            return None
        return virtual_standing(self._task, node)[1] if is_virtual(node) else node.start

    def _slow(self, item: Item, state: NodeState | Standing | None) -> float | None:
        """How many times as long as others an attempt takes; 0.1 us for most rows."""
        node = item.node
        if node is None or node.kind != JOB or self.slowness is None or node.start is None:
            return None
        now = self._model.liveness.now
        ended = node.end if state is None else state.ended
        if (now if ended is None else ended) - node.start < MIN_SLOW_US:
            return None  # here too, for a call more would cost as much as all of this
        status = node.ended & 7 if state is None else state.status
        return self.slowness.factor(node, status, ended, now)

    def _fields(self, item: Item, depth: int, state: NodeState | Standing) -> dict[str, Any]:
        # Not the model itself: it costs four times as much as the dict; tests validate the rows.
        node, task = item.node, self._task
        is_task = item.parent is None
        is_enqueue = node is not None and node.kind == ENQUEUE
        if node is None and not is_task:
            return self._more(item, depth)
        own = None if node is None else node.own
        job = own if type(own) is Job and not is_task else None
        agg = task.agg if is_task else _NO_COUNTS if node is None or node.agg is None else node.agg
        if isinstance(state, NodeState):
            ended_by = state.ended_by
        else:
            is_over = node is not None and state.ended is not None and not is_open(node)
            ended_by = node.ended >> 3 if node is not None and is_over else 0
        run, attempt = (None, 0) if job is None or node is None else _place(job, node)
        return {
            "k": self.key(item),
            "depth": depth,
            "kind": "task" if node is None or is_task else KIND_NAMES[node.kind].split("_")[-1],
            "name": self.task_name if node is None else row_name(node),
            "type": node.name if node is not None and node.kind in TYPED else None,
            "job": job and job.id,
            "status": STATUS_NAMES[state.status],
            "why": state.reason,
            "ended_by": ENDED_BY_NAMES.get(ended_by),
            "queued": None if job is None or node is None else _ms(_queued(job, node)),
            "start": None if is_enqueue else _ms(self.started(item)),
            "end": _ms(state.ended),
            "worker": None if node is None else worker_id_of(node),
            "attempt": attempt,
            "run": run,
            "error": None if node is None else _error(job, node),
            "progress": None if job is None or node is None else progress_of(node),
            "slow": self._slow(item, state),
            "kids": _count(item) + gone_below(task, item, is_task=is_task),
            "n": item.size - 1,
            "done": agg[3],
            "failed": agg[FAILED],
            "running": agg[PROCESSING],
            "pending": agg[PENDING] + agg[RETRYING],
            "stalled": agg[STALLED],
        }

    def key(self, item: Item) -> str:
        """The key of an item's row."""
        if item.key is None:
            if item.node is not None:
                item.key = node_key(item.node)
            elif item.parent is None:
                item.key = f"task:{self._task.id}"
            else:
                item.key = f"more:{self.key(item.parent)}"
        return item.key

    def _more(self, item: Item, depth: int) -> dict[str, Any]:
        assert item.parent is not None
        empty = dict.fromkeys(_NULLS)
        zero = dict.fromkeys(_COUNTS, 0)
        above = item.parent
        kids = gone_below(self._task, above, is_task=above.parent is None)
        named = {"kind": "more", "name": "no longer in memory", "status": STATUS_NAMES[3]}
        return {"k": self.key(item), "depth": depth, **named, **empty, **zero, "kids": kids}


_NULLS: Final = (
    "type", "job", "why", "ended_by", "queued", "start", "end", "worker", "run", "error",
    "progress", "slow",
)  # fmt: skip
_COUNTS: Final = ("attempt", "n", "done", "failed", "running", "pending", "stalled")


def _ms(time_us: int | None) -> int | None:
    return None if not time_us else time_us // 1000


def _count(item: Item) -> int:
    """Its children that are in memory; a row for those that are not, the first one, left out."""
    blocks = item.kids
    if blocks is None:
        return 0
    return sum(len(block.items) for block in blocks) - (blocks[0].items[0].node is None)


def _place(job: Job, node: Node) -> tuple[int, int]:
    """The number of its run, and of its attempt."""
    if job.first is node and node.next is None:
        return 1, node.attempt
    places = places_of(job)
    return (1, node.attempt) if places is None else places.get(node, (1, node.attempt))


def _queued(job: Job, node: Node) -> int | None:
    known = queued_at(node)
    if known is None and job.first is not None and job.first.next is not None:
        for run in runs_of(job):
            if node in run.attempts:
                return queued_time(node, run)
    return known


def _error(job: Job | None, node: Node) -> str | None:
    error = node.error if job is None else error_of(job, node)
    return None if error is None else shorten(error, _MAX_ERROR)
