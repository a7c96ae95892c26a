"""The view ``worker``: one worker process, and the jobs that it runs or held when it was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace
from pydantic_core import to_json

from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.reading.keys import node_key, task_name
from otel_bridge_collector.model.snapshot.panels import is_listed, is_named_to
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window
from otel_bridge_collector.views.parts import Around, Slice, join_slices, slice_of, slice_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.workers.records import (
    Shown,
    WorkerRecord,
    facts_of,
    held_by,
    join_records,
    known_by_key,
    record_of,
)
from otel_bridge_collector.wire.views.params import AnchorRow, WorkerParams
from otel_bridge_collector.wire.views.rows import WorkerHead

__all__ = ["WorkerPart", "compute", "join", "merge", "select"]

_FIRST: Final = AnchorRow(row=0)
_MAX_ROWS: Final = 200


def compute(state: ViewState, params: WorkerParams, scope: Scope) -> Listing:
    """
    List the jobs that a worker took and that have not ended, the one that started last first.

    Computed on the collector's event loop; it takes as long as the worker has open jobs.

    Args:
        state: As of its latest refresh.
        params: The worker's key, and the project whose jobs are named.
        scope: The projects that the reader may see; None: all.

    Returns:
        At most 200 rows. ``sums`` are the fields of the head.

    Raises:
        GoneError: No such worker is listed, or the reader is limited to projects: workers are
            shared, so they reveal the work of others.
    """
    if scope is not None:
        raise GoneError
    # What this state has not heard of for an hour, another one may have.
    found = known_by_key(state)
    shown = found.get(params.worker) or _newest_of(found, params.worker)
    if shown is None:
        raise GoneError
    held = held_by(shown)
    rows = {
        f"{job.task.id} {node_key(node)}": (job, node)
        for job, node in held
        if is_named_to(job, params.project)
    }
    order = sorted(((-node.first, key), key) for key, (_, node) in rows.items())
    about = WorkerPart(shown.key, record_of(shown), state.now, len(held), Slice(0, (), 0, {}))
    return Listing(order[:_MAX_ROWS], lambda key: _row(state, *rows[key], key), {"about": about})


class WorkerPart(msgspec.Struct, array_like=True, frozen=True):
    """
    What one state, or several together, know of a worker process; a record.

    Attributes:
        key, record: The process.
        now: As of when, microseconds.
        open: Jobs that it took and that have not ended.
        shown: The latest 200 of them.
    """

    key: str
    record: WorkerRecord
    now: int
    open: int
    shown: Slice


def select(part: Listing, params: WorkerParams, around: Around = None) -> WorkerPart:
    """Take what ``join`` needs of one state's part; on the event loop of its model."""
    del params, around
    about: WorkerPart = part.sums["about"]
    return replace(about, shown=slice_of(part._replace(sums={}), _FIRST, _MAX_ROWS))


def join(parts: Sequence[WorkerPart]) -> WorkerPart:
    """Merge what several states, at least one, know of their own jobs of the worker; pure."""
    key = max(parts, key=lambda part: part.record.last_seen).key
    same = [part for part in parts if part.key == key]
    return WorkerPart(
        key,
        join_records([part.record for part in same]),
        max(part.now for part in same),
        sum(part.open for part in same),
        join_slices([part.shown for part in same]),
    )


def merge(parts: Sequence[Listing | WorkerPart], params: WorkerParams) -> Window:
    """
    Merge the parts of several states, each with jobs of its own, and make the head.

    On the collector's event loop, because rows are made here.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it.
        params: Which worker.

    Raises:
        GoneError: The worker is not listed: no state has heard of it in the last hour.
        ValueError: There are no parts.
    """
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    record = part.record
    if not is_listed(record.status, record.last_seen, part.now):
        raise GoneError
    head = facts_of(part.key, record) | {"open": part.open}
    _, rows = slice_window(part.shown, _FIRST, _MAX_ROWS)
    return Window(WorkerHead.model_validate(head).model_dump(), rows)


def _newest_of(found: dict[str, Shown], key: str) -> Shown | None:
    """The newest life under the id of a key, whose own life may be over."""
    worker_id = key.rpartition("@")[0]
    lives = [one for one in found.values() if str(one.worker.id) == worker_id]
    return lives[-1] if lives else None


def _row(state: ViewState, job: Job, node: Node, key: str) -> bytes:
    task = job.task
    known = state.tasks.by_id.get(task.id)
    standing = state.model.rows.state(node, known.end or None if known else None)
    return to_json(
        {
            "k": key,
            "task": task.id,
            "title": task_name(state.model.tasks, task),
            "node": node_key(node),
            "job": job.id,
            "type": node.name,
            "status": STATUS_NAMES[standing.status],
            "why": standing.reason,
            "start": ms(node.start),
            "end": ms(standing.ended),
            "slow": state.slowness.factor(node, standing.status, standing.ended, state.now),
        }
    )
