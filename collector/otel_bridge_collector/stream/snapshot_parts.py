"""
``SnapshotPart``: what one state says in a snapshot, and what several say together.

A snapshot of several states is made in two steps. First each sends the order of its newest tasks,
and all else; of the joined part ``shown_ids`` are the tasks of the snapshot. Then the states that
have them send their cards, so that no state makes 200 cards of which a few are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.bars import incarnation_of, iso
from otel_bridge_collector.model.snapshot.cards import (
    MAX_CARDS,
    MAX_SPANS,
    MAX_SPANS_PER_CARD,
    card_place,
    is_visible,
    shown_tasks,
    task_card,
)
from otel_bridge_collector.model.snapshot.causes import Cause, cause_of, join_causes
from otel_bridge_collector.model.snapshot.header import (
    Header,
    HeaderPart,
    header_part,
    join_headers,
    projects_of,
)
from otel_bridge_collector.model.snapshot.panels import (
    MAX_FAILURES,
    group_of,
    is_listed,
    known_workers,
    merged_failures,
    queue_depths,
    worker_place,
)
from otel_bridge_collector.views.workers.records import (
    Shown,
    WorkerRecord,
    join_records,
    record_of,
)
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.messages import (
    FailureGroup,
    GlobalStats,
    QueueDepth,
    TaskCard,
    WorkerState,
)

__all__ = [
    "ShownTask",
    "SnapshotPart",
    "TasksPart",
    "cards_part",
    "failures_of",
    "join_snapshots",
    "join_tasks",
    "queues_of",
    "research_tasks_of",
    "shown_ids",
    "snapshot_part",
    "stats_of",
    "tasks_of",
    "tasks_part",
    "workers_of",
]

_Place = tuple[bool, bool, int, str]


class ShownTask(msgspec.Struct, array_like=True, frozen=True):
    """
    One task in a list of the newest; a record.

    Attributes:
        place: What is greater comes first.
        status: Its code.
        project: Its project.
        title: Its title; None too where titles were not asked for.
    """

    place: _Place
    status: int
    project: str | None
    title: str | None = None

    @property
    def id(self) -> str:
        """Its id."""
        return self.place[-1]


class TasksPart(msgspec.Struct, array_like=True, frozen=True):
    """The first tasks of one state, or of several together, and how many there are; a record."""

    tasks: Sequence[ShownTask]
    total: int


def tasks_part(
    model: Fold, event_filter: EventFilter, limit: int = MAX_CARDS, *, has_titles: bool = False
) -> TasksPart:
    """
    Return the first tasks of one state, as ``shown_tasks``; on its event loop. Raises nothing.

    Args:
        model: The state, evaluated at the moment in question.
        event_filter: What the client may see and asks for.
        limit: Tasks, at most; default 200.
        has_titles: Whether to find out their titles, some 20 us each; default False.
    """
    found = shown_tasks(model, event_filter)
    tasks = [
        ShownTask(
            card_place(model, status, task),
            status,
            task.project,
            model.cards.card(task).title if has_titles else None,
        )
        for status, task in islice(found, limit)
    ]
    return TasksPart(tasks, len(found))


def join_tasks(parts: Sequence[TasksPart], limit: int = MAX_CARDS) -> TasksPart:
    """Merge the first tasks of several states, each with tasks of its own; pure."""
    tasks = sorted((one for part in parts for one in part.tasks), key=_by_place, reverse=True)
    return TasksPart(tasks[:limit], sum(part.total for part in parts))


class SnapshotPart(msgspec.Struct, array_like=True, frozen=True):
    """
    What one state, or several together, say in a snapshot, without cards; a record.

    Attributes:
        now: As of when, microseconds.
        listed: The first 200 tasks.
        workers: By id as text; none for a limited reader.
        incarnations: The life of each worker's process, where it is known.
        queues: (name, when, depth), in their order; none for a limited reader.
        causes: Of failures.
        header: The numbers.
    """

    now: int
    listed: TasksPart
    workers: Mapping[str, WorkerRecord]
    incarnations: Mapping[str, str]
    queues: Sequence[tuple[str, str, int]]
    causes: Sequence[Cause]
    header: HeaderPart


def snapshot_part(model: Fold, event_filter: EventFilter, queues: Sequence[str]) -> SnapshotPart:
    """
    Return what one state says in a snapshot; on its event loop, some milliseconds. Raises nothing.

    Args:
        model: The state, evaluated at the moment of the snapshot.
        event_filter: What the client may see and asks for.
        queues: Names of the coordinator's queues, which are listed first.
    """
    is_limited = event_filter.projects is not None
    records: dict[str, WorkerRecord] = {}
    incarnations: dict[str, str] = {}
    for worker, status in () if is_limited else known_workers(model):
        key, newest = str(worker.id), worker.newest
        place = (*worker_place(worker.id), 0)
        records[key] = record_of(Shown(key, worker, newest, status, False, place))
        incarnation = incarnation_of(newest)
        if incarnation is not None:
            incarnations[key] = incarnation
    depths = () if is_limited else queue_depths(model, queues)
    names = projects_of(event_filter) if is_limited else [event_filter.project_id or ""]
    return SnapshotPart(
        model.liveness.now,
        tasks_part(model, event_filter),
        records,
        incarnations,
        [(depth.queue, depth.at, depth.depth) for depth in depths],
        [cause_of(merged) for merged in merged_failures(model, event_filter)],
        header_part(model, names),
    )


def join_snapshots(parts: Sequence[SnapshotPart]) -> SnapshotPart:
    """
    Merge what several states, at least one, each with tasks of its own, say; pure.

    In any grouping.

    Args:
        parts: For the same filter.
    """
    if len(parts) == 1:
        return parts[0]
    records: dict[str, list[WorkerRecord]] = {}
    incarnations: dict[str, str] = {}
    for part in parts:
        incarnations.update(part.incarnations)
        for key, record in part.workers.items():
            records.setdefault(key, []).append(record)
    return SnapshotPart(
        max(part.now for part in parts),
        join_tasks([part.listed for part in parts]),
        {key: join_records(every) for key, every in records.items()},
        incarnations,
        parts[0].queues,
        join_causes(part.causes for part in parts),
        join_headers([part.header for part in parts]),
    )


def _by_place(one: ShownTask) -> _Place:
    return one.place


def shown_ids(part: SnapshotPart) -> list[str]:
    """The ids of the tasks of a snapshot, in their order; at most 200. Pure."""
    return [one.id for one in part.listed.tasks[:MAX_CARDS]]


def cards_part(model: Fold, event_filter: EventFilter, ids: Sequence[str]) -> dict[str, bytes]:
    """
    Return the JSON of the cards that one state has of those of a snapshot, by task.

    On its event loop: some 50 us a card, and as much for ten of its bars. Never raises. Each has as
    many bars as it would have without the cards of other states; ``tasks_of`` leaves some out.

    Args:
        model: The state.
        event_filter: What the client may see and asks for.
        ids: Of the tasks, as ``shown_ids`` returned them.
    """
    found: dict[str, bytes] = {}
    left: int = MAX_SPANS
    for task_id in ids:
        task = model.tasks.by_id.get(task_id)
        if task is None or not is_visible(task, event_filter) or not model.tasks.is_shown(task):
            continue
        card = task_card(model, task, min(left, MAX_SPANS_PER_CARD))
        left -= len(card.spans)
        found[task_id] = card.model_dump_json().encode()
    return found


def tasks_of(part: SnapshotPart, cards: Iterable[Mapping[str, bytes]]) -> list[TaskCard]:
    """
    Return the cards of a snapshot: at most 200, with 2,000 bars in all. Pure.

    Args:
        part: The joined part of all states.
        cards: Of each state what ``cards_part`` returned; a task that none has is left out, as it
            has just been evicted.
    """
    known = {task_id: card for each in cards for task_id, card in each.items()}
    found: list[TaskCard] = []
    left: int = MAX_SPANS
    for task_id in shown_ids(part):
        if task_id in known:
            card = TaskCard.model_validate_json(known[task_id])
            del card.spans[left:]
            left -= len(card.spans)
            found.append(card)
    return found


_NO_STATUS: Final = {"unknown": "offline"}
"""The raw stream has no word for a worker that has never sent a heartbeat."""


def workers_of(part: SnapshotPart, project_id: str | None) -> list[WorkerState]:
    """
    Return the workers as they travel, sorted by id; as ``panels.worker_states``. Pure.

    Args:
        part: The joined part of all states.
        project_id: Only job ids of this project are shown; None: of all.
    """
    shown = [
        (key, record)
        for key, record in part.workers.items()
        if is_listed(record.status, record.last_seen, part.now)
    ]
    shown.sort(key=lambda each: worker_place(each[1].id))
    return [_worker(record, project_id, part.incarnations.get(key)) for key, record in shown]


def _worker(record: WorkerRecord, project_id: str | None, incarnation: str | None) -> WorkerState:
    job = record.job
    named = job if job is not None and project_id in (None, job.project) else None
    return WorkerState(
        worker_id=record.id,
        status="offline" if record.status == "unknown" else record.status,
        host=record.host,
        pid=record.pid,
        started_at=iso(record.start),
        last_heartbeat_at=iso(record.last_seen or None),
        current_task_id=named and named.place[1],
        current_task_type=job and job.type,
        current_parent_task_id=named and (named.place[2] or None),
        current_started_at=None if job is None else iso(job.start),
        completed=record.done,
        failed=record.failed,
        dropped_events=record.dropped,
        incarnation=incarnation,
    )


def queues_of(part: SnapshotPart) -> list[QueueDepth]:
    """The depths of queues as they travel; pure."""
    return [QueueDepth(queue=name, depth=depth, at=at) for name, at, depth in part.queues]


def failures_of(part: SnapshotPart) -> list[FailureGroup]:
    """The latest 200 causes of failures as they travel; pure."""
    return [
        group_of(one.key, one.project, (one.count, one.first, one.last), one.newest)
        for one in part.causes[:MAX_FAILURES]
    ]


def stats_of(part: SnapshotPart, event_filter: EventFilter) -> GlobalStats:
    """The numbers of the header, for the filter of the part; pure."""
    header = Header(part=part.header)
    if event_filter.projects is not None:
        return header.limited_stats(event_filter)
    return header.stats(event_filter.project_id)


def research_tasks_of(part: TasksPart, limit: int) -> list[dict[str, str | None]]:
    """Return the first tasks as ``Snapshots.research_tasks`` does; pure."""
    return [
        {
            "task_id": one.id,
            "title": one.title,
            "status": STATUS_NAMES[one.status],
            "project_id": one.project,
        }
        for one in part.tasks[:limit]
    ]
