"""
How the facts of an event are merged into its node: each field has a total order.

So any order of events, and any repetition of them, gives the same node. In short: the earliest
start; the end reported by the one that knows best, then the latest; the name that the end carries,
not the alphabet's first; a worker with its incarnation before one without.
"""

from __future__ import annotations

from sys import intern
from typing import Final

from otel_bridge_collector.model.events import (
    END,
    ENDED_BY,
    ENQUEUE,
    FAILED,
    JOB,
    OTHER,
    PHASE,
    RULE,
    SELF,
    SNAPSHOT,
    SPAN,
    STALLED,
    START,
    TASK,
    WORD,
    Event,
    Fact,
    read_meta,
    shorten,
)
from otel_bridge_collector.model.nodes import (
    NAME_BY_END,
    NAME_BY_WORD,
    Host,
    More,
    Node,
)
from otel_bridge_collector.model.runs import END_ORDER
from otel_bridge_collector.model.workers import Incarnation, Process, Worker

__all__ = [
    "is_own_verdict",
    "kind_of",
    "merge_host",
    "merge_message",
    "merge_node",
    "more_of",
    "rank_of",
]

_MAX_NAME: Final = 100
_MAX_TITLE: Final = 300
_MAX_MESSAGE: Final = 300
_MAX_ERROR: Final = 500
_MAX_ATTEMPT: Final = 1_000_000
_COUNTS: Final = ("total", "completed", "failed", "pending", "retrying")
_IGNORED_REASONS: Final = ("silent", "queue_emptied")
"""Reported verdicts that each collector finds by itself, from the same log."""


def kind_of(event: Event, fact: Fact) -> int | None:
    """What kind of node an event is about; None for none, when it names neither job nor span."""
    kind = fact.kind
    if kind == PHASE:
        if event.phase:
            return PHASE
    elif kind != SPAN and event.task_id is not None:
        if kind == ENQUEUE or event.span_kind == "PRODUCER":
            return ENQUEUE
        return TASK if event.task_id == event.parent_task_id else JOB
    return None if event.span_id is None else SPAN


def is_own_verdict(event: Event) -> bool:
    """Whether the event reports that nothing is heard of a job: no sign of life of its task."""
    return event.reason in _IGNORED_REASONS and event.event_type == "task_stalled"


def rank_of(event: Event, fact: Fact) -> int:
    """Who reports an end; 0 for an event that is not an end, and for a verdict that is ignored."""
    if fact.side != END:
        return 0
    if fact.status == STALLED:
        return 0 if event.reason in _IGNORED_REASONS else RULE
    ended_by = ENDED_BY.get(event.ended_by or "")
    if event.span_id is None:
        # Publishers without spans have one voice, so that the latest of its ends decides.
        return OTHER if ended_by is None else min(ended_by, OTHER)
    return SELF if ended_by is None else ended_by


def more_of(node: Node) -> More:
    """The node's rare facts."""
    if node.more is None:
        node.more = More()
    return node.more


def merge_node(node: Node, event: Event, fact: Fact, kind: int, ts: int, seen: int) -> None:
    """
    Merge the facts that do not decide where a node belongs.

    Args:
        node: Of the event.
        event: Any with a fact.
        fact: What its type says.
        kind: As ``kind_of`` says.
        ts: Of the event, microseconds.
        seen: Its reception, microseconds.
    """
    side = fact.side
    rank = rank_of(event, fact)
    if event.retry_count and event.retry_count > node.attempt:
        node.attempt = min(event.retry_count, _MAX_ATTEMPT)
    name = event.phase if kind == PHASE else event.task_type or event.name
    if name:
        _merge_name(node, name, side, rank, ts)
    if event.run_id is not None and (node.run is None or event.run_id < node.run):
        node.run = event.run_id
    if type(event.queue) is str and (node.queue is None or event.queue < node.queue):
        node.queue = intern(event.queue)
    if side == START:
        _merge_start(node, ts)
    elif rank > SNAPSHOT:
        _merge_end(node, event, fact, rank, ts)
    if side == WORD or rank == SNAPSHOT or event.beat_ms is not None:
        _merge_word(node, event, ts, seen)
    if kind != JOB or event.progress is not None:
        _merge_by_kind(node, event, kind, ts)
    if event.error_key is not None or event.stack or event.stack_of is not None:
        _merge_stack(node, event)


def _merge_by_kind(node: Node, event: Event, kind: int, ts: int) -> None:
    if kind in (TASK, PHASE):
        _merge_card_facts(node, event, kind, ts)
    elif kind == ENQUEUE and len(event.meta) > 2:
        meta = read_meta(event)
        if meta.eta or meta.delay or meta.countdown:
            more_of(node).is_delayed = True
    elif kind == SPAN and event.span_kind is not None:
        more = more_of(node)
        more.span_kind = max(more.span_kind or "", event.span_kind)
    if event.progress is not None:
        _merge_progress(node, event, ts)


