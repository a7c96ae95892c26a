"""The view ``queue``: one queue, how its depth went, and the jobs that wait in it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from pydantic_core import to_json

from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.queues import Queue
from otel_bridge_collector.model.reading.keys import node_key, task_name
from otel_bridge_collector.model.snapshot.panels import is_named_to, worker_place
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window
from otel_bridge_collector.views.parts import Around, Slice, join_slices, slice_of, slice_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.workers.queues import Known, add_up_queues, facts_of
from otel_bridge_collector.wire.views.params import AnchorRow, QueueParams
from otel_bridge_collector.wire.views.queues import QueueHead

__all__ = ["QueuePart", "compute", "join", "merge", "select"]

_FIRST: Final = AnchorRow(row=0)
_MAX_ROWS: Final = 200
_MAX_NAMES: Final = 200
_TREND_US: Final = 600_000_000


def compute(state: ViewState, params: QueueParams, scope: Scope) -> Listing:
    """
    List the jobs that wait in a queue, the one that was put into it first, first.

    Computed on the collector's event loop. To find the 200 oldest of 50,000 takes 20 ms, so that
    list is kept as the other lists that are expensive to make are.

    Args:
        state: As of its latest refresh.
        params: The queue, and the project whose jobs are listed.
        scope: The projects that the reader may see; None: all.

    Returns:
        At most 200 rows. Of ``sums`` ``merge`` makes the head.

    Raises:
        GoneError: Nothing is known of such a queue, or the reader is limited to projects: queues
            are shared, so they reveal the work of others.
    """
    queue = state.model.queues.by_name.get(params.queue)
    if scope is not None or queue is None:
        raise GoneError
    facts = state.queue_facts()[params.queue]
    oldest = state.budget.list(("queue", params), partial(_oldest, queue, params.project))[0]
    # What the list was made from may have left the queue since.
    rows = {
        f"{job.task.id} {node_key(node)}": (job, node)
        for job, node in oldest
        if job in queue.pending and job.win is node
    }
    order = sorted(((node.first, key), key) for key, (_, node) in rows.items())
    trend = [(ts // 1000, depth) for ts, depth in queue.trend(state.now - _TREND_US)]
    names = state.takers().of(params.queue)
    workers = None if names is None else {params.queue: len(names)}
    known = Known({params.queue: facts}, workers, state.now)
    names = None if names is None else names[:_MAX_NAMES]
    sums = {"known": known, "trend": trend, "names": names}
    return Listing(order, lambda key: _row(state, *rows[key], key), sums)


def _oldest(queue: Queue, project: str | None) -> list[tuple[Job, Node]]:
    waiting = (
        (job, job.win) for job in queue.pending if job.win is not None and is_named_to(job, project)
    )
    return heapq.nsmallest(_MAX_ROWS, waiting, key=_by_start)


def _by_start(one: tuple[Job, Node]) -> tuple[int, str, str]:
    job, node = one
    return node.first, job.task.id, job.id


class QueuePart(msgspec.Struct, array_like=True, frozen=True):
    """
    What one state, or several together, know of a queue; a record.

    Attributes:
        known: Of this queue alone.
        trend: As of ``QueueHead``.
        names: Ids of its workers, at most 200; None: none says what it takes from.
        shown: The 200 jobs that have waited for longest.
    """

    known: Known
    trend: Sequence[tuple[int, int]]
    names: Sequence[int | str] | None
    shown: Slice


def select(part: Listing, params: QueueParams, around: Around = None) -> QueuePart:
    """Take what ``join`` needs of one state's part; on the event loop of its model."""
    del params, around
    sums = part.sums
    shown = slice_of(part._replace(sums={}), _FIRST, _MAX_ROWS)
    return QueuePart(sums["known"], sums["trend"], sums["names"], shown)


def join(parts: Sequence[QueuePart]) -> QueuePart:
    """Add up what several states, at least one, know; all know the same reports. Pure."""
    if len(parts) == 1:
        return parts[0]
    named = [part.names for part in parts if part.names is not None]
    numbers = {str(one): one for names in named for one in names if isinstance(one, int)}
    names = [numbers.get(str(one), one) for one in max(named, key=len, default=())]
    return QueuePart(
        add_up_queues([part.known for part in parts]),
        parts[0].trend,
        sorted(names, key=worker_place) if named else None,
        join_slices([part.shown for part in parts]),
    )


def merge(parts: Sequence[Listing | QueuePart], params: QueueParams) -> Window:
    """
    Merge the jobs of several states, and make the head; on the collector's event loop.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it.
        params: The queue.

    Raises:
        GoneError: No depth of it was reported and no job is known to wait in it.
        IndexError: There are no parts.
    """
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    if not part.known.facts[params.queue].is_listed:
        raise GoneError
    head = {**facts_of(part.known, params.queue), "trend": part.trend, "names": part.names}
    _, rows = slice_window(part.shown, _FIRST, _MAX_ROWS)
    return Window(QueueHead.model_validate(head).model_dump(), rows)


def _row(state: ViewState, job: Job, node: Node, key: str) -> bytes:
    more = node.more
    return to_json(
        {
            "k": key,
            "task": job.task.id,
            "title": task_name(state.model.tasks, job.task),
            "node": node_key(node),
            "job": job.id,
            "type": node.name,
            "start": ms(node.start),
            "not_before": ms(more.due) if more is not None and more.is_delayed else None,
        }
    )
