"""Ports for the servers of tests, which no client takes while a server is away."""

from __future__ import annotations

import secrets
import socket

__all__ = ["free_port"]

_PORTS = range(13_000, 32_000)
"""Below those that Linux gives to outgoing connections, 32768 and up: one of these may be given to
a client before the server is started, or while it is restarted."""
_MAX_PROBES = 100


def free_port() -> int:
    """Return a port on which nothing listens now, at random, so that processes choose others."""
    for _ in range(_MAX_PROBES):
        # Not `random`, which hypothesis seeds alike in every process.
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port in {_MAX_PROBES} tries from {_PORTS[0]} to {_PORTS[-1]}")
