"""``span_heartbeats``: the events that say which open spans are alive, many spans in each."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final

from otel_bridge.clock import iso_utc
from otel_bridge.events.model import MonitoringEventType

__all__ = ["span_heartbeats"]

_MAX_IDS: Final = 400
"""Ids in one event: 7.6 KB, within the 8,192 bytes of an event."""


def span_heartbeats(alive: Iterable[tuple[int, str | None]], now_ns: int) -> list[dict[str, Any]]:
    """
    Return the fields of the events with heartbeats; each call gives them new ids. Never raises.

    Args:
        alive: Span id and project of each span; each span once.
        now_ns: The time of the events, nanoseconds since the Unix epoch.

    Returns:
        One ``span_beats`` for each project and each 400 spans of it; empty without spans.
    """
    by_project: dict[str | None, list[str]] = {}
    for span_id, project_id in alive:
        by_project.setdefault(project_id, []).append(f"{span_id:016x}")
    events = []
    for project_id, ids in by_project.items():
        for first in range(0, len(ids), _MAX_IDS):
            fields: dict[str, Any] = {
                "event_id": str(uuid.uuid4()),
                "ts": iso_utc(now_ns),
                "event_type": MonitoringEventType.SPAN_BEATS.value,
            }
            if project_id is not None:
                fields["project_id"] = project_id
            events.append(fields | {"spans": ids[first : first + _MAX_IDS]})
    return events
