"""
``Budget``: how often lists that are expensive to make may be made again.

A filter over 50,000 nodes costs 5 to 50 ms, too much for each of ten ticks a second. With only a
limit for each list, 20 different filters took 782 ms of each second and ticks came 493 ms late;
with one for all together as well it was 233 ms and 2.3 ms (prototype, 99th percentile).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from otel_bridge.clock import SYSTEM_CLOCK, Clock

__all__ = ["SHARE", "Budget"]

_Value = TypeVar("_Value")

_COST_FACTOR: Final = 20
"""A list is used for so many times what it cost to make: a twentieth of a core at most."""
_MIN_AGE_SEC: Final = 0.2
_MAX_AGE_SEC: Final = 10.0
SHARE: Final = 0.15
"""Of a core, for all rebuilds together; less where a process has several states."""
_WINDOW_SEC: Final = 0.25
"""What was not used in this time is lost, so that rebuilds hold up one tick by 38 ms, or by one
rebuild if that takes longer."""
_ABSENT_SEC: Final = 2.0
"""A list that was not asked for so long lets others go first. Ticks are at most 1 s apart."""
_KEPT_SEC: Final = 10.0
"""A list that was not asked for so long is dropped."""


class _Made:
    """A list and what is known of it; times are seconds of the monotonic clock."""

    __slots__ = ("asked", "at_ms", "cost", "made", "value", "version")

    def __init__(self) -> None:
        self.value: Any = None
        self.version: Hashable = None
        self.at_ms = 0
        self.cost = 0.0
        self.made = 0.0
        self.asked = 0.0


class Budget:
    """
    Keeps lists that are expensive to make, and decides when each is made again.

    A list is made again at the earliest after 20 times what it cost, 0.2 to 10 s. All rebuilds
    together take at most 15 % of a core: in any T seconds 0.15 x (T + 0.25) seconds, and one
    rebuild more. What has to wait for that is returned as it is, and the list that has waited
    longest is next. The first build of a list is always allowed and not counted in the share, so
    that people who type a filter do not make the lists of others stand still.

    Use it on one event loop. It holds as many lists as were asked for in the last 10 s; older ones
    are dropped by ``refresh``.

    Args:
        clock: Measures costs and ages; its wall-clock time is not read.
        share: Of a core, for all rebuilds together; 0.15 by default.

    Attributes:
        rebuilds: Times that a list was made again; its first time is not counted.
        postponed: Times that a list was asked for that was due, but had to wait for the share.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, share: float = SHARE) -> None:
        self.rebuilds = 0
        self.postponed = 0
        self._clock = clock
        self._share = share
        self._now_ms = 0
        self._lists: dict[Hashable, _Made] = {}
        self._waiting: OrderedDict[Hashable, None] = OrderedDict()
        """Lists that are due, in the order in which they are made again."""
        self._spent = 0.0
        """Seconds of rebuilds; falls by 0.15 a second."""
        self._paid_at = clock.monotonic()

    def __len__(self) -> int:
        return len(self._lists)

    def refresh(self, now_ms: int) -> None:
        """
        Note the time of the state that lists are made from, and drop lists not asked for in 10 s.

        Args:
            now_ms: Milliseconds since the Unix epoch; ``list`` returns it with lists made from now
                on.
        """
        self._now_ms = now_ms
        oldest = self._clock.monotonic() - _KEPT_SEC
        for key in [key for key, made in self._lists.items() if made.asked < oldest]:
            del self._lists[key]
            self._waiting.pop(key, None)

    def list(
        self, key: Hashable, build: Callable[[], _Value], version: Hashable = None
    ) -> tuple[_Value, int]:
        """
        Return a list, made now or kept from before.

        Args:
            key: What the list depends on but the state: its name, its parameters, and the reader's
                scope if it depends on that.
            build: Makes it; called at most once, before this returns.
            version: Of all of the state that the list depends on. While it equals that of the kept
                list, the list is not made again. Default None: unknown.

        Returns:
            The list, and the time of the state that it was made from, milliseconds since the Unix
            epoch.

        Raises:
            Exception: What ``build`` raises; the list is then forgotten.
        """
        now = self._clock.monotonic()
        made = self._lists.get(key)
        if made is None:
            made = self._lists[key] = _Made()
            self._build(key, made, build, version)
        elif version is not None and version == made.version:
            self._waiting.pop(key, None)
        elif now - made.made >= min(_MAX_AGE_SEC, max(_MIN_AGE_SEC, _COST_FACTOR * made.cost)):
            made.asked = now
            if self._may_rebuild(key, made, now):
                self.rebuilds += 1
                self._spent += self._build(key, made, build, version)
            else:
                self.postponed += 1
        made.asked = now
        return made.value, made.at_ms

    def _may_rebuild(self, key: Hashable, made: _Made, now: float) -> bool:
        """Whether a list that is due is the next one, and the share has room for it."""
        self._waiting.setdefault(key, None)
        self._spent = max(0.0, self._spent - self._share * (now - self._paid_at))
        self._paid_at = now
        waiting = self._waiting
        while (first := waiting.popitem(last=False)[0]) != key:
            if now - self._lists[first].asked <= _ABSENT_SEC:
                break
        waiting[first] = None
        waiting.move_to_end(first, last=False)
        if first != key:
            return False
        return not self._spent or self._spent + made.cost <= self._share * _WINDOW_SEC

    def _build(
        self, key: Hashable, made: _Made, build: Callable[[], _Value], version: Hashable
    ) -> float:
        """Make a list, and return what it cost, seconds."""
        self._waiting.pop(key, None)
        started = self._clock.monotonic()
        try:
            made.value = build()
        except BaseException:
            del self._lists[key]
            raise
        made.made = self._clock.monotonic()
        made.cost = made.made - started
        made.version = version
        made.at_ms = self._now_ms
        return made.cost
