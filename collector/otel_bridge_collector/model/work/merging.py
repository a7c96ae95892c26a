"""
How the facts of an event are merged into its node: each field has a total order.

So any order of events, and any repetition of them, gives the same node. In short: the earliest
start; the end reported by the one that knows best, then the latest; the name that the end carries,
not the alphabet's first; a worker with its incarnation before one without.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from otel_bridge_collector.model.events import (
    ENQUEUE,
    FAILED,
    JOB,
    OTHER,
    PHASE,
    RETRYING,
    RULE,
    SELF,
    SNAPSHOT,
    SPAN,
    START,
    TASK,
    WORD,
    Event,
    Fact,
    Meta,
    microseconds,
    read_meta,
    short_error,
    short_id,
    short_name,
    shorten,
)
from otel_bridge_collector.model.nodes import (
    NAME_BY_END,
    NAME_BY_WORD,
    PART,
    REPEATED,
    RETRIED,
    Host,
    Job,
    More,
    Node,
)
from otel_bridge_collector.model.processes.records import Incarnation, Process, Worker, credit
from otel_bridge_collector.model.runs import END_ORDER

__all__ = [
    "merge_host",
    "merge_message",
    "merge_node",
    "more_of",
]

_MAX_SECONDS: Final = 1e11
"""The year 5138: a greater number of a time is one of milliseconds."""
_MAX_TITLE: Final = 300
_MAX_ERROR_KEY: Final = 160
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_MAX_MESSAGE: Final = 300
_MAX_ATTEMPT: Final = 1_000_000
_COUNTS: Final = ("total", "completed", "failed", "pending", "retrying")
_END_AT: Final = 1 << 62
"""Later than any snapshot: what the end of a span says of it outranks what was said before."""


def more_of(node: Node) -> More:
    """The node's rare facts."""
    if node.more is None:
        node.more = More()
    return node.more


def merge_node(  # noqa: C901  (each call costs 0.1 us)
    node: Node, event: Event, fact: Fact, kind: int, rank: int, ts: int, seen: int
) -> bool:
    """
    Merge an event's facts into its node (a span), except those that decide where the node belongs.

    Each fact has a total order, so any order of events, repeated or not, gives the same node.
    Values of an unexpected type in ``meta``, ``counts`` and ``progress`` are ignored; it raises
    nothing for checked events. Names keep 100 characters, titles and messages 300, errors 500, ids
    512; an attempt is 1,000,000 at most. On the collector's event loop.

    Args:
        node: The event's node; it is changed.
        event: Any whose type is in ``FACTS``.
        fact: What its type says.
        kind: What the node is: 0 span, 1 enqueue, 2 job, 3 phase, 4 research task.
        rank: Who reports the end: 1 a snapshot, 2 a rule, 3 another process, 4 the process itself;
            0: no end.
        ts: Of the event, microseconds.
        seen: Its reception by the collector, microseconds.

    Returns:
        Whether the node's end, or the key of its error, is another one than before.
    """
    side = fact.side
    attempt = event.retry_count
    if attempt and attempt > node.attempt:
        node.attempt = attempt if attempt < _MAX_ATTEMPT else _MAX_ATTEMPT
    name = event.phase if kind == PHASE else event.task_type or event.name
    if name and name != node.name:
        if side == START and node.name is None:
            node.name = short_name(name)
        else:
            _merge_name(node, name, side, rank, ts)
    elif rank == SELF:
        if name:
            node.marks = node.marks & ~NAME_BY_WORD | NAME_BY_END
    elif name and (side == WORD or rank == SNAPSHOT):
        _merge_name(node, name, side, rank, ts)
    if event.queue is not None or (event.run_id is not None and event.run_id != node.run):
        _merge_ids(node, event)
    is_end_new = is_word = False
    if side == START:
        start = node.start
        if start is None:
            node.start = ts
        elif ts != start:
            _merge_start(node, start, ts)
    elif rank > SNAPSHOT:
        is_end_new = _merge_end(node, event, fact, rank, ts)
    elif side == WORD or rank == SNAPSHOT:
        is_word = True
    if is_word or event.beat_ms is not None:
        _merge_word(node, event, ts, seen)
        if fact.status == RETRYING:
            _note_retry(node)
    if kind != JOB and (kind != ENQUEUE or len(event.meta) > 2):
        _merge_by_kind(node, event, kind, ts if is_word else _END_AT if rank == SELF else 0, ts)
    if event.error_key is not None or event.stack is not None or event.stack_of is not None:
        is_end_new |= _merge_stack(node, event)
    if event.progress is not None:
        _merge_progress(node, event, ts)
    return is_end_new


