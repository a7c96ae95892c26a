"""
``ReadStates``: how far a reader is in each shard of the log, and which of them have lost something.

Pure: the reader asks Redis, and says here what it answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_bridge.publish.shards.layout import SINGLE, Layout
from otel_bridge.publish.shards.position import ShardPosition, StreamId
from otel_bridge.publish.transports.sharded.continuity import (
    NOTHING_READ,
    Bounds,
    ReadState,
    ended_after,
    gap_since_place,
    gap_since_read,
    id_before,
)

__all__ = ["ReadStates"]


class ReadStates:
    """
    The shards that one reader reads; at first none, until ``follow``.

    Attributes:
        layout: The log's, as it was read last.
        lost: Shards that cannot be read on without a hole, by reason. Their cursors are behind the
            hole already; the reader removes what it has reported.
    """

    def __init__(self) -> None:
        self.layout = SINGLE
        self.lost: dict[str, set[int]] = {}
        self._states: dict[int, ReadState] = {}
        self._gone: set[int] = set()

    @property
    def shards(self) -> list[int]:
        """All shards to read: those in use, and those taken out of use that still have entries."""
        return [shard for shard in self.layout.shards if shard not in self._gone]

    @property
    def is_one_stream(self) -> bool:
        """Whether the log has become one stream with the epoch that its positions have."""
        epoch = self._states[0].epoch if 0 in self._states else None
        return self.layout.count == 1 and self.shards == [0] and epoch in (None, self.layout.epoch)

    @property
    def lost_shards(self) -> set[int]:
        """The shards in ``lost``, whatever the reason."""
        return {shard for shards in self.lost.values() for shard in shards}

    def follow(self, found: Layout) -> None:
        """Read what this layout has; what is read of a shard that stays is kept."""
        old, self.layout = self.layout, found
        self._gone.clear()
        for shard, state in list(self._states.items()):
            epoch = found.epochs.get(shard)
            is_same = epoch in (None, state.epoch, old.epochs.get(shard, epoch))
            if shard in found.shards and is_same:
                continue
            # It was taken out of use and expired; if it is in use again, it is an empty one.
            if ended_after(shard, state.cursor, found):
                self.lost.setdefault("trimmed", set()).add(shard)
            del self._states[shard]

    def start(self, found: Mapping[int, Bounds]) -> ShardPosition:
        """Start before the first entry of each shard; return the place before all of them."""
        epoch = self.layout.epoch
        self.lost.clear()
        self._states = {}
        firsts = []
        for shard, bounds in found.items():
            cursor = NOTHING_READ
            if bounds.first is not None:
                cursor = id_before(bounds.first)
                firsts.append(ShardPosition(epoch, bounds.first[0], shard, bounds.first[1]))
            known = bounds.epoch or self.layout.epochs.get(shard)
            self._states[shard] = ReadState(cursor, is_exact=False, epoch=known)
        return min(firsts).before() if firsts else ShardPosition(epoch, 0, 0, 0)

    def resume(
        self, place: ShardPosition, found: Mapping[int, Bounds], *, unread: bool
    ) -> tuple[str, list[int]] | None:
        """
        Start at a place; return why and in which shards it has a hole, and change nothing then.

        Args:
            place: Of the log's epoch.
            found: The bounds of all shards.
            unread: Whether all that other shards than 0 have is to be read.
        """
        losses: dict[str, list[int]] = {}
        states: dict[int, ReadState] = {}
        for shard, bounds in found.items():
            state = ReadState(place.cursor_of(shard), is_exact=False, epoch=bounds.epoch)
            if unread and shard:
                state.cursor = NOTHING_READ
                reason = gap_since_read(shard, state, bounds, self.layout)
            else:
                reason = gap_since_place(shard, place, bounds, self.layout)
            if reason is not None:
                losses.setdefault(reason, []).append(shard)
            states[shard] = state
        if losses:
            reason = "epoch" if "epoch" in losses else "trimmed"
            return reason, sorted(losses[reason])
        self.lost.clear()
        self._states = states
        return None

    def cursors(self) -> dict[int, StreamId]:
        """The id after which to read each shard."""
        for shard in self.shards:
            if shard not in self._states:
                epoch = self.layout.epochs.get(shard)
                self._states[shard] = ReadState(NOTHING_READ, is_exact=False, epoch=epoch)
        return {shard: self._states[shard].cursor for shard in self.shards}

    def note_read(self, shard: int, last: StreamId) -> None:
        """Note that a shard was read up to an entry."""
        state = self._states[shard]
        state.cursor, state.is_exact = last, True

    def compare(self, found: Mapping[int, Bounds]) -> None:
        """Compare what shards have with what was read of them; note those that lost something."""
        for shard, bounds in found.items():
            state = self._states.get(shard)
            if state is None:
                continue
            reason = gap_since_read(shard, state, bounds, self.layout)
            if reason is not None:
                self.lost.setdefault(reason, set()).add(shard)
                state.cursor, state.is_exact = _cursor_after_gap(state, bounds, reason), False
            state.epoch = bounds.epoch
            if shard >= self.layout.count and bounds.last is None:
                self._gone.add(shard)
                del self._states[shard]


def _cursor_after_gap(state: ReadState, found: Bounds, reason: str) -> StreamId:
    """Where a shard is read on that has lost something."""
    if found.first is None or found.last is None:
        return NOTHING_READ
    is_shorter = found.epoch == state.epoch and reason == "epoch"
    return found.last if is_shorter else id_before(found.first)
