"""State -> snapshot: what a dashboard shows, judged at one moment by the rules of ``Judge``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from otel_bridge.clock import iso_utc
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge_collector.model.old.fleet import FailureRecord
from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import PhaseRecord, SpanRecord, TaskRecord
from otel_bridge_collector.model.old.state import LiveState
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.messages import (
    FailureGroup,
    GlobalStats,
    PhaseProgress,
    QueueDepth,
    SpanBar,
    Status,
    TaskCard,
    WorkerState,
)

__all__ = [
    "failure_groups",
    "global_stats",
    "is_visible",
    "queue_depths",
    "task_cards",
    "worker_states",
]

_SECOND: Final = 1_000_000
FORGET_WORKER_AFTER: Final = 3600 * _SECOND
"""Workers gone for an hour are no longer shown."""

OPEN_STATUSES: Final = ("pending", "processing", "retrying")
MAX_CARDS: Final = 200
MAX_SPANS: Final = 2000
MAX_SPANS_PER_CARD: Final = 200
_MIN_RATED_JOBS: Final = 3
_MIN_RATED_SEC: Final = 5
_RATE_SPAN_SEC: Final = 60


def _iso(time_us: int | None) -> str | None:
    return None if time_us is None else iso_utc(time_us * 1000)


def phase_progress(phase: PhaseRecord, task_status: Status, ended: int | None) -> PhaseProgress:
    """
    One phase's bar; how its counts meet is told in ``state``.

    Args:
        phase: What is known.
        task_status: Of its research task: a phase is over when that is.
        ended: When the research task ended.
    """
    seen = phase.seen
    seen_total = sum(seen.values())
    told = {name: phase.absolute(name) or 0 for name in ("completed", "failed", "pending")}
    told_total = phase.absolute("total") or sum(told.values())
    total = max(told_total, seen_total)
    completed = max(told["completed"], seen.get("completed", 0))
    failed = seen.get("failed", 0)
    if seen_total < told_total or phase.forgotten:
        failed = max(failed, told["failed"])
    failed = min(failed, max(0, total - completed))
    status: Status
    if phase.status is not None:
        status = phase.status
    elif seen.get("processing", 0) or seen.get("retrying", 0):
        status = "processing"
    else:
        status = "pending" if completed + failed < seen_total else "completed"
    phase_ended = phase.ended
    if phase_ended is None and status == "completed":
        phase_ended = phase.last_end or None
    if status in ("processing", "pending") and task_status in ("completed", "failed", "stalled"):
        status, phase_ended = task_status, ended
    started = phase.started if phase.started is not None else phase.first_seen
    return PhaseProgress(
        name=phase.name,
        status=status,
        started_at=_iso(started),
        ended_at=_iso(phase_ended),
        duration_ms=phase.duration_ms,
        total=total or None,
        completed=completed,
        failed=failed,
        pending=max(0, total - completed - failed),
        retrying=max(0, seen.get("retrying", 0)),
        message=phase.message[2] if phase.message else None,
    )


def phase_rate(phase: PhaseRecord, now: int) -> float | None:
    """Jobs ended per second over the last minute; None until three have ended in five seconds."""
    end = now // _SECOND
    first = end - _RATE_SPAN_SEC
    ends = {s: n for s, n in phase.ends_by_second.items() if first <= s <= end}
    count = sum(ends.values())
    since = min(ends, default=end)
    told = sorted(item for item in phase.samples.items() if first <= item[0] <= end)
    if len(told) > 1 and told[-1][1] - told[0][1] > count:
        count, since = told[-1][1] - told[0][1], told[0][0]
    if count < _MIN_RATED_JOBS or end - since < _MIN_RATED_SEC:
        return None
    return round(count / (end - since), 3)


def span_bar(span: SpanRecord, judge: Judge, card_ended: int | None, last_seen: int) -> SpanBar:
    """One bar; an open one whose worker is gone or whose research task is over ends here."""
    status: Status = span.status
    ended = span.end[1] if span.end else None
    if span.kind == "enqueue" and ended is None:
        status = "pending"
    if ended is None and card_ended is not None:
        status, ended = "stalled", max(card_ended, last_seen)
    elif ended is None and span.kind == "job" and judge.is_worker_gone(span.worker_id):
        status, ended = "stalled", judge.state.fleet.workers[str(span.worker_id)].last_seen
    name = {"research_task": span.task_type, "phase": span.phase}.get(span.kind, span.task_type)
    return SpanBar(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        trace_id=span.trace_id,
        kind=span.kind,
        name=name or span.task_id or span.kind,
        task_id=span.task_id,
        task_type=span.task_type,
        phase=span.phase,
        worker_id=span.worker_id,
        status=status,
        retry_count=span.retry_count,
        queued_at=_iso(span.queued),
        started_at=_iso(span.started),
        ended_at=_iso(ended),
        duration_ms=span.duration_ms,
        error=span.error,
    )


def _span_bars(task: TaskRecord, judge: Judge, card_ended: int | None, limit: int) -> list[SpanBar]:
    begun = {span.parent_span_id for span in task.spans.values() if span.kind == "job"}
    queued = {s.span_id: s.queued for s in task.spans.values() if s.kind == "enqueue"}
    shown = [
        span
        for span in task.spans.values()
        # An enqueueing that became a job lives on as the job's queued_at.
        if span.kind != "enqueue" or (span.span_id not in begun and card_ended is None)
    ]
    shown.sort(
        key=lambda s: (
            s.end is not None,
            s.kind == "enqueue",
            -(s.end[1] if s.end else s.started or s.queued or 0),
            s.span_id,
        )
    )
    bars = []
    for span in shown[:limit]:
        bar = span_bar(span, judge, card_ended, task.last_seen)
        if bar.kind == "job" and bar.queued_at is None and bar.parent_span_id in queued:
            bar = bar.model_copy(update={"queued_at": _iso(queued[bar.parent_span_id])})
        bars.append(bar)
    return bars


def task_card(task: TaskRecord, judge: Judge, max_spans: int = MAX_SPANS_PER_CARD) -> TaskCard:
    """One research task's card, with at most ``max_spans`` bars."""
    status = judge.task_status(task)
    ended = None
    if status in ("completed", "failed", "stalled"):
        ended = task.ended if task.ended is not None else task.last_seen
    order = sorted(
        task.phases.values(),
        key=lambda p: (p.started if p.started is not None else p.first_seen or 0, p.name),
    )
    phases = []
    for phase in order:
        progress = phase_progress(phase, status, ended)
        rate = phase_rate(phase, judge.now) if progress.status == "processing" else None
        phases.append(
            progress if rate is None else progress.model_copy(update={"rate_per_sec": rate})
        )
    running = [phase for phase in phases if phase.status == "processing"]
    current = (running or phases)[-1] if phases else None
    rest = phase_progress(task.unphased, status, ended)
    started = task.started if task.started is not None else task.first_seen
    return TaskCard(
        task_id=task.task_id,
        title=task.title,
        task_type=task.task_type or task.origin,
        domain=task.domain,
        project_id=task.project_id,
        trace_id=task.trace_id,
        status=status,
        current_phase=current.name if current else None,
        started_at=_iso(started),
        ended_at=_iso(ended),
        duration_ms=task.duration_ms if ended is not None else None,
        last_event_at=_iso(task.last_seen),
        eta_sec=_eta(running),
        completed=rest.completed + sum(phase.completed for phase in phases),
        failed=rest.failed + sum(phase.failed for phase in phases),
        pending=rest.pending + sum(phase.pending for phase in phases),
        retries=task.retries,
        error=task.error,
        message=task.message[2] if task.message else None,
        phases=phases,
        spans=_span_bars(task, judge, ended, max_spans),
    )


