"""
``LineDrain``: log lines become what is stored, in the bus's thread: masked, numbered, by node.

The dear part of a line is here: masking its secrets takes 1 to 8 us, and holds the GIL meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_bridge.events.redaction import redact_text
from otel_bridge.lines.line import MAX_LINES, SpanLines, encode_line
from otel_bridge.lines.line_queue import MAX_RAW_CHARS, LineQueue, RawLine
from otel_bridge.lines.source import LineSource

__all__ = ["LineDrain", "NodeId"]

NodeId = tuple[int, str | None]
"""The span id of a node, a whole number, and its project."""
_MAX_NODES: Final = 10_000
"""Nodes whose numbers are remembered, 3 MB; what is not used longest is forgotten first."""
_MAX_WAITING: Final = 10_000
"""Encoded lines that wait to be stored, 11 MB of the longest."""
_RENEWAL_SEC: Final = 60.0
_OUTCOMES: Final = {"completed": "completed", "failed": "failed", "retrying": "failed"}
"""How long lines are kept, by the status in the event of a node's end: of a retry as of a failure.
"""


class _Node:
    __slots__ = (
        "is_waiting",
        "last",
        "lines",
        "n",
        "outcome",
        "project_id",
        "renewed_at",
        "sources",
        "span_id",
    )

    def __init__(self, span_id: str, project_id: str | None) -> None:
        self.span_id = span_id
        self.project_id = project_id
        self.n = 0
        """Lines so far, with those that were dropped."""
        self.last = 0
        """The number of the last line that was not."""
        # What is beyond 200 would be trimmed in the store.
        self.lines: deque[bytes] = deque(maxlen=MAX_LINES)
        self.outcome: str | None = None
        self.renewed_at = float("-inf")
        self.sources: list[LineSource] = []
        self.is_waiting = False


class LineDrain:
    """
    Takes lines from a queue and gives what is to be stored; for the bus's thread alone.

    It remembers 10,000 nodes (jobs, phases and tasks) by their last number, and holds 10,000 lines
    that wait to be stored; what comes beyond is lost and counted. No method waits or raises.

    Args:
        queue: What the tap on ``logging`` fills.
        node_of: Finds the node of a span of another library, by trace id and span id, and the id of
            the block around it, at which it gives up; None: it is in none that is shown.

    Attributes:
        lost: Lines that passed the limits and were not stored; the owner adds what the store lost.
        waiting: Lines that wait to be stored.
    """

    def __init__(
        self, queue: LineQueue, node_of: Callable[[tuple[int, int], int | None], NodeId | None]
    ) -> None:
        self.lost = self.waiting = 0
        self._queue = queue
        self._node_of = node_of
        self._nodes: OrderedDict[str, _Node] = OrderedDict()
        self._ready: OrderedDict[str, _Node] = OrderedDict()
        self._taken: list[RawLine] = []
        # What ended in this round, and in the one before: see ``begin_round``.
        self._ended_sources: list[LineSource] = []
        self._ended_nodes: list[tuple[str, str]] = []
        self._due_sources: list[LineSource] = []
        self._due_nodes: list[tuple[str, str]] = []

    @property
    def dropped(self) -> int:
        """Lines that are not shown: over a limit, unreadable, or lost."""
        return self._queue.dropped + self._queue.failed + self.lost

    @property
    def is_ready(self) -> bool:
        """Whether something is to be stored."""
        return bool(self._ready)

    def span_ended(self, span_id: int) -> None:
        """Note that a span has ended; lines that it wrote before may still be in the queue."""
        source = self._queue.sources.pop(span_id, None)
        if source is not None:
            self._ended_sources.append(source)

    def note_event(self, fields: Mapping[str, Any]) -> None:
        """Note the end of a node from the fields of an event; other events change nothing."""
        outcome = _OUTCOMES.get(fields.get("status", ""))
        span_id = fields.get("span_id")
        if outcome is not None and span_id is not None:
            self._ended_nodes.append((span_id, outcome))

    def begin_round(self) -> None:
        """
        Take what is in the queue, before the starts and ends of spans are taken from theirs.

        So each line comes after the start of its span. It comes before the end, too: what ended is
        kept until the lines of the next round were taken.
        """
        self._taken += self._queue.take()
        self._due_sources += self._ended_sources
        self._due_nodes += self._ended_nodes
        self._ended_sources, self._ended_nodes = [], []

    def end_round(self) -> None:
        """Mask, number and encode what ``begin_round`` took, then end what had ended by then."""
        for raw in self._taken:
            try:
                self._take(raw)
            except Exception:
                self.lost += 1
        for source in self._due_sources:
            self._end_source(source)
        for span_id, outcome in self._due_nodes:
            node = self._nodes.get(span_id)
            if node is not None:
                self._end(node, outcome)
        self._taken, self._due_sources, self._due_nodes = [], [], []

    def _take(self, raw: RawLine) -> None:
        source = raw.source
        node = source.node
        if node is None:
            node = self._place(source)
            if node is None:
                return  # in no node that is shown
        self._count_dropped(node, source, raw.dropped)
        node.n += 1
        if self.waiting >= _MAX_WAITING:
            self.lost += 1
            return
        text = raw.text
        if len(text) > MAX_RAW_CHARS:
            # Not in the middle of a word, which may be a secret.
            text = text[:MAX_RAW_CHARS].rsplit(None, 1)[0]
        self._add(node, raw.at_ms, raw.level, raw.name, redact_text(text))

    def _end_source(self, source: LineSource) -> None:
        node = source.node
        if node is None and source.dropped:
            node = self._place(source)  # not one of its lines was let through
        if node is not None:
            self._count_dropped(node, source, source.dropped)
            if source in node.sources:
                node.sources.remove(source)

    def _place(self, source: LineSource) -> _Node | None:
        """Find the node of a source, and remember it; None: it is in none that is shown."""
        block = source if source.is_block else source.block
        found: NodeId | None = None
        if not source.is_block:
            found = self._node_of(source.key, None if block is None else block.key[1])
        if found is None:
            if block is None:
                return None
            found = block.key[1], block.project_id
        span_id, project_id = f"{found[0]:016x}", found[1]
        node = self._nodes.get(span_id)
        if node is None:
            node = self._nodes[span_id] = _Node(span_id, project_id)
            if len(self._nodes) > _MAX_NODES:
                self._nodes.popitem(last=False)
        else:
            self._nodes.move_to_end(span_id)
        node.sources.append(source)
        source.node = node
        return node

    def _count_dropped(self, node: _Node, source: LineSource, dropped: int) -> None:
        if dropped > source.counted:
            node.n += dropped - source.counted
            source.counted = dropped

    def _add(self, node: _Node, at_ms: int, level: int, name: str, text: str) -> None:
        if len(node.lines) < MAX_LINES:
            self.waiting += 1
        node.lines.append(encode_line(at_ms, level, name, text, node.n))
        node.last = node.n
        self._ready[node.span_id] = node

    def _end(self, node: _Node, outcome: str) -> None:
        for source in node.sources:
            self._count_dropped(node, source, source.dropped)
        node.sources.clear()
        if node.n > node.last:
            # Else nothing would say so: a gap shows only before a line.
            count = node.n - node.last
            text = f"{count:,} more {'line was' if count == 1 else 'lines were'} dropped"
            node.n += 1
            self._add(node, time.time_ns() // 1_000_000, logging.INFO, "otel_bridge", text)
        node.outcome = outcome
        self._ready[node.span_id] = node

    def take_batch(self, now: float, limit: int = 1000) -> list[SpanLines]:
        """
        Remove and return what is to be stored next: that of the nodes that waited longest.

        Args:
            now: Monotonic time, in seconds.
            limit: The most lines, at least 200; default 1,000.

        Returns:
            Each node once, with its last 200 lines at most; empty if nothing waits.
        """
        batch: list[SpanLines] = []
        count = 0
        while self._ready and count <= limit - MAX_LINES and len(batch) < limit:
            span_id, node = self._ready.popitem(last=False)
            lines = list(node.lines)
            node.lines.clear()
            self.waiting -= len(lines)
            count += len(lines)
            is_due = node.outcome is not None or now - node.renewed_at >= _RENEWAL_SEC
            if is_due:
                node.renewed_at = now
            found = SpanLines(span_id, lines, node.project_id, node.outcome, is_due)
            batch.append(found)
        return batch

    def lose(self, batch: list[SpanLines]) -> None:
        """Count the lines of a batch that could not be stored; ends of nodes are tried again."""
        for of_span in batch:
            self.lost += len(of_span.lines)
            node = self._nodes.get(of_span.span_id)
            if node is not None:
                node.renewed_at = float("-inf")
                if of_span.outcome is not None:
                    self._ready[node.span_id] = node
