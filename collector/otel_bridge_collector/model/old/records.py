"""
What the live state remembers of work: a record per job, span, phase and research task.

Each record merges facts so that their order and repetition do not matter (a join-semilattice):
ids settle on one value, starts on the earliest, everything else on the fact with the greatest
``Rank``. Times are integers, microseconds since the Unix epoch, UTC, from the events' own ``ts``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge_collector.wire.messages import Status

__all__ = [
    "ABSOLUTE_COUNTS",
    "ENDED",
    "JOB_FACTS",
    "JobRecord",
    "PhaseRecord",
    "Rank",
    "SpanRecord",
    "TaskRecord",
    "apply_span",
    "attempt_of",
    "began",
    "cut",
    "microseconds",
    "settle",
    "settle_worker",
]

ENDED: Final = frozenset({"completed", "failed"})
JOB_FACTS: Final[dict[str, tuple[int, int, Status]]] = {
    MonitoringEventType.TASK_ENQUEUED: (0, 0, "pending"),
    MonitoringEventType.TASK_STARTED: (1, 0, "processing"),
    MonitoringEventType.TASK_STALLED: (1, 1, "stalled"),
    MonitoringEventType.TASK_RETRY: (1, 2, "retrying"),
    MonitoringEventType.TASK_FAILED: (1, 3, "failed"),
    MonitoringEventType.TASK_COMPLETED: (2, 0, "completed"),
}
"""Event type to (stage, order, status): see ``Rank``."""
ABSOLUTE_COUNTS: Final = ("total", "completed", "failed", "pending", "retrying")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(ts: datetime) -> int:
    """Microseconds since the Unix epoch."""
    return (ts - _EPOCH) // _MICROSECOND


def began(ended: int, duration_ms: float) -> int:
    """When what took so long began: in 1970 at the earliest, for an absurd duration is no time."""
    return ended - int(min(duration_ms * 1000, ended))


def cut(text: str | None, max_chars: int) -> str | None:
    """The text, at most so long; an event may carry 8 KiB, a record need not."""
    if text is None or len(text) <= max_chars:
        return text
    return text[: max_chars - 1] + "…"


def settle(old: str | None, new: str | None) -> str | None:
    """One of two values, whatever the order they came in: the known, else the smaller one."""
    if new is None or old == new:
        return old
    if old is None:
        return new
    return min(old, new)


def settle_worker(old: int | str | None, new: int | str | None) -> int | str | None:
    """As ``settle`` for a worker's id; 3 and "3" are one worker, shown as a number."""
    if old is None or new is None:
        return new if old is None else old
    return min(old, new, key=lambda name: (str(name), isinstance(name, str)))


def earliest(old: int | None, new: int | None) -> int | None:
    """The earlier of two times that may be unknown."""
    if old is None or new is None:
        return new if old is None else old
    return min(old, new)


class Rank(NamedTuple):
    """
    Which of two facts about one attempt wins: the greater.

    A higher attempt beats a lower one. Within an attempt, running beats queued and completed beats
    both, whatever the clocks of their machines say; among running, retry, failed and stalled the
    later one, so that a job requeued under the same number lives again.
    """

    attempt: int
    stage: int
    """0 queued, 1 running or given up, 2 completed."""
    ts: int
    order: int
    """Breaks ties: an end beats the start of the same microsecond."""
    event_id: str


NO_RANK: Final = Rank(-1, 0, 0, 0, "")


def attempt_of(event: MonitoringEvent) -> int:
    """Attempts before this one; absurd numbers are cut to a million."""
    return min(event.retry_count or 0, 1_000_000)


class JobRecord:
    """One job: where it stands, by its greatest fact."""

    __slots__ = (
        "error",
        "is_mixed",
        "parent_task_id",
        "phase",
        "project_id",
        "rank",
        "span_id",
        "started",
        "status",
        "task_id",
        "task_type",
        "worker_id",
    )

    def __init__(self, parent_task_id: str | None, task_id: str) -> None:
        self.parent_task_id = parent_task_id
        self.task_id = task_id
        self.task_type: str | None = None
        self.phase: str | None = None
        self.project_id: str | None = None
        self.is_mixed = False
        """Whether events of several projects name it: then no limited reader may see it."""
        self.status: Status = "pending"
        self.rank = NO_RANK
        self.worker_id: int | str | None = None
        self.span_id: str | None = None
        self.started: int | None = None
        self.error: str | None = None


class SpanRecord:
    """One bar of the waterfall; ``end`` is the greatest of its ends: told by itself, time, id."""

    __slots__ = (
        "duration_ms",
        "end",
        "error",
        "kind",
        "parent_span_id",
        "phase",
        "queued",
        "retry_count",
        "span_id",
        "started",
        "status",
        "task_id",
        "task_type",
        "trace_id",
        "worker_id",
    )

    def __init__(self, span_id: str, kind: str) -> None:
        self.span_id = span_id
        self.kind = kind
        self.parent_span_id: str | None = None
        self.trace_id: str | None = None
        self.task_id: str | None = None
        self.task_type: str | None = None
        self.phase: str | None = None
        self.worker_id: int | str | None = None
        self.retry_count = 0
        self.queued: int | None = None
        self.started: int | None = None
        self.end: tuple[bool, int, str] | None = None
        self.status: Status = "processing"
        self.duration_ms: float | None = None
        self.error: str | None = None

    def close(self, ts: int, status: Status, event: MonitoringEvent) -> None:
        """Note an end; an end without its start gives the start by its duration."""
        if event.duration_ms is not None:
            self.started = earliest(self.started, began(ts, event.duration_ms))
        # A stalled job that ends after all was not stalled, whatever the two clocks say.
        end = (status != "stalled", ts, event.event_id)
        if self.end is None or end > self.end:
            self.end = end
            self.status = status
            self.duration_ms = event.duration_ms
            self.error = cut(event.error, 300)


