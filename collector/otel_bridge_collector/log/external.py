"""
``ExternalMessages``: the events of external publishers, until they are seen in the log.

An external publisher publishes to the events channel and knows nothing of the log. Every collector
receives its messages and holds each one until it reads it in the log. The leader alone appends
them (``leader/external.py``). When the leader dies, the next one holds what it did not append. So
each event is in the log once, whatever the number of collectors, and all of them fold it from
there.

A message without an ``event_id`` gets one that begins with a digest of the message, so that another
collector, which gave its own copy another id, recognises it in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from otel_bridge.clock import Clock
from otel_bridge_collector.log.decoding import decode_entry

__all__ = ["HOLD_SEC", "ExternalMessage", "ExternalMessages"]

logger = logging.getLogger(__name__)

HOLD_SEC: Final = 30.0
"""How long an event waits to appear in the log. A leader that died is replaced after 5 to 8 s."""
_MAX_MESSAGES: Final = 50_000
_MAX_BYTES: Final = 32 * 1024 * 1024
_EARLY_SEC: Final = 5.0
"""How long an entry of the log waits for its message, which comes on another connection."""
_EXPIRE_INTERVAL_SEC: Final = 1.0
_LOG_INTERVAL_SEC: Final = 60.0
_VERSION: Final = "8"
"""Version digit of the ids given here: UUIDs of a format of one's own (RFC 9562, section 5.8)."""
_VERSION_AT: Final = 14
_VERSION_PART: Final = slice(_VERSION_AT, _VERSION_AT + 1)
_KEY_CHARS: Final = 18
"""The digest in an id: its first 18 characters, of which 15 are digits of the digest."""

WAITING, IN_FLIGHT, APPENDED, GONE = range(4)


class ExternalMessage:
    """
    One event of an external publisher, ready to be appended; ``ExternalMessages`` makes it.

    A record; checks nothing.

    Attributes:
        data: The event's JSON with an ``event_id`` and a ``ts``, without ``position``; empty once
            it is no longer held.
        key: Its ``event_id``; if the publisher gave none, the part of it that is a digest of the
            message, equal in every collector.
        received_at: Monotonic time in seconds.
        state: ``WAITING`` (at first), ``IN_FLIGHT`` (taken), ``APPENDED`` or ``GONE`` (no longer
            held).
    """

    __slots__ = ("data", "key", "received_at", "state")

    def __init__(self, key: str, data: bytes, received_at: float) -> None:
        self.data = data
        self.key = key
        self.received_at = received_at
        self.state = WAITING