def _eta(running: list[PhaseProgress]) -> float | None:
    """Seconds until the running phases are done, the slowest counting; None without a rate."""
    etas = [p.pending / p.rate_per_sec for p in running if p.rate_per_sec and p.total]
    return round(max(etas), 1) if etas and len(etas) == len(running) else None


def task_cards(judge: Judge, wanted: EventFilter = ALL_EVENTS) -> list[TaskCard]:
    """Cards a client with this filter may see: open ones first, then the latest; at most 200."""
    tasks = [task for task in judge.state.tasks.values() if is_visible(task, wanted)]
    # As judged: a research task without a root never has an end of its own, and would bury what
    # has been running since before it.
    tasks.sort(
        key=lambda t: (judge.task_status(t) in OPEN_STATUSES, t.last_seen, t.task_id), reverse=True
    )
    cards = []
    left = MAX_SPANS
    for task in tasks[:MAX_CARDS]:
        card = task_card(task, judge, min(left, MAX_SPANS_PER_CARD))
        left -= len(card.spans)
        cards.append(card)
    return cards


def is_visible(task: TaskRecord, wanted: EventFilter) -> bool:
    """Whether a client with this filter may see a research task."""
    if not wanted.may_see(task.project_id) or (wanted.projects is not None and task.is_mixed):
        return False
    return wanted.task_id is None or task.task_id == wanted.task_id


