"""The jobs of the soak test as they travel from its coordinators to its workers, in Redis lists."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from otel_bridge.bridge import Bridge
from otel_bridge.publish.bus import EventBus

__all__ = [
    "DROPPED",
    "EVENTS_PER_JOB",
    "HEARTBEAT_SEC",
    "HEARTBEAT_TTL_SEC",
    "KILLS",
    "PUBLISHED",
    "QUEUE",
    "SoakJob",
    "bus_of",
    "counters_of",
    "done_key",
    "left_key",
]

QUEUE: Final = "soak:jobs"
KILLS: Final = "soak:kills"
PUBLISHED: Final = "soak:published"
DROPPED: Final = "soak:dropped"

HEARTBEAT_SEC: Final = 1.0
HEARTBEAT_TTL_SEC: Final = 5.0
EVENTS_PER_JOB: Final = 5.2
"""Enqueue, start, end, the start and end of a model call; roots, phases and retries add the rest.
Measured: it only turns the wanted events a second into jobs a second."""

Outcome = Literal["completes", "fails", "retries", "dies", "dies_and_is_requeued"]


class SoakJob(msgspec.Struct):
    """
    One job in the queue.

    Attributes:
        batch: The phase that waits for it.
        outcome: What its first attempt does; later ones complete.
        attempt: Attempts before this one.
    """

    id: str
    batch: str
    carrier: dict[str, str]
    outcome: Outcome
    attempt: int = 0


def left_key(batch: str) -> str:
    """Counts the jobs of a phase that have not ended."""
    return f"soak:left:{batch}"


def done_key(batch: str) -> str:
    """A list that gets an element once none is left."""
    return f"soak:done:{batch}"


def bus_of(bridge: Bridge) -> EventBus:
    """The bus of a bridge that is on."""
    assert bridge.bus is not None
    return bridge.bus


def counters_of(bridge: Bridge) -> dict[str, int]:
    """What became of a process's events, to be added up over all processes."""
    counters = bus_of(bridge).counters
    return {
        PUBLISHED: counters.published,
        DROPPED: counters.dropped,
    }
