"""The bytes that ask a client to repeat its WebSocket handshake later; pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Final

from otel_bridge_collector.security.headers import SECURITY_HEADERS
from otel_bridge_collector.wire.close_codes import try_again_later
from otel_bridge_collector.wire.subprotocol import choose_subprotocol

__all__ = ["is_handshake", "later_answer"]

_Headers = Sequence[tuple[bytes, bytes]]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of RFC 6455, section 1.3."""
_HEADERS: Final = b"".join(b"%b: %b\r\n" % pair for pair in SECURITY_HEADERS)


def is_handshake(headers: _Headers) -> bool:
    """
    Return whether a request that upgrades to WebSocket has the key and the version that it needs.

    One that has not is refused with 400 or 426, and must not use up the admitted rate. Never
    raises.

    Args:
        headers: Of the request as ASGI has them, names in lower case.
    """
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    try:
        sizes = [len(base64.b64decode(key, validate=True)) for key in keys]
    except binascii.Error:
        return False
    return (sizes, versions) == ([16], [b"13"])


def later_answer(headers: _Headers, wait_sec: int) -> bytes:
    """
    Return the whole answer to a handshake that is to be repeated later; never raises.

    Args:
        headers: Of the handshake as ASGI has them, names in lower case.
        wait_sec: After how many seconds to come back.

    Returns:
        503 with ``Retry-After``, after which the connection is to be closed. A browser shows its
        page neither status nor headers: the answer to one, which is known by its ``Origin``,
        accepts the WebSocket and closes it with 1013 and a reason that has the number.

    Source: RFC 6455, sections 4.2.2 and 5.5.1; RFC 9110, 15.6.4.
    """
    found = dict(headers)
    key = found.get(b"sec-websocket-key")
    if key is not None and b"origin" in found:
        return _closed_websocket(headers, key, wait_sec)
    detail = f"many clients connect at once; connect again in {wait_sec} s"
    body = json.dumps({"detail": detail}).encode()
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nretry-after: %d\r\nconnection: close\r\n%b\r\n%b"
        % (len(body), wait_sec, _HEADERS, body)
    )


def _closed_websocket(headers: _Headers, key: bytes, wait_sec: int) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    # Without the subprotocol that its page asked for, a browser would not see the close code.
    name = choose_subprotocol(headers)
    subprotocol = b"" if name is None else b"sec-websocket-protocol: %b\r\n" % name.encode()
    code, reason = try_again_later(wait_sec)
    payload = code.to_bytes(2, "big") + reason.encode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %b\r\n%b\r\n%b%b"
        % (accept, subprotocol, bytes((0x88, len(payload))), payload)
    )
