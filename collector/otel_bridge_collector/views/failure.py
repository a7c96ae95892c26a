"""The view ``failure``: one cause of failures, and the newest jobs that failed by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from pydantic_core import to_json

from otel_bridge_collector.model.reading.failed import FailedJob
from otel_bridge_collector.model.reading.keys import task_name
from otel_bridge_collector.model.snapshot.causes import Cause, cause_of, join_causes
from otel_bridge_collector.model.snapshot.panels import MergedFailures, iter_failed, merged_failure
from otel_bridge_collector.views.failures import facts_of, totals_of
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window
from otel_bridge_collector.views.parts import Around, Slice, join_slices, slice_of, slice_window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.failures import FailureHead
from otel_bridge_collector.wire.views.params import AnchorRow, FailureParams

__all__ = ["FailurePart", "compute", "join", "merge", "select"]


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
    rows = {f"{job.task} {job.node}": job for job in _newest(merged, params.count)}
    order = sorted(((-job.order[0], key), key) for key, job in rows.items())[: params.count]
    return Listing(order, lambda key: _row(state, rows[key], key), {"cause": merged})


def _newest(merged: MergedFailures, count: int) -> Iterator[FailedJob]:
    """The newest, and all that came at the same time as the last of them: keys decide then."""
    last = 0
    for number, job in enumerate(iter_failed(merged, count)):
        if number >= count and job.order[0] != last:
            return
        last = job.order[0]
        yield job


class FailurePart(msgspec.Struct, array_like=True, frozen=True):
    """What one state, or several together, know of a cause, and its newest rows; a record."""

    cause: Cause
    shown: Slice


def select(part: Listing, params: FailureParams, around: Around = None) -> FailurePart:
    """Take what ``join`` needs of one state's part; on the event loop of its model."""
    del around
    shown = slice_of(part._replace(sums={}), AnchorRow(row=0), params.count)
    return FailurePart(cause_of(part.sums["cause"]), shown)


def join(parts: Sequence[FailurePart]) -> FailurePart:
    """
    Merge what several states, at least one, send; pure.

    Only a project whose name has a colon can share a key with another one: the latest is taken, as
    ``merged_failure`` takes it.
    """
    latest = join_causes([[part.cause] for part in parts])[0]
    same = (latest.project, latest.cause)
    shown = [part.shown for part in parts if (part.cause.project, part.cause.cause) == same]
    return FailurePart(latest, join_slices(shown))


def merge(parts: Sequence[Listing | FailurePart], params: FailureParams) -> Window:
    """
    Merge the parts of several states, which each know the failures of other tasks.

    On the collector's event loop, because rows are made here.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it, all with the same
            key; none has a task of another one.
        params: How many rows the window has.

    Raises:
        IndexError: There are no parts.
    """
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    cause = part.cause
    head = facts_of(cause.key, cause.project, totals_of(cause), cause.newest)
    _, rows = slice_window(part.shown, AnchorRow(row=0), params.count)
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
