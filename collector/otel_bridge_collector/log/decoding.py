"""
Bytes of the log -> an event and the entry that travels to clients.

Everything that is read from outside passes here, so what clients get is always an event in JSON
that a browser can parse.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pydantic_core
from pydantic import ValidationError

from otel_bridge.errors import EventTooLargeError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.stream.ring import Entry

__all__ = ["UnreadableEventError", "decode_entries", "decode_entry"]

_POSITION_BYTES: Final = 128
_MAX_TIME: Final = 253_370_764_800 * 1_000_000
"""Year 9999; later dates are not times."""


class UnreadableEventError(ValueError):
    """Raised when bytes are not an event; says why, never quotes them."""


def decode_entry(
    data: bytes, position: str | None, max_bytes: int
) -> tuple[MonitoringEvent, Entry]:
    """
    Read one event as the log or a stranger gave it.

    Args:
        data: JSON, with ``position`` if it has one.
        position: The log's; None for a stranger's event.
        max_bytes: Bound on the event without its position.

    Raises:
        UnreadableEventError: ``oversized``, ``not JSON`` or ``not an event``.
    """
    if len(data) > max_bytes + _POSITION_BYTES:
        raise UnreadableEventError("oversized")
    try:
        # Browsers cannot parse NaN and Infinity; pydantic can, and the bytes are passed on as is.
        if b"NaN" in data or b"Infinity" in data:
            pydantic_core.from_json(data, allow_inf_nan=False)
        event = MonitoringEvent.model_validate_json(data)
        is_time = 0 <= microseconds(event.ts) < _MAX_TIME
    except (ValidationError, ValueError, RecursionError, OverflowError) as error:
        is_json = isinstance(error, ValidationError) and error.errors()[0]["type"] != "json_invalid"
        raise UnreadableEventError("not an event" if is_json else "not JSON") from None
    if not is_time or event.position != position:
        # A second "position" in the bytes would win in a browser.
        raise UnreadableEventError("not an event")
    if position is None:
        try:
            data = event.to_json(max_bytes)
        except EventTooLargeError:
            raise UnreadableEventError("oversized") from None
    entry = Entry(
        position, data, event.event_type, event.project_id, event.parent_task_id, event.task_id
    )
    return event, entry


def decode_entries(entries: Iterable[LogEntry], max_bytes: int) -> list[tuple[LogEntry, Entry]]:
    """
    Read a part of the log again, for a client that resumes.

    Unreadable events are left out; the reader of the log has counted them.
    """
    found = []
    for entry in entries:
        try:
            found.append((entry, decode_entry(entry.data, entry.position, max_bytes)[1]))
        except UnreadableEventError:
            continue
    return found
