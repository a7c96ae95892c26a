"""The view ``tasks``: research tasks as rows, those that need attention first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from pydantic_core import to_json

from otel_bridge_collector.model.events import (
    COMPLETED,
    PROCESSING,
    STALLED,
    STATUS_NAMES,
)
from otel_bridge_collector.model.reading.phases import PhaseRow
from otel_bridge_collector.views.listing import Listing, Scope, Window, window
from otel_bridge_collector.views.parts import (
    Around,
    Place,
    Slice,
    join_slices,
    slice_of,
    slice_window,
)
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.task import groups
from otel_bridge_collector.views.task.search import tasks_with
from otel_bridge_collector.views.task_index import IndexedTask
from otel_bridge_collector.wire.views.params import TasksParams
from otel_bridge_collector.wire.views.rows import TasksHead

__all__ = ["TasksPart", "compute", "join", "merge", "select"]

_Order = list[tuple[tuple[Any, ...], str]]

_REASONS: Final = (
    "stalled", "worker_lost", "jobs_stalled", "jobs_failed", "queue_stuck", "jobs_slow", "failed",
)  # fmt: skip
"""What needs attention most comes first; then what runs, what only waits, what has completed."""
_BUCKETS: Final = {reason: rank for rank, reason in enumerate(_REASONS)}
_RUNNING, _WAITING, _OVER = len(_REASONS), len(_REASONS) + 1, len(_REASONS) + 2


def compute(state: ViewState, params: TasksParams, scope: Scope) -> Listing:
    """
    List the tasks that a reader may see and that pass the filters, in the order asked for.

    Raises nothing; rows are made when a window asks for them. Computed on the collector's event
    loop; an order is kept from the last tick while no status, start or end changes, unless it
    depends on the time (``slowest``) or a text.

    Args:
        state: As of its latest refresh; keeps orders and rows.
        params: Filters and order; without filters all tasks pass.
        scope: The projects that the reader may see; None: all. Tasks of several projects are left
            out for a limited reader.

    Returns:
        One row for each task, at most 10,000 by default.
    """
    order, sums = _order(state, params, scope)
    return Listing(order, partial(_row, state), sums)


def _order(state: ViewState, params: TasksParams, scope: Scope) -> tuple[_Order, dict[str, int]]:
    """
    Sort the tasks of a query, or take the order of the last tick.

    Sorting 1,000 tasks costs 1 ms, four times a second and for each query. Only a status, start or
    end that changes can change it, unless it depends on the time or on a text.
    """
    is_kept = params.sort != "slowest" and params.text is params.type is None
    key = params.project, params.status, params.sort, params.group, params.pins, scope
    kept = state.orders.get(key) if is_kept else None
    if kept is not None and kept[0] == state.tasks.version:
        return kept[1], kept[2]
    seen = list(state.tasks.visible(scope, params.project))
    attention = sum(_is_urgent(state, known) for known in seen)
    passes = _filter(state, params, scope)
    found = seen if passes is None else list(filter(passes, seen))
    place = groups.placing(params)
    value = _ORDERS[params.sort]
    order = sorted((place(known) + value(state, known), known.task.id) for known in found)
    sums = {"total_all": len(seen), "attention": attention}
    if is_kept:
        state.orders[key] = state.tasks.version, order, sums
    return order, sums


class TasksPart(msgspec.Struct, array_like=True, frozen=True):
    """
    What one state, or several together, send of the view; a record.

    Attributes:
        shown: Tasks that may be in the window.
        pinned: Tasks at the start of the list because they are pinned.
        sections: Place and size of the first 200 groups of the others.
    """

    shown: Slice
    pinned: int
    sections: Sequence[tuple[Place, int]]


def select(part: Listing, params: TasksParams, around: Around = None) -> TasksPart:
    """Take what ``join`` needs of one state's part; on the event loop of its model."""
    pinned, found = groups.sections(part.order, params)
    return TasksPart(
        slice_of(part, params.at, params.count, params.keys, around),
        pinned,
        found,
    )


def join(parts: Sequence[TasksPart]) -> TasksPart:
    """Merge what several states, no two of which have the same task, send; pure."""
    return TasksPart(
        join_slices([part.shown for part in parts]),
        sum(part.pinned for part in parts),
        groups.add_up(part.sections for part in parts),
    )