class PhaseRecord:
    """One phase: its span's facts, absolute counts as told, jobs as seen."""

    __slots__ = (
        "counts",
        "duration_ms",
        "ended",
        "ends_by_second",
        "first_seen",
        "forgotten",
        "last_end",
        "message",
        "name",
        "rank",
        "samples",
        "seen",
        "started",
        "status",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.rank: tuple[int, int, str] = (0, 0, "")
        self.status: Status | None = None
        """None: no event of the phase's own has been seen, only its jobs'."""
        self.started: int | None = None
        self.ended: int | None = None
        self.duration_ms: float | None = None
        self.first_seen: int | None = None
        self.last_end: int = 0
        self.message: tuple[int, str, str] | None = None
        self.counts: dict[str, tuple[int, str, int]] = {}
        """Absolute counts: name to (ts, event_id, value)."""
        self.seen: dict[str, int] = {}
        """Jobs by status; those forgotten to save memory still count."""
        self.forgotten = 0
        self.ends_by_second: dict[int, int] = {}
        self.samples: dict[int, int] = {}
        """Ended jobs as absolute counts, by second."""

    def absolute(self, name: str) -> int | None:
        """An absolute count; None while nobody has told it."""
        found = self.counts.get(name)
        return None if found is None else found[2]


class TaskRecord:
    """One research task."""

    __slots__ = (
        "domain",
        "duration_ms",
        "ended",
        "error",
        "first_seen",
        "is_mixed",
        "is_rooted",
        "last_seen",
        "message",
        "origin",
        "phases",
        "project_id",
        "queued_jobs",
        "rank",
        "retries",
        "root_status",
        "running",
        "spans",
        "started",
        "task_id",
        "task_type",
        "title",
        "trace_id",
        "unphased",
    )

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.title: str | None = None
        self.task_type: str | None = None
        self.domain: str | None = None
        self.project_id: str | None = None
        self.is_mixed = False
        """Whether events of several projects name it: then no limited reader may see it."""
        self.trace_id: str | None = None
        self.is_rooted = False
        """Whether an event of the research task's own has been seen."""
        self.origin: str | None = None
        """Type of the job whose span is the trace's root: then no root will come."""
        self.rank = NO_RANK
        self.root_status: Status = "processing"
        self.started: int | None = None
        self.ended: int | None = None
        self.duration_ms: float | None = None
        self.error: str | None = None
        self.message: tuple[int, str, str] | None = None
        self.first_seen: int | None = None
        self.last_seen = 0
        self.retries = 0
        self.phases: dict[str, PhaseRecord] = {}
        self.unphased = PhaseRecord("")
        """Counts of the jobs that name no phase."""
        self.running: set[str] = set()
        """Jobs that are processing."""
        self.queued_jobs = 0
        """Jobs that are pending or wait for a retry."""
        self.spans: dict[str, SpanRecord] = {}


def apply_span(spans: dict[str, SpanRecord], event: MonitoringEvent, kind: str, limit: int) -> None:
    """
    Fold one event into its bar of the waterfall.

    Args:
        spans: A research task's bars by span id; publishers without spans get one made up.
        event: A task or phase event.
        kind: ``research_task``, ``phase``, ``enqueue`` or ``job``.
        limit: Past it a quarter is forgotten, what ended longest ago first.
    """
    ts = microseconds(event.ts)
    span_id = event.span_id or f"{event.task_id or event.phase}#{attempt_of(event)}:{kind}"
    span = spans.get(span_id)
    if span is None:
        span = spans[span_id] = SpanRecord(span_id, kind)
    span.kind = max(span.kind, kind)
    span.parent_span_id = settle(span.parent_span_id, event.parent_span_id)
    span.trace_id = settle(span.trace_id, event.trace_id)
    span.task_id = settle(span.task_id, event.task_id)
    span.task_type = settle(span.task_type, cut(event.task_type, 100))
    span.phase = settle(span.phase, cut(event.phase, 100))
    span.retry_count = max(span.retry_count, attempt_of(event))
    span.worker_id = settle_worker(span.worker_id, event.worker_id)
    match event.event_type:
        case MonitoringEventType.TASK_ENQUEUED:
            span.queued = earliest(span.queued, ts)
        case MonitoringEventType.TASK_STARTED | MonitoringEventType.PHASE_STARTED:
            span.started = earliest(span.started, ts)
        case MonitoringEventType.PHASE_COMPLETED:
            is_failed = event.status == TaskStatus.FAILED
            span.close(ts, "failed" if is_failed else "completed", event)
        case _:
            span.close(ts, JOB_FACTS[event.event_type][2], event)
    if len(spans) > limit:
        _shed_spans(spans, limit * 3 // 4)


def _shed_spans(spans: dict[str, SpanRecord], keep: int) -> None:
    # Kept: what is open and no mere enqueueing; within a kind the newest.
    ordered = sorted(
        spans.values(),
        key=lambda span: (
            span.end is None and span.kind != "enqueue",
            span.kind != "enqueue",
            span.end[1] if span.end else span.started or span.queued or 0,
            span.span_id,
        ),
    )
    for span in ordered[: len(ordered) - keep]:
        del spans[span.span_id]
