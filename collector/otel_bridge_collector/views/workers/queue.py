"""The view ``queue``: one queue, how its depth went, and the jobs that wait in it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from pydantic_core import to_json

from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.queues import Queue
from otel_bridge_collector.model.reading.keys import node_key, task_name
from otel_bridge_collector.model.snapshot.panels import is_named_to
from otel_bridge_collector.views.listing import (
    GoneError,
    Listing,
    Scope,
    Window,
    merge_listings,
)
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.workers.queues import add_up_queues, facts_of, known_queues
from otel_bridge_collector.wire.views.params import QueueParams
from otel_bridge_collector.wire.views.queues import QueueHead

__all__ = ["compute", "merge"]

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
        GoneError: No depth of such a queue was reported and no job is known to wait in it, or the
            reader is limited to projects: queues are shared, so they reveal the work of others.
    """
    known = known_queues(state)
    facts = known.facts.get(params.queue)
    if scope is not None or facts is None or not facts.is_listed:
        raise GoneError
    queue = state.model.queues.by_name[params.queue]
    oldest = state.budget.list(("queue", params), partial(_oldest, queue, params.project))[0]
    # What the list was made from may have left the queue since.
    rows = {
        f"{job.task.id} {node_key(node)}": (job, node)
        for job, node in oldest
        if job in queue.pending and job.win is node
    }
    order = sorted(((node.first, key), key) for key, (_, node) in rows.items())
    trend = [(ts // 1000, depth) for ts, depth in queue.trend(state.now - _TREND_US)]
    return Listing(
        order, lambda key: _row(state, *rows[key], key), {"known": known, "trend": trend}
    )


def _oldest(queue: Queue, project: str | None) -> list[tuple[Job, Node]]:
    waiting = (
        (job, job.win) for job in queue.pending if job.win is not None and is_named_to(job, project)
    )
    return heapq.nsmallest(_MAX_ROWS, waiting, key=_by_start)


def _by_start(one: tuple[Job, Node]) -> tuple[int, str, str]:
    job, node = one
    return node.first, job.task.id, job.id


def merge(parts: Sequence[Listing], params: QueueParams) -> Window:
    """
    Merge the jobs of several processes, and make the head; on the collector's event loop.

    Args:
        parts: One listing for each process, at least one.
        params: The queue.

    Raises:
        IndexError: There are no parts.
    """
    known = add_up_queues([part.sums["known"] for part in parts])
    names = known.takers.of(params.queue)
    head: dict[str, Any] = {
        **facts_of(known, params.queue),
        "trend": parts[0].sums["trend"],
        "names": None if names is None else names[:_MAX_NAMES],
    }
    listing = merge_listings([part._replace(sums={}) for part in parts])
    shown = listing.order[:_MAX_ROWS]
    rows = {key: listing.row(key) for _, key in shown}
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
