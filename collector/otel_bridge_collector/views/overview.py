"""The view ``overview``: the numbers of the header."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from otel_bridge_collector.model.events import FAILED, STALLED, STATUS_NAMES
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.snapshot.panels import queue_depths
from otel_bridge_collector.model.stats import Totals, add_up_totals
from otel_bridge_collector.views.attention.entries import (
    Entry,
    LostWorker,
    Standing,
    add_up_lost,
    choose,
    of_queues,
    of_tasks,
    of_workers,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, no_row
from otel_bridge_collector.views.parts import Around
from otel_bridge_collector.views.state import MAX_NAMES, ViewState
from otel_bridge_collector.views.workers.queues import Known, add_up_queues, known_queues
from otel_bridge_collector.views.workers.records import held_by, shown_by_key
from otel_bridge_collector.wire.views.params import OverviewParams
from otel_bridge_collector.wire.views.rows import OverviewHead

__all__ = ["OverviewPart", "compute", "join", "merge", "select"]


def compute(state: ViewState, params: OverviewParams, scope: Scope) -> Listing:
    """
    Count what a reader may see: the numbers of the page's header, with no rows.

    Raises nothing. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh.
        params: ``project``: only its tasks, jobs and rates; None: all.
        scope: The projects that the reader may see; None: all. A limited reader gets None for what
            is shared between projects: events, workers, queues.

    Returns:
        No rows; ``part`` of ``sums`` has the numbers, from which ``merge`` makes the head.
    """
    model, now = state.model, state.now
    tasks: Counter[str] = Counter()
    standing = []
    for known in state.tasks.visible(scope, params.project):
        status = known.status
        tasks[STATUS_NAMES[status]] += 1
        has_failed = known.job_statuses & _HAS_FAILED
        if has_failed or status == STALLED or known.trouble is not None:
            standing.append(Standing(known.task, status, known.start, known.end, bool(has_failed)))
    names = _projects(params, scope)
    part = OverviewPart(
        tasks=dict(tasks),
        running=dict(state.running_by_type(scope, params.project)),
        by_second=[model.stats.ended_by_second(now, 60, name) for name in names],
        projects=sorted(state.projects(scope))[:MAX_NAMES],
        types=sorted(state.types(scope, params.project))[:MAX_NAMES],
        ten=[model.stats.totals(now, 10, name) for name in names],
        minute=[model.stats.totals(now, 60, name) for name in names],
        five=[model.stats.totals(now, 300, name) for name in names],
        attention=of_tasks(model, state.trouble, standing, partial(_failed, state)),
        shared=None if scope is not None else _shared(state),
    )
    return Listing((), no_row, {"part": part})


_HAS_FAILED: Final = 1 << FAILED


def _failed(state: ViewState, task: Task) -> int:
    return state.tasks.by_id[task.id].card(state.model).failed


def _projects(params: OverviewParams, scope: Scope) -> list[str | None]:
    """Whose windows of the statistics to add up; ``None`` is that of everything."""
    if params.project is not None:
        return [params.project] if scope is None or params.project in scope else []
    return [None] if scope is None else [*sorted(scope)]


class SharedPart(msgspec.Struct, array_like=True, frozen=True):
    """
    What is shared between projects, as one state or several know it; a record.

    Attributes:
        events: Events folded.
        dropped: Events that workers dropped, and that could not be read: all states know the same.
        online: Processes that live by their heartbeats, which all states know.
        heard: Ids of workers without heartbeats that are online, by the jobs of each state.
        lost: Workers that are offline.
        queues: All queues.
        queued: Depths by queue, in their order.
    """

    events: int
    dropped: int
    online: int
    heard: Sequence[str]
    lost: Sequence[LostWorker]
    queues: Known
    queued: dict[str, int]


class OverviewPart(msgspec.Struct, array_like=True, frozen=True):
    """
    The numbers of one state, or of several together, each with tasks of its own; a record.

    Attributes:
        tasks, running: Tasks by status, jobs that run by type.
        projects, types: The first 200 each, sorted.
        by_second, ten, minute, five: Ended jobs by second, and totals of 10, 60 and 300 s, of each
            window of the statistics that counts.
        attention: Of each kind the 8 newest tasks.
        shared: None for a limited reader.
    """

    tasks: dict[str, int]
    running: dict[str, int]
    by_second: Sequence[Sequence[int]]
    projects: Sequence[str]
    types: Sequence[str]
    ten: Sequence[Totals]
    minute: Sequence[Totals]
    five: Sequence[Totals]
    attention: Sequence[Entry]
    shared: SharedPart | None


def _shared(state: ViewState) -> SharedPart:
    dropped, online, heard = 0, 0, []
    for worker, process, status in state.processes():
        if process is not None:
            dropped += process.note[1]
            online += status == "online"
        elif status == "online":
            heard.append(str(worker.id))
    stats = state.model.stats
    return SharedPart(
        events=stats.events_in,
        dropped=dropped + stats.events_unreadable,
        online=online,
        heard=heard,
        lost=_lost_workers(state),
        queues=known_queues(state),
        queued={queue.queue: queue.depth for queue in queue_depths(state.model, state.queues)},
    )


def _lost_workers(state: ViewState) -> list[LostWorker]:
    if not any(status == "offline" for _, _, status in state.processes()):
        return []
    return [
        LostWorker(key, str(one.worker.id), one.worker.last_seen, len(held_by(one)))
        for key, one in shown_by_key(state).items()
        if one.status == "offline"
    ]


def select(part: Listing, params: OverviewParams, around: Around = None) -> OverviewPart:
    """Take what ``join`` needs of one state's part; pure."""
    del params, around
    found: OverviewPart = part.sums["part"]
    return found