def worker_states(judge: Judge, wanted: EventFilter = ALL_EVENTS) -> list[WorkerState]:
    """
    Workers, sorted by id; a job of another project is shown as busy without its ids.

    A reader limited to projects gets none: their counts and hosts tell of others' work.
    """
    if wanted.projects is not None:
        return []
    found = []
    for worker in judge.state.fleet.workers.values():
        status = judge.worker_status(worker)
        if status != "online" and judge.now - worker.last_seen > FORGET_WORKER_AFTER:
            continue
        jobs = [judge.state.jobs[key] for key in worker.running if key in judge.state.jobs]
        job = max(jobs, key=lambda j: (j.started or 0, j.task_id), default=None)
        if status != "online":
            job = None
        is_foreign = (
            job is not None
            and wanted.project_id is not None
            and job.project_id != wanted.project_id
        )
        found.append(
            WorkerState(
                worker_id=worker.worker_id,
                status=status,
                host=worker.host,
                pid=worker.pid,
                started_at=_iso(worker.started),
                last_heartbeat_at=_iso(worker.last_seen or None),
                current_task_id=job.task_id if job and not is_foreign else None,
                current_task_type=job.task_type if job else None,
                current_parent_task_id=job.parent_task_id if job and not is_foreign else None,
                current_started_at=_iso(job.started) if job else None,
                completed=worker.completed,
                failed=worker.failed,
                dropped_events=worker.dropped,
            )
        )
    return sorted(found, key=lambda w: (isinstance(w.worker_id, str), w.worker_id))


def queue_depths(state: LiveState, first: Sequence[str] = DEFAULT_KEYS.queues) -> list[QueueDepth]:
    """Queues: those of the coordinator ``first``, in their order; then the others by name."""
    order = {name: index for index, name in enumerate(first)}
    return [
        QueueDepth(queue=name, depth=queue.depth, at=iso_utc(queue.ts * 1000))
        for name, queue in sorted(
            state.fleet.queues.items(), key=lambda item: (order.get(item[0], len(order)), item[0])
        )
    ]


def failure_groups(state: LiveState, wanted: EventFilter = ALL_EVENTS) -> list[FailureGroup]:
    """Failures by error, the latest first; a task filter looks at the ten newest tasks of each."""
    return [
        FailureGroup(
            key=group.key,
            error=group.error[2],
            task_type=group.task_type,
            phase=group.phase,
            count=group.count,
            first_at=iso_utc((group.first or 0) * 1000),
            last_at=iso_utc(group.last * 1000),
            task_ids=_names(group.newest),
            parent_task_ids=_names(group.parents),
            project_id=group.project_id,
        )
        for group in sorted(
            state.fleet.failures.values(), key=lambda g: (g.last, g.key), reverse=True
        )
        if _is_failure_wanted(group, wanted)
    ]


def _names(newest: Iterable[tuple[int, str]]) -> list[str]:
    return [name for _, name in reversed(list(newest))]


def _is_failure_wanted(group: FailureRecord, wanted: EventFilter) -> bool:
    if not wanted.may_see(group.project_id):
        return False
    return wanted.task_id is None or wanted.task_id in [name for _, name in group.parents]


def global_stats(judge: Judge, stats: RollingStats, project_id: str | None = None) -> GlobalStats:
    """The header's numbers, of everything or of one project; workers and queues are shared."""
    state = judge.state
    minute = stats.totals(judge.now, 60, project_id)
    five = stats.totals(judge.now, 300, project_id)
    by_type: dict[str, int] = {}
    for job in state.processing.values():
        is_counted = project_id is None or job.project_id == project_id
        if is_counted and not judge.is_worker_gone(job.worker_id):
            name = job.task_type or "job"
            by_type[name] = by_type.get(name, 0) + 1
    workers = state.fleet.workers.values()
    return GlobalStats(
        workers_online=sum(judge.worker_status(worker) == "online" for worker in workers),
        queue_depth={queue.queue: queue.depth for queue in queue_depths(state)},
        in_progress=sum(by_type.values()),
        in_progress_by_type=dict(sorted(by_type.items())),
        open_tasks=sum(
            judge.task_status(task) in OPEN_STATUSES
            for task in state.tasks.values()
            if project_id is None or task.project_id == project_id
        ),
        throughput_per_sec=minute.ended_per_sec,
        events_per_sec=round(stats.totals(judge.now, 10, project_id).events / 10, 1),
        error_rate_1m=round(minute.failed / minute.ended, 4) if minute.ended else None,
        error_rate_5m=round(five.failed / five.ended, 4) if five.ended else None,
        events_in=stats.events_in,
        events_dropped=sum(worker.dropped for worker in workers) + stats.events_unreadable,
    )
