"""``raise_open_files``: let the process open as many files as it may; each client is one."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final

if sys.platform != "win32":
    import resource

__all__ = ["raise_open_files"]

logger = logging.getLogger(__name__)

_RESERVE: Final = 100
"""Files beside the clients: the log, Redis, the port, requests in progress."""
_UNLIMITED_TRIES: Final = (1_048_576, 10_240)
"""Where there is no hard limit the kernel has one all the same: Linux's default, and macOS'."""


def raise_open_files(connections: int) -> int | None:
    """
    Raise the soft limit of open files to the hard one, where the system has such limits.

    The soft limit is 1,024 by default, for programs that use ``select``; with it the 1,000th client
    could not connect. A limit that is too low all the same is logged as a warning, in one line with
    the cure. Never raises.

    Args:
        connections: As many as one address may have open; the limit should allow them.

    Returns:
        How many files the process may open now; None: unlimited, or the system does not say.
    """
    if sys.platform == "win32":
        return None
    kind = resource.RLIMIT_NOFILE
    soft, hard = resource.getrlimit(kind)
    for number in _UNLIMITED_TRIES if hard == resource.RLIM_INFINITY else (hard,):
        if soft == resource.RLIM_INFINITY or soft >= number:
            break
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (number, hard))
            soft = number
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < connections + _RESERVE:
        logger.warning(
            "this process may open %d files, too few for %d WebSockets of one address "
            "(MONITORING_ADDRESS_MAX_CONNECTIONS); raise the hard limit: ulimit -Hn, systemd's "
            "LimitNOFILE= or the container's ulimits",
            *(soft, connections),
        )
    return soft