def _merge_ids(node: Node, event: Event) -> None:
    run, queue = event.run_id, event.queue
    if run is not None and run != node.run and (node.run is None or run < node.run):
        # One object for all nodes of a run: 65 bytes, and ``winner`` compares by identity.
        own = node.own
        other = own.first if type(own) is Job else None
        while other is not None:
            known = other.run
            if known == run:
                run = known
                break
            other = other.next
        node.run = run
    if queue is None or queue == node.queue or type(queue) is not str:
        return
    if node.queue is None or queue < node.queue:
        node.queue = short_id(queue)


def _merge_by_kind(node: Node, event: Event, kind: int, at: int, ts: int) -> None:
    if kind in (TASK, PHASE):
        _merge_card_facts(node, event, kind, at, ts)
    elif kind == ENQUEUE:
        meta = read_meta(event)
        if meta.eta or meta.delay or meta.countdown:
            more = more_of(node)
            more.is_delayed = True
            more.due = max(more.due, _due(meta, ts))
    elif kind == SPAN and event.span_kind is not None:
        more = more_of(node)
        more.span_kind = max(more.span_kind or "", event.span_kind)
    if kind == SPAN and at and len(event.meta) > 2:
        # A snapshot does not say which kind of node it is of: a root's has the task's title.
        _merge_texts(node, event, at)


def _due(meta: Meta, ts: int) -> int:
    """
    When a delayed job begins to wait for a worker, microseconds; 0: not known.

    ``eta``: ISO 8601, or a number since the Unix epoch, of seconds or, as Dramatiq has it, of
    milliseconds. ``delay`` is in milliseconds as well, ``countdown`` in seconds, as Celery has it.
    """
    eta = meta.eta
    if isinstance(eta, str):
        try:
            found = datetime.fromisoformat(eta)
        except ValueError:
            return 0
        return microseconds(found if found.tzinfo else found.replace(tzinfo=UTC))
    if type(eta) in (int, float) and 0 < eta < _MAX_SECONDS * 1000:
        return int(eta * (1_000_000 if eta < _MAX_SECONDS else 1000))
    for value, unit_us in ((meta.countdown, 1_000_000), (meta.delay, 1000)):
        if type(value) in (int, float) and 0 < value < _MAX_SECONDS:
            return ts + int(value * unit_us)
    return 0


def _merge_name(node: Node, name: str, side: int, rank: int, ts: int) -> None:
    marks = node.marks
    name = short_name(name)
    if rank == SELF:
        if not marks & NAME_BY_END or node.name is None or name > node.name:
            node.name = name
            node.marks = marks & ~NAME_BY_WORD | NAME_BY_END
    elif marks & NAME_BY_END:
        return
    elif side == WORD or rank == SNAPSHOT:
        more = more_of(node)
        if not marks & NAME_BY_WORD or (ts, name) > (more.name_ts, node.name or ""):
            node.name = name
            node.marks = marks | NAME_BY_WORD
            more.name_ts = ts
    elif not marks & NAME_BY_WORD and (node.name is None or name > node.name):
        node.name = name


def _merge_start(node: Node, start: int, ts: int) -> None:
    node.start = min(ts, start)
    if node.key is None:
        _merge_restart(node, max(ts, start))


def _merge_restart(node: Node, ts: int) -> None:
    """Of a publisher without spans: several starts of one attempt are several runs."""
    if node.ended >> 3 == OTHER and ts <= node.end:
        return
    more = more_of(node)
    more.restarted = max(more.restarted, ts)


