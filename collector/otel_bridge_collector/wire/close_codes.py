"""
The codes and reasons with which the collector closes a WebSocket.

The code says to a client whether to reconnect: after 1012, 1013 and 3xxx it does; after 44xx only
once something on its side has changed, such as its token. Codes 3000 to 3999 follow Centrifuge's
ranges.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "AUTH_REQUIRED",
    "BAD_REQUEST",
    "NOT_UTF8",
    "RESTARTING",
    "SLOW_CLIENT",
    "TRY_AGAIN_LATER",
    "CloseCode",
    "try_again_later",
]


class CloseCode(NamedTuple):
    """A close code and its reason, as a close frame carries them."""

    code: int
    reason: str
    """At most 123 bytes of UTF-8 (RFC 6455, section 5.5)."""


NOT_UTF8: Final = CloseCode(1007, "a text message that is not UTF-8")
RESTARTING: Final = CloseCode(1012, "collector is restarting, come back")
TRY_AGAIN_LATER: Final = CloseCode(1013, "many clients connect at once, come back later")
SLOW_CLIENT: Final = CloseCode(3008, "slow")
BAD_REQUEST: Final = CloseCode(4400, "bad request")
AUTH_REQUIRED: Final = CloseCode(4401, "authentication required")


def try_again_later(wait_sec: int) -> CloseCode:
    """
    Return the code for a client that is to connect again after so many seconds; never raises.

    The reason has the number, for a page, which sees neither status nor headers of a refused
    handshake. Source: IANA's registry of WebSocket close codes, 1013.
    """
    reason = f"many clients connect at once, come back in {wait_sec} s"
    return TRY_AGAIN_LATER._replace(reason=reason)
