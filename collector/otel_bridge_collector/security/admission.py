"""
``HandshakeAdmission``: how many WebSocket handshakes a second are admitted, and what was refused.

After a restart all clients connect at once. Measured with 10,000: 0.7 to 1.5 ms of CPU a handshake,
so that the event loop did nothing else for 18 to 30 s, and ``/readyz`` failed. Those over the rate
are sent away, which costs a sixth of it, each with a time of its own at which to come back.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import random
from typing import Final

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.lines.limits import TokenBucket

__all__ = ["MAX_WAIT_SEC", "HandshakeAdmission"]

logger = logging.getLogger(__name__)

MAX_WAIT_SEC: Final = 60
"""The longest time that a client is asked to wait: 12,000 clients at 200 a second."""
_MIN_BURST: Final = 20
"""Handshakes that are admitted at once, however low the rate: a person opens ten tabs."""
_PROMISED_SHARE: Final = 0.9
"""Of the rate that is promised to those who come back; the rest is for those who come first."""
_LOG_INTERVAL_SEC: Final = 60.0


class HandshakeAdmission:
    """
    Admits WebSocket handshakes at a rate; on one event loop, never raises, keeps no list.

    Args:
        per_sec: Handshakes admitted a second; one second's worth, and at least 20, may come at
            once. 0: all are admitted.
        clock: Its monotonic time is used.

    Attributes:
        refused: Handshakes refused so far, by what was reached: the ``rate``, or the connections of
            an ``address`` or a ``token``.
    """

    def __init__(self, per_sec: int, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.refused = {"rate": 0, "address": 0, "token": 0}
        self._clock = clock
        self._bucket = TokenBucket(per_sec, max(per_sec, _MIN_BURST)) if per_sec else None
        self._step_sec = 1 / (per_sec * _PROMISED_SHARE) if per_sec else 0.0
        self._promised_until = float("-inf")
        self._logged_at = float("-inf")

    def wait_sec(self) -> int:
        """
        Admit one handshake: 0; or send it away and return after how many seconds to come back.

        These grow with the number of those who were sent away before, so that the clients come back
        spread over the time in which they can be admitted: 1 to 60 s. When more wait than can be
        admitted within 60 s, a further one gets 30 to 60 s at random.
        """
        now = self._clock.monotonic()
        if self._bucket is None or self._bucket.take(now):
            return 0
        self.refused["rate"] += 1
        at = max(self._promised_until, now) + self._step_sec
        if at > now + MAX_WAIT_SEC:
            return random.randint(MAX_WAIT_SEC // 2, MAX_WAIT_SEC)  # noqa: S311
        self._promised_until = at
        return max(1, math.ceil(at - now))

    def give_back(self) -> None:
        """
        Do not count a handshake that was admitted and then refused; never raises.

        Otherwise a client without credentials could use up the rate of those who have some.
        """
        if self._bucket is not None:
            self._bucket.give_back()

    def note_limit(self, limit: str, address: str) -> None:
        """
        Count a handshake refused for a number of connections, and log the first a minute.

        Args:
            limit: Which was reached: ``address`` or ``token``.
            address: Of the client. All clients behind a proxy have its address, unless it is
                trusted: the line says so of an address that may be one.
        """
        self.refused[limit] += 1
        now = self._clock.monotonic()
        if now - self._logged_at < _LOG_INTERVAL_SEC:
            return
        self._logged_at = now
        if limit == "token":
            logger.warning(
                "refused a WebSocket: its token has as many open as it may "
                "(MONITORING_TOKEN_MAX_CONNECTIONS)"
            )
            return
        cure = ""
        if _may_be_a_proxy(address):
            cure = (
                "; if that is a proxy, name it in MONITORING_TRUSTED_PROXIES, so that each of its "
                "clients counts by itself"
            )
        logger.warning(
            "refused a WebSocket: %s has as many open as an address may "
            "(MONITORING_ADDRESS_MAX_CONNECTIONS)%s",
            *(address or "a Unix socket", cure),
        )


def _may_be_a_proxy(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_private  # loopback included
    except ValueError:
        return True  # a Unix socket has no address: only a proxy connects to one
