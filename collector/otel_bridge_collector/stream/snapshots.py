"""
``Snapshots``: the whole state for one filter, as a dashboard starts from it, cached for a moment.

Pages that load together have equal filters, so one snapshot serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pydantic_core

from otel_bridge.clock import SYSTEM_CLOCK, Clock, iso_utc
from otel_bridge.events.model import MonitoringEventType
from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.cards import shown_tasks, task_cards
from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.model.snapshot.panels import (
    failure_groups,
    queue_depths,
    worker_states,
)
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter
from otel_bridge_collector.wire.messages import SnapshotMessage

__all__ = ["Snapshots"]

_SNAPSHOT_EVENTS: Final = 200
_SNAPSHOT_EVENT_BYTES: Final = 512 * 1024
_MAX_CACHED_SNAPSHOTS: Final = 64


class Snapshots:
    """
    Makes snapshots of one collector: the whole state for one filter, as a dashboard starts from it.

    The collector makes one. All methods belong to its event loop; each takes 10 to 40 ms of it and
    never waits. They raise nothing. At most 65 snapshots are cached, for half a second at most.

    Args:
        evaluate: Gives the model (the state that all events make), with what is stalled as of now.
        ring: Has the newest events in memory; each snapshot is valid at its newest entry.
        queues: Names of the coordinator's queues, which are listed first and in this order.
        clock: Source of the time.
    """

    def __init__(
        self,
        evaluate: Callable[[], Fold],
        ring: ReplayRing,
        *,
        queues: Sequence[str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._evaluate = evaluate
        self._ring = ring
        self._queues = queues
        self._clock = clock
        self._cached: dict[EventFilter, tuple[tuple[int, str, int], bytes]] = {}

    def message(self, event_filter: EventFilter = ALL_EVENTS) -> SnapshotMessage:
        """
        Return the state that a client with this filter may see, at the newest event; never raises.

        At most 200 research tasks (running ones first, then open ones, of each the newest), 200
        spans a task and 2,000 in all (open ones first, then those that ended last), the latest 200
        causes of failures, and the newest 200 events or 512 KiB of their JSON. It takes 10 to 40 ms
        of the collector's event loop, where it must be called.

        Args:
            event_filter: Which events count; default: all. A filter that is limited to projects
                gets no queues, and no numbers of other projects.
        """
        model = self._evaluate()
        is_limited = event_filter.projects is not None
        header = Header(model)
        return SnapshotMessage(
            position=self._ring.last_position,
            server_time=iso_utc(self._clock.time_ns()),
            tasks=task_cards(model, event_filter),
            workers=worker_states(model, event_filter),
            queues=[] if is_limited else queue_depths(model, self._queues),
            failures=failure_groups(model, event_filter),
            stats=(
                header.limited_stats(event_filter)
                if is_limited
                else header.stats(event_filter.project_id)
            ),
            events=[pydantic_core.from_json(data) for data in self.newest(event_filter)],
        )

    def research_tasks(
        self, event_filter: EventFilter, limit: int
    ) -> tuple[list[dict[str, str | None]], int]:
        """
        Return the research tasks in the state that a client with this filter may see; never raises.

        Call it on the collector's event loop.

        Args:
            event_filter: Which of them to return.
            limit: Return at most this many; not checked here.

        Returns:
            Their ``task_id``, ``title``, ``status`` and ``project_id``: running ones first, then
            open ones, of each the newest first. And how many there are without the limit, at most
            10,000.
        """
        model = self._evaluate()
        found = shown_tasks(model, event_filter)
        rows: list[dict[str, str | None]] = [
            {
                "task_id": task.id,
                "title": model.cards.card(task).title,
                "status": STATUS_NAMES[status],
                "project_id": task.project,
            }
            for status, task in found[:limit]
        ]
        return rows, len(found)

    def newest(self, event_filter: EventFilter) -> list[bytes]:
        """Return the newest events that pass a filter, oldest first; 200 or 512 KiB at most."""
        found: list[bytes] = []
        size = 0
        for entry in self._ring.newest():
            is_global_stats = (
                entry.event_type == MonitoringEventType.STATS_SNAPSHOT
                and entry.parent_task_id is None
            )  # left out: it comes every few seconds, and ``stats`` has its numbers
            if not is_global_stats and event_filter.matches(entry):
                size += len(entry.data)
                if len(found) == _SNAPSHOT_EVENTS or size > _SNAPSHOT_EVENT_BYTES:
                    break
                found.append(entry.data)
        return found[::-1]

    def json(self, event_filter: EventFilter) -> bytes:
        """
        Return the JSON of the state that a client with this filter may see, at the newest event.

        It has at most 200 research tasks with 2,000 spans, 200 failures, and the newest 200 events
        or 512 KiB of them. Made in 10 to 40 ms, then cached until the next event, at most 0.5 s; of
        more than 64 cached filters all are forgotten. Never raises; call it on the collector's
        event loop.

        Args:
            event_filter: Which events count.
        """
        # With the position, because that changes without an event when reading starts over.
        half_second = self._clock.time_ns() // 500_000_000
        moment = (self._ring.last_index, self._ring.last_position, half_second)
        cached = self._cached.get(event_filter)
        if cached is None or cached[0] != moment:
            if len(self._cached) > _MAX_CACHED_SNAPSHOTS:
                self._cached.clear()
            cached = (moment, self.message(event_filter).model_dump_json().encode())
            self._cached[event_filter] = cached
        return cached[1]
