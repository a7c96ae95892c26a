"""``StatsPublisher``: the leader's ``stats_snapshot`` events, for everything and per project."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.wire.messages import GlobalStats

__all__ = ["Numbers", "OwnNumbers", "StatsPublisher"]

_IDLE_INTERVAL_SEC: Final = 5.0
"""Shortest interval while no event comes, so that an idle log keeps its past for days."""


class Numbers(Protocol):
    """The numbers of the dashboard's header at one moment: of one model, or of a whole cluster."""

    @property
    def events_in(self) -> int:
        """Events since the start, by which it is seen that nothing has come."""

    def active_projects(self) -> Sequence[str]:
        """Names of the projects with an event in the last minute."""

    def stats(self, project_id: str | None = None) -> GlobalStats:
        """The numbers of everything, or of one project."""


class OwnNumbers:
    """The numbers of one model; the header is made when it is first asked for."""

    def __init__(self, model: Fold) -> None:
        self.events_in = model.stats.events_in
        self._model = model
        self._header: Header | None = None

    def active_projects(self) -> Sequence[str]:
        """As ``RollingStats.active_projects``."""
        return self._model.stats.active_projects(self._model.liveness.now)

    def stats(self, project_id: str | None = None) -> GlobalStats:
        """As ``Header.stats``."""
        if self._header is None:
            self._header = Header(self._model)
        return self._header.stats(project_id)


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
        numbers: Gives the numbers of all members of a cluster together instead, or None if they are
            not known at the moment, and then nothing is published. Default None: there is no
            cluster.
    """

    def __init__(
        self,
        *,
        interval_sec: float,
        evaluate: Callable[[], Fold],
        publish: Callable[[MonitoringEvent], object],
        numbers: Callable[[], Awaitable[Numbers | None]] | None = None,
    ) -> None:
        self._interval_sec = interval_sec
        self._evaluate = evaluate
        self._publish = publish
        self._numbers = numbers
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
        if self._numbers is None:
            found: Numbers | None = OwnNumbers(self._evaluate())
        else:
            found = await self._numbers()
        now = asyncio.get_running_loop().time()
        if found is None or (
            found.events_in == self._published_events_in and now < self._idle_until
        ):
            return
        self._published_events_in = found.events_in
        self._idle_until = now + max(self._interval_sec, _IDLE_INTERVAL_SEC) - 0.1
        for project_id in (None, *found.active_projects()):
            numbers = found.stats(project_id)
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