def _merge_end(  # noqa: C901  (each call costs 0.1 us)
    node: Node, event: Event, fact: Fact, rank: int, ts: int
) -> bool:
    status = fact.status
    if status == RETRYING:
        _note_retry(node)
    elif event.status == "failed" and fact.kind in (PHASE, SPAN):
        status = FAILED
    duration_ms = event.duration_ms
    if duration_ms is not None and rank != RULE:
        # Start = end - duration, not before the Unix epoch.
        start = ts - int(duration_ms * 1000) if duration_ms * 1000 < ts else 0
        known_start = node.start
        if known_start is None or start < known_start:
            node.start = start
            if node.key is None and known_start is not None and known_start > ts:
                _merge_restart(node, known_start)
    error = event.error
    if error is not None:
        error = short_error(error)
    ended = rank * 8 + status
    known = node.ended
    if known:
        if rank < known >> 3:
            return False
        if rank == known >> 3:
            if ts < node.end:
                return False
            if ts == node.end:
                more = node.more
                known_reason = "" if more is None else more.reason or ""
                known_end = (END_ORDER[known & 7], node.error or "", known_reason)
                if (END_ORDER[status], error or "", event.reason or "") <= known_end:
                    return False
        if known & 7 != RETRYING:
            credit(node, -1)
    node.ended = ended
    node.end = ts
    node.error = error
    if status != RETRYING and node.worker is not None:
        credit(node, 1)
    if event.reason is not None:
        more_of(node).reason = event.reason
    elif node.more is not None:
        node.more.reason = None
    return True


def _note_retry(node: Node) -> None:
    if not node.marks & RETRIED:
        node.marks |= RETRIED
        if not node.marks & REPEATED:
            node.own.task.retries += 1


def _merge_word(node: Node, event: Event, ts: int, seen: int) -> None:
    more = more_of(node)
    more.word = max(more.word, ts)
    more.seen = max(more.seen, seen)
    if event.beat_ms is not None:
        more.beat_ms = max(more.beat_ms, int(event.beat_ms))


def _merge_card_facts(node: Node, event: Event, kind: int, at: int, ts: int) -> None:
    if event.message is not None:
        merge_message(node, (ts, shorten(event.message, _MAX_MESSAGE)))
    if kind == PHASE:
        if event.counts is not None:
            _merge_counts(node, event.counts, ts)
        return
    if event.name is not None:
        node.marks |= PART
    if len(event.meta) > 2:
        _merge_texts(node, event, at)


def _merge_texts(node: Node, event: Event, at: int) -> None:
    """Title and domain: of the end, else of the latest snapshot, else of the start."""
    meta = read_meta(event)
    for field in ("title", "domain"):
        text = getattr(meta, field)
        if isinstance(text, str):
            more = more_of(node)
            text = shorten(text, _MAX_TITLE)
            known = getattr(more, field)
            known_at = getattr(more, f"{field}_at")
            if known is None or (at, text) > (known_at, known):
                setattr(more, field, text)
                setattr(more, f"{field}_at", at)


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


def _merge_stack(node: Node, event: Event) -> bool:
    """The stack of a failure; whether its key is another one than before."""
    more = more_of(node)
    known = more.error_key
    if event.error_key is not None:
        more.error_key = max(known or "", event.error_key[:_MAX_ERROR_KEY])
    stack = event.stack_of or (event.span_id if event.stack else None)
    # Any client that may write events may write any text here.
    if stack is not None and _SPAN_ID.fullmatch(stack):
        more.stack = max(more.stack or "", stack)
    return more.error_key != known


def merge_host(node: Node, host: Host) -> None:
    """Merge who runs the node: one with incarnation before one without, then the greatest text."""
    known = node.worker
    if known is None or (known is not host and _host_order(host) > _host_order(known)):
        if node.ended:
            credit(node, -1)
        node.worker = host
        if node.ended:
            credit(node, 1)


def _host_order(host: Host) -> tuple[bool, str, str]:
    if isinstance(host, Incarnation):
        return True, str(host.worker.id), host.key
    if isinstance(host, Process):
        return True, "", host.key
    return False, str(host.id) if isinstance(host, Worker) else "", ""