def _merge_name(node: Node, name: str, side: int, rank: int, ts: int) -> None:
    new = (2, 0) if rank == SELF else (1, ts) if side == WORD or rank == SNAPSHOT else (0, 0)
    marks = node.marks
    if marks & NAME_BY_END:
        known = (2, 0)
    elif marks & NAME_BY_WORD:
        known = (1, more_of(node).name_ts)
    else:
        known = (0, 0)
    if new < known:
        return
    name = shorten(name, _MAX_NAME)
    if node.name is not None and new == known and name <= node.name:
        return
    node.name = intern(name)
    if new[0] == 2:
        node.marks = marks & ~NAME_BY_WORD | NAME_BY_END
    elif new[0] == 1:
        node.marks = marks | NAME_BY_WORD
        more_of(node).name_ts = ts


def _merge_start(node: Node, ts: int) -> None:
    start = node.start
    if start is None:
        node.start = ts
    elif ts != start:
        node.start = min(ts, start)
        if node.key is None:
            _merge_restart(node, max(ts, start))


def _merge_restart(node: Node, ts: int) -> None:
    """Of a publisher without spans: several starts of one attempt are several runs."""
    if node.ended >> 3 == OTHER and ts <= node.end:
        return
    more = more_of(node)
    more.restarted = max(more.restarted, ts)


def _merge_end(node: Node, event: Event, fact: Fact, rank: int, ts: int) -> None:
    status = fact.status
    if event.status == "failed" and fact.kind in (PHASE, SPAN):
        status = FAILED
    if event.duration_ms is not None and rank != RULE:
        start = ts - int(min(event.duration_ms * 1000, ts))
        known = node.start
        if known is None or start < known:
            node.start = start
            if node.key is None and known is not None and known > ts:
                _merge_restart(node, known)
    error = event.error if event.error is None else shorten(event.error, _MAX_ERROR)
    if rank < node.ended >> 3:
        return
    if rank == node.ended >> 3:
        known_end = (node.end, END_ORDER[node.ended & 7], node.error or "")
        if (ts, END_ORDER[status], error or "") <= known_end:
            return
    node.ended = rank * 8 + status
    node.end = ts
    node.error = error
    if event.reason is not None:
        more_of(node).reason = event.reason


def _merge_word(node: Node, event: Event, ts: int, seen: int) -> None:
    more = more_of(node)
    more.word = max(more.word, ts)
    more.seen = max(more.seen, seen)
    if event.beat_ms is not None:
        more.beat_ms = max(more.beat_ms, int(event.beat_ms))


def _merge_card_facts(node: Node, event: Event, kind: int, ts: int) -> None:
    if event.message is not None:
        merge_message(node, (ts, shorten(event.message, _MAX_MESSAGE)))
    if kind == PHASE:
        if event.counts is not None:
            _merge_counts(node, event.counts, ts)
    elif len(event.meta) > 2:
        meta = read_meta(event)
        for field in ("title", "domain"):
            text = getattr(meta, field)
            if isinstance(text, str):
                more = more_of(node)
                setattr(more, field, max(getattr(more, field) or "", shorten(text, _MAX_TITLE)))


def _merge_counts(node: Node, counts: dict[str, int], ts: int) -> None:
    """Absolute numbers of a phase: of each name the latest, of two at one time the larger."""
    more = more_of(node)
    if more.counts is None:
        more.counts = {}
    for name, value in counts.items():
        if name in _COUNTS and value >= 0:
            more.counts[name] = max(more.counts.get(name, (0, 0)), (ts, value))


def merge_message(node: Node, message: tuple[int, str]) -> None:
    """The latest line for people; of two at one time the greater text."""
    more = more_of(node)
    more.message = message if more.message is None else max(more.message, message)


def _merge_progress(node: Node, event: Event, ts: int) -> None:
    assert event.progress is not None
    done, total = event.progress.get("done"), event.progress.get("total")
    if type(done) is int and (total is None or type(total) is int):
        more = more_of(node)
        progress = (ts, done, -1 if total is None else total)
        more.progress = progress if more.progress is None else max(more.progress, progress)


def _merge_stack(node: Node, event: Event) -> None:
    more = more_of(node)
    if event.error_key is not None:
        more.error_key = max(more.error_key or "", event.error_key)
    stack = event.stack_of or (event.span_id if event.stack else None)
    if stack is not None:
        more.stack = max(more.stack or "", stack)


def merge_host(node: Node, host: Host) -> None:
    """Who runs the node: with incarnation before without, then the greatest text."""
    known = node.worker
    if known is None or (known is not host and _host_order(host) > _host_order(known)):
        node.worker = host


def _host_order(host: Host) -> tuple[bool, str, str]:
    if isinstance(host, Incarnation):
        return True, str(host.worker.id), host.key
    if isinstance(host, Process):
        return True, "", host.key
    return False, str(host.id) if isinstance(host, Worker) else "", ""
