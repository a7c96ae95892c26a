"""
Decodes the bytes of one event into the event, and into the entry that is sent to clients.

All events that the collector reads pass through here, so clients always get an event as JSON that a
browser can parse.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pydantic_core
from pydantic import ValidationError

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.encoding import FIELD_ORDER, encode_event
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.stream.ring import Entry

__all__ = ["UnreadableEventError", "decode_entries", "decode_entry"]

_POSITION_BYTES: Final = 128
_MAX_TIME: Final = 253_370_764_800 * 1_000_000
"""The start of the year 9999; an event with a later ``ts`` is unreadable."""
_KNOWN_FIELDS: Final = frozenset(FIELD_ORDER)


class UnreadableEventError(ValueError):
    """Raised when bytes are not an event; the text is the reason, and never quotes the bytes."""


def decode_entry(
    data: bytes, position: str | None, max_bytes: int
) -> tuple[MonitoringEvent, Entry]:
    """
    Decode one event of the log or of an external publisher.

    An event of the log keeps its bytes. An external event is encoded again, which adds the id and
    the time that its publisher left out. Unknown fields are kept, unless the event is so large that
    it must be truncated.

    Args:
        data: The event's JSON; it must contain ``position``, and no other one, if that is given.
        position: Position in the log; None for an external event.
        max_bytes: Limit on the event's bytes without its position.

    Raises:
        UnreadableEventError: The event is ``oversized``, ``not JSON`` or ``not an event``.
    """
    if len(data) > max_bytes + _POSITION_BYTES:
        raise UnreadableEventError("oversized")
    try:
        # Browsers cannot parse NaN and Infinity; pydantic can, and the bytes are sent as they are.
        if b"NaN" in data or b"Infinity" in data:
            pydantic_core.from_json(data, allow_inf_nan=False)
        event = MonitoringEvent.model_validate_json(data)
        is_time = 0 <= microseconds(event.ts) < _MAX_TIME
    except (ValidationError, ValueError, RecursionError, OverflowError) as error:
        is_json = isinstance(error, ValidationError) and error.errors()[0]["type"] != "json_invalid"
        raise UnreadableEventError("not an event" if is_json else "not JSON") from None
    if not is_time or event.position != position:
        # Of two ``position`` fields, a browser would take the second.
        raise UnreadableEventError("not an event")
    if position is None:
        try:
            data = _encode_external(event, data, max_bytes)
        except EventTooLargeError:
            raise UnreadableEventError("oversized") from None
    entry = Entry(
        position, data, event.event_type, event.project_id, event.parent_task_id, event.task_id
    )
    return event, entry


def _encode_external(event: MonitoringEvent, data: bytes, max_bytes: int) -> bytes:
    given = pydantic_core.from_json(data)
    unknown = {name: given[name] for name in given.keys() - _KNOWN_FIELDS}
    return encode_event(event.to_fields() | unknown, max_bytes)


def decode_entries(entries: Iterable[LogEntry], max_bytes: int) -> list[Entry]:
    """
    Decode a part of the log for a client that resumes.

    Unreadable events are left out without being counted: the reader of the log has counted them.
    """
    found = []
    for entry in entries:
        try:
            found.append(decode_entry(entry.data, entry.position, max_bytes)[1])
        except UnreadableEventError:
            continue
    return found
