"""
The view ``events``: the newest events that pass the filters, oldest first.

What passed is kept from tick to tick for each query, so that a tick looks at new events alone: at
5,000 events a second and ten ticks at 500 instead of at all 20,000 of the ring. An event whose
project became known after it came is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic_core import to_json

from otel_bridge_collector.views.listing import Listing, Scope, Window, merge_listings, window
from otel_bridge_collector.views.state import EventRing, ViewState
from otel_bridge_collector.wire.event_matcher import EventMatcher, HeldEvent
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.events import EventsHead
from otel_bridge_collector.wire.views.params import EventsParams

__all__ = ["compute", "matcher_of", "merge"]

_KEPT_US: Final = 60_000_000
"""What no client has asked for in so long is forgotten."""
_MAX_KEPT: Final = 2100
"""More than the 2,000 subscriptions that a collector computes."""


def matcher_of(params: EventsParams, scope: Scope) -> EventMatcher:
    """
    Return which events pass the parameters of the view, for a reader; pure, raises nothing.

    Args:
        params: The filters of the view; ``count`` is none.
        scope: The projects that the reader may see; None: all.
    """
    return EventMatcher(
        base=EventFilter(project_id=params.project, projects=scope),
        task=params.task,
        job=params.job,
        type=params.type,
        statuses=None if params.status is None else frozenset(params.status),
        text=(params.text or "").casefold() or None,
        is_all=params.all,
    )


def compute(state: ViewState, params: EventsParams, scope: Scope) -> Listing:
    """
    List the newest events that pass the filters, oldest first; raises nothing.

    Computed on the collector's event loop. The first time it looks at the events in memory until
    enough pass, at most 20,000; then at new ones. Events that have left memory since then stay
    listed, so that rare ones do not vanish from a busy log.

    Args:
        state: With the ring of the newest events; keeps what passed for 60 s after it was last
            asked for.
        params: Filters, and how many rows.
        scope: The projects that the reader may see; None: all. As on ``/ws/monitor``, a limited
            reader gets no event for which no project is known.

    Returns:
        One row for each event, at most ``count``, and in ``sums`` the numbers of the head.
    """
    if state.ring is None:
        nothing: dict[str, bytes] = {}
        return Listing((), nothing.__getitem__, {"passed": 0, "older": False})
    kept = _kept(state, (matcher_of(params, scope), params.count))
    kept.update(state.ring)
    rows = {key: row for _, key, row in kept.rows.values()}
    order = [(place, key) for place, key, _ in kept.rows.values()]
    return Listing(order, rows.__getitem__, {"passed": kept.passed, "older": kept.older})


def merge(parts: Sequence[Listing], params: EventsParams) -> Window:
    """
    Merge the parts of several processes, each with events of its own, and take the newest rows.

    Pure.

    Args:
        parts: One listing for each process, at least one; no event is in two.
        params: ``count``: how many rows.

    Raises:
        KeyError: There are no parts.
    """
    listing = merge_listings(parts)
    first, rows = window(listing, "end", params.count)
    older = first > 0 or bool(listing.sums["older"])
    head = EventsHead(passed=listing.sums["passed"], older=older)
    return Window(head.model_dump(), rows)


def _kept(state: ViewState, key: tuple[EventMatcher, int]) -> _Kept:
    """What is kept for a query; forgets what was asked for longest ago."""
    all_kept = state.kept_events
    kept: _Kept = all_kept.pop(key, None) or _Kept(*key)
    kept.asked_at = state.now
    all_kept[key] = kept
    while True:
        oldest = next(iter(all_kept))
        if all_kept[oldest].asked_at > state.now - _KEPT_US and len(all_kept) <= _MAX_KEPT:
            return kept
        del all_kept[oldest]


class _Kept:
    """
    The newest events that pass one query, by their index in the ring.

    Attributes:
        rows: Place in the log for sorting, key, and JSON of each row, oldest first.
        passed: As in the head, as is ``older``.
        asked_at: When it was last asked for, microseconds.
    """

    __slots__ = (
        "_changes",
        "_count",
        "_first",
        "_index",
        "_matches",
        "_resets",
        "asked_at",
        "older",
        "passed",
        "rows",
    )

    def __init__(self, matcher: EventMatcher, count: int) -> None:
        self.rows: dict[int, tuple[tuple[int, ...], str, bytes]] = {}
        self.passed = 0
        self.older = False
        self.asked_at = 0
        self._matches = matcher.matches
        self._count = count
        self._index = 0
        """Up to it the ring was looked at."""
        self._first = 0
        """From it on all that pass are in ``rows``."""
        self._resets = self._changes = -1

    def update(self, ring: EventRing) -> None:
        """Look at what is new in the ring, or has got another project."""
        known = self._index
        if self._resets != ring.resets or not ring.holds_all_after(known):
            self._start(ring)
            return
        if known < ring.last_index:
            self._add([entry for entry in ring.after_index(known) if self._passes(entry)])
            self._index = ring.last_index
        if self._changes != ring.changes:
            changed = ring.changed_after(self._changes)
            if changed is None:
                self._start(ring)
            else:
                self._correct(changed, known)
                self._changes = ring.changes

    def _passes(self, entry: HeldEvent) -> bool:
        return entry.position is not None and self._matches(entry)

    def _start(self, ring: EventRing) -> None:
        """Look at the ring from its end until there are enough."""
        found: list[HeldEvent] = []
        self.older = ring.has_evicted
        self._first = ring.last_index + 1
        for entry in ring.newest():
            if len(found) == self._count:
                self.older = True
                self._first = found[-1].index
                break
            if self._passes(entry):
                found.append(entry)
            self._first = entry.index
        self.passed += sum(entry.index > self._index for entry in found)
        self.rows = {entry.index: _row(entry) for entry in reversed(found)}
        self._index = ring.last_index
        self._resets, self._changes = ring.resets, ring.changes

    def _add(self, found: Sequence[HeldEvent]) -> None:
        self.passed += len(found)
        for entry in found[-self._count :]:
            self.rows[entry.index] = _row(entry)
        if len(found) > self._count:
            self._first, self.older = found[-self._count].index, True
        self._trim()

    def _trim(self) -> None:
        for index in list(self.rows)[: -self._count]:
            del self.rows[index]
            self._first, self.older = max(self._first, index + 1), True

    def _correct(self, changed: Sequence[HeldEvent], known: int) -> None:
        """Look again at events that got their project after they were looked at."""
        for entry in changed:
            index = entry.index
            if index > known:
                continue
            if not self._passes(entry):
                self.rows.pop(index, None)
            elif index < self._first:
                self.older = True
            elif index not in self.rows:
                self.passed += 1
                self.rows[index] = _row(entry)
        self.rows = dict(sorted(self.rows.items()))
        self._trim()


def _row(entry: HeldEvent) -> tuple[tuple[int, ...], str, bytes]:
    """An event as a row, of its bytes as they are; its place sorts rows of several processes."""
    key = entry.position or ""
    numbers = key.rpartition(":")[2].split("-")
    place = tuple(int(number) for number in numbers if number.isdecimal())
    return place, key, b'{"k":' + to_json(key) + b',"event":' + entry.data + b"}"
