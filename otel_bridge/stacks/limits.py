"""
``StackLimiter``: which stacks are stored; the others name a span that has the same one stored.

A job that fails 1,000 times a second fails at one place: its stack is needed a few times, and 4 KiB
each would be more than all its events.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["FIRST_STORED", "INTERVAL_SEC", "MAX_KEYS", "StackLimiter"]

FIRST_STORED: Final = 5
"""Stacks of one key that are stored at once."""
INTERVAL_SEC: Final = 60.0
"""Then one is stored in each interval."""
MAX_KEYS: Final = 256
"""Keys that are remembered; the one that failed longest ago is forgotten first."""
_BURST: Final = 256
_PER_SEC: Final = 1.0
"""Of all keys together: so many at once, then so many a second. A program whose every failure has
another key stays within 1 MiB of texts that wait."""


class _Stored:
    __slots__ = ("at", "count", "span_id")

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        self.span_id: str | None = None


class StackLimiter:
    """
    Decides for each failure whether its stack is stored; for one thread at a time, never raises.

    Per key the first 5 are stored, then 1 a minute; of all keys together 256, then 1 a second. At
    most 256 keys are remembered.

    Attributes:
        stored: Stacks to store so far.
        limited: Stacks that are not stored.
    """

    def __init__(self) -> None:
        self.stored = 0
        self.limited = 0
        self._keys: OrderedDict[str, _Stored] = OrderedDict()
        self._tokens = float(_BURST)
        self._filled_at: float | None = None

    def admit(self, key: str, span_id: str, now: float) -> bool:
        """
        Whether to store the stack of this failure; if so it counts, and is the one of its key.

        Args:
            key: What failures of the same cause have in common.
            span_id: Where the stack would be stored.
            now: Monotonic seconds.
        """
        known = self._keys.get(key)
        if known is None:
            known = self._keys[key] = _Stored()
            if len(self._keys) > MAX_KEYS:
                self._keys.popitem(last=False)
        self._keys.move_to_end(key)
        is_due = known.count < FIRST_STORED or now - known.at >= INTERVAL_SEC
        if not is_due or not self._take_token(now):
            self.limited += 1
            return False
        known.count += 1
        known.at, known.span_id = now, span_id
        self.stored += 1
        return True

    def holder_of(self, key: str) -> str | None:
        """The span under which a stack of this key was stored last; None: none is known."""
        known = self._keys.get(key)
        return None if known is None else known.span_id

    def _take_token(self, now: float) -> bool:
        if self._filled_at is not None:
            self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _PER_SEC)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
