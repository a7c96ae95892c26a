"""
``choose_subprotocol``: which WebSocket subprotocol a handshake agrees on.

The collector knows one name, ``otel-bridge``, and agrees on it if the client offers it. A client
that offers only other names gets an answer without a subprotocol: RFC 6455, 4.2.2 forbids to agree
on a protocol that the server does not speak, and 4.1 lets the client go on without one. Programs
do; a browser closes, as the WebSockets standard (WHATWG) asks of it. A page therefore offers
``otel-bridge`` or, simplest, nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["SUBPROTOCOL", "choose_subprotocol"]

SUBPROTOCOL: Final = "otel-bridge"


def choose_subprotocol(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """
    Return the subprotocol to answer a WebSocket handshake with; never raises.

    Args:
        headers: Of the handshake as ASGI has them, names in lower case. ``Sec-WebSocket-Protocol``
            may be given more than once, each a comma-separated list of any length.

    Returns:
        ``otel-bridge`` if it is offered in exactly this spelling, else None.
    """
    for name, value in headers:
        if name == b"sec-websocket-protocol":
            offered = [part.strip() for part in value.decode("latin-1").split(",")]
            if SUBPROTOCOL in offered:  # case-sensitive, as all subprotocol names are
                return SUBPROTOCOL
    return None
