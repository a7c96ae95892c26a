"""
``ShardPoller``: asks all nodes for what is new in their shards, and up to where that is complete.

Of each node one pipeline: ``TIME`` first, so that whatever comes into its shards after the reads
has an id of that millisecond or a later one; of the node with shard 0 the number of the layout, for
a new shard gets its first entry after that; then the reads. All nodes are written to before the
first is read, which costs no task for each.

A node that does not answer holds the others up for 2 s. From then on it is left out, and tried
beside the reads until it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from otel_bridge.cancellation import cancel
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.shards.layout import LAYOUT_FIELDS, TAGS, Layout, parse_layout
from otel_bridge.publish.shards.nodes import NODE_ERRORS, Command, Node, Nodes
from otel_bridge.publish.shards.position import StreamId
from otel_bridge.publish.transports.sharded.continuity import (
    BOUNDS_COMMANDS,
    Bounds,
    bounds_commands,
    parse_bounds,
    parse_id,
)
from otel_bridge.publish.transports.sharded.merge import Bound, full_bound, time_bound
from otel_bridge.publish.transports.sharded.status import ShardStatus

__all__ = ["AWAY_SEC", "Poll", "ShardPoller"]

AWAY_SEC: Final = 2.0
"""How long the log waits for a shard that does not answer. A replica takes over within about 1 s
(``cluster-node-timeout`` of a test), and by Redis' default within 15 s."""
_PROBE_SEC: Final = 0.5
_NOT_THERE: Final = (AskError, MovedError, ClusterDownError, MasterDownError, TryAgainError)
"""Error replies by which a shard is away, rather than the reader wrong."""
_MAX_BOUNDS_ATTEMPTS: Final = 5


class Poll(NamedTuple):
    """What one poll found; a record."""

    rows: dict[int, Sequence[Any]]
    """The new entries of each shard that answered, as Redis answers them."""
    full: list[int]
    """Of these the shards that may have more."""
    bound: Bound | None
    """Up to where all entries are known; None: no farther than before, as a shard is missing."""
    returned: list[int]
    """Shards that answer again; nothing of them is in ``rows``, as they are to be checked first."""
    gen: int | None
    """Number of the layout; 0: there is none; None: not known, as shard 0 did not answer."""


