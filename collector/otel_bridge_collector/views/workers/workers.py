"""The view ``workers``: who works, on what, and who was lost."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
from pydantic_core import to_json

from otel_bridge_collector.model.snapshot.panels import is_listed
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.parts import MAX_FREE_ROWS, Around, NotCoveredError
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers.records import (
    WorkerRecord,
    join_records,
    known_by_key,
    record_of,
    row_of,
    shown_by_key,
)
from otel_bridge_collector.wire.views.params import AnchorKey, ListParams

__all__ = ["WorkersPart", "compute", "join", "merge", "select"]

_Place = tuple[bool, int | str, int]


def compute(state: ViewState, params: ListParams, scope: Scope) -> Listing:
    """
    List the workers that live or were heard in the last hour, sorted by id.

    Two processes that live under one id, such as two nodes of one name, are two workers.

    A reader limited to projects gets none: counts and hosts of shared workers reveal the work of
    others. Raises nothing. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh.
        params: ``project``: workers of all projects are listed, but a job of another one is not
            named.
        scope: The projects that the reader may see; None: all.

    Returns:
        One row for each worker; the model holds 2,000, more only if all are busy. Rows are made
        when a window asks for them.
    """
    found = {} if scope is not None else shown_by_key(state)
    order = [((index, ""), key) for index, key in enumerate(found)]

    def row(key: str) -> bytes:
        return to_json(row_of(key, record_of(found[key]), params.project))

    return Listing(order, row, {"state": state if scope is None else None})


class Known(NamedTuple):
    """A worker process that a state knows; a record. ``listed``: whether readers see it."""

    place: _Place
    key: str
    listed: bool


class WorkersPart(msgspec.Struct, array_like=True, frozen=True):
    """
    What one state, or several together, send of the view; a record.

    Attributes:
        known: All worker processes held, sorted.
        records: What is known of those that may be in the window, by key.
    """

    known: Sequence[Known]
    records: Mapping[str, WorkerRecord]


_NOTHING: Final = WorkersPart((), {})


def select(part: Listing, params: ListParams, around: Around = None) -> WorkersPart:
    """Take what ``join`` needs of one state's part; on the event loop of its model."""
    state = part.sums["state"]
    if state is None:
        return _NOTHING
    held = known_by_key(state)
    known = []
    for key, one in held.items():
        listed = one.status == "online" or is_listed(one.status, one.worker.last_seen, state.now)
        known.append(Known(one.place, key, listed))
    start, end = _range(known, params, around)
    return WorkersPart(known, {one.key: record_of(held[one.key]) for one in known[start:end]})


def _range(known: Sequence[Known], params: ListParams, around: Around) -> tuple[int, int]:
    """Which of the workers may be in the window."""
    at, count = params.at, params.count
    size = len(known)
    if at == "end":
        left = [index for index, one in enumerate(known) if one.listed][-count:]
        return (left[0] if len(left) == count else 0), size
    middle: int | None = None
    if around is not None:
        middle = bisect_left(known, around, key=lambda one: (one.place, one.key))
    above = 0
    if isinstance(at, AnchorKey):
        above = at.above
        if middle is None:
            middle = next((index for index, one in enumerate(known) if one.key == at.key), None)
        end = count
    else:
        end = at.row + count
    if middle is None:
        if end > MAX_FREE_ROWS:
            return 0, 0
        first = [index for index, one in enumerate(known) if one.listed][:end]
        return 0, (first[-1] + 1 if len(first) == end else size)
    before = [index for index in range(middle) if known[index].listed][-above - count :]
    after = [index for index in range(middle, size) if known[index].listed][: 2 * count]
    return (before[0] if before else 0), (after[-1] + 1 if after else size)


def join(parts: Sequence[WorkersPart]) -> WorkersPart:
    """Merge what several states send, who all know the same heartbeats; pure."""
    if len(parts) == 1:
        return parts[0]
    first, holders = parts[0].known, Counter({one.key: len(parts) for one in parts[0].known})
    if any(part.known != first for part in parts):
        holders = Counter(one.key for part in parts for one in part.known)
        first = _all_known(parts)
    found: defaultdict[str, list[WorkerRecord]] = defaultdict(list)
    for part in parts:
        for key, record in part.records.items():
            found[key].append(record)
    # Of a worker that one state knows and did not send, it is not known what all say.
    whole = {key: join_records(every) for key, every in found.items() if len(every) == holders[key]}
    return WorkersPart(first, whole)


def _all_known(parts: Sequence[WorkersPart]) -> list[Known]:
    known: dict[str, Known] = {}
    for one in chain.from_iterable(part.known for part in parts):
        other = known.get(one.key)
        if other is not None and other != one:
            # A number in some of its events, and a text in others.
            one = Known(min(one.place, other.place), one.key, one.listed or other.listed)
        known[one.key] = one
    return sorted(known.values())


def merge(parts: Sequence[Listing | WorkersPart], params: ListParams) -> Window:
    """
    Merge the parts of several states, and take the window.

    On the collector's event loop, because rows are made here.

    Args:
        parts: As ``compute``, ``select`` or ``join`` returned them; none give an empty window.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.

    Raises:
        NotCoveredError: Parts were selected without all rows of the window.
    """
    if len(parts) == 1 and isinstance(parts[0], Listing):
        return list_window(parts[0], params)
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    listed = {one.key: one for one in part.known if one.listed}

    def row(key: str) -> bytes:
        record = part.records.get(key)
        if record is None:
            raise NotCoveredError((listed[key].place, key))
        return to_json(row_of(key, record, params.project))

    order: list[tuple[Any, str]] = [(one.place, key) for key, one in listed.items()]
    return list_window(Listing(order, row, {}), params)
