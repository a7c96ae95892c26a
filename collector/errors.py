"""
Why a WebSocket is closed, as data, and the collector's own errors.

A close code tells the client whether to come back: 3xxx and 1012 are reconnectable, 44xx are not
without a change on the client's side. Codes 3000 to 3999 follow Centrifuge's ranges.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "AUTH_REQUIRED",
    "BAD_REQUEST",
    "RESTARTING",
    "SLOW_CLIENT",
    "CloseCode",
    "CollectorError",
]


class CloseCode(NamedTuple):
    """One way a WebSocket ends."""

    code: int
    reason: str
    """At most 123 bytes of UTF-8 (RFC 6455, section 5.5)."""
    is_reconnect: bool


RESTARTING: Final = CloseCode(1012, "collector is restarting, come back", True)
SLOW_CLIENT: Final = CloseCode(3008, "slow", True)
BAD_REQUEST: Final = CloseCode(4400, "bad request", False)
AUTH_REQUIRED: Final = CloseCode(4401, "authentication required", False)


class CollectorError(Exception):
    """Base of every error raised on purpose by the collector."""