def join(parts: Sequence[OverviewPart]) -> OverviewPart:
    """
    Add up the numbers of several states, at least one; pure.

    Workers, depths of queues and dropped events are those of all, because every state folds (merges
    into itself) all events of workers and queues.
    """
    if len(parts) == 1:
        return parts[0]
    shared = [part.shared for part in parts if part.shared is not None]
    return OverviewPart(
        tasks=_counted(part.tasks for part in parts),
        running=_counted(part.running for part in parts),
        by_second=[_added(rows) for rows in zip(*(part.by_second for part in parts), strict=True)],
        projects=_first_names(part.projects for part in parts),
        types=_first_names(part.types for part in parts),
        ten=add_up_totals(part.ten for part in parts),
        minute=add_up_totals(part.minute for part in parts),
        five=add_up_totals(part.five for part in parts),
        attention=[entry for part in parts for entry in part.attention],
        shared=_join_shared(shared) if shared else None,
    )


def _join_shared(parts: Sequence[SharedPart]) -> SharedPart:
    return SharedPart(
        events=sum(part.events for part in parts),
        dropped=max(part.dropped for part in parts),
        online=max(part.online for part in parts),
        heard=sorted(set().union(*(part.heard for part in parts))),
        lost=add_up_lost(part.lost for part in parts),
        queues=add_up_queues([part.queues for part in parts]),
        queued=parts[0].queued,
    )


def _waiting(queues: Known) -> dict[str, int]:
    """Jobs that wait where no depth was reported, by queue."""
    return {name: one.waiting for name, one in sorted(queues.listed) if one.depth is None}


def merge(parts: Sequence[Listing | OverviewPart], params: OverviewParams) -> Window:
    """
    Add up the parts of several states, and make the head; the window has no rows. Pure.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it.
        params: Not used: the overview has no window.

    Raises:
        IndexError: There are no parts.
    """
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    shared, entries, queues = part.shared, list(part.attention), None
    if shared is not None:
        queues = shared.queues
        entries += of_workers(shared.lost, queues.now)
        entries += of_queues((name, one, queues.stuck(name)) for name, one in queues.listed)
    head = OverviewHead(
        tasks=dict(sorted(part.tasks.items())),
        jobs_running=sum(part.running.values()),
        jobs_running_by_type=dict(sorted(part.running.items())),
        jobs_ended_by_second=_added(part.by_second),
        jobs_ended_per_sec=round(sum(total.ended_per_sec for total in part.minute), 3),
        events_per_sec=round(sum(total.events for total in part.ten) / 10, 1),
        error_rate_1m=_rate(part.minute),
        error_rate_5m=_rate(part.five),
        events=shared and shared.events,
        events_dropped=shared and shared.dropped,
        workers_online=shared and shared.online + len(shared.heard),
        workers_lost=shared and len(shared.lost),
        queued=shared and shared.queued,
        waiting=None if queues is None else _waiting(queues),
        attention=choose(entries),
        projects=tuple(part.projects),
        types=tuple(part.types),
    )
    return Window(head.model_dump(), {})


def _counted(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for numbers in parts:
        found.update(numbers)
    return dict(found)


def _added(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True))) or (0,) * 60


def _first_names(parts: Iterable[Iterable[str]]) -> list[str]:
    return sorted(set().union(*parts))[:MAX_NAMES]


def _rate(totals: Iterable[Totals]) -> float | None:
    failed, ended = 0, 0
    for one in totals:
        failed, ended = failed + one.failed, ended + one.ended
    return round(failed / ended, 4) if ended else None
