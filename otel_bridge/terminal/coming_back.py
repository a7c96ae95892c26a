"""``asked_wait_sec``: how long a client waits when the collector says when to come back."""

from __future__ import annotations

import random
import re
from typing import Final

__all__ = ["asked_wait_sec"]

RESTART_JITTER_SEC: Final = 5.0
"""All clients of a collector that restarts lose it at one moment, and come back over this time."""
_MAX_WAIT_SEC: Final = 60
"""The longest that a collector asks for; a proxy may ask for hours."""
_JITTER_SEC: Final = 1.0
"""A number of whole seconds is the same one for many clients."""
_UNAVAILABLE: Final = 503
_RESTARTING: Final = 1012
_TRY_AGAIN_LATER: Final = 1013
_NUMBER: Final = re.compile(r"([0-9]+)")
_SECONDS: Final = re.compile(r"\bin ([0-9]+) s\b")


def asked_wait_sec(error: BaseException) -> float | None:
    """
    Return how many seconds a collector asks its client to wait; never raises.

    Args:
        error: What ``websockets`` raised: a handshake refused with 503, whose ``Retry-After`` is
            read (a number of seconds; a date counts as absent), or a closed connection. Of its
            close codes 1012 means that the collector restarts, 1013 that too many connect at once;
            the reason of 1013 has the seconds, as in ``come back in 12 s``.

    Returns:
        After 1012 from 0 to 5, at random. Else the number, at most 60, and up to 1 more at random.
        None: it asks for nothing, so the caller's own back-off holds.
    """
    response, closed = getattr(error, "response", None), getattr(error, "rcvd", None)
    if response is not None:
        if response.status_code != _UNAVAILABLE:
            return None  # 429 is about this client alone: its own back-off is soon enough
        found = _NUMBER.fullmatch(response.headers.get("Retry-After", ""))
    elif closed is None:
        return None
    elif closed.code == _RESTARTING:
        return random.uniform(0, RESTART_JITTER_SEC)  # noqa: S311
    else:
        found = _SECONDS.search(closed.reason) if closed.code == _TRY_AGAIN_LATER else None
    if found is None:
        return None
    # Of a number with thousands of digits the first few say enough.
    return min(int(found[1][:6]), _MAX_WAIT_SEC) + random.uniform(0, _JITTER_SEC)  # noqa: S311
