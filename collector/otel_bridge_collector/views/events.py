"""
The view ``events``: the newest events that pass the filters, oldest first.

What passed is kept from tick to tick for each query, so that a tick looks at new events alone: at
5,000 events a second and ten ticks at 500 instead of at all 20,000 of the ring. An event whose
project became known after it came is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from pydantic_core import to_json

from otel_bridge_collector.views.listing import Listing, Scope, Window, window
from otel_bridge_collector.views.parts import Around, Slice, join_slices, slice_of, slice_window
from otel_bridge_collector.views.state import EventRing, ViewState
from otel_bridge_collector.wire.event_matcher import EventMatcher, HeldEvent
from otel_bridge_collector.wire.filters import EventFilter
from otel_bridge_collector.wire.views.events import EventsHead
from otel_bridge_collector.wire.views.params import EventsParams

__all__ = ["compute", "matcher_of", "merge", "select"]

_SCAN_EVENTS: Final = 5000
"""Events of the ring that are looked at in one tick for one query, before what it knows: some 5 ms
for a rare text. A client can ask for 20 views a second."""
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

    Computed on the collector's event loop. It looks at new events, and further back in the ring
    (20,000 events) as long as too few have passed, 5,000 each time; so rare events of a large ring
    come with the next ticks. Events that have left the ring since they were found stay listed, so
    that rare ones do not vanish from a busy log.

    Args:
        state: With the ring of the newest events; keeps what passed for 60 s after it was last
            asked for.
        params: Filters, and how many rows.
        scope: The projects that the reader may see; None: all. As on ``/ws/monitor``, a limited
            reader gets no event for which no project is known.

    Returns:
        One row for each event, at most ``count`` and the one before them, and in ``sums`` the
        numbers of the head.
    """
    if state.ring is None:
        nothing: dict[str, bytes] = {}
        return Listing((), nothing.__getitem__, {"passed": 0, "older": False})
    # One more than is shown: whether there are older ones must not depend on events of others.
    kept = _kept(state, (matcher_of(params, scope), params.count + 1))
    kept.update(state.ring)
    rows = {key: row for _, key, row in kept.rows.values()}
    order = [(place, key) for place, key, _ in kept.rows.values()]
    return Listing(order, rows.__getitem__, {"passed": kept.passed, "older": kept.older})


def select(part: Listing, params: EventsParams, around: Around = None) -> Slice:
    """Take what ``join`` needs: all rows of a part; on the collector's event loop."""
    del around
    sums = {"passed": part.sums["passed"], "older": int(part.sums["older"])}
    return slice_of(part._replace(sums=sums), "end", params.count + 1)


