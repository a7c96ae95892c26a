"""
Where in the log a node's events are: by blocks of 64 entries, so that a node costs 8 bytes.

A position is a text of 70 bytes, and even as an integer 32 beside the 8 of the reference. So the
nodes of 64 entries share one: the position before these entries. To find an event again, 64 entries
are read and searched; of 700 bytes each that takes Redis and the collector under a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import pydantic_core

from otel_bridge.publish.transports.base import LogEntry
from otel_bridge_collector.model.events import END, FACTS

__all__ = ["BLOCK_ENTRIES", "Blocks", "NodeFacts", "find_facts"]

BLOCK_ENTRIES: Final = 64
_MAX_LINKS: Final = 128
"""As many as a span has by OpenTelemetry's default."""


class Blocks:
    """
    Says of each entry that is folded in which block of the log it is.

    For one reader of the log, on its event loop.

    Args:
        note: Called before the first entry of each block, with the position before it.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._last: str | None = None
        self._left = 0

    def parts(self, after: str | None, entries: Sequence[LogEntry]) -> Iterator[Sequence[LogEntry]]:
        """
        Iterate entries that were read together, block by block; before each, it is noted.

        Args:
            after: The position that they were read from. If it is not that of the last entry
                before, a new block starts, because the entries of a block follow each other. None:
                they are in no log, as in measurements; nothing is noted.
            entries: In the order of the log, in any number.

        Returns:
            The entries in parts of at most 64, each of one block.
        """
        start, count = 0, len(entries)
        if after is not None and after != self._last:
            self._last, self._left = after, 0
        while start < count:
            if after is None:
                stop = start + BLOCK_ENTRIES
            else:
                if not self._left:
                    self._left = BLOCK_ENTRIES
                    assert self._last is not None
                    self._note(self._last)
                stop = start + self._left
            part = entries[start:stop]
            yield part
            start += len(part)
            if after is not None:
                self._left -= len(part)
                self._last = part[-1].position


class NodeFacts(NamedTuple):
    """
    What the log says of a node beside what the collector holds; a record.

    Attributes:
        attributes: ``meta`` of its event; empty: it has none.
        links: Of its span, each with ``trace``, ``span`` and ``attributes``; None: the event does
            not say.
    """

    attributes: dict[str, Any]
    links: list[dict[str, Any]] | None


def find_facts(entries: Iterable[LogEntry], span_id: str) -> NodeFacts | None:
    """
    Return what a block of the log says of a node: by its own end, else by its newest event.

    Only events with attributes count, if there are any. Never raises; from any thread.

    Args:
        entries: Of the block, in their order; unreadable ones are passed by.
        span_id: Of the node, 16 hex digits.

    Returns:
        None if no event of it is among them.
    """
    needle = span_id.encode()
    best: tuple[bool, bool] | None = None
    found: dict[str, Any] = {}
    for entry in entries:
        if needle not in entry.data:
            continue
        try:
            event = pydantic_core.from_json(entry.data)
        except ValueError:
            continue
        if not isinstance(event, dict) or event.get("span_id") != span_id:
            continue
        fact = FACTS.get(str(event.get("event_type")))
        is_end = fact is not None and fact.side == END and event.get("ended_by") in (None, "self")
        rank = isinstance(event.get("meta"), dict) and bool(event["meta"]), is_end
        if best is None or rank >= best:
            best, found = rank, event
    if best is None:
        return None
    meta = found.get("meta")
    return NodeFacts(meta if isinstance(meta, dict) else {}, _links_of(found.get("links")))


def _links_of(links: Any) -> list[dict[str, Any]] | None:
    if not isinstance(links, list):
        return None
    return [
        {
            "trace": link.get("trace"),
            "span": link.get("span"),
            "attributes": link.get("attributes") or {},
        }
        for link in links[:_MAX_LINKS]
        if isinstance(link, dict)
    ]
