"""``OneFold``: what a collector that shares the fold with no other folds into: one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.publish.transports.base import Receiver
from otel_bridge_collector.leader.stalled import StalledJobReporter
from otel_bridge_collector.log.reader import Feed
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import project_of_past
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import Views
from otel_bridge_collector.views.state import ViewState

__all__ = ["OneFold"]


class OneFold:
    """
    The whole state of a collector, and what its parts need of it. For its event loop.

    ``SharedFold`` has the same methods for a member of a cluster; here nothing needs to start.

    Args:
        queues: Names of the coordinator's queues, which are listed first.
        ring, heartbeat_ttl_sec, clock: As of the collector.

    Attributes:
        is_shared: False. ``numbers``: None, of no cluster.
        stats: Counts all events.
        model: The state; ``feed_model`` is what the reader of the log folds into.
        view_state: What views are computed from.
        window: As ``Views.window``.
        project_of_past: As that of ``model.reading.projects``, without the model.
    """

    is_shared: Final = False
    numbers: Final = None

    def __init__(
        self,
        *,
        queues: Sequence[str],
        ring: ReplayRing,
        heartbeat_ttl_sec: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.stats = RollingStats()
        self.model = self.feed_model = Fold(heartbeat_ttl_sec=heartbeat_ttl_sec, stats=self.stats)
        self.view_state = ViewState(self.model, queues, ring, clock=clock)
        self.window = Views(self.view_state).window
        self.project_of_past = partial(project_of_past, self.model.tasks, self.model.tree.nodes)
        self.refresh = self.view_state.refresh

    def models(self) -> Sequence[Fold]:
        """Return all models that are held."""
        return (self.model,)

    def served_models(self, now: int) -> Sequence[Fold]:
        """Return the models whose stalled jobs this collector reports, evaluated at ``now``."""
        self.model.sweep(now)
        return (self.model,)

    def served_states(self, now: int) -> Sequence[ViewState]:
        """Return the states of what this collector serves, with liveness evaluated at ``now``."""
        self.model.sweep(now)
        return (self.view_state,)

    def readiness(self) -> dict[str, Any]:
        """Return what ``/readyz`` says of a cluster: nothing."""
        return {}

    def connect(
        self, feed: Feed, open_receiver: Callable[[], Receiver], max_event_bytes: int
    ) -> None:
        """Nothing is read apart from the feed."""

    async def join(self) -> None:
        """Nothing to join."""

    def start(self, reporter: StalledJobReporter, is_live: Callable[[], bool]) -> None:
        """Nothing to start: the leader reports what is stalled."""

    async def stop(self) -> None:
        """Nothing to stop."""