class ShardPoller:
    """
    Reads shards from their nodes; for one reader, on its event loop, one call at a time.

    Args:
        nodes: The servers.
        keys: Names of the log's keys.
        status: Gets clocks, lags and silent shards.

    Attributes:
        silent_since: Since when (monotonic) each shard that does not answer does not.
    """

    def __init__(self, nodes: Nodes, keys: RedisKeys, status: ShardStatus) -> None:
        self.silent_since: dict[int, float] = {}
        self._nodes = nodes
        self._keys = keys
        self._status = status
        self._streams = {shard: keys.log_stream(tag) for shard, tag in enumerate(TAGS)}
        self._shard_of = {stream.encode(): shard for shard, stream in self._streams.items()}
        self._probes: dict[Node, asyncio.Task[None]] = {}

    def is_away(self, shard: int) -> bool:
        """Whether a shard has not answered for so long that the log goes on without it."""
        since = self.silent_since.get(shard)
        return since is not None and time.monotonic() - since >= AWAY_SEC

    async def layout(self) -> Layout:
        """
        Read the layout of the log; ``SINGLE`` if there is none.

        Raises:
            RedisError, OSError, TimeoutError: The node of shard 0 does not answer.
            ValueError: The hash was not written by ``otel-bridge shards``.
        """
        await self._nodes.refresh()
        node = self._nodes.node_of(0)
        if node is None:
            raise ConnectionError("no node has shard 0")
        command = ("HMGET", self._keys.log_layout(), *LAYOUT_FIELDS)
        try:
            *_, values = await node.ask(self._asking(0, [command]))
            if isinstance(values, ResponseError):
                raise values
        except (*NODE_ERRORS, *_NOT_THERE) as error:
            self._note_silent([0], error)
            raise
        return parse_layout(values)

    async def bounds(self, shards: Sequence[int]) -> dict[int, Bounds]:
        """
        Ask which entries each shard has; those that do not answer are left out and noted as silent.

        Raises:
            RedisError: An error that is not about one node.
        """
        await self._nodes.refresh()
        found: dict[int, Bounds] = {}
        for _ in range(_MAX_BOUNDS_ATTEMPTS):
            missing = [shard for shard in shards if shard not in found]
            if not missing:
                break
            for node, own in self._nodes.by_node(missing).items():
                if self._is_left_out(node, own):
                    continue
                try:
                    await self._bounds_of(node, own, found)
                except NODE_ERRORS as error:
                    if isinstance(error, ResponseError) and not isinstance(error, _NOT_THERE):
                        raise
                    self._note_silent(own, error)
        return found

    async def _bounds_of(self, node: Node, shards: list[int], found: dict[int, Bounds]) -> None:
        commands: list[Command] = []
        for shard in shards:
            for command in bounds_commands(self._keys, shard):
                commands += self._asking(shard, [command])
        replies = await node.ask(commands)
        per_command = len(commands) // len(shards) // BOUNDS_COMMANDS
        size = BOUNDS_COMMANDS * per_command
        for at, shard in enumerate(shards):
            own = replies[at * size : (at + 1) * size][per_command - 1 :: per_command]
            for reply in own:
                if isinstance(reply, _NOT_THERE):
                    self._note_silent([shard], reply)
                elif isinstance(reply, ResponseError):
                    raise reply
            if not any(isinstance(reply, ResponseError) for reply in own):
                bounds = parse_bounds(own)
                if bounds is not None:
                    found[shard] = bounds

    async def newest(self, ends: Mapping[int, str], limit: int) -> dict[int, Sequence[Any]]:
        """
        Read the newest entries of each shard, newest first.

        Args:
            ends: Of each shard the id to start from, as ``XREVRANGE`` takes it.
            limit: Entries of each shard.

        Raises:
            RedisError, OSError, TimeoutError: A shard does not answer, unless it is away.
        """
        await self._nodes.refresh()
        found: dict[int, Sequence[Any]] = {}
        for node, own in self._nodes.by_node(ends).items():
            if self._is_left_out(node, own):
                continue
            for shard in own:
                stream = self._streams[shard]
                command = ("XREVRANGE", stream, ends[shard], "-", "COUNT", limit)
                *_, rows = await node.ask(self._asking(shard, [command]))
                if isinstance(rows, ResponseError):
                    self._note_silent([shard], rows)
                    raise rows
                found[shard] = rows
        return found

    async def poll(self, cursors: Mapping[int, StreamId], count: int, block_ms: int = 0) -> Poll:
        """
        Read what each shard has after its cursor.

        Args:
            cursors: The id after which to read each shard.
            count: Bound on the entries of each shard.
            block_ms: How long to wait for a first entry; not in a Cluster. What came after waiting
                is above ``bound``: poll again.

        Raises:
            RedisError, OSError, TimeoutError: No shard answers; or an error not about one node.
        """
        await self._nodes.refresh()
        asked = self._plan(cursors, count, block_ms)
        read = _PollResult(set(cursors))
        sent: list[tuple[Node, list[int], list[Command]]] = []
        failure: BaseException | None = None
        try:
            for node, shards, commands in asked:
                try:
                    await node.send(commands)
                except NODE_ERRORS as error:
                    failure = self._note_silent(shards, error)
                else:
                    sent.append((node, shards, commands))
            while sent:
                node, shards, commands = sent[0]
                try:
                    replies = await self._replies(node, len(commands))
                except NODE_ERRORS as error:
                    failure = self._note_silent(shards, error)
                else:
                    failure = self._take(node, shards, replies, count, read) or failure
                del sent[0]
        except BaseException:
            for node, *_ in sent:
                await node.disconnect()
            raise
        if not (read.rows or read.returned):
            raise failure or ConnectionError("no node has a shard of the log")
        self._status.note_shards(cursors, self.silent_since)
        missing = [shard for shard in read.missing if not self.is_away(shard)]
        bound = None if missing or not read.bounds else min(read.bounds)
        return Poll(read.rows, read.full, bound, read.returned, read.gen)

    def _plan(
        self, cursors: Mapping[int, StreamId], count: int, block_ms: int
    ) -> list[tuple[Node, list[int], list[Command]]]:
        asked = []
        by_node = self._nodes.by_node(cursors)
        left_out = {node for node, shards in by_node.items() if self._is_left_out(node, shards)}
        if len(left_out) == len(by_node):
            left_out.clear()
        for node in self._probes.keys() - by_node.keys():
            del self._probes[node]  # ends it
        for shard in cursors:
            if self._nodes.node_of(shard) is None:
                self._note_silent([shard], ConnectionError("no node has it"))
        for node, shards in by_node.items():
            if node not in left_out:
                asked.append((node, shards, self._commands(shards, cursors, count, block_ms)))
        return asked

    def _commands(
        self,
        shards: Sequence[int],
        cursors: Mapping[int, StreamId],
        count: int,
        block_ms: int,
    ) -> list[Command]:
        commands: list[Command] = [("TIME",)]
        if 0 in shards:
            commands += self._asking(0, [("HGET", self._keys.log_layout(), "gen")])
        ids = [f"{ms}-{seq}" for ms, seq in (cursors[shard] for shard in shards)]
        if self._nodes.is_cluster:
            for shard, after in zip(shards, ids, strict=True):
                read = ("XREAD", "COUNT", count, "STREAMS", self._streams[shard], after)
                commands += self._asking(shard, [read])
        else:
            block = ("BLOCK", block_ms) if block_ms > 0 else ()
            streams = [self._streams[shard] for shard in shards]
            commands.append(("XREAD", "COUNT", count, *block, "STREAMS", *streams, *ids))
        return commands

    def _asking(self, shard: int, commands: list[Command]) -> list[Command]:
        return [("ASKING",), *commands] if self._nodes.is_asking(shard) else commands

    async def _replies(self, node: Node, count: int) -> list[Any]:
        first = await node.replies(1)
        if isinstance(first[0], ResponseError):
            await node.disconnect()
            raise first[0]
        seconds, microseconds = first[0]
        time_ms = int(seconds) * 1000 + int(microseconds) // 1000
        self._status.note_time(node.name, time_ms)
        return [time_ms, *await node.replies(count - 1)]

    def _take(
        self, node: Node, shards: list[int], replies: list[Any], count: int, read: _PollResult
    ) -> BaseException | None:
        """Note what a node answered; returns why a shard of it could not be read."""
        time_ms = replies[0]
        at = 1
        if 0 in shards:
            at += self._nodes.is_asking(0)
            gen = replies[at]
            if not isinstance(gen, ResponseError):
                read.gen = int(gen or 0)
            at += 1
        answers: dict[int, Any] = {}
        if self._nodes.is_cluster:
            for shard in shards:
                at += self._nodes.is_asking(shard)
                answers[shard] = replies[at]
                at += 1
        elif isinstance(replies[at], ResponseError):
            answers = dict.fromkeys(shards, replies[at])
        else:
            found = {self._shard_of[key]: rows for key, rows in replies[at] or ()}
            answers = {shard: found and [(b"", found.get(shard, ()))] for shard in shards}
        failure: BaseException | None = None
        for shard, answer in answers.items():
            if isinstance(answer, ResponseError):
                failure = self._note_silent([shard], answer)
                if not isinstance(answer, _NOT_THERE):
                    raise answer
                continue
            self._note_rows(node, shard, time_ms, answer[0][1] if answer else (), count, read)
        return failure

    def _note_rows(
        self,
        node: Node,
        shard: int,
        time_ms: int,
        rows: Sequence[Any],
        count: int,
        read: _PollResult,
    ) -> None:
        if self.silent_since.pop(shard, None) is not None:
            read.returned.append(shard)
            return
        read.missing.discard(shard)
        read.rows[shard] = rows
        read.bounds.append(time_bound(time_ms))
        behind_ms = 0
        if len(rows) >= count:
            last = parse_id(rows[-1][0])
            read.full.append(shard)
            read.bounds.append(full_bound(shard, last))
            behind_ms = max(0, time_ms - last[0])
        self._status.note_read(shard, node.name, behind_ms)

    # --- nodes that do not answer ----------------------------------------------------------------

    def _note_silent(self, shards: Sequence[int], error: BaseException) -> BaseException:
        now = time.monotonic()
        for shard in shards:
            self.silent_since.setdefault(shard, now)
            self._nodes.note_error(shard, error)
        return error

    def _is_left_out(self, node: Node, shards: Sequence[int]) -> bool:
        """Whether to go on without a node; it is tried beside the reads meanwhile."""
        if not all(self.is_away(shard) for shard in shards):
            return False
        probe = self._probes.get(node)
        if probe is None:
            self._probes[node] = asyncio.create_task(self._probe(node), name="shard-probe")
            return True
        if not probe.done():
            return True
        del self._probes[node]
        return False

    async def _probe(self, node: Node) -> None:
        """Return once a node answers, or is no longer asked."""
        while self._probes.get(node) is asyncio.current_task():
            with contextlib.suppress(*NODE_ERRORS):
                await node.ping()
                return
            await asyncio.sleep(_PROBE_SEC)

    async def close(self) -> None:
        """Close all connections; a later call connects again."""
        probes, self._probes = list(self._probes.values()), {}
        await cancel(probes)
        await self._nodes.close()


class _PollResult:
    """What a poll has found so far."""

    def __init__(self, shards: set[int]) -> None:
        self.missing = shards
        self.rows: dict[int, Sequence[Any]] = {}
        self.full: list[int] = []
        self.bounds: list[Bound] = []
        self.returned: list[int] = []
        self.gen: int | None = None
