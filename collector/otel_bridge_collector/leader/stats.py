"""``StatsPublisher``: the leader's ``stats_snapshot`` events, for everything and per project."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.header import Header

__all__ = ["StatsPublisher"]

_IDLE_INTERVAL_SEC: Final = 5.0
"""Shortest interval while no event comes, so that an idle log keeps its past for days."""


class StatsPublisher:
    """
    Publishes the numbers of the dashboard's header; the leader, one of all collectors, runs it.

    Each round it publishes one ``stats_snapshot`` for everything and one for each project with an
    event in the last minute. Use it on the model's event loop. It keeps two numbers; making one
    never raises, and it needs no closing.

    Args:
        interval_sec: Seconds between two rounds of the leader.
        evaluate: Gives the model, with what is stalled at the moment of the call.
        publish: Queues one event for the log; never raises.
    """

    def __init__(
        self,
        *,
        interval_sec: float,
        evaluate: Callable[[], Fold],
        publish: Callable[[MonitoringEvent], object],
    ) -> None:
        self._interval_sec = interval_sec
        self._evaluate = evaluate
        self._publish = publish
        self._published_events_in = -1
        self._idle_until = 0.0

    async def run_round(self) -> None:
        """
        Publish one ``stats_snapshot`` without a project, and one for each active project.

        A project is active if it had an event in the last minute; their number is not limited
        (1,000 take 1.2 s). While no event has come since the previous round, nothing is published
        for 5 s. On the model's event loop. If the log cannot be reached nothing is raised:
        ``publish`` queues, and counts what it drops.
        """
        model = self._evaluate()
        stats = model.stats
        now = asyncio.get_running_loop().time()
        if stats.events_in == self._published_events_in and now < self._idle_until:
            return
        self._published_events_in = stats.events_in
        self._idle_until = now + max(self._interval_sec, _IDLE_INTERVAL_SEC) - 0.1
        header = Header(model)
        projects = stats.active_projects(model.liveness.now)
        for project_id in (None, *projects):
            numbers = header.stats(project_id)
            self._publish(
                MonitoringEvent(
                    event_type=MonitoringEventType.STATS_SNAPSHOT,
                    project_id=project_id,
                    queue=dict(numbers.queue_depth),
                    meta=numbers.model_dump(mode="json"),
                )
            )
            # A round over 1,000 projects takes 1.2 s; clients are served between two projects.
            await asyncio.sleep(0)
