"""
Parts of views over the wire: what one state says of a query, as bytes, and several of them merged.

The member that a client is connected to asks the owners of all partitions for their parts. Each
selects what the window of that query needs, and the edge merges: what it shows is what one state
that has all tasks would show.

Where a window starts at a key, or far down, only all parts together say where it is. Then the first
``merge_parts`` raises ``NotCoveredError``: ask all owners again, with its ``around``. Between the
two answers the last window stays. ``around`` holds until the window has moved by more than a
fourth of itself; then ``merge_parts`` raises again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from otel_bridge_collector.views.catalog import CATALOG, Query
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window
from otel_bridge_collector.views.parts import Around, Item, NotCoveredError
from otel_bridge_collector.views.state import ViewState

__all__ = [
    "EDGE_VIEWS",
    "GonePart",
    "NotCoveredError",
    "PartError",
    "around_text",
    "compute_part",
    "decode_part",
    "encode_part",
    "join_parts",
    "merge_parts",
    "read_around",
]

EDGE_VIEWS: Final = frozenset({"events"})
"""Views of what every member has: the edge computes them alone, and asks no owner."""

_IS_PART: Final = b"p"
_IS_GONE: Final = b"g"


class PartError(ValueError):
    """Raised for bytes that are no part of the query's view: the member has another release."""


class GonePart(msgspec.Struct, frozen=True):
    """
    The part of a state that has nothing of what the view shows; a record.

    Attributes:
        why: As of ``GoneError``.
    """

    why: Literal["unknown", "evicted"] = "unknown"


_encode: Final = msgspec.msgpack.Encoder().encode
_decoders: Final[Mapping[str, msgspec.msgpack.Decoder[Any]]] = {
    name: msgspec.msgpack.Decoder(view.part) for name, view in CATALOG.items()
}
_read_item: Final = msgspec.json.Decoder(Item | None).decode


def compute_part(state: ViewState, query: Query, scope: Scope) -> Any:
    """
    Compute what one state says of a query, as of its latest refresh.

    On the event loop of the state.

    Args:
        state: One partition's.
        query: From ``parse_query``.
        scope: The projects that the reader may see; None: all.

    Returns:
        The part; a ``GonePart`` where the state has nothing of what the view shows.
    """
    try:
        return CATALOG[query.view].compute(state, query.params, scope)
    except GoneError as gone:
        return GonePart(gone.why)


def encode_part(query: Query, part: Any, around: str | None = None) -> bytes:
    """
    Encode what the window of a query needs of a part; on the event loop of the state.

    Of a list at most 400 rows, as a rule as many as the window ends at; of ``failures`` all causes,
    of ``workers`` and ``queues`` the names of all. Equal parts give equal bytes.

    Args:
        query: As it was computed.
        part: As ``compute_part``, the view's own ``compute``, or ``join_parts`` returned it.
        around: Of a ``NotCoveredError``, by ``around_text``; default None: the first time.

    Raises:
        PartError: ``around`` is no text of ``around_text``.
    """
    if isinstance(part, GonePart):
        return _IS_GONE + part.why.encode()
    return _IS_PART + _encode(_selected(query, part, read_around(around)))


def decode_part(query: Query, data: bytes) -> Any:
    """
    Decode a part of a query, which ``merge_parts`` and ``join_parts`` take; from any thread.

    Fields that a later release added at the end of a record are left out.

    Raises:
        PartError: It is none.
    """
    try:
        if data[:1] == _IS_GONE:
            return GonePart("evicted" if data[1:] == b"evicted" else "unknown")
        if data[:1] == _IS_PART:
            return _decoders[query.view].decode(memoryview(data)[1:])
    except msgspec.MsgspecError as error:
        raise PartError(f"no part of the view {query.view}: {error}") from None
    raise PartError(f"no part of the view {query.view}")


def join_parts(query: Query, parts: Sequence[Any], around: str | None = None) -> Any:
    """
    Add up the parts of several states, so that a member sends one for all that it holds.

    On the event loop of the states. In any grouping.

    Args:
        query: As they were computed.
        parts: As ``compute_part``, ``decode_part`` or this returned them.
        around: As of ``encode_part``; parts are selected for it.

    Returns:
        A part of all of them; a ``GonePart`` if each is one, or there are none: ``evicted`` if one
        of them is.
    """
    known = [part for part in parts if not isinstance(part, GonePart)]
    if not known:
        return GonePart("evicted") if GonePart("evicted") in parts else GonePart()
    if len(known) == 1:
        return known[0]
    place = read_around(around)
    return CATALOG[query.view].join([_selected(query, part, place) for part in known])


def merge_parts(query: Query, parts: Sequence[Any], around: str | None = None) -> Window:
    """
    Merge the parts of all states, and take the window of the query.

    On the event loop of those states whose parts are not encoded, because rows are made here.

    Args:
        query: As they were computed.
        parts: As ``compute_part``, ``decode_part`` or ``join_parts`` returned them; a state that
            knows nothing of the subject may be left out.
        around: What the owners were asked with; default None.

    Returns:
        What the reader sees.

    Raises:
        GoneError: No state has what the view shows: ``evicted`` if it has left the memory of one.
        NotCoveredError: The parts do not have all rows of the window: ask all owners again, with
            its ``around``.
    """
    view = CATALOG[query.view]
    known = [part for part in parts if not isinstance(part, GonePart)]
    if not known:
        raise GoneError("evicted" if GonePart("evicted") in parts else "unknown")
    if len(known) == 1:
        return view.merge(known, query.params)
    place = read_around(around)
    return view.merge([_selected(query, part, place) for part in known], query.params)


def _selected(query: Query, part: Any, around: Around) -> Any:
    """What is needed of a part of its view's own ``compute``; of another one that is all."""
    if isinstance(part, Listing):
        return CATALOG[query.view].select(part, query.params, around)
    return part


def around_text(around: Around) -> str | None:
    """Return ``NotCoveredError.around`` as a text for ``encode_part``, at most 1 kB as a rule."""
    return None if around is None else msgspec.json.encode(around).decode()


def read_around(text: str | None) -> Around:
    """
    Read what ``around_text`` made.

    Raises:
        PartError: It is something else.
    """
    if text is None:
        return None
    try:
        found: Around = _read_item(text)
    except msgspec.MsgspecError as error:
        raise PartError(f"around: {error}") from None
    return found
