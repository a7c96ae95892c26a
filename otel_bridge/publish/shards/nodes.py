"""
``Nodes``: the servers behind a Redis URL that have the shards of the log, one connection to each.

Of one Redis, and of the master behind Sentinels, there is one node with all shards. Of a Cluster
there is one for each master with a shard, as ``CLUSTER SLOTS`` has it: asked at the start, when a
node moved a slot or cannot be reached, and every 30 s. redis-py's client of a Cluster sends each
command on its own and hides which node answered; the reader of shards asks each node by one
pipeline, whose first command is ``TIME``, and needs to know which clock an answer belongs to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.crc import key_slot
from redis.exceptions import AskError, ConnectionError, MovedError, ResponseError

from otel_bridge.publish.redis_clients import (
    REDIS_ERRORS,
    aclose,
    cluster_hosts,
    connect_async,
    connect_node,
)
from otel_bridge.urls import redact_url

__all__ = ["NODE_ERRORS", "Node", "Nodes"]

NODE_ERRORS: Final = (*REDIS_ERRORS, TimeoutError)
"""What ``Node.ask`` raises when the server cannot be reached or does not answer."""
_REFRESH_SEC: Final = 30.0
_RETRY_SEC: Final = 0.2
"""Pause between two looks for the nodes while one of them is missing: a replica takes over within a
second, and each look costs the other nodes a command."""

Command = Sequence[Any]


class Node:
    """
    One server, with a connection that is opened by the first ``ask`` and again after an error.

    For one asyncio loop, one call at a time.

    Args:
        name: How it is called in logs and metrics: ``host:port``.
        client: Of redis-py, for this server alone; its connections are used, not its commands.
    """

    def __init__(self, name: str, client: Any) -> None:
        self.name = name
        self._client = client
        self._connection: Any = None

    async def send(self, commands: Sequence[Command]) -> None:
        """
        Send commands by one write; read their replies with ``replies``.

        Raises an error of ``NODE_ERRORS`` if the server cannot be reached.
        """
        if self._connection is None:
            connection = self._client.connection_pool.make_connection()
            self._connection = connection
        try:
            if not self._connection.is_connected:
                await self._connection.connect()
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
        except BaseException:
            await self.disconnect()
            raise

    async def replies(self, count: int) -> list[Any]:
        """
        Return so many replies, unchanged; an error reply is a ``ResponseError`` in its place.

        Raises an error of ``NODE_ERRORS`` if one does not come within the client's time-out.
        """
        found: list[Any] = []
        connection = self._connection
        try:
            if connection is None:
                raise ConnectionError("nothing was sent")
            for _ in range(count):
                try:
                    found.append(await connection.read_response())
                except ResponseError as error:
                    found.append(error)
        except BaseException:
            # Otherwise the next command would read the answer to this one.
            await self.disconnect()
            raise
        return found

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, as ``replies`` does."""
        await self.send(commands)
        return await self.replies(len(commands))

    async def ping(self) -> None:
        """
        Return if the server answers, on a connection of its own: ``ask`` may be in use meanwhile.

        Raises an error of ``NODE_ERRORS`` if it does not.
        """
        node = Node(self.name, self._client)
        try:
            (reply,) = await node.ask([("PING",)])
        finally:
            await node.disconnect()
        if isinstance(reply, ResponseError):
            raise reply

    async def disconnect(self) -> None:
        """Close the connection; the next ``send`` opens another one. Errors are ignored."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*NODE_ERRORS):
                await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connection and the client; errors are ignored."""
        await self.disconnect()
        with contextlib.suppress(*NODE_ERRORS):
            await aclose(self._client)


class _Place(NamedTuple):
    """Where a shard is read."""

    node: Node
    is_asking: bool
    """Whether the node has it ahead of its slot, which is being moved, and wants ``ASKING``."""


