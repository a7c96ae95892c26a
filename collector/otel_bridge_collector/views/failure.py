"""The view ``failure``: one cause of failures, and the newest jobs that failed by it."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge as merge_sorted
from itertools import islice

from pydantic_core import to_json

from otel_bridge_collector.model.reading.failed import FailedJob
from otel_bridge_collector.model.reading.keys import task_name
from otel_bridge_collector.model.snapshot.panels import merged_failure, newest_failed, place_of
from otel_bridge_collector.views.failures import facts_of, totals_of
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.failures import FailureHead
from otel_bridge_collector.wire.views.params import FailureParams

__all__ = ["compute", "merge"]


def compute(state: ViewState, params: FailureParams, scope: Scope) -> Listing:
    """
    List the newest failures of one cause, the latest first.

    Computed on the collector's event loop. Of each task the newest 200 that are held are known, and
    the newest 50 that have left its memory.

    Args:
        state: As of its latest refresh.
        params: The cause's key in the view ``failures``, and how many rows to list.
        scope: The projects that the reader may see; None: all. Tasks of several projects are left
            out for a limited reader.

    Returns:
        At most ``params.count`` rows. ``sums`` is what ``merge`` makes the head of.

    Raises:
        GoneError: No failure that the reader may see has this key.
    """
    event_filter = EventFilter(project_id=params.project, projects=scope)
    merged = merged_failure(state.model, event_filter, params.failure)
    if merged is None:
        raise GoneError
    newest = newest_failed(merged, params.count, params.count)
    rows = {f"{job.task} {job.node}": job for job in newest}
    order = sorted(((-job.order[0], key), key) for key, job in rows.items())
    facts = {
        "key": merged.key,
        "project": merged.project,
        "totals": totals_of(merged),
        "newest": newest_failed(merged),
    }
    return Listing(order, lambda key: _row(state, rows[key], key), facts)


def merge(parts: Sequence[Listing], params: FailureParams) -> Window:
    """
    Merge the parts of several processes, which each know the failures of other tasks.

    On the collector's event loop, because rows are made here.

    Args:
        parts: At least one listing, all with the same key; none has a task of another one.
        params: How many rows the window has.

    Raises:
        ValueError: There are no parts.
    """
    facts = [part.sums for part in parts]
    counts, firsts, lasts = zip(*(one["totals"] for one in facts), strict=True)
    newest = list(merge_sorted(*(one["newest"] for one in facts), key=place_of, reverse=True))
    head = facts_of(
        facts[0]["key"],
        facts[0]["project"],
        (sum(counts), min(firsts), max(lasts)),
        newest,
    )
    owner = {key: part for part in parts for _, key in part.order}
    order = merge_sorted(*(part.order for part in parts))
    rows = {key: owner[key].row(key) for _, key in islice(order, params.count)}
    return Window(FailureHead(**head).model_dump(), rows)


def _row(state: ViewState, job: FailedJob, key: str) -> bytes:
    task = state.model.tasks.by_id.get(job.task)
    return to_json(
        {
            "k": key,
            "task": job.task,
            "title": job.task if task is None else task_name(state.model.tasks, task),
            "node": job.node,
            "job": job.job,
            "type": job.name,
            "at": job.order[0] // 1000,
            "error": job.error,
            "why": job.reason,
            "worker": job.worker,
            "stack": job.stack,
        }
    )
