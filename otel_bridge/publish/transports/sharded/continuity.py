"""
Whether a shard goes on from a place without a hole: by its epoch and its first and last entry.

``XREAD`` does not report a hole: from an id that was trimmed it goes on with the oldest entry, and
of a stream that was deleted with the new one. Of each shard this is found apart, so that the loss
of one is a gap in it and not the loss of the log. Pure: the caller asks Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.shards.layout import TAGS, Layout
from otel_bridge.publish.shards.position import LAST_NUMBER, ShardPosition, StreamId

__all__ = [
    "BOUNDS_COMMANDS",
    "NOTHING_READ",
    "Bounds",
    "ReadState",
    "bounds_commands",
    "ended_after",
    "gap_since_place",
    "gap_since_read",
    "id_before",
    "parse_bounds",
    "parse_id",
]

BOUNDS_COMMANDS: Final = 4
"""How many commands ``bounds_commands`` returns."""
NOTHING_READ: Final[StreamId] = (0, 0)
"""The id before every entry."""


class Bounds(NamedTuple):
    """What Redis says of one shard; a record. None: there is none."""

    epoch: str | None
    first_ever: StreamId | None
    """Id of the first entry that the shard had since it has this epoch."""
    first: StreamId | None
    """Id of the oldest entry that it still has; None: it has none."""
    last: StreamId | None


class ReadState:
    """
    How far one shard is read; a record of its reader.

    Attributes:
        cursor: Id after which to read on.
        is_exact: Whether there was an entry with this id, so that a shorter shard lost some.
        epoch: The shard's own, as it was read; None: it had none yet.
    """

    __slots__ = ("cursor", "epoch", "is_exact")

    def __init__(self, cursor: StreamId, *, is_exact: bool, epoch: str | None) -> None:
        self.cursor = cursor
        self.is_exact = is_exact
        self.epoch = epoch


def bounds_commands(keys: RedisKeys, shard: int) -> list[tuple[Any, ...]]:
    """
    Return the commands whose replies ``parse_bounds`` reads.

    No transaction: a Redis that is out of memory refuses every command inside MULTI. The epoch is
    asked twice instead, because the stream may be replaced in between.
    """
    stream, meta = keys.log_stream(TAGS[shard]), keys.log_meta(TAGS[shard])
    return [
        ("HMGET", meta, "epoch", "first"),
        ("XRANGE", stream, "-", "+", "COUNT", 1),
        ("XREVRANGE", stream, "+", "-", "COUNT", 1),
        ("HGET", meta, "epoch"),
    ]


def parse_bounds(replies: Sequence[Any]) -> Bounds | None:
    """Return what the replies to ``bounds_commands`` say; None: the stream was just replaced."""
    (epoch, first_ever), oldest, newest, epoch_after = replies
    if epoch != epoch_after:
        return None
    return Bounds(
        None if epoch is None else epoch.decode(errors="replace"),
        parse_id(first_ever) if first_ever else None,
        parse_id(oldest[0][0]) if oldest else None,
        parse_id(newest[0][0]) if newest else None,
    )


def parse_id(raw: bytes) -> StreamId:
    """Read the id of an entry, as Redis answers it."""
    ms, _, seq = raw.partition(b"-")
    return int(ms), int(seq)


def id_before(entry: StreamId) -> StreamId:
    """Return the id right before one; before ``0-0`` there is none, it is returned itself."""
    ms, seq = entry
    if seq:
        return ms, seq - 1
    return (ms - 1, LAST_NUMBER) if ms else entry


def gap_since_read(shard: int, state: ReadState, found: Bounds, layout: Layout) -> str | None:
    """
    Return why a shard cannot be read on from where a reader is in it; None: it can.

    Returns:
        ``epoch``: the shard was lost, replaced, or lost its newest entries. ``trimmed``: the next
        entries are gone.
    """
    is_in_use = shard < layout.count
    if found.last is None and found.first_ever is None and found.epoch is None:
        if is_in_use:
            return "epoch" if state.epoch is not None and state.cursor != NOTHING_READ else None
        return "trimmed" if ended_after(shard, state.cursor, layout) else None
    if state.epoch is not None and found.epoch != state.epoch:
        return "epoch"
    if found.last is None:
        if not is_in_use and found.first_ever is not None:
            return "trimmed" if ended_after(shard, state.cursor, layout) else None
        return "epoch" if state.is_exact else None
    if state.is_exact and found.last < state.cursor:
        return "epoch"
    return "trimmed" if _is_trimmed(state.cursor, found) else None


def gap_since_place(shard: int, place: ShardPosition, found: Bounds, layout: Layout) -> str | None:
    """
    Return why the log cannot go on from a place without a hole in this shard; None: it can.

    Nothing was read of the shard before: unlike ``gap_since_read`` it goes by the epoch that the
    layout says.
    """
    cursor = place.cursor_of(shard)
    known = layout.epochs.get(shard)
    if shard >= layout.count and found.last is None:
        return "trimmed" if ended_after(shard, cursor, layout) else None
    if known is not None and found.epoch != known:
        # What it had before is lost; all that came since then is there.
        if found.first_ever is None or cursor < id_before(found.first_ever):
            return "epoch"
    elif found.last is None:
        return "epoch" if found.first_ever is not None else None
    if ended_after(shard, cursor, layout) and _is_since_end(shard, found, layout):
        return "trimmed"
    is_entry = shard == place.shard and place.seq != LAST_NUMBER and place[1:] != (0, 0, 0)
    if is_entry and (found.last is None or found.last < cursor):
        return "epoch"
    return "trimmed" if _is_trimmed(cursor, found) else None


def ended_after(shard: int, cursor: StreamId, layout: Layout) -> bool:
    """Whether a shard had entries after an id when it was last taken out of use."""
    ended = layout.ended.get(shard)
    return ended is not None and parse_id(ended.encode()) > cursor


def _is_since_end(shard: int, found: Bounds, layout: Layout) -> bool:
    """Whether a shard has only what came since it was taken out of use, and into use again."""
    ended = parse_id(layout.ended[shard].encode())
    return found.first_ever is None or found.first_ever > ended


def _is_trimmed(cursor: StreamId, found: Bounds) -> bool:
    if found.first is None or found.first == found.first_ever:
        return False
    return cursor < id_before(found.first)
