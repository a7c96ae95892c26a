"""Task cards of a snapshot, as a client may see them."""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    PENDING,
    PROCESSING,
    RETRYING,
    STALLED,
    STATUS_NAMES,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.reading.cards import Card
from otel_bridge_collector.model.reading.phases import PhaseRow
from otel_bridge_collector.model.reading.projects import is_shared
from otel_bridge_collector.model.runs import is_open
from otel_bridge_collector.model.snapshot.bars import bars_of, iso
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.messages import PhaseProgress, Status, TaskCard

__all__ = [
    "MAX_CARDS",
    "MAX_SPANS",
    "MAX_SPANS_PER_CARD",
    "OPEN",
    "card_place",
    "is_visible",
    "is_waiting",
    "shown_tasks",
    "task_card",
    "task_cards",
]

OPEN: Final = (PENDING, PROCESSING, RETRYING)
"""Status codes of a card that is not over."""

_OVER: Final = (COMPLETED, FAILED)
MAX_CARDS: Final = 200
MAX_SPANS: Final = 2000
MAX_SPANS_PER_CARD: Final = 200


def is_visible(task: Task, event_filter: EventFilter) -> bool:
    """
    Return whether a client with this filter may see a task.

    True if its project and its id pass the filter. False else, and for clients limited to projects
    if events of several projects name it. Never raises; on the collector's event loop.
    """
    if not event_filter.may_see(task.project):
        return False
    if event_filter.projects is not None and is_shared(task):
        return False
    return event_filter.task_id is None or task.id == event_filter.task_id


def shown_tasks(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[tuple[int, Task]]:
    """
    Return the tasks that a client with this filter may see, each with its status code.

    What runs comes first, then what only waits, then what is over; of each the one with
    the newest event first. No limit but the 10,000 tasks held; looks at all of them, on the
    collector's event loop. Never raises.

    Args:
        model: The state, as of its latest sweep (the check of what is stalled, once a second).
        event_filter: Default: everything.
    """
    found = [
        (model.cards.status(task)[0], task)
        for task in model.tasks.by_id.values()
        if is_visible(task, event_filter) and model.tasks.is_shown(task)
    ]
    found.sort(key=lambda each: card_place(model, *each), reverse=True)
    return found


def card_place(model: Fold, status: int, task: Task) -> tuple[bool, bool, int, str]:
    """What tasks are sorted by, the greatest first, with its id at the end; never raises."""
    is_over = status not in OPEN
    is_running = not is_over and not is_waiting(task)
    return not is_over, is_running, model.tasks.last_seen(task), task.id


def is_waiting(task: Task) -> bool:
    """Whether jobs of an open task wait and nothing of it runs: shown after what runs."""
    agg = task.agg
    if agg[PROCESSING] or not (agg[PENDING] or agg[RETRYING]):
        return False
    return not any(is_open(root) for root in task.roots)


def task_cards(model: Fold, event_filter: EventFilter = ALL_EVENTS) -> list[TaskCard]:
    """The first 200 of ``shown_tasks`` as cards; bars: at most 200 a card and 2,000 in all."""
    cards = []
    left = MAX_SPANS
    for _, task in shown_tasks(model, event_filter)[:MAX_CARDS]:
        card = task_card(model, task, min(left, MAX_SPANS_PER_CARD))
        left -= len(card.spans)
        cards.append(card)
    return cards


def task_card(model: Fold, task: Task, max_spans: int = MAX_SPANS_PER_CARD) -> TaskCard:
    """One card, with at most ``max_spans`` bars."""
    card = model.cards.card(task)
    return TaskCard(
        task_id=card.task_id,
        title=card.title,
        task_type=card.task_type,
        domain=card.domain,
        project_id=card.project_id,
        trace_id=card.trace_id,
        status=_status(card.status),
        current_phase=card.current_phase,
        started_at=iso(card.started),
        ended_at=iso(card.ended),
        duration_ms=_duration(model, task, card),
        last_event_at=iso(card.last_event),
        eta_sec=card.eta_sec,
        completed=card.completed,
        failed=card.failed,
        pending=card.pending,
        retries=card.retries,
        error=card.error,
        message=card.message,
        phases=[_phase(row) for row in card.phases],
        spans=bars_of(model, task, card.ended, max_spans),
        stalled=card.jobs[STALLED],
        reason=card.reason,
        not_held=card.not_held,
    )


def _status(code: int) -> Status:
    return STATUS_NAMES[code]


def _duration(model: Fold, task: Task, card: Card) -> float | None:
    """Of the nodes by which the card ends, in milliseconds; None while one of them is open."""
    if card.ended is None or card.started is None:
        return None
    root = model.tasks.root_of(task)
    if root is None:
        is_known = not task.is_named and card.status in _OVER
    else:
        is_known = root.start is not None and model.tasks.is_ended(task)
    return (card.ended - card.started) / 1000 if is_known else None


def _phase(row: PhaseRow) -> PhaseProgress:
    is_ended = row.runs and row.status in (COMPLETED, FAILED)
    duration = None
    if is_ended and row.started is not None and row.ended is not None:
        duration = (row.ended - row.started) / 1000
    return PhaseProgress(
        name=row.name,
        status=_status(row.status),
        started_at=iso(row.started),
        ended_at=iso(row.ended),
        duration_ms=duration,
        total=row.total,
        completed=row.completed,
        failed=row.failed,
        pending=row.pending,
        retrying=row.retrying,
        rate_per_sec=row.rate,
        message=row.message,
        stalled=row.stalled,
        runs=row.runs,
        not_held=row.not_held,
    )
