"""``ClusterLinks``: a member's connections to the others, and the views merged from them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from otel_bridge.cancellation import cancel
from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge_collector.cluster.connections.client import PeerError
from otel_bridge_collector.cluster.connections.group import LocalGroup, PeerAddress, is_member_id
from otel_bridge_collector.cluster.connections.listeners import UnixListener
from otel_bridge_collector.cluster.connections.peers import Call, Peers
from otel_bridge_collector.cluster.edge.summaries import Summaries
from otel_bridge_collector.cluster.edge.views import EdgeViews
from otel_bridge_collector.cluster.shared_fold import ClusterOptions, SharedFold
from otel_bridge_collector.settings import CollectorSettings

__all__ = ["LEAVE_SEC", "ClusterLinks", "cluster_options"]

logger = logging.getLogger(__name__)

LEAVE_SEC: Final = 10.0
"""How long a member that is to end serves what others have not filled yet. It takes 3 to 4 s: 0.5 s
until they know, 1 to 2 s for 100,000 events, and 2 s in which the last ones still ask it."""
_FACTS_SEC: Final = 1.0
_LOOK_SEC: Final = 0.05


def cluster_options(
    settings: CollectorSettings, group: LocalGroup | None, member_id: str
) -> ClusterOptions | None:
    """
    Return how a collector takes part in a cluster; None: it folds all events itself.

    Args:
        settings: Name the address for other machines.
        group: The processes of this machine; None: there are no others.
        member_id: Of this process.
    """
    if group is None and not settings.cluster_address:
        return None
    path = "" if group is None else group.socket_of(member_id)
    return ClusterOptions(
        address=PeerAddress(path, settings.cluster_address).text(),
        expected=1 if group is None else group.processes,
        # Without an address for others, the processes of each machine are a cluster of their own.
        group="" if settings.cluster_address or group is None else group.name,
    )


class ClusterLinks:
    """
    What connects one member with the others; ``listen``, ``start`` and ``stop`` once each.

    Args:
        member_id: Of this member.
        fold: Its share of the state.
        group: The processes of this machine; None: there are no others.
        token: ``MONITORING_CLUSTER_TOKEN``; empty: no member is on another machine.
        refresh: Brings the states up to date.
        position: How far the log is read.
        queues: Names of the coordinator's queues, which are listed first.
        clock: Source of the time.

    Attributes:
        id, group: As given.
        edge: The views of all partitions.
        summaries: Snapshots and numbers of all members.
        peers: What answers the other members.
        calls: Answers to their single questions, by name; others may be added.
    """

    def __init__(
        self,
        member_id: str,
        fold: SharedFold,
        *,
        group: LocalGroup | None,
        token: str,
        refresh: Callable[[], None],
        position: Callable[[], str],
        queues: Sequence[str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.id = member_id
        self.group = group
        self.edge = EdgeViews(fold.membership, fold.states, local=fold.window, token=token)
        self.summaries = Summaries(fold, lambda: self.edge.clients, queues, clock)
        self.calls: dict[str, Call] = dict(self.summaries.calls)
        self.peers = Peers(
            member_id, fold.states, refresh=refresh, position=position, calls=self.calls
        )
        fold.merge_numbers = self.summaries.numbers
        self._fold = fold
        self._position = position
        self._listener = (
            None if group is None else UnixListener(group.socket_of(member_id), self.peers)
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self) -> None:
        """Let the others connect; before the fold joins, so that they find it."""
        if self._listener is not None:
            await self._listener.start()

    async def start(self) -> None:
        """Connect to the others; after the fold has joined."""
        self.edge.start()
        self._tasks = [
            asyncio.create_task(self.peers.run(), name="peers"),
            asyncio.create_task(self._exchange_facts(), name="facts"),
        ]

    async def leave(self, at_once: asyncio.Event) -> None:
        """
        Hand over what this member holds, and serve it meanwhile; before ``stop`` (async).

        Returns when those that stay have filled all of it and ask for nothing here any more; after
        10 s in any case; and at once if no other member stays, or Redis cannot be reached.

        Args:
            at_once: Ends the wait when it is set.
        """
        membership, held = self._fold.membership, self._fold.states.held
        loop = asyncio.get_running_loop()
        started = loop.time()
        membership.set_leaving()
        logger.info("this collector is leaving; it holds %d partitions", len(held))
        while membership.has_successors and (held or self.peers.is_asked):
            if at_once.is_set() or loop.time() - started > LEAVE_SEC:
                count = len(membership.serving().get(self.id, ()))
                logger.warning("this collector waits no longer; no other has %d partitions", count)
                return
            await asyncio.sleep(_LOOK_SEC)
        logger.info("this collector has left after %.1f s", loop.time() - started)

    def is_sibling(self, member_id: str) -> bool:
        """Whether a member is a process of this machine that listens on the same port."""
        member = self._fold.membership.members.get(member_id)
        return (
            self.group is not None
            and member is not None
            and PeerAddress.parse(member.address).path == self.group.socket_of(member_id)
        )

    @property
    def is_leaving(self) -> bool:
        """Whether this member is leaving, and all others that listen on its port."""
        membership = self._fold.membership
        return membership.is_leaving and not any(
            not member.is_leaving and self.is_sibling(member_id)
            for member_id, member in membership.members.items()
            if member_id != self.id
        )

    async def stop(self) -> None:
        """Close all connections."""
        await cancel(self._tasks)
        await self.edge.stop()
        if self._listener is not None:
            await self._listener.stop()

    def has_sibling(self, member_id: str) -> bool:
        """Whether another process of this machine may be the member with this id; any text."""
        return (
            self.group is not None
            and is_member_id(member_id)
            and member_id in self._fold.membership.members
        )

    async def _exchange_facts(self) -> None:
        while True:
            await asyncio.sleep(_FACTS_SEC)
            try:
                if self.edge.clients:
                    self._fold.states.set_peer_facts(self.edge.peer_facts())
            except Exception:
                logger.exception("the facts of the other members could not be used")

    def readiness(self) -> dict[str, Any]:
        """Return what ``/readyz`` says of each member: what it serves, and how far it has read."""
        membership = self._fold.membership
        serving = membership.serving()
        members = {}
        for member_id, member in sorted(membership.members.items()):
            client = self.edge.clients.get(member_id)
            is_own = member_id == self.id
            members[member_id] = {
                "serves": sorted(serving.get(member_id, ())),
                "position": self._position() if is_own else client and client.position,
                "answers": is_own or (client is not None and client.is_open),
                "cpu": member.cpu,
                "leaving": member.is_leaving,
            }
        return {"member": self.id, "folds": members, "partial": list(self.edge.partial)}

    async def ask_all(
        self, name: str, args: dict[str, Any] | None = None, *, siblings: bool = False
    ) -> tuple[dict[str, bytes], dict[str, str]]:
        """
        Ask all other members a single question, at once (async); waits 2 s at most.

        Args:
            name: Of the question.
            args: Its arguments, as JSON values.
            siblings: Only the processes of this machine; default False.

        Returns:
            Their answers, and why others did not answer, each by the member's id.
        """
        clients = [
            client
            for client in self.edge.clients.values()
            if not siblings or client.address.is_local
        ]
        found = await asyncio.gather(
            *(client.call(name, args) for client in clients), return_exceptions=True
        )
        answers: dict[str, bytes] = {}
        failures: dict[str, str] = {}
        for client, one in zip(clients, found, strict=True):
            if isinstance(one, bytes):
                answers[client.member_id] = one
            elif isinstance(one, PeerError):
                failures[client.member_id] = str(one)
            else:
                raise one
        return answers, failures
