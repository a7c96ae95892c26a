"""
``ShardPosition``: the place of one entry in a log of several shards, as one scalar.

The order of the log is (milliseconds, shard, sequence number): the ids that Redis gave, and the
number of the shard between their two parts. It is the same in every collector, so ring, resuming
and filters need no more than a position of one stream does. A vector of one id a shard would take
45 to 70 bytes in every event; ``POSITION_MAX_BYTES`` is 64.

Its text is ``<epoch>:<ms>-<shard>-<seq>``, and ``<epoch>:<ms>-<seq>`` in shard 0, which is the text
of a log of one stream. So each entry has one text, before and after shards are added; and what is
appended to shard 0 alone, such as external events, is found by the position that its sender got.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from otel_bridge.errors import PositionLostError

__all__ = ["LAST_NUMBER", "ShardPosition", "StreamId", "is_passed", "parse_position"]

LAST_NUMBER: Final = 2**64 - 1
"""The last number that Redis takes in an entry's id."""

StreamId = tuple[int, int]
"""The id of an entry in its stream: milliseconds and sequence number."""


class ShardPosition(NamedTuple):
    """
    A place in the log; positions of one epoch compare in the order of the log.

    A record; checks nothing.
    """

    epoch: str
    """Of the log; another one means another log."""
    ms: int
    """Milliseconds since the Unix epoch, by the clock of the server that has the shard."""
    shard: int
    """Number of the shard, from 0."""
    seq: int
    """Sequence number within the millisecond and shard, from 0."""

    @property
    def text(self) -> str:
        """As it travels in events; ASCII, at most 46 characters beside the epoch."""
        middle = f"{self.shard}-" if self.shard else ""
        return f"{self.epoch}:{self.ms}-{middle}{self.seq}"

    def cursor_of(self, shard: int) -> StreamId:
        """
        Return the id after which a shard goes on from this position.

        No entry need have it. The shards before this position's own have passed the millisecond,
        those after it have not begun it.
        """
        if shard == self.shard:
            return self.ms, self.seq
        if shard < self.shard:
            return self.ms, LAST_NUMBER
        return (self.ms - 1, LAST_NUMBER) if self.ms else (0, 0)

    def before(self) -> ShardPosition:
        """Return the place right before this one, where no entry can come between."""
        epoch, ms, shard, seq = self
        if seq:
            return ShardPosition(epoch, ms, shard, seq - 1)
        if shard:
            return ShardPosition(epoch, ms, shard - 1, LAST_NUMBER)
        return ShardPosition(epoch, max(ms - 1, 0), 0, LAST_NUMBER if ms else 0)


def parse_position(position: str) -> ShardPosition:
    """
    Read the text of a position, of a log of one stream or of several shards.

    Args:
        position: ``<epoch>:<ms>-<seq>`` (shard 0) or ``<epoch>:<ms>-<shard>-<seq>``.

    Raises:
        PositionLostError: It is neither: ``malformed``.
    """
    # From the right: an epoch that was set by hand may contain a colon.
    epoch, _, place = position.rpartition(":")
    numbers = place.split("-")
    if len(numbers) == 2:
        numbers.insert(1, "0")
    if not epoch or len(numbers) != 3 or not all(_is_number(number) for number in numbers):
        raise PositionLostError(position, "malformed")
    ms, shard, seq = (int(number) for number in numbers)
    return ShardPosition(epoch, ms, shard, seq)


def is_passed(position: str, cursor: str) -> bool:
    """
    Return whether who has read the log up to ``cursor`` has read up to ``position``; never raises.

    False for texts of two logs, and for those that are no positions of a log in Redis.
    """
    try:
        place, reached = parse_position(position), parse_position(cursor)
    except PositionLostError:
        return False
    return place.epoch == reached.epoch and place <= reached


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= LAST_NUMBER
