"""
``LinesIngest``: log records that come over OTLP become lines of the node (span) they belong to.

A record names the span that wrote it; its line is shown at the nearest task, phase or job.
Exporters send a span when it ends, often after its records. So a record of an unknown span is held
for 10 s, then it is shown at the task of its trace.

Senders get a success for lines that are dropped: to reject each batch would only fill their own
logs. All is counted, and a dropped line of a known node has a number, so that readers see the gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from otel_bridge.cancellation import cancel
from otel_bridge.clock import Clock
from otel_bridge.errors import TransportError
from otel_bridge.publish.transports.base import SpanLines, SpanStack
from otel_bridge.stacks.bound import bound
from otel_bridge_collector.lines.limits import SenderLimits
from otel_bridge_collector.lines.nodes import NodeLines, encode_all
from otel_bridge_collector.lines.owners import Owners
from otel_bridge_collector.lines.records import Record, Records
from otel_bridge_collector.lines.service import LinesService
from otel_bridge_collector.model.events import COMPLETED
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Node
from otel_bridge_collector.model.reading.projects import is_shared, project_of
from otel_bridge_collector.security.tokens import Principal

__all__ = ["DROPS", "Elsewhere", "LinesIngest"]

logger = logging.getLogger(__name__)

DROPS: Final = ("limit", "no_span", "no_trace", "project", "store")
"""Why records are dropped: over a limit; no node or task is known; it names no span; the token may
not write to the project of the node; the store cannot be reached, or denies it."""
_HOLD_SEC: Final = 10.0
_MAX_HELD: Final = 1000
_MAX_HELD_SIZE: Final = 1024 * 1024
_SWEEP_SEC: Final = 1.0
_END_SEC: Final = 5.0
"""How often it is looked which nodes have ended: 10,000 take 2 ms."""
_MAX_NODES: Final = 10_000
_MAX_SENDERS: Final = 256
_MAX_BATCH: Final = 1000
"""Lines that are stored at once."""
_DUE_SEC: Final = 60.0
_MAX_STACKS: Final = 100
"""Of one request; each takes 0.1 to 10 ms to be shortened."""


class Elsewhere(Protocol):
    """The parts of the state that other collectors hold; ``cluster.edge.lines`` has it."""

    def model_of(self, trace_id: int) -> Fold:
        """The model of a trace, here."""

    def node(self, key: int) -> Node | None:
        """A span that is held here."""

    async def send(self, records: Sequence[Record], principal: Principal) -> list[Record]:
        """Pass records on; return those to be taken here (async)."""


class _Held(NamedTuple):
    until: float
    record: Record
    principal: Principal


class _Owned(NamedTuple):
    span_id: str
    project: str | None
    has_stack: bool
    record: Record
    sender: SenderLimits


class LinesIngest:
    """
    Takes the ordinary log records of OTLP requests; the application makes one.

    Limits, as of a worker of this library: a node 50 lines a second and 500 at once, warnings and
    worse 5 and 100; a sender 1,000 and 4,000. Records of unknown spans wait for 10 s, at most 1,000
    and 1 MiB in all; over that they go to the task of their trace at once. Numbers of lines go on
    from what is stored, so they rise over restarts and several collectors.

    Use it on the collector's event loop; ``close`` ends it. Nothing is raised for a store that
    cannot be reached: what it cannot take is dropped and counted.

    Args:
        model: The collector's state; only read.
        service: Takes lines and stacks, and reads the number of a node's newest line.
        clock: Source of the time.
        elsewhere: Where other collectors hold a part of the state; default None: this one has all.

    Attributes:
        owners: Which node a span's lines belong to; it is given the parents of spans.
        received: Log records that are no lifecycle records.
        stored: Lines that were stored.
        dropped: Records that were dropped, by cause; all ``DROPS`` from the start.
    """

    def __init__(
        self,
        model: Fold,
        service: LinesService,
        clock: Clock,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.owners = Owners(model, None if elsewhere is None else elsewhere.model_of)
        self._elsewhere = elsewhere
        self.received = 0
        self.stored = 0
        self.dropped: Counter[str] = Counter(dict.fromkeys(DROPS, 0))
        self._model = model
        self._service = service
        self._clock = clock
        self._nodes: OrderedDict[str, NodeLines] = OrderedDict()
        self._senders: OrderedDict[str, SenderLimits] = OrderedDict()
        self._held: deque[_Held] = deque()
        self._held_size = 0
        self._lock = asyncio.Lock()
        self._end_at = 0.0
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Records that wait for their span."""
        return len(self._held)

    async def close(self) -> None:
        """End the task that looks after records that wait (async); what waits is lost."""
        if self._sweeper is not None:
            await cancel([self._sweeper])
            self._sweeper = None

    async def take(self, records: Records, principal: Principal) -> None:
        """
        Store the records of a request as lines, hold those of unknown spans (async).

        Args:
            records: As ``read_records`` returns them.
            principal: The sender, whose projects limit what it may write to.
        """
        self.received += len(records.found) + records.untraced
        self.dropped["no_trace"] += records.untraced
        found: Sequence[Record] = records.found
        if self._elsewhere is not None:
            found = await self._elsewhere.send(found, principal)
        await self.take_here(found, principal)

    async def take_here(self, records: Sequence[Record], principal: Principal) -> None:
        """As ``take``, of records whose spans this collector holds, or is about to (async)."""
        async with self._lock:
            now = self._clock.monotonic()
            owned: list[_Owned | None] = []
            for record in records:
                node = self.owners.of_span(record.trace_id, record.span_id)
                if node is None and not self._hold(record, principal, now):
                    node = self._fallback(record)
                if node is not None:
                    owned.append(self._owned(node, record, principal))
            await self._write(owned)
        if (self._held or self._nodes) and (self._sweeper is None or self._sweeper.done()):
            self._sweeper = asyncio.create_task(self._sweep(), name="otlp-lines")

    async def look_again(self) -> None:
        """
        Store the held records whose node is known by now, or that have waited for 10 s (async).

        The lines of nodes that have ended are kept from then on as long as their outcome says: 15
        minutes, or a day after a failure.
        """
        await self._pass_held_on()
        async with self._lock:
            now = self._clock.monotonic()
            owned: list[_Owned | None] = []
            waiting: deque[_Held] = deque()
            for one in self._held:
                record = one.record
                node = self.owners.of_span(record.trace_id, record.span_id)
                if node is None and now >= one.until:
                    node = self._fallback(record)
                elif node is None:
                    waiting.append(one)
                    continue
                self._held_size -= record.size
                if node is not None:
                    owned.append(self._owned(node, record, one.principal))
            self._held = waiting
            await self._write(owned)
            if now >= self._end_at:
                self._end_at = now + _END_SEC
                await self._end_nodes(now)

    async def _pass_held_on(self) -> None:
        """Send the held records away whose trace turned out to be held by another collector."""
        if self._elsewhere is None or not self._held:
            return
        async with self._lock:
            kept: deque[_Held] = deque()
            for one in self._held:
                if await self._elsewhere.send((one.record,), one.principal):
                    kept.append(one)
                else:
                    self._held_size -= one.record.size
            self._held = kept

    async def _sweep(self) -> None:
        while self._held or self._nodes:
            await asyncio.sleep(_SWEEP_SEC)
            try:
                await self.look_again()
            except Exception:
                logger.exception("log lines that wait for their span could not be looked at")

    def _hold(self, record: Record, principal: Principal, now: float) -> bool:
        if len(self._held) >= _MAX_HELD or self._held_size + record.size > _MAX_HELD_SIZE:
            return False
        self._held.append(_Held(now + _HOLD_SEC, record, principal))
        self._held_size += record.size
        return True

    def _fallback(self, record: Record) -> Node | None:
        node = self.owners.of_trace(record.trace_id)
        self.dropped["no_span"] += node is None
        return node

    def _owned(self, node: Node, record: Record, principal: Principal) -> _Owned | None:
        """A record and what is to be known of its node, which may be evicted at the next await."""
        task = node.own.task
        project = project_of(task)
        may_write = principal.projects is None or not is_shared(task)
        if not may_write or not principal.may_use(project):
            self.dropped["project"] += 1
            return None
        has_stack = node.more is not None and node.more.stack is not None
        return _Owned(f"{node.key:016x}", project, has_stack, record, self._sender(principal))

    async def _write(self, owned: Sequence[_Owned | None]) -> None:
        now = self._clock.monotonic()
        allowed = [one for one in owned if one is not None]
        await self._begin({one.span_id: one.project for one in allowed})
        changed: dict[str, NodeLines] = {}
        stacks: dict[str, tuple[str, str | None]] = {}
        for span_id, project, has_stack, record, sender in allowed:
            lines = changed[span_id] = self._nodes[span_id]
            if not lines.add(record, now, sender):
                self.dropped["limit"] += 1
            # What a node failed with is the better one, and may be there already.
            if record.stack and not has_stack and len(stacks) < _MAX_STACKS:
                stacks[span_id] = record.stack, project
        await self._send(changed, now)
        if stacks:
            await self._send_stacks(stacks)

    async def _begin(self, projects: dict[str, str | None]) -> None:
        """Make the records of nodes that have none; their numbers go on from what is stored."""
        for span_id in projects.keys() & self._nodes.keys():
            self._nodes.move_to_end(span_id)
        new = [span_id for span_id in projects if span_id not in self._nodes]
        if not new:
            return
        newest: Sequence[bytes | None]
        try:
            newest = await self._service.reader.newest(new)
        except TransportError:
            newest = [None] * len(new)
        for span_id, line in zip(new, newest, strict=True):
            self._nodes[span_id] = NodeLines(projects[span_id], line)
        # Those of this request are the last ones.
        while len(self._nodes) > max(_MAX_NODES, len(projects)):
            self._nodes.popitem(last=False)

    async def _send(self, changed: dict[str, NodeLines], now: float) -> None:
        batch: list[tuple[str, NodeLines]] = []
        count = 0
        for span_id, lines in changed.items():
            if not lines.pending:
                continue
            batch.append((span_id, lines))
            count += len(lines.pending)
            if count >= _MAX_BATCH:
                await self._send_batch(batch, now)
                batch, count = [], 0
        if batch:
            await self._send_batch(batch, now)

    async def _send_batch(self, batch: Sequence[tuple[str, NodeLines]], now: float) -> None:
        taken = [(span_id, lines, lines.take_pending()) for span_id, lines in batch]
        encoded = await asyncio.to_thread(encode_all, [pending for _, _, pending in taken])
        sent = []
        for (span_id, lines, _), found in zip(taken, encoded, strict=True):
            is_due = lines.is_due(now, _DUE_SEC)
            sent.append(SpanLines(span_id, found, lines.project, lines.outcome, is_due))
        await self._store_lines(sent)

    async def _store_lines(self, sent: list[SpanLines]) -> None:
        count = sum(len(one.lines) for one in sent)
        try:
            lost = await self._service.store_lines(sent)
        except TransportError:
            logger.debug("log lines were dropped", exc_info=True)
            lost = count
        self.stored += count - lost
        self.dropped["store"] += lost

    async def _send_stacks(self, stacks: dict[str, tuple[str, str | None]]) -> None:
        found = [
            SpanStack(span_id, await asyncio.to_thread(bound, text), project)
            for span_id, (text, project) in stacks.items()
        ]
        try:
            await self._service.store_stacks(found)
        except TransportError:
            logger.debug("stacks of log records were dropped", exc_info=True)

    async def _end_nodes(self, now: float) -> None:
        """Note how nodes have ended, in the store too; forget those that did so a while ago."""
        ended: list[SpanLines] = []
        at_ms = self._clock.time_ns() // 1_000_000
        for span_id, lines in list(self._nodes.items()):
            node = self._node(int(span_id, 16))
            if node is None or lines.outcome is not None:
                if lines.is_due(now, _DUE_SEC):
                    del self._nodes[span_id]
            elif node.end:
                # An attempt that is to be tried again has failed as well.
                lines.outcome = "completed" if node.ended & 7 == COMPLETED else "failed"
                lines.is_due(now, 0.0)
                last = lines.last_line(at_ms)
                ended.append(SpanLines(span_id, last, lines.project, lines.outcome))
        if ended:
            await self._store_lines(ended)

    def _node(self, key: int) -> Node | None:
        if self._elsewhere is not None:
            return self._elsewhere.node(key)
        found = self._model.tree.nodes.get(key)
        return found

    def _sender(self, principal: Principal) -> SenderLimits:
        account = principal.account
        found = self._senders.get(account)
        if found is None:
            found = self._senders[account] = SenderLimits()
            if len(self._senders) > _MAX_SENDERS:
                self._senders.popitem(last=False)
        self._senders.move_to_end(account)
        return found
