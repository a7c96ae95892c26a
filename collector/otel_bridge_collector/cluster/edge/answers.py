"""``Answers``: what clients ask of the whole state, whether one collector has it or several."""

from __future__ import annotations

from otel_bridge.clock import Clock
from otel_bridge_collector.cluster.edge.lines import LinesElsewhere
from otel_bridge_collector.cluster.edge.links import ClusterLinks
from otel_bridge_collector.cluster.edge.lookups import Lookups
from otel_bridge_collector.cluster.one_fold import OneFold
from otel_bridge_collector.cluster.shared_fold import SharedFold
from otel_bridge_collector.lines.poller import LinesPoller
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.stream.snapshots import Snapshots
from otel_bridge_collector.views.catalog import Query
from otel_bridge_collector.views.changes import full_message
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.wire.filters import EventFilter

__all__ = ["Answers"]


class Answers:
    """
    Views, snapshots and lists of tasks of the whole state; on the collector's event loop.

    Args:
        fold: What this process holds.
        links: The other members of a cluster; None: there are none.
        snapshots: Those of this process alone, and the newest events.
        ring: Says at which event a snapshot is valid.
        lines: Reads the log lines that are looked at.
        clock: Source of the time.

    Attributes:
        lookups: What is known of single spans.
        lines: Passes log records on to other members; None: there are none.
    """

    def __init__(
        self,
        fold: OneFold | SharedFold,
        links: ClusterLinks | None,
        *,
        snapshots: Snapshots,
        ring: ReplayRing,
        lines: LinesPoller,
        clock: Clock,
    ) -> None:
        self.lookups = Lookups(fold, links)
        self.lines: LinesElsewhere | None = None
        if links is not None and isinstance(fold, SharedFold):
            self.lines = LinesElsewhere(fold, links)
        self._fold = fold
        self._links = links
        self._snapshots = snapshots
        self._ring = ring
        self._poller = lines
        self._clock = clock

    def refresh(self) -> None:
        """Bring what the views read up to date, also without clients: the index takes changes."""
        self._fold.refresh(self._clock.time_ns() // 1000)

    async def snapshot(self, event_filter: EventFilter) -> bytes:
        """
        Return the JSON of the state that a client with this filter may see (async).

        Raises:
            IncompleteError: No member of the cluster has answered.
        """
        if self._links is None:
            return self._snapshots.json(event_filter)
        return await self._links.summaries.snapshot_json(
            event_filter,
            position=self._ring.last_position,
            events=self._snapshots.newest(event_filter),
        )

    async def research_tasks(
        self, event_filter: EventFilter, limit: int
    ) -> tuple[list[dict[str, str | None]], int]:
        """
        As ``Snapshots.research_tasks``, of all members (async).

        Raises:
            IncompleteError: A member of the cluster does not answer.
        """
        if self._links is None:
            return self._snapshots.research_tasks(event_filter, limit)
        return await self._links.summaries.research_tasks(event_filter, limit)

    async def view(self, query: Query, scope: Scope) -> bytes:
        """
        Return one view as a ``full`` message, as of now (async).

        Raises:
            GoneError: It shows nothing.
            NotYetError: Other members of a cluster hold it, and have not answered within 1 s.
        """
        self.refresh()
        if self._links is not None:
            shown = await self._links.edge.ask(query, scope)
        else:
            shown = self._fold.window(query, scope)
            if query.needs_lines:
                # The first time it only noted that the node is watched.
                await self._poller.read()
                self.refresh()
                shown = self._fold.window(query, scope)
        return full_message(0, 0, self._clock.time_ns() // 1_000_000, shown)

    def window(self, query: Query, scope: Scope) -> Window:
        """As of the latest refresh, for ``ViewsHub``; raises as ``EdgeViews.window``."""
        return (self._fold if self._links is None else self._links.edge).window(query, scope)
