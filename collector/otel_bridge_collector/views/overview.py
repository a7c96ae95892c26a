"""The view ``overview``: the numbers of the header."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from functools import partial
from typing import Any, Final

from otel_bridge_collector.model.events import FAILED, STALLED, STATUS_NAMES
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.snapshot.panels import queue_depths
from otel_bridge_collector.views.attention.entries import (
    LostWorker,
    Standing,
    choose,
    of_queues,
    of_tasks,
    of_workers,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, no_row
from otel_bridge_collector.views.state import MAX_NAMES, ViewState
from otel_bridge_collector.views.workers.queues import Known, add_up_queues, known_queues
from otel_bridge_collector.views.workers.workers import held_by, shown_by_key
from otel_bridge_collector.wire.views.params import OverviewParams
from otel_bridge_collector.wire.views.rows import OverviewHead

__all__ = ["compute", "merge"]


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
        No rows; the numbers are in ``sums``, from which ``merge`` makes the head.
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
    minute = [model.stats.totals(now, 60, name) for name in names]
    five = [model.stats.totals(now, 300, name) for name in names]
    ten = [model.stats.totals(now, 10, name) for name in names]
    sums: dict[str, Any] = {
        "tasks": dict(tasks),
        "running": state.running_by_type(scope, params.project),
        "by_second": [model.stats.ended_by_second(now, 60, name) for name in names],
        "projects": state.projects(scope),
        "types": state.types(scope, params.project),
        "per_sec": sum(total.ended_per_sec for total in minute),
        "events_10s": sum(total.events for total in ten),
        "ended_1m": sum(total.ended for total in minute),
        "failed_1m": sum(total.failed for total in minute),
        "ended_5m": sum(total.ended for total in five),
        "failed_5m": sum(total.failed for total in five),
        "attention": of_tasks(model, state.trouble, standing, partial(_failed, state)),
        "shared": None if scope is not None else _shared(state),
    }
    return Listing((), no_row, sums)


_HAS_FAILED: Final = 1 << FAILED


def _failed(state: ViewState, task: Task) -> int:
    return state.tasks.by_id[task.id].card(state.model).failed


def _projects(params: OverviewParams, scope: Scope) -> list[str | None]:
    """Whose windows of the statistics to add up; ``None`` is that of everything."""
    if params.project is not None:
        return [params.project] if scope is None or params.project in scope else []
    return [None] if scope is None else [*sorted(scope)]


def _shared(state: ViewState) -> dict[str, Any]:
    shown = state.processes()
    workers = Counter(status for _, _, status in shown)
    dropped = sum(one.note[1] for _, one, _ in shown if one is not None)
    stats = state.model.stats
    return {
        "events": stats.events_in,
        "dropped": dropped + stats.events_unreadable,
        "online": workers["online"],
        "lost": workers["offline"],
        "lost_workers": _lost_workers(state),
        "queues": known_queues(state),
        "queued": {queue.queue: queue.depth for queue in queue_depths(state.model, state.queues)},
    }


def _lost_workers(state: ViewState) -> list[LostWorker]:
    if not any(status == "offline" for _, _, status in state.processes()):
        return []
    return [
        LostWorker(key, str(one.worker.id), one.worker.last_seen, len(held_by(one)))
        for key, one in shown_by_key(state).items()
        if one.status == "offline"
    ]


def _waiting(queues: Known) -> dict[str, int]:
    """Jobs that wait where no depth was reported, by queue."""
    facts = sorted(queues.facts.items())
    return {name: one.waiting for name, one in facts if one.depth is None}


def merge(parts: Sequence[Listing], params: OverviewParams) -> Window:
    """
    Add up the parts of several processes, and make the head; the window has no rows.

    Tasks, jobs and rates are added. Workers, depths of queues and dropped events are those of the
    first part, because every process folds (merges into its state) all events of workers and
    queues. Pure.

    Args:
        parts: What ``compute`` returned in each process, at least one.
        params: Not used: the overview has no window.

    Raises:
        IndexError: There are no parts.
    """
    del params
    tasks: Counter[str] = Counter()
    running: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    shared = parts[0].sums["shared"]
    for part in parts:
        tasks.update(part.sums["tasks"])
        running.update(part.sums["running"])
        sums.update({name: part.sums[name] for name in _ADDED})
    entries = [entry for part in parts for entry in part.sums["attention"]]
    queues: Known | None = None
    if shared:
        queues = add_up_queues([part.sums["shared"]["queues"] for part in parts])
        workers = [part.sums["shared"]["lost_workers"] for part in parts]
        entries += of_workers(workers, queues.now)
        entries += of_queues(
            {name: (facts, queues.stuck(name)) for name, facts in queues.facts.items()}
        )
    head = OverviewHead(
        tasks=dict(sorted(tasks.items())),
        jobs_running=running.total(),
        jobs_running_by_type=dict(sorted(running.items())),
        jobs_ended_by_second=_added(rows for part in parts for rows in part.sums["by_second"]),
        jobs_ended_per_sec=round(sums["per_sec"], 3),
        events_per_sec=round(sums["events_10s"] / 10, 1),
        error_rate_1m=_rate(sums["failed_1m"], sums["ended_1m"]),
        error_rate_5m=_rate(sums["failed_5m"], sums["ended_5m"]),
        events=shared and sum(part.sums["shared"]["events"] for part in parts),
        events_dropped=shared and shared["dropped"],
        workers_online=shared and shared["online"],
        workers_lost=shared and shared["lost"],
        queued=shared and shared["queued"],
        waiting=queues and _waiting(queues),
        attention=choose(entries),
        projects=_first_names(part.sums["projects"] for part in parts),
        types=_first_names(part.sums["types"] for part in parts),
    )
    return Window(head.model_dump(), {})


_ADDED = ("per_sec", "events_10s", "ended_1m", "failed_1m", "ended_5m", "failed_5m")


def _added(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows, strict=True))) or (0,) * 60


def _first_names(parts: Iterable[Set[str]]) -> tuple[str, ...]:
    return tuple(sorted(set().union(*parts))[:MAX_NAMES])


def _rate(failed: int, ended: int) -> float | None:
    return round(failed / ended, 4) if ended else None