def merge(parts: Sequence[Listing | Slice], params: EventsParams) -> Window:
    """
    Merge several parts, each with events of its own, and take the newest rows; pure.

    Members of a cluster have no need of that: each computes the view from its own ring, which has
    the events of all.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join_slices`` returned it; no event is
            in two.
        params: ``count``: how many rows.

    Raises:
        KeyError: There are no parts.
    """
    if len(parts) == 1 and isinstance(parts[0], Listing):
        listing = parts[0]
        first, rows = window(listing, "end", params.count)
        sums = listing.sums
    else:
        part = join_slices(
            [select(one, params) if isinstance(one, Listing) else one for one in parts]
        )
        first, rows = slice_window(part, "end", params.count)
        sums = part.sums
    head = EventsHead(passed=sums["passed"], older=first > 0 or bool(sums["older"]))
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
        passed: As in the head.
        asked_at: When it was last asked for, microseconds.
    """

    __slots__ = (
        "_changes",
        "_count",
        "_counted",
        "_first",
        "_has_dropped",
        "_index",
        "_is_whole",
        "_may_look_back",
        "_passes",
        "_resets",
        "asked_at",
        "passed",
        "rows",
    )

    def __init__(self, matcher: EventMatcher, count: int) -> None:
        self.rows: dict[int, tuple[tuple[int, ...], str, bytes]] = {}
        self.passed = 0
        self.asked_at = 0
        self._passes = matcher.matches
        self._count = count
        self._index = 0
        """Up to it the ring was looked at."""
        self._first = 0
        """From it on all that pass are in ``rows``."""
        self._counted = 0
        """From it on all that pass are in ``passed``."""
        self._may_look_back = True
        """Whether the ring may hold more before ``_first``."""
        self._is_whole = self._has_dropped = False
        """Whether it was looked at from the start of the log; whether rows have left."""
        self._resets = self._changes = -1

    @property
    def older(self) -> bool:
        """As in the head."""
        return self._has_dropped or not self._is_whole

    def update(self, ring: EventRing) -> None:
        """Look at what is new in the ring, at what has got another project, and further back."""
        known = self._index
        if self._resets != ring.resets or not ring.holds_all_after(known):
            self._start_at_end(ring)
            self._counted = self._first
        else:
            if known < ring.last_index:
                self._add([entry for entry in ring.after_index(known) if self._is_row(entry)])
            if self._changes != ring.changes:
                changed = ring.changed_after(self._changes)
                if changed is None:
                    self._start_at_end(ring)
                else:
                    self._correct(changed, known)
        self._index, self._changes = ring.last_index, ring.changes
        if self._may_look_back and len(self.rows) < self._count:
            self._look_back(ring)

    def _is_row(self, entry: HeldEvent) -> bool:
        return entry.position is not None and self._passes(entry)

    def _start_at_end(self, ring: EventRing) -> None:
        self.rows = {}
        self._first = ring.last_index + 1
        self._may_look_back, self._is_whole, self._has_dropped = True, False, False
        self._resets = ring.resets

    def _look_back(self, ring: EventRing) -> None:
        """Look at a part of the ring before what is known, until there are enough rows."""
        seen = ring.last_index + 1 - self._first
        part = list(islice(ring.newest(), seen, seen + _SCAN_EVENTS))
        found: dict[int, tuple[tuple[int, ...], str, bytes]] = {}
        for entry in part:
            if len(self.rows) + len(found) == self._count:
                break
            self._first = entry.index
            if self._is_row(entry):
                found[entry.index] = _row(entry)
                is_shown = len(self.rows) + len(found) < self._count
                self.passed += is_shown and entry.index < self._counted
        else:
            self._may_look_back = len(part) == _SCAN_EVENTS
            self._is_whole = not self._may_look_back and not ring.has_evicted
        self._counted = min(self._counted, self._first)
        self.rows = dict(reversed(found.items())) | self.rows

    def _add(self, found: Sequence[HeldEvent]) -> None:
        self.passed += len(found)
        if len(found) > self._count:
            self._first, self._has_dropped = found[-self._count].index, True
        for entry in found[-self._count :]:
            self.rows[entry.index] = _row(entry)
        self._trim()

    def _trim(self) -> None:
        for index in list(self.rows)[: -self._count]:
            del self.rows[index]
            self._first, self._has_dropped = max(self._first, index + 1), True

    def _correct(self, changed: Sequence[HeldEvent], known: int) -> None:
        """Look again at events that got their project after they were looked at."""
        for entry in changed:
            index = entry.index
            if not self._first <= index <= known:
                continue  # looked at after it got its project, or not yet
            if not self._is_row(entry):
                self.rows.pop(index, None)
            elif index not in self.rows:
                self.passed += 1
                self.rows[index] = _row(entry)
        self.rows = dict(sorted(self.rows.items()))
        self._trim()


def _row(entry: HeldEvent) -> tuple[tuple[int, ...], str, bytes]:
    """An event as a row, of its bytes as they are; its place sorts rows of several processes."""
    key = entry.position or ""
    numbers = key.rpartition(":")[2].split("-")
    if len(numbers) == 2:
        numbers.insert(1, "0")  # its shard of the log, which the first does not name
    place = tuple(int(number) for number in numbers if number.isdecimal())
    return place, key, b'{"k":' + to_json(key) + b',"event":' + entry.data + b"}"
