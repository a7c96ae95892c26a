"""
``Snapshots``: what a sender has said of its open spans, so that only what is new becomes an event.

A snapshot that says something new is a ``span_updated``; one that repeats the last is a heartbeat,
and many of those are one ``span_beats``. Comparing takes 3 us and mapping a span 65 us, so 10,000
open spans with a snapshot every 10 s cost 3 ms a second instead of 65.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry.trace import SpanContext

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.events.event_ids import snapshot_id_of
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.events.span_heartbeats import span_heartbeats

__all__ = [
    "HEARTBEAT_INTERVAL_SEC",
    "Key",
    "Known",
    "Snapshots",
    "event_of_snapshot",
    "snapshot_id_of_start",
]

_MAX_SPANS: Final = 20_000
HEARTBEAT_INTERVAL_SEC: Final = 1.0
"""Between two events with heartbeats of one sender, however many requests it sends."""

_START_SIDE: Final = 0x51A7
"""Distinguishes the id of a start that a snapshot brings from that of the snapshot itself."""

Key = tuple[int, int]
"""Trace id and span id."""


class Snapshot(Protocol):
    """A received span, as far as its ids are needed."""

    @property
    def context(self) -> SpanContext | None:
        """Its own ids."""

    @property
    def start_time(self) -> int | None:
        """Its start, nanoseconds."""


class Known(NamedTuple):
    """What the last snapshot of a span said."""

    digest: int
    """64 bits of it; negative: that its sender gave it up."""
    project_id: str | None
    role: str | None
    """The type of its start's event; None while no rule knows the span."""


class Snapshots:
    """
    The open spans of one sender; for one request at a time, as ``OtlpReceiver`` uses it.

    It remembers 20,000 spans; of the one not heard of for longest the next snapshot counts as new.
    What a request said is remembered only once ``confirm`` is called, because a request that could
    not be appended is sent again. Raises nothing.

    Args:
        clock: Gives the time between two events with heartbeats; default: the system's.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._said: dict[Key, Known | None] = {}
        self._heard: dict[int, str | None] = {}
        """Spans with a heartbeat that no event has yet: project by span id."""
        self._sent_at = float("-inf")

    @property
    def has_heartbeats(self) -> bool:
        """Whether ``heartbeats`` will return any."""
        return bool(self._heard)

    def begin(self) -> None:
        """Forget what the request before said, if ``confirm`` was not called: it was not taken."""
        self._said.clear()

    def last(self, key: Key) -> Known | None:
        """What the last snapshot of a span said, in this request or before; None: not known."""
        return self._said[key] if key in self._said else self._known.get(key)

    def is_repeat(self, key: Key, digest: int) -> bool:
        """
        Return whether a span's snapshot says what its last one said; it is then a heartbeat.

        Args:
            key: Trace id and span id.
            digest: Of all that the snapshot says, 64 bits.
        """
        known = self._known.get(key)
        if known is None or known.digest != digest:
            return False
        self._known.move_to_end(key)
        self._heard[key[1]] = known.project_id
        return True

    def hear(self, key: Key, project_id: str | None) -> None:
        """Note a heartbeat of a span of this project."""
        self._heard[key[1]] = project_id

    def note(self, key: Key, digest: int, project_id: str | None, role: str | None = None) -> None:
        """Note what a snapshot says, of a span of this project; ``role`` as in ``Known``."""
        self._said[key] = Known(digest, project_id, role)

    def end(self, key: Key) -> None:
        """Forget a span that has ended."""
        self._said[key] = None
        self._heard.pop(key[1], None)

    def heartbeats(self, now_ns: int, *, is_due: bool = False) -> list[MonitoringEvent]:
        """
        Return the events with the heartbeats so far; none within 1 s after the last.

        They are not returned again: if they do not reach the log, the next ones will, and one that
        waited would say of a span that was killed meanwhile that it is alive.

        Args:
            now_ns: The time of the events, nanoseconds since the Unix epoch.
            is_due: True if the caller has waited for that second.

        Returns:
            One ``span_beats`` for each project and each 400 spans of it.
        """
        now = self._clock.monotonic()
        if not self._heard or (not is_due and now - self._sent_at < HEARTBEAT_INTERVAL_SEC):
            return []
        self._sent_at = now
        heard, self._heard = self._heard, {}
        return [
            MonitoringEvent.model_validate(fields)
            for fields in span_heartbeats(heard.items(), now_ns)
        ]

    def confirm(self) -> None:
        """What was noted since the last call is in the log now."""
        for key, known in self._said.items():
            if known is None:
                self._known.pop(key, None)
            else:
                self._known[key] = known
                self._known.move_to_end(key)
        self._said.clear()
        while len(self._known) > _MAX_SPANS:
            self._known.popitem(last=False)


def event_of_snapshot(
    start: MonitoringEvent, span: Snapshot, digest: int, now_ns: int, *, is_given_up: bool
) -> MonitoringEvent:
    """
    Return the event of a snapshot, made from that of the span's start.

    Args:
        start: The event of the start; not changed.
        span: The span.
        digest: Of all that the snapshot says, 64 bits: the same snapshot has the same event id.
        now_ns: The time of reception, which is the event's: a snapshot has no time of its own.
        is_given_up: Whether the sender gave the span up after silence.

    Returns:
        A ``span_updated``; of a span that was given up a ``task_stalled`` with the reason
        ``heartbeat_lost``, which a later word of the span takes back.
    """
    assert span.context is not None
    changed: dict[str, Any] = {
        "event_id": snapshot_id_of(span.context, span.start_time or 0, digest),
        "ts": datetime.fromtimestamp(now_ns / 1e9, UTC),
        "event_type": MonitoringEventType.SPAN_UPDATED,
        "status": None,
    }
    if is_given_up:
        stalled = MonitoringEventType.TASK_STALLED
        changed |= {"event_type": stalled, "ended_by": "rule", "reason": "heartbeat_lost"}
    return start.model_copy(update=changed)


def snapshot_id_of_start(span: Snapshot, digest: int) -> str:
    """Return the id of a start that was not known as one before this snapshot."""
    assert span.context is not None
    return snapshot_id_of(span.context, span.start_time or 0, digest ^ _START_SIDE)
