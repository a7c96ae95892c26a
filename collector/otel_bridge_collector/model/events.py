"""
``Event``: a ``MonitoringEvent`` as the fold reads it, and what each type says about a node.

A ``msgspec.Struct`` instead of the pydantic model, because decoding was 15 us of the 26 to 38 us
that an event cost (measured at 8f5d6be); msgspec takes 0.7 to 0.9 us. Fields that publishers before
1.0 do not send are optional, unknown types are kept as text and folded by nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

__all__ = [
    "COMPLETED",
    "END",
    "ENDED_BY",
    "ENQUEUE",
    "FACTS",
    "FAILED",
    "JOB",
    "KIND_NAMES",
    "NO_META",
    "OTHER",
    "PENDING",
    "PHASE",
    "PROCESSING",
    "RETRYING",
    "RULE",
    "SELF",
    "SNAPSHOT",
    "SPAN",
    "STALLED",
    "START",
    "STATUS_NAMES",
    "TASK",
    "WORD",
    "Event",
    "Fact",
    "Meta",
    "Texts",
    "microseconds",
    "read_meta",
    "short_error",
    "short_id",
    "short_name",
    "shorten",
]

PENDING, PROCESSING, RETRYING, COMPLETED, FAILED, STALLED = range(6)
"""Status codes: the index of a count in a node's aggregate."""
STATUS_NAMES: Final = ("pending", "processing", "retrying", "completed", "failed", "stalled")

SPAN, ENQUEUE, JOB, PHASE, TASK = range(5)
"""Kinds of nodes; of two kinds reported for one node the greater wins."""
KIND_NAMES: Final = ("span", "enqueue", "job", "phase", "research_task")

SNAPSHOT, RULE, OTHER, SELF = range(1, 5)
"""Who reported an end; the greater wins. A snapshot's end is made up and ends nothing."""
ENDED_BY: Final = {"snapshot": SNAPSHOT, "rule": RULE, "other": OTHER, "self": SELF}

START, END, WORD = range(3)
"""Sides of a node's life: its start, its end, and any other sign of it."""


class Fact(msgspec.Struct, gc=False, frozen=True):
    """
    What an event type says of the job, phase or span that its events are about.

    An immutable record; checks nothing. A field of a ``msgspec.Struct`` is read in a third of the
    time of a ``NamedTuple``'s.

    Attributes:
        side: 0: its start, 1: its end, 2: another sign of life.
        status: Its status after the event: 0 pending, 1 processing, 2 retrying, 3 completed, 4
            failed, 5 stalled.
        kind: What it is: 0 span, 1 enqueue, 2 job, 3 phase, 4 research task.
    """

    side: int
    status: int
    kind: int


FACTS: Final = {
    "task_enqueued": Fact(START, PENDING, ENQUEUE),
    "task_started": Fact(START, PROCESSING, JOB),
    "task_progress": Fact(WORD, PROCESSING, JOB),
    "task_retry": Fact(END, RETRYING, JOB),
    "task_completed": Fact(END, COMPLETED, JOB),
    "task_failed": Fact(END, FAILED, JOB),
    "task_stalled": Fact(END, STALLED, JOB),
    "phase_started": Fact(START, PROCESSING, PHASE),
    "phase_completed": Fact(END, COMPLETED, PHASE),
    "span_started": Fact(START, PROCESSING, SPAN),
    "span_updated": Fact(WORD, PROCESSING, SPAN),
    "span_ended": Fact(END, COMPLETED, SPAN),
}


NO_META: Final = msgspec.Raw()
"""``meta`` of an event that has none."""
_SpanId = Annotated[str, msgspec.Meta(min_length=16, max_length=16)]


