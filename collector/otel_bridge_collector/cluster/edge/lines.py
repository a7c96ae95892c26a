"""``LinesElsewhere``: log records of OTLP go to the member that holds the span they belong to."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from otel_bridge_collector.cluster.connections.client import PeerError
from otel_bridge_collector.cluster.edge.links import ClusterLinks
from otel_bridge_collector.cluster.shared_fold import SharedFold
from otel_bridge_collector.lines.records import Record
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.security.tickets import principal_from_json, principal_to_json
from otel_bridge_collector.security.tokens import Principal

__all__ = ["LinesElsewhere"]

logger = logging.getLogger(__name__)

_MAX_CHARS: Final = 150_000
"""Of the records of one question to another member; it takes 256 KiB."""

Take = Callable[[Sequence[Record], Principal], Awaitable[None]]


class LinesElsewhere:
    """
    Passes log records on, and takes those that others pass on; on the collector's event loop.

    Args:
        fold: The share of this member.
        links: The other members.

    Attributes:
        take: Stores records here; OTLP sets it. None: none are taken.
        passed: Records that were passed on.
    """

    def __init__(self, fold: SharedFold, links: ClusterLinks) -> None:
        self.take: Take | None = None
        self.passed = 0
        self._fold = fold
        self._links = links
        self._tasks: set[asyncio.Task[None]] = set()
        links.calls["lines"] = self._answer

    def model_of(self, trace_id: int) -> Fold:
        """Return the model of the partition of a trace; one without tasks if it is not here."""
        group = self._fold.router.tasks.group_by_ids(None, f"{trace_id:032x}")
        state = None if group is None else self._fold.states.held.get(group.partition)
        return self._fold.model if state is None or not state.is_ready else state.model

    def node(self, key: int) -> Node | None:
        """Return a span that is held here, by its id."""
        for model in self._fold.models():
            found = model.tree.nodes.get(key)
            if found is not None:
                return found
        return None

    async def send(self, records: Sequence[Record], principal: Principal) -> list[Record]:
        """
        Pass records on to the members that hold their traces (async).

        Returns:
            Those to be taken here: of a trace that is held here, or is not known yet, or whose
            member does not answer.
        """
        here: list[Record] = []
        elsewhere: defaultdict[str, list[Record]] = defaultdict(list)
        membership = self._fold.membership
        for record in records:
            group = self._fold.router.tasks.group_by_ids(None, f"{record.trace_id:032x}")
            server = None
            if group is not None and group.partition >= 0:
                server = membership.server_of(group.partition)
            if server is None or server == membership.own_id:
                here.append(record)
            else:
                elsewhere[server].append(record)
        for server, found in elsewhere.items():
            for batch in _batches(found):
                here += await self._send(server, batch, principal)
        return here

    async def _send(self, server: str, batch: list[Record], principal: Principal) -> list[Record]:
        client = self._links.edge.clients.get(server)
        args = {"records": batch, "principal": principal_to_json(principal)}
        try:
            if client is None:
                raise PeerError("not connected")
            await client.call("lines", args)
        except PeerError as error:
            logger.debug("log records were not passed on: %s", error)
            return batch
        self.passed += len(batch)
        return []

    def _answer(self, args: Mapping[str, Any]) -> bytes:
        principal = principal_from_json(str(args["principal"]))
        records = [Record(*fields) for fields in args["records"]]
        if principal is not None and self.take is not None:
            task = asyncio.ensure_future(self.take(records, principal))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return b""


def _batches(records: Sequence[Record]) -> list[list[Record]]:
    found: list[list[Record]] = [[]]
    size = 0
    for record in records:
        length = len(json.dumps(record))
        if length > _MAX_CHARS:
            record = record._replace(stack=None)
            length = len(json.dumps(record))
        if found[-1] and size + length > _MAX_CHARS:
            found.append([])
            size = 0
        found[-1].append(record)
        size += length
    return found