class ExternalMessages:
    """
    Holds external events until the log (the stream of all events) has them; for one event loop.

    An external event is one that a program has published to the events channel in Redis and not to
    the log. The collector makes one, without start or end; nothing waits. At most 50,000 events and
    32 MiB of JSON are held, each for 30 s; beyond that the oldest is lost and counted in ``lost``.
    Losses are logged at most once a minute. Only ``add`` raises.

    Args:
        max_event_bytes: Bound on an event's JSON; one that is over it is truncated.
        is_known: Whether an event with this id was read from the log before.
        clock: Its monotonic clock is used.

    Attributes:
        arrived: Set while there are events that wait to be appended; not set at first.
        appended: Events that this collector has appended; 0 at first.
        lost: Events that this collector had and has not seen in the log, by reason; empty at first.
            ``expired``: not in the log after 30 s. ``overflow``: over one of the bounds.
            ``rejected``: the log does not accept it. Another collector may have appended it all the
            same.
    """

    def __init__(
        self,
        max_event_bytes: int,
        *,
        is_known: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self.arrived = asyncio.Event()
        self.appended = 0
        self.lost: dict[str, int] = {}
        self._max_event_bytes = max_event_bytes
        self._is_known = is_known
        self._clock = clock
        self._order: deque[ExternalMessage] = deque()
        self._waiting: deque[ExternalMessage] = deque()
        self._by_key: dict[str, deque[ExternalMessage]] = {}
        self._early: deque[tuple[float, str]] = deque()
        self._early_counts: dict[str, int] = {}
        self._count = 0
        self._bytes = 0
        self._expired_at = float("-inf")
        self._logged_at = float("-inf")
        self._logged = 0

    def __len__(self) -> int:
        """How many events are held."""
        return self._count

    def add(self, message: bytes) -> bool:
        """
        Hold a message, unless the log has its event already, or it is held already.

        Call it on the event loop of this object; it never waits. Over 50,000 events or 32 MiB the
        oldest that is held is lost, as ``overflow``.

        Args:
            message: JSON as it was published; one of two without ``event_id`` that are equal is
                another event.

        Returns:
            Whether it is held.

        Raises:
            UnreadableEventError: The message is ``oversized``, ``not JSON`` or ``not an event``.
        """
        event, entry = decode_entry(message, None, self._max_event_bytes)
        data = entry.data
        if "event_id" in event.model_fields_set:
            key = event.event_id
            if key in self._by_key or self._is_known(key):
                return False
        else:
            event_id = _new_event_id(message)
            key = event_id[:_KEY_CHARS]
            # The generated id comes first in the JSON, and has the same length.
            data = data.replace(event.event_id.encode(), event_id.encode(), 1)
            if self._was_early(key):
                return False
        held = ExternalMessage(key, data, self._clock.monotonic())
        self._order.append(held)
        self._waiting.append(held)
        self._by_key.setdefault(key, deque()).append(held)
        self._count += 1
        self._bytes += len(data)
        self.arrived.set()
        while self._count > _MAX_MESSAGES or self._bytes > _MAX_BYTES:
            self._drop_oldest("overflow")
        return True

    def note_read(self, event_ids: Sequence[str], *, is_live: bool) -> None:
        """
        Stop holding the events of a part of the log that was read; cheap if it has none of them.

        Call it before their ids are known; as ``note_in_log`` for each.
        """
        if not self._count and _VERSION not in [one[_VERSION_PART] for one in event_ids]:
            return
        past: set[str] = set()
        for event_id in event_ids:
            # An event read a second time, after a gap, says nothing about a message to come.
            is_first = event_id not in past and not self._is_known(event_id)
            self.note_in_log(event_id, is_live=is_live and is_first)
            past.add(event_id)

    def note_in_log(self, event_id: str, *, is_live: bool) -> None:
        """
        Stop holding the event with this id, which was read from the log; never raises.

        Call it on the event loop of this object.

        Args:
            event_id: The event's id; one that is not held changes nothing.
            is_live: Whether the event was appended just now, so that its message, if this collector
                has not received it yet, is still to come. A message without an id that comes within
                5 s is not held then.
        """
        key = event_id
        if key not in self._by_key and event_id[_VERSION_AT : _VERSION_AT + 1] == _VERSION:
            key = event_id[:_KEY_CHARS]
        found = self._by_key.get(key)
        if found:
            self._release(found[0])
        elif is_live and key != event_id:
            self._early.append((self._clock.monotonic(), key))
            self._early_counts[key] = self._early_counts.get(key, 0) + 1

    def _was_early(self, key: str) -> bool:
        """Whether the log's entry of a message without id was read before the message came."""
        self._forget_early()
        if key not in self._early_counts:
            return False
        self._early.remove(next(item for item in self._early if item[1] == key))
        self._count_early_down(key)
        return True

    def _forget_early(self) -> None:
        oldest = self._clock.monotonic() - _EARLY_SEC
        while self._early and self._early[0][0] < oldest:
            self._count_early_down(self._early.popleft()[1])

    def _count_early_down(self, key: str) -> None:
        self._early_counts[key] -= 1
        if not self._early_counts[key]:
            del self._early_counts[key]

    # --- for the one that appends ----------------------------------------------------------------

    def take(self, limit: int) -> list[ExternalMessage]:
        """
        Return the oldest events that wait to be appended, and mark them as in flight; never raises.

        In flight means: on the way to the log, with its answer not known yet. They stay held. Call
        it on the event loop of this object.

        Args:
            limit: At most this many.

        Returns:
            Oldest first; empty if none waits. End each by ``note_appended``, ``note_rejected`` or
            ``retry``.
        """
        batch: list[ExternalMessage] = []
        while self._waiting and len(batch) < limit:
            message = self._waiting.popleft()
            if message.state == WAITING:
                message.state = IN_FLIGHT
                batch.append(message)
        if not self._waiting:
            self.arrived.clear()
        return batch

    def note_appended(self, batch: list[ExternalMessage]) -> None:
        """
        Note that the log has taken these; they are counted, and held until they are read in it.

        Holding lets a new leader append what the former one lost. The collector's log reader finds
        them in the log; what it has not found after 30 s, or beyond 50,000 messages or 32 MiB, is
        given up and counted as lost. Never raises; call it on the event loop of this object. Those
        that were read already are no longer held.

        Args:
            batch: The events that one call of ``take`` returned.
        """
        self.appended += len(batch)
        for message in batch:
            if message.state == IN_FLIGHT:
                message.state = APPENDED

    def note_rejected(self, batch: list[ExternalMessage]) -> None:
        """
        Note that the log rejects these for their content: they are lost, counted as ``rejected``.

        They are no longer held. Never raises; call it on the event loop of this object.

        Args:
            batch: The events that one call of ``take`` returned.
        """
        for message in batch:
            if message.state == IN_FLIGHT:
                self._lose(message, "rejected")

    def retry(self) -> None:
        """
        Let all events that are in flight (taken by ``take``, with no answer yet) wait again.

        Call it, on the event loop of this object, when the log was read beyond the last append:
        what is in flight is not in it then. Any number of times; never raises.
        """
        self._waiting.clear()
        for message in self._order:
            if message.state == IN_FLIGHT:
                message.state = WAITING
            if message.state == WAITING:
                self._waiting.append(message)
        if self._waiting:
            self.arrived.set()

    # --- bounds ----------------------------------------------------------------------------------

    def expire(self) -> None:
        """
        Lose what has been held for over 30 s, as ``expired``, and log losses; never raises.

        Call it on the event loop of this object about once a second, or more often: calls within 1
        s of the last do nothing.
        """
        now = self._clock.monotonic()
        if now - self._expired_at < _EXPIRE_INTERVAL_SEC:
            return
        self._expired_at = now
        self._forget_early()
        while self._order and (
            self._order[0].state == GONE or now - self._order[0].received_at > HOLD_SEC
        ):
            self._drop_oldest("expired")
        while self._waiting and self._waiting[0].state == GONE:
            self._waiting.popleft()
        self._log_losses(now)

    def _drop_oldest(self, reason: str) -> None:
        message = self._order.popleft()
        if message.state == APPENDED:
            self._release(message)  # the log has it, though it was not read: there was a gap
        elif message.state != GONE:
            self._lose(message, reason)

    def _lose(self, message: ExternalMessage, reason: str) -> None:
        self._release(message)
        self.lost[reason] = self.lost.get(reason, 0) + 1

    def _log_losses(self, now: float) -> None:
        lost = sum(self.lost.values())
        if lost > self._logged and now - self._logged_at >= _LOG_INTERVAL_SEC:
            self._logged_at = now
            self._logged = lost
            reasons = ", ".join(f"{count} {name}" for name, count in sorted(self.lost.items()))
            logger.warning(
                "%d events of external publishers were not appended to the log so far: %s",
                lost,
                reasons,
            )

    def _release(self, message: ExternalMessage) -> None:
        message.state = GONE
        self._count -= 1
        self._bytes -= len(message.data)
        message.data = b""
        held = self._by_key[message.key]
        held.remove(message)
        if not held:
            del self._by_key[message.key]


def _new_event_id(message: bytes) -> str:
    digest = hashlib.blake2b(message, digest_size=8).hexdigest()
    rest = secrets.token_hex(8)
    # The first digit of the fourth part is the variant of RFC 9562.
    return f"{digest[:8]}-{digest[8:12]}-{_VERSION}{digest[12:15]}-8{rest[:3]}-{rest[3:15]}"