class Nodes:
    """
    The servers that have the shards of one log; for one asyncio loop.

    Args:
        url: Of Redis, as ``connect_async`` takes it.
        options: Keyword arguments for redis-py's clients; ``socket_timeout`` bounds each answer.
        streams: The key of each shard's stream, by its number; all keys of a shard are in its slot.

    Attributes:
        is_cluster: Whether one command cannot use the keys of two shards.
    """

    def __init__(self, url: str, options: Mapping[str, Any], streams: Mapping[int, str]) -> None:
        self._url = url
        self._options = dict(options)
        self._slots = {shard: key_slot(stream.encode()) for shard, stream in streams.items()}
        self._hosts = cluster_hosts(url)
        self.is_cluster = bool(self._hosts)
        self._by_address: dict[tuple[str, int], Node] = {}
        self._places: dict[int, _Place] = {}
        self._single: Node | None = None
        self._silent: set[tuple[str, int]] = set()
        self._refreshed_at = float("-inf")
        self._is_stale = True

    def node_of(self, shard: int) -> Node | None:
        """The node that has a shard, as far as is known; None: none, or not asked yet."""
        if not self.is_cluster:
            return self._one()
        place = self._places.get(shard)
        return None if place is None else place.node

    def is_asking(self, shard: int) -> bool:
        """Whether each command for this shard needs an ``ASKING`` before it."""
        place = self._places.get(shard)
        return place is not None and place.is_asking

    def by_node(self, shards: Iterable[int]) -> dict[Node, list[int]]:
        """The shards of each node; those without a known node are left out."""
        found: dict[Node, list[int]] = {}
        for shard in shards:
            node = self.node_of(shard)
            if node is not None:
                found.setdefault(node, []).append(shard)
        return found

    def note_error(self, shard: int, error: BaseException) -> None:
        """Note that a shard was not where it was thought to be, or its node cannot be reached."""
        self._is_stale = True
        if isinstance(error, MovedError):
            self._places[shard] = _Place(self._at(error.host, error.port), False)
        elif isinstance(error, AskError):
            self._places[shard] = _Place(self._at(error.host, error.port), True)
            self._is_stale = False

    async def refresh(self) -> None:
        """
        Ask the Cluster where the shards are, if that is due; of one Redis this does nothing.

        Raises:
            RedisError, OSError, TimeoutError: No node answers, and none was ever known.
        """
        pause = _RETRY_SEC if self._is_stale else _REFRESH_SEC
        now = time.monotonic()
        if not self.is_cluster or now - self._refreshed_at < pause:
            return
        self._refreshed_at = now
        failure: BaseException | None = None
        known = dict.fromkeys([*self._by_address, *self._hosts])
        # Those that did not answer last: a stopped server takes a whole time-out.
        for host, port in sorted(known, key=self._silent.__contains__):
            node = Node("", connect_node(self._url, host, port, **self._options))
            try:
                (reply,) = await node.ask([("CLUSTER", "SLOTS")])
                if isinstance(reply, ResponseError):
                    raise reply
                await self._place_shards(reply, host)
                self._silent.discard((host, port))
                return
            except NODE_ERRORS as error:
                failure = error
                self._silent.add((host, port))
            finally:
                await node.close()
        if not self._places and failure is not None:
            raise failure

    async def _place_shards(self, reply: Sequence[Any], asked: str) -> None:
        owners = [
            (int(first), int(last), _text(master[0]) or asked, int(master[1]))
            for first, last, master, *_ in reply
        ]
        places: dict[int, _Place] = {}
        for shard, slot in self._slots.items():
            for first, last, host, port in owners:
                if first <= slot <= last:
                    places[shard] = _Place(self._at(host, port), False)
        self._places = places
        self._is_stale = False
        in_use = {place.node for place in places.values()}
        for address, node in list(self._by_address.items()):
            if node not in in_use:
                del self._by_address[address]
                await node.close()

    def _at(self, host: str, port: int) -> Node:
        node = self._by_address.get((host, port))
        if node is None:
            client = connect_node(self._url, host, port, **self._options)
            node = self._by_address[host, port] = Node(f"{host}:{port}", client)
        return node

    def _one(self) -> Node:
        if self._single is None:
            shown = redact_url(self._url).partition("://")[2].partition("?")[0]
            client = connect_async(self._url, **self._options)
            self._single = Node(shown.rpartition("@")[2] or "redis", client)
        return self._single

    async def close(self) -> None:
        """Close all connections; errors are ignored. A later call connects again."""
        nodes = [*self._by_address.values(), *([self._single] if self._single else [])]
        self._by_address, self._places, self._single = {}, {}, None
        self._refreshed_at, self._is_stale = float("-inf"), True
        await asyncio.gather(*(node.close() for node in nodes))


def _text(raw: bytes | str | None) -> str:
    text = raw.decode() if isinstance(raw, bytes) else raw or ""
    return "" if text == "?" else text
