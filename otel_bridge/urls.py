"""
URLs that may hold a password: what of them a log line may show, and which ones can be read safely.

A password that contains ``/ ? #`` or ``@`` without percent-encoding divides a URL at the wrong
place: a client takes a part of the password for the host, and its errors then quote that part. Such
a URL is recognised by the ``@`` that follows the end of its address, and is refused before any
client gets it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

__all__ = ["ENCODING_CURE", "is_host_name", "is_readable", "redact_url"]

ENCODING_CURE: Final = "in a password write % / ? # @ as %25 %2F %3F %23 %40"
"""What to do about a URL that is not readable."""

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[\w.~%-]*)(:[0-9]*)?")


def redact_url(url: str) -> str:
    """
    Return a URL without user, password and query, for use in a log line; accepts any text.

    Of a URL that cannot be parsed, or whose password is not percent-encoded, only the scheme
    remains: ``redis://***``, or ``***`` without a scheme. Never raises; the length is not limited.
    """
    scheme, mark, rest = url.partition("://")
    if not (mark and _SCHEME.fullmatch(scheme)):
        return "***"
    address, path = _split(rest)
    hosts = address.rpartition("@")[2]
    if "@" in path or not _are_hosts(hosts):
        return f"{scheme}://***"
    return f"{scheme}://{hosts}{re.split('[?#]', path)[0]}"


def is_readable(url: str, *, with_first_at: bool = False) -> bool:
    """
    Whether a client can take no part of the password for something else; never raises.

    False if the password has a ``/ ? #`` or, for some clients, ``@`` that is not percent-encoded,
    or if the URL cannot be parsed; else True. Scheme, host and port need not be usable, or there.

    Args:
        url: With user and password, or without; of any length.
        with_first_at: Whether the client takes the first ``@`` of ``user:p@ss@host`` for the end of
            the password, as asyncpg does. Default False: the last one, as other clients do.
    """
    address, path = _split(url.partition("://")[2])
    try:
        urlsplit(url)
    except ValueError:
        return False
    is_divided_twice = with_first_at and address.count("@") > 1
    return _are_hosts(address.rpartition("@")[2]) and "@" not in path and not is_divided_twice


def is_host_name(host: str) -> bool:
    """
    Whether a host can be looked up: each label (the text between two dots) has 1 to 63 characters.

    False for any other host, such as ``a..b``: its look-up raises ``UnicodeError``, which no client
    takes for a failed connection. Looks nothing up; never raises.

    Args:
        host: A host name, also with letters outside ASCII, or an IP address, without brackets.

    Source: Python's ``socket`` encodes each host with the codec ``idna`` (RFC 3490).
    """
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _split(rest: str) -> tuple[str, str]:
    """Split what follows ``://`` into the address, with user and password, and the rest."""
    found = re.match(r"[^/?#]*", rest)
    assert found is not None  # the pattern also matches the empty text
    return found[0], rest[found.end() :]


def _are_hosts(hosts: str) -> bool:
    return all(map(_HOST.fullmatch, hosts.split(",")))