class Event(msgspec.Struct, gc=False, kw_only=True):
    """
    One event as the fold reads it; the fold merges each event into the collector's state.

    A record. ``ts``, ``event_type`` and ``event_id`` are required; the others are None by default,
    which means that the event does not say, ``meta`` no bytes. Making one checks nothing;
    ``log.decoding`` checks types and size (8,192 bytes by default), leaves unknown fields out, and
    raises ``UnreadableEventError``.

    In the order in which the log has them, ``position`` first: msgspec looks for each key where the
    one before it was found, which is 0.1 us of 0.9 for an event of our own spans.

    Attributes:
        position: Its position in the log.
        event_id, event_type: Its own id, by which repeats are left out; such as ``task_started``.
        ts: When it happened, with a time zone.
        project_id, parent_task_id: Its project; the research task that it belongs to.
        task_id, task_type, phase: The job's id and type; the phase (named part) of the task.
        worker_id: The worker that runs the job. ``retry_count``: the attempt, from 0.
        status, duration_ms: As the publisher says; 0 or more milliseconds.
        counts, progress: Numbers by name: of the phase's jobs; of the job's own progress.
        queue: The queue's name, or depths by queue name, as the first users' own events send it.
        message, error: A line for people; why it failed.
        meta: Still JSON, read by ``read_meta``. It holds the whole message in memory: do not store.
        trace_id, span_id, parent_span_id: 32, 16 and 16 hex characters.
        incarnation: One life of the worker's process.
        run_id: One per enqueue, the same for all attempts.
        span_kind, name: The span's kind, such as ``PRODUCER``, and its name.
        remote_parent: Whether its parent span is in another process.
        error_key: What errors of the same cause have in common.
        stack, stack_of: Whether its span holds the error's stack; id of the span that holds it.
        reason: Why a reported job is stalled.
        ended_by: Who reported the end: ``self``, ``other`` (another process), ``rule`` (a silence)
            or ``snapshot``, whose end is made up and ends nothing.
        beat_ms: The publisher promises a heartbeat at least every so many milliseconds while the
            span is open.
        spans: Ids of open spans, 16 hex characters each, in an event of type ``span_beats``.
    """

    position: str | None = None
    event_id: str
    ts: Annotated[datetime, msgspec.Meta(tz=True)]
    event_type: str
    project_id: str | None = None
    parent_task_id: str | None = None
    task_id: str | None = None
    task_type: str | None = None
    phase: str | None = None
    worker_id: int | str | None = None
    retry_count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    status: Literal["pending", "processing", "completed", "failed", "retrying"] | None = None
    duration_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    counts: dict[str, int] | None = None
    queue: str | dict[str, Any] | None = None
    message: str | None = None
    error: str | None = None
    meta: msgspec.Raw = NO_META
    trace_id: str | None = None
    span_id: _SpanId | None = None
    parent_span_id: _SpanId | None = None
    incarnation: str | None = None
    run_id: str | None = None
    span_kind: str | None = None
    remote_parent: bool | None = None
    ended_by: str | None = None
    beat_ms: int | float | None = None
    name: str | None = None
    error_key: str | None = None
    stack: bool | None = None
    stack_of: str | None = None
    reason: str | None = None
    progress: dict[str, Any] | None = None
    spans: list[str] | None = None


class Meta(msgspec.Struct):
    """The keys of ``meta`` that the fold reads; of the wrong type they count as absent."""

    title: Any = None
    domain: Any = None
    host: Any = None
    pid: Any = None
    eta: Any = None
    delay: Any = None
    countdown: Any = None
    queue_depth: Any = None
    queues: Any = None
    priorities: Any = None


_decode_meta: Final = msgspec.json.Decoder(Meta).decode
_NO_META: Final = Meta()


def read_meta(event: Event) -> Meta:
    """Decode the event's ``meta``; an empty one for null or what is no object. Never raises."""
    raw = event.meta
    if len(raw) < 3:
        return _NO_META
    try:
        return _decode_meta(raw)
    except msgspec.DecodeError:
        return _NO_META


def microseconds(ts: datetime) -> int:
    """
    Return a time in microseconds since the Unix epoch, rounded.

    It is 0.1 us faster than subtracting datetimes. A ``ts`` without time zone is taken for local
    time. From any thread.

    Raises:
        OverflowError, ValueError: ``ts`` is beyond the years that the platform knows. Decoding
            leaves such events out before.
    """
    return int(ts.timestamp() * 1e6 + 0.5)


def shorten(text: str, max_chars: int) -> str:
    """The text, or its first ``max_chars - 1`` characters and an ellipsis; never raises."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


class Texts(dict[str, str]):
    """
    Holds texts that come again and again once each: names, phases, queues, errors.

    ``texts[text]`` is the one object that all nodes share: the text, or its first ``max_chars - 1``
    characters and an ellipsis. The three of this module hold 20,000 names of 100 characters, 20,000
    ids of 512 and 4,096 errors of 500. A look-up costs a third of ``sys.intern`` and ``shorten``,
    and 0.03 us instead of 0.12 because nothing of it is Python; one error text of 50,000 attempts
    is 3 MiB less. Never raises for texts. Without a lock: for the collector's event loop.

    Args:
        max_chars: The longest text that is kept, in characters.
        max_texts: When so many are held, a new one clears all of them first; texts that nodes hold
            stay, as other objects.
    """

    __slots__ = ("_max_chars", "_max_texts")

    def __init__(self, max_chars: int, max_texts: int) -> None:
        self._max_chars = max_chars
        self._max_texts = max_texts

    def __missing__(self, text: str) -> str:
        if len(self) >= self._max_texts:
            self.clear()
        known = self[text] = shorten(text, self._max_chars)
        return known


short_name: Final = Texts(100, 20_000).__getitem__
"""Of a phase, a job's type or a span."""
short_id: Final = Texts(512, 20_000).__getitem__
"""Of a project, a queue or a run."""
short_error: Final = Texts(500, 4096).__getitem__
