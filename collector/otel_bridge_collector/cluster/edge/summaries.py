"""
``Summaries``: snapshots, lists of tasks and the leader's numbers, merged from all members.

They are asked for once, not followed: each member joins what its own partitions say, and the one
that is asked merges the answers. What a member does not answer within 2 s is missing, and the
snapshot says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pydantic_core

from otel_bridge.clock import SYSTEM_CLOCK, Clock, iso_utc
from otel_bridge_collector.cluster.connections.client import PeerClient, PeerError
from otel_bridge_collector.cluster.connections.peers import Call
from otel_bridge_collector.cluster.edge.layouts import ranges
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.parts import PartError
from otel_bridge_collector.cluster.shared_fold import SharedFold
from otel_bridge_collector.cluster.snapshots import (
    encode_cards,
    encode_filter,
    encode_numbers,
    encode_snapshot,
    encode_tasks,
    merge_numbers,
    merge_snapshots,
    merge_tasks,
    read_filter,
    shown_ids,
    snapshot_message,
)
from otel_bridge_collector.leader.stats import Numbers
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.wire.filters import EventFilter

__all__ = ["IncompleteError", "Summaries"]

logger = logging.getLogger(__name__)

_MAX_CARDS_OF_CALL: Final = 200


class IncompleteError(Exception):
    """Raised where a part of the answer is missing, and nothing else would be true; says which."""


class _Found(NamedTuple):
    parts: list[bytes]
    missing: set[int]


class Summaries:
    """
    What one member asks of all, and what it answers; on the collector's event loop.

    Args:
        fold: The share of this member.
        clients: The connections to the others, by member.
        queues: Names of the coordinator's queues, which are listed first.
        clock: Source of the time.

    Attributes:
        calls: Answers to the other members, by the name of the question.
        incomplete: How often a part was missing.
    """

    def __init__(
        self,
        fold: SharedFold,
        clients: Callable[[], Mapping[str, PeerClient]],
        queues: Sequence[str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.incomplete = 0
        self.calls: dict[str, Call] = {
            "numbers": self._numbers,
            "snapshot": self._snapshot,
            "cards": self._cards,
            "tasks": self._tasks,
        }
        self._fold = fold
        self._clients = clients
        self._queues = queues
        self._clock = clock

    # --- what this member answers ----------------------------------------------------------------

    def _models(self, args: Mapping[str, Any]) -> list[Fold]:
        held = self._fold.states.held
        self._fold.refresh(self._clock.time_ns() // 1000)
        states = [held.get(int(one)) for one in args["partitions"]]
        found = [state.model for state in states if state is not None and state.is_ready]
        if len(found) < len(states) or not found:
            raise PartError("a partition is not held here")
        return found

    def _numbers(self, args: Mapping[str, Any]) -> bytes:
        return encode_numbers(self._models(args))

    def _snapshot(self, args: Mapping[str, Any]) -> bytes:
        return encode_snapshot(self._models(args), read_filter(args["filter"]), self._queues)

    def _cards(self, args: Mapping[str, Any]) -> bytes:
        ids = [str(one) for one in args["ids"][:_MAX_CARDS_OF_CALL]]
        return encode_cards(self._models(args), read_filter(args["filter"]), ids)

    def _tasks(self, args: Mapping[str, Any]) -> bytes:
        return encode_tasks(self._models(args), read_filter(args["filter"]), int(args["limit"]))

    # --- what it asks ----------------------------------------------------------------------------

    async def _ask(self, name: str, args: dict[str, Any]) -> _Found:
        """Ask the member that serves each partition; what fails is missing."""
        membership = self._fold.membership
        serving = membership.serving()
        missing = set(range(PARTITIONS)).difference(*serving.values())
        parts: list[bytes] = []
        asked: list[frozenset[int]] = []
        waits = []
        for member_id, partitions in serving.items():
            given = {**args, "partitions": sorted(partitions)}
            if member_id == membership.own_id:
                parts.append(self.calls[name](given))
                continue
            client = self._clients().get(member_id)
            if client is None:
                missing |= partitions
                continue
            asked.append(partitions)
            waits.append(client.call(name, given))
        found = await asyncio.gather(*waits, return_exceptions=True)
        for partitions, one in zip(asked, found, strict=True):
            if isinstance(one, bytes):
                parts.append(one)
            elif isinstance(one, PeerError):
                missing |= partitions
            else:
                raise one
        self.incomplete += bool(missing)
        return _Found(parts, missing)

    async def numbers(self) -> Numbers | None:
        """Return the numbers of the header of all members; None: they are not all known now."""
        try:
            found = await self._ask("numbers", {})
            return merge_numbers(found.parts) if found.parts and not found.missing else None
        except PartError as error:
            logger.warning("the numbers of the members could not be merged: %s", error)
            return None

    async def snapshot_json(
        self, event_filter: EventFilter, *, position: str, events: Sequence[bytes]
    ) -> bytes:
        """
        Return the JSON of the state that a client with this filter may see (async).

        Args:
            event_filter: Which events count.
            position: Of the newest event here, before the members are asked.
            events: The newest events here.

        Raises:
            IncompleteError: No member has answered.
        """
        args: dict[str, Any] = {"filter": encode_filter(event_filter)}
        found = await self._ask("snapshot", args)
        if not found.parts:
            raise IncompleteError("no member has answered")
        part = merge_snapshots(found.parts)
        cards = await self._ask("cards", {**args, "ids": shown_ids(part)})
        missing = found.missing | cards.missing
        message = snapshot_message(
            part,
            cards.parts,
            event_filter,
            position=position,
            server_time=iso_utc(self._clock.time_ns()),
            events=[pydantic_core.from_json(data) for data in events],
        )
        if missing:
            why = (f"{ranges(missing)} not answering",)
            message = message.model_copy(update={"partial": why})
        return message.model_dump_json().encode()

    async def research_tasks(
        self, event_filter: EventFilter, limit: int
    ) -> tuple[list[dict[str, str | None]], int]:
        """
        As ``Snapshots.research_tasks``, of all members (async).

        Raises:
            IncompleteError: A member has not answered: the list would lack tasks.
        """
        args = {"filter": encode_filter(event_filter), "limit": limit}
        found = await self._ask("tasks", args)
        if found.missing or not found.parts:
            raise IncompleteError(f"{ranges(found.missing)} not answering")
        return merge_tasks(found.parts, limit)
