"""
``EventMatcher``: which events the view ``events`` and the pages of the log show.

One rule for both, so that the newest events of the view and the pages before them are the log. It
looks at the event's own bytes, and at the project that the collector found for it. Most events are
decided by the fields that an entry of the ring (the newest events in memory) has; the others are
decoded, but only those whose bytes can hold what is looked for: looking for a rare text in 20,000
events so takes 18 ms instead of 38.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, get_args

import msgspec

from otel_bridge.events.model import MonitoringEventType
from otel_bridge_collector.wire.filters import EventFilter, FilterError, Routed, parse_flag
from otel_bridge_collector.wire.messages import Status

__all__ = ["BACKGROUND_EVENT_TYPES", "EventMatcher", "HeldEvent"]

_MAX_ID_CHARS: Final = 512
_MAX_TEXT_CHARS: Final = 200
_TRACE_ID_CHARS: Final = 32

BACKGROUND_EVENT_TYPES: Final = frozenset(
    {
        MonitoringEventType.WORKER_HEARTBEAT,
        MonitoringEventType.QUEUE_DEPTH_UPDATE,
        MonitoringEventType.STATS_SNAPSHOT,
        MonitoringEventType.SPAN_STARTED,
        MonitoringEventType.SPAN_UPDATED,
        MonitoringEventType.SPAN_ENDED,
        MonitoringEventType.SPAN_BEATS,
    }
)
"""What only says that things go on; tasks, phases and jobs have events of their own."""

_STATUS_BY_TYPE: Final[Mapping[str, str]] = {
    "task_enqueued": "pending",
    "task_started": "processing",
    "task_retry": "retrying",
    "task_completed": "completed",
    "task_failed": "failed",
    "task_stalled": "stalled",
    "phase_started": "processing",
    "span_started": "processing",
}
"""The status that these events say by their type."""
_ENDS: Final = frozenset({"phase_completed", "span_ended"})
"""Ends that say ``failed`` by their field ``status``, and else that it completed."""
_STATUSES: Final = frozenset(get_args(Status))


class HeldEvent(Routed, Protocol):
    """
    An event with its bytes; ``stream.ring.Entry`` is one. A protocol for type checkers.

    Attributes:
        position: Its position in the log; None: it is not in the log.
        data: Its JSON, as the log holds it.
        index: Its number in the ring (the newest events in memory), from 1.
    """

    @property
    def position(self) -> str | None: ...
    @property
    def data(self) -> bytes: ...
    @property
    def index(self) -> int: ...


class _Meta(msgspec.Struct):
    title: Any = None


class _Fields(msgspec.Struct):
    """What is looked at in the bytes; a text of the wrong type matches nothing."""

    event_type: Any = None
    project_id: Any = None
    parent_task_id: Any = None
    task_id: Any = None
    task_type: Any = None
    phase: Any = None
    worker_id: Any = None
    status: Any = None
    queue: Any = None
    message: Any = None
    error: Any = None
    trace_id: Any = None
    span_id: Any = None
    name: Any = None
    meta: _Meta | None = None


_decode: Final = msgspec.json.Decoder(_Fields).decode
_NO_FIELDS: Final = _Fields()


def _fields(data: bytes) -> _Fields:
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _NO_FIELDS  # not in the log: its reader leaves out what is no event


def _texts(fields: _Fields) -> Iterator[str]:
    """All texts in which one is looked for."""
    queue = fields.queue if isinstance(fields.queue, str) else None
    title = None if fields.meta is None else fields.meta.title
    for value in (
        fields.event_type,
        fields.task_type,
        fields.task_id,
        fields.parent_task_id,
        fields.trace_id,
        fields.span_id,
        fields.worker_id,
        fields.project_id,
        fields.message,
        fields.error,
        fields.phase,
        fields.name,
        queue,
        title,
    ):
        if value is not None:
            yield str(value)


@dataclass(frozen=True, slots=True)
class EventMatcher:
    """
    Conditions on events, all of which must hold; None (or True of ``is_all``) leaves one out.

    ``parse`` makes one of a query and checks it; the constructor checks nothing. Immutable and
    hashable: equal ones share what is kept for them.

    Attributes:
        base: Project, types and the projects that the reader may see; its ``task_id`` is not set.
        task: Only events of this research task, or of the work of this trace that names no task;
            also of a job with this id.
        job: Only events of the job with this id.
        type: Only events of this job type or phase.
        statuses: Only events with one of these statuses: that which the type of the event says,
            else its field ``status``. An empty set passes none.
        text: Only events with this text in one of their texts and ids; case-folded, not empty.
        is_all: Also ``BACKGROUND_EVENT_TYPES``.
    """

    base: EventFilter
    task: str | None = None
    job: str | None = None
    type: str | None = None
    statuses: frozenset[str] | None = None
    text: str | None = None
    is_all: bool = True

    def matches(self, event: HeldEvent) -> bool:
        """
        Return whether an event passes all conditions; never raises. From any thread.

        Args:
            event: With the project that the collector found for it.
        """
        if not self.base.matches(event):
            return False
        if not self.is_all and event.event_type in BACKGROUND_EVENT_TYPES:
            return False
        if self.job is not None and event.task_id != self.job:
            return False
        if self.task is not None and not self._is_of_task(event):
            return False
        if self.statuses is not None and not self._has_status(event):
            return False
        if self.type is not None and not self._has_type(event):
            return False
        return self.text is None or self._has_text(event.data)

    def _is_of_task(self, event: HeldEvent) -> bool:
        task = self.task
        if task in (event.parent_task_id, event.task_id):
            return True
        if event.parent_task_id is not None or task is None or len(task) != _TRACE_ID_CHARS:
            return False
        return _may_hold(event.data, task) and _fields(event.data).trace_id == task

    def _has_status(self, event: HeldEvent) -> bool:
        assert self.statuses is not None
        status = _STATUS_BY_TYPE.get(event.event_type)
        if status is None:
            status = _fields(event.data).status
            if event.event_type in _ENDS:
                status = "failed" if status == "failed" else "completed"
        return status in self.statuses

    def _has_type(self, event: HeldEvent) -> bool:
        assert self.type is not None
        if not _may_hold(event.data, self.type):
            return False
        fields = _fields(event.data)
        return self.type in (fields.task_type, fields.phase)

    def _has_text(self, data: bytes) -> bool:
        text = self.text
        assert text is not None
        # Only of plain ASCII without escapes is the lower case of the bytes that of the texts.
        is_plain = data.isascii() and b"\\" not in data
        if is_plain and text.encode(errors="replace") not in data.lower():
            return False
        return any(text in found.casefold() for found in _texts(_fields(data)))

    @classmethod
    def parse(cls, query: Mapping[str, str], projects: frozenset[str] | None) -> EventMatcher:
        """
        Make a matcher of a query: that of ``EventFilter.parse``, and ``job type status text all``.

        Other parameters are ignored; each condition that is absent or empty lets all events pass.
        From any thread.

        Args:
            query: ``status`` is a comma-separated list; ``all``, by default true, is a flag as
                ``parse_flag`` reads it; ``task_id`` is ``task`` here.
            projects: The projects that the reader may see; None: all.

        Raises:
            FilterError: What ``EventFilter.parse`` raises; an unknown status, a ``job`` of more
                than 512 characters, a ``type`` or ``text`` of more than 200, a wrong flag, or two
                different values for one name.
        """
        base = EventFilter.parse(query).limited(projects)
        names = [name.strip() for name in query.get("status", "").split(",")]
        statuses = frozenset(filter(None, names))
        if unknown := sorted(statuses - _STATUSES):
            known = ", ".join(get_args(Status))
            raise FilterError(f"status: unknown {', '.join(unknown[:5])[:200]}; known: {known}")
        return cls(
            base=replace(base, task_id=None),
            task=base.task_id,
            job=_short(query, "job", _MAX_ID_CHARS),
            type=_short(query, "type", _MAX_TEXT_CHARS),
            statuses=statuses or None,
            text=(_short(query, "text", _MAX_TEXT_CHARS) or "").casefold() or None,
            is_all=parse_flag(query, "all") if query.get("all") else True,
        )


def _may_hold(data: bytes, text: str) -> bool:
    """Whether the JSON can have this text as a value; False is certain."""
    return text.encode(errors="replace") in data or b"\\" in data


def _short(query: Mapping[str, str], name: str, max_chars: int) -> str | None:
    value = query.get(name)
    if value and len(value) > max_chars:
        raise FilterError(f"{name}: longer than {max_chars} characters")
    return value or None
