"""The view ``worker``: one worker process, and the jobs that it runs or held when it was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic_core import to_json

from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.reading.keys import node_key, task_name
from otel_bridge_collector.model.snapshot.panels import is_named_to
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window, whole_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.workers.workers import Shown, facts_of, held_by, shown_by_key
from otel_bridge_collector.wire.views.params import WorkerParams
from otel_bridge_collector.wire.views.rows import WorkerHead

__all__ = ["compute", "merge"]

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
    found = shown_by_key(state)
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
    head = facts_of(shown) | {"open": len(held)}
    return Listing(order[:_MAX_ROWS], lambda key: _row(state, *rows[key], key), head)


def merge(parts: Sequence[Listing], params: WorkerParams) -> Window:
    """
    Take the head and all rows of the first part, on the collector's event loop.

    Args:
        parts: One listing for each process.
        params: Not used: all rows are shown.

    Raises:
        IndexError: There are no parts.
    """
    del params
    return whole_window(parts, WorkerHead)


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