def merge(parts: Sequence[Listing | TasksPart], params: TasksParams) -> Window:
    """
    Merge the parts of several states, each with tasks of its own, and take the window.

    Pure, but for the rows that it makes and keeps in the index: on the collector's event loop.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it; no task is in two.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 40, at most 200; or ``keys``, which are shown instead of
            a window.

    Raises:
        NotCoveredError: Parts were selected without all rows of the window.
    """
    head: dict[str, Any]
    found: Sequence[tuple[Place, int]]
    if len(parts) == 1 and isinstance(parts[0], Listing):
        listing = parts[0]
        first, rows = window(listing, params.at, params.count, params.keys)
        pinned, found = groups.sections(listing.order, params)
        head = {"total": len(listing.order), **listing.sums}
    else:
        part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
        first, rows = slice_window(part.shown, params.at, params.count, params.keys)
        pinned, found = part.pinned, part.sections
        head = {"total": part.shown.total, **part.shown.sums}
    named = groups.named(params, found)
    return Window(TasksHead(first=first, pinned=pinned, groups=named, **head).model_dump(), rows)


def _is_urgent(state: ViewState, known: IndexedTask) -> bool:
    reason = state.tasks.needs_attention(known)
    return reason is not None and not (known.status == COMPLETED and reason == "jobs_failed")


def _by_attention(state: ViewState, known: IndexedTask) -> tuple[int, int]:
    reason = state.tasks.needs_attention(known)
    if reason is not None and _is_urgent(state, known):
        return _BUCKETS[reason], -known.start
    if known.status == COMPLETED:
        return _OVER, -known.start
    return _WAITING if known.is_waiting else _RUNNING, -known.start


def _by_start(state: ViewState, known: IndexedTask) -> tuple[int, int]:
    del state
    return 0, -known.start


def _by_duration(state: ViewState, known: IndexedTask) -> tuple[int, int]:
    """The longest first; what is open lasts until now."""
    return 0, known.start - (known.end or state.now)


_ORDERS: Final = {
    "attention": _by_attention,
    "newest": _by_start,
    "slowest": _by_duration,
}


def _filter(
    state: ViewState, params: TasksParams, scope: Scope
) -> Callable[[IndexedTask], bool] | None:
    model = state.model
    tests: list[Callable[[IndexedTask], bool]] = []
    if params.status is not None:
        bits = sum({1 << STATUS_NAMES.index(name) for name in params.status})
        in_jobs = bits & ~(1 << COMPLETED)
        tests.append(lambda known: bool(bits >> known.status & 1 or known.job_statuses & in_jobs))
    if params.type is not None:
        name = params.type
        tests.append(lambda known: known.is_of_type(model, name))
    if params.text:
        text = params.text.casefold()
        # The task of a job that is searched for must not be hidden.
        by_nodes = tasks_with(state, text, params.project, scope)
        tests.append(lambda known: text in known.searched(model) or known.task.id in by_nodes)
    return (lambda known: all(test(known) for test in tests)) if tests else None


def _row(state: ViewState, task_id: str) -> bytes:
    known = state.tasks.by_id[task_id]
    if known.row is None:
        known.row = to_json(_make_row(state, known))
    return known.row


def _make_row(state: ViewState, known: IndexedTask) -> dict[str, Any]:
    # Not the model itself: with its phases it costs 40 us, the dict 8; tests validate the rows.
    card = known.card(state.model)
    return {
        "k": card.task_id,
        "title": card.title,
        "type": card.task_type,
        "domain": card.domain,
        "project": card.project_id,
        "trace": card.trace_id,
        "status": STATUS_NAMES[card.status],
        "why": card.reason or state.tasks.needs_attention(known),
        "start": ms(card.started),
        "end": ms(card.ended),
        "seen": card.last_event // 1000,
        "phase": card.current_phase,
        "done": card.completed,
        "failed": card.failed,
        "pending": card.pending,
        "running": card.jobs[PROCESSING],
        "stalled": card.jobs[STALLED],
        "retries": card.retries,
        "eta_sec": card.eta_sec,
        "error": card.error,
        "message": card.message,
        "not_held": card.not_held,
        "phases": [_phase(phase) for phase in card.phases],
    }


def _phase(row: PhaseRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "status": STATUS_NAMES[row.status],
        "start": ms(row.started),
        "end": ms(row.ended),
        "total": row.total,
        "done": row.completed,
        "failed": row.failed,
        "running": row.running,
        "retrying": row.retrying,
        "stalled": row.stalled,
        "rate": row.rate,
    }
