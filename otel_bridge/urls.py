"""
URLs that may hold a password: what of them a log line may show, and which ones can be read safely.

A password that contains ``/ ? #`` or ``@`` without percent-encoding cuts a URL at the wrong place:
a client takes a part of the password for the host, and its errors then quote that part. Such a URL
is recognised by the ``@`` that follows the end of its address, and is refused before any client
gets it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

__all__ = ["ENCODING_CURE", "is_readable", "redact_url"]

ENCODING_CURE: Final = "in a password write % / ? # @ as %25 %2F %3F %23 %40"
"""What to do about a URL that is not readable."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:[0-9]*)?")


def redact_url(url: str) -> str:
    """
    Return a URL without user, password and query, for use in a log line; accepts any text.

    Of a URL that cannot be parsed, or whose password is not percent-encoded, only the scheme
    remains: ``redis://***``, or ``***`` without a scheme.
    """
    scheme, mark, rest = url.partition("://")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or not mark:
        return "***"
    _, hosts, path = _split(rest)
    if "@" in path or not all(map(_HOST.fullmatch, hosts.split(","))):
        return f"{scheme}://***"
    return f"{scheme}://{hosts}{re.split('[?#]', path)[0]}"


def is_readable(url: str, *, with_first_at: bool = False) -> bool:
    """
    Whether a client can take no part of the password for something else.

    Args:
        url: With user and password, or without.
        with_first_at: Whether the client takes the first ``@`` of ``user:p@ss@host`` for the end of
            the password, as asyncpg does. The others take the last one.
    """
    address, _, path = _split(url.partition("://")[2])
    try:
        urlsplit(url)
    except ValueError:
        return False
    return "@" not in path and not (with_first_at and address.count("@") > 1)


def _split(rest: str) -> tuple[str, str, str]:
    """Split what follows ``://`` into the address, the hosts in it, and the rest."""
    found = re.match(r"[^/?#]*", rest)
    assert found is not None  # the pattern also matches the empty text
    return found[0], found[0].rpartition("@")[2], rest[found.end() :]
