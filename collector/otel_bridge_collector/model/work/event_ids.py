"""``EventIds``: which events were folded, by their ids, so that a repeat is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["EventIds"]

_ID_BITS: Final = (1 << 60) - 1
"""An integer of two digits: 32 bytes, where 61 bits are 36, of which the allocator makes 48."""


class EventIds:
    """
    Remembers the ids of the newest events, by hash; for one event loop. Raises nothing.

    Args:
        count: So many are remembered at most; at least half as many, once there were so many.
    """

    __slots__ = ("_half", "_new", "_old")

    def __init__(self, count: int) -> None:
        self._half = count // 2
        self._new: set[int] = set()
        self._old: set[int] = set()

    def __contains__(self, event_id: str) -> bool:
        known = hash(event_id) & _ID_BITS
        return known in self._new or known in self._old

    def add(self, event_id: str) -> bool:
        """Remember an id; False if it is remembered already."""
        known = hash(event_id) & _ID_BITS
        new = self._new
        if known in new or known in self._old:
            return False
        new.add(known)
        if len(new) > self._half:
            self._old, self._new = new, set()
        return True

    def add_all(self, event_ids: Sequence[str]) -> list[bool] | None:
        """
        Remember ids in their order, as ``add`` does.

        Of ids that are all new, which those of nearly all reads are, each costs half of an ``add``:
        three operations on sets, instead of three for each.

        Returns:
            For each id what ``add`` returns; None: all are new.
        """
        known = [hash(event_id) & _ID_BITS for event_id in event_ids]
        added, new = set(known), self._new
        if (
            len(added) == len(known)
            and len(new) + len(added) <= self._half
            and new.isdisjoint(added)
            and self._old.isdisjoint(added)
        ):
            new |= added
            return None
        return [self.add(event_id) for event_id in event_ids]
