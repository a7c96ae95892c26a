"""What the header says first: tasks, workers and queues that need attention, most urgent first."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple, get_args

from otel_bridge_collector.model.events import STALLED
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.model.reading.keys import node_key, row_name, task_name
from otel_bridge_collector.model.snapshot.cards import OPEN
from otel_bridge_collector.views.attention.stuck import QueueFacts, Stuck
from otel_bridge_collector.views.attention.trouble import Trouble
from otel_bridge_collector.wire.views.attention import Attention, AttentionKind

__all__ = [
    "Entry",
    "LostWorker",
    "Said",
    "Standing",
    "add_up_lost",
    "choose",
    "of_queues",
    "of_tasks",
    "of_workers",
]

_MAX: Final = 8
_MAX_OF_A_KIND: Final = 3
"""So that 60 stalled tasks do not hide a lost worker, as long as there are others."""
_RANKS: Final = {kind: rank for rank, kind in enumerate(get_args(AttentionKind))}
_LAST: Final = len(_RANKS)
_HELD_NOTHING_US: Final = 300_000_000
"""So long a worker is shown that was lost with no job: a rolling update may kill idle ones."""


class Said(NamedTuple):
    """What is said of one candidate, as ``Attention``; a record. ``number``: its ``count``."""

    kind: AttentionKind
    name: str
    number: int
    since: int | None
    key: str
    task: str | None

    @property
    def attention(self) -> Attention:
        """As it travels to clients."""
        kind, name, number, since, key, task = self
        return Attention(kind=kind, name=name, count=number, since=since, key=key, task=task)


class Entry(NamedTuple):
    """One candidate; a record. ``order``: rank of its urgency, place among its kind, key."""

    order: tuple[int, int, str]
    shown: Said


class Standing(NamedTuple):
    """Where a task stands, as the index of tasks knows it; a record. Times are microseconds."""

    task: Task
    status: int
    start: int
    end: int
    has_failed: bool


class LostWorker(NamedTuple):
    """A worker that is offline; a record. ``seen``: its last sign of life, microseconds."""

    key: str
    name: str
    seen: int
    held: int


def of_tasks(
    model: Fold,
    trouble: Trouble,
    tasks: Iterable[Standing],
    failed: Callable[[Task], int],
) -> list[Entry]:
    """
    Return the tasks that are stalled, failing or have slow jobs; of each kind the 8 newest.

    On the collector's event loop; raises nothing.

    Args:
        model: The state.
        trouble: As of the latest second.
        tasks: Those that the reader may see.
        failed: How many jobs of a task have failed.
    """
    found: defaultdict[AttentionKind, list[tuple[int, str, Standing]]] = defaultdict(list)
    for one in tasks:
        place = -one.start, one.task.id, one
        if one.status == STALLED:
            found["task_stalled"].append(place)
        elif one.status in OPEN:
            if one.has_failed:
                found["task_failing"].append(place)
            if one.task in trouble.slow:
                found["slow_job"].append(place)
    entries = []
    for kind, places in found.items():
        for start, task_id, one in heapq.nsmallest(_MAX, places, key=lambda each: each[:2]):
            shown = _of_task(model, trouble, kind, one, failed)
            entries.append(Entry((_RANKS[kind], start, task_id), shown))
    return entries


def _of_task(
    model: Fold,
    trouble: Trouble,
    kind: AttentionKind,
    one: Standing,
    failed: Callable[[Task], int],
) -> Said:
    task = one.task
    name, key, since = task_name(model.tasks, task), task.id, None
    if kind == "task_stalled":
        number, since = task.agg[STALLED], _last_sign(model, one) // 1000 or None
    elif kind == "task_failing":
        number = failed(task)
    else:
        slow = trouble.slow[task]
        node = slow.slowest
        number, since = slow.number, slow.since // 1000
        name, key = row_name(node), node_key(node)
    return Said(kind=kind, name=name, number=number, since=since, key=key, task=task.id)


def _last_sign(model: Fold, one: Standing) -> int:
    """When a stalled task gave its last sign of life; the report of its stall is none."""
    root = model.tasks.root_of(one.task)
    verdict = None if root is None or root.ended else model.liveness.verdict(root, None)
    return one.end if verdict is None else verdict.at


def add_up_lost(parts: Iterable[Sequence[LostWorker]]) -> list[LostWorker]:
    """Add up the lost workers that several states know, each with its own jobs of them; pure."""
    found: dict[str, LostWorker] = {}
    for one in chain.from_iterable(parts):
        known = found.get(one.key)
        if known is not None:
            one = one._replace(seen=max(one.seen, known.seen), held=one.held + known.held)
        found[one.key] = one
    return list(found.values())


def of_workers(lost: Iterable[LostWorker], now: int) -> Iterator[Entry]:
    """
    Yield the workers that were lost, those that held jobs before others; pure.

    One that held none comes last, and only for five minutes.

    Args:
        lost: As all states know them.
        now: Microseconds.
    """
    for one in lost:
        if one.held or now - one.seen <= _HELD_NOTHING_US:
            rank = _RANKS["worker_lost"] if one.held else _LAST
            shown = Said(
                kind="worker_lost",
                name=one.name,
                number=one.held,
                since=one.seen // 1000 or None,
                key=one.key,
                task=None,
            )
            yield Entry((rank, -one.seen, one.key), shown)


def of_queues(queues: Iterable[tuple[str, QueueFacts, Stuck | None]]) -> Iterator[Entry]:
    """Yield the queues that are stuck, the one that has been so for longest first; pure."""
    for name, facts, stuck in queues:
        if stuck is not None:
            depth = 0 if facts.depth is None else facts.depth[1]
            shown = Said(
                kind="queue_stuck",
                name=name,
                number=depth or facts.waiting,
                since=stuck.since // 1000,
                key=name,
                task=None,
            )
            yield Entry((_RANKS["queue_stuck"], stuck.since, name), shown)


def choose(entries: Iterable[Entry]) -> tuple[Attention, ...]:
    """Return the 8 most urgent; more than 3 of one kind only if there is room for them. Pure."""
    of_kind: Counter[str] = Counter()
    first: list[Entry] = []
    more: list[Entry] = []
    for one in sorted(entries, key=lambda entry: entry.order):
        of_kind[one.shown.kind] += 1
        (first if of_kind[one.shown.kind] <= _MAX_OF_A_KIND else more).append(one)
    chosen = sorted([*first, *more][:_MAX], key=lambda entry: entry.order)
    return tuple(one.shown.attention for one in chosen)
