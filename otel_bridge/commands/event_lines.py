"""
The texts of an event for a terminal, without a terminal's own codes.

A visible mark replaces what would control the terminal, see ``terminal/printable.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_bridge.terminal.printable import one_line

__all__ = ["EventLine", "format_event", "one_line", "read_event"]

_SYMBOLS: Final = {
    "completed": "✓",
    "failed": "✕",
    "retrying": "↻",
    "processing": "◐",
    "pending": "○",
}

_STATISTICS: Final = (
    ("workers_online", "workers"),
    ("open_tasks", "tasks"),
    ("in_progress", "running"),
    ("throughput_per_sec", "jobs/s"),
    ("events_per_sec", "events/s"),
    ("events_dropped", "dropped"),
)
"""Numbers in the ``meta`` of a ``stats_snapshot``, in the order of the line, and their names."""


@dataclass(frozen=True, slots=True)
class EventLine:
    """
    The texts of one event for a terminal, made by ``read_event``; immutable.

    Each is printable text without a line break or control character, and empty if unknown. The
    length is not limited. A record; it checks nothing and raises nothing.

    Attributes:
        clock: Time of day in UTC with milliseconds.
        status: Status of the job, phase or task after the event.
        symbol: One character for the status; ``·`` for an unknown one.
        event_type: Type of the event; ``?`` if unknown.
        phase: Name of the phase.
        job: Type and id of the job.
        worker: ``worker`` and the worker's id.
        duration: How long it took, in whole milliseconds.
        text: Retry, counts and statistics, message and error.
    """

    clock: str
    """Time of day in UTC with milliseconds: ``00:04:05.123``."""
    status: str
    """Status of the job, phase or task after the event."""
    symbol: str
    """One character for the status."""
    event_type: str
    phase: str
    job: str
    """Type and id of the job."""
    worker: str
    duration: str
    """How long it took, in whole milliseconds: ``41 ms``."""
    text: str
    """The retry, counts and statistics as ``name=value``, message and error."""


def read_event(event: Mapping[str, Any]) -> EventLine:
    """
    Return the texts of an event for a terminal: time, status, type, phase, job, worker and so on.

    Each is printable text of any length without a line break, and empty if unknown. Never raises.

    Args:
        event: An event decoded from JSON; fields may be missing or of another type, unknown ones
            are left out. A duration or statistic of more than 308 digits is shown as ``inf``.
    """
    status = str(event.get("status") or "")
    worker, duration = event.get("worker_id"), event.get("duration_ms")
    text = [f"retry {event['retry_count']}"] if event.get("retry_count") else []
    text += _numbers(event)
    text += [str(event[key]) for key in ("message", "error") if event.get(key)]
    return EventLine(
        clock=one_line(str(event.get("ts", ""))[11:23]),
        status=one_line(status),
        symbol=_SYMBOLS.get(status, "·"),
        event_type=one_line(str(event.get("event_type") or "?")),
        phase=one_line(str(event.get("phase") or "")),
        job=one_line(" ".join(str(event[k]) for k in ("task_type", "task_id") if event.get(k))),
        worker="" if worker is None else one_line(f"worker {worker}"),
        duration=f"{_as_float(duration):.0f} ms" if isinstance(duration, int | float) else "",
        text=one_line("  ".join(text)),
    )


def format_event(event: Mapping[str, Any]) -> str:
    """
    Format an event as one line: time, status, type, phase, job, worker, duration, text.

    Never raises.

    Args:
        event: An event decoded from JSON; fields may be missing or of another type, unknown ones
            are left out.

    Returns:
        Printable text of any length without a line break; parts that are unknown are left out.
    """
    line = read_event(event)
    parts = (line.phase, line.job, line.worker, line.duration, line.text)
    head = f"{line.clock}  {line.symbol} {line.event_type:<18}"
    return "  ".join([head, *filter(None, parts)]).rstrip()


def _as_float(number: float) -> float:
    """Return a number to format; infinity for a whole number of more than 308 digits."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _numbers(event: Mapping[str, Any]) -> list[str]:
    """Counts, queue depths and statistics, as ``name=value``."""
    numbers: list[str] = []
    meta = event.get("meta")
    meta = meta if event.get("event_type") == "stats_snapshot" and isinstance(meta, dict) else {}
    depths = meta.get("queue_depth")
    # Depths are in ``counts`` or, as some publishers send them, in ``queue``. A collector's
    # ``stats_snapshot`` has them in ``queue`` and once more in ``meta``, see below.
    for key in ("counts",) if isinstance(depths, dict) else ("counts", "queue"):
        if isinstance(event.get(key), dict) and event[key] and not numbers:
            numbers = [f"{name}={value}" for name, value in event[key].items()]
    if meta:
        if event.get("project_id"):
            numbers.insert(0, f"project={event['project_id']}")
        for name, shown in _STATISTICS:
            value = meta.get(name)
            if isinstance(value, int | float):
                numbers.append(f"{shown}={f'{_as_float(value):.1f}'.removesuffix('.0')}")
        rate = meta.get("error_rate_1m")
        if isinstance(rate, int | float):
            numbers.append(f"errors={_as_float(rate):.1%}")
    if isinstance(depths, dict):
        numbers += [f"{name}={depth}" for name, depth in depths.items()]
    return [" ".join(numbers)] if numbers else []
