"""
Who may talk to the collector: Host and Origin checks, against DNS rebinding and foreign pages.

The collector listens on loopback by default, and a browser on the same machine would carry any
page's requests there. So: on a loopback bind the ``Host`` must name loopback (a rebound name does
not), and a WebSocket or a writing request with an ``Origin`` must come from the collector's own
address. Programs send no ``Origin`` and pass. CORS does not protect WebSockets (OWASP: CSWSH).

Beyond loopback a rebound name gets a browser past a firewall, not past a token. Where nobody is
asked for one, the ``Host`` must therefore be an address or a name that nobody can register.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from otel_bridge_collector.security.refusals import refusal, send_refusal
from otel_bridge_collector.wire.close_codes import CloseCode

__all__ = ["OriginGuard", "is_loopback_name"]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_PRIVATE_DOMAINS: Final = (".internal", ".local", ".localhost", ".lan", ".home.arpa", ".svc")
"""No public registry has them; ``.svc`` is what Kubernetes calls a service inside a cluster."""
_ONCE: Final = (b"host", b"origin", b"authorization")
"""Two of one kind and a proxy may have looked at the other."""
_NOT_ALLOWED: Final = CloseCode(1008, "host or origin is not allowed")
"""1008 is "policy violation" (RFC 6455, 7.4.1)."""


def is_loopback_name(host: str) -> bool:
    """Whether a host name (without port) is loopback itself, not a name that resolves to it."""
    host = host.strip("[]").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private_name(host: str) -> bool:
    if "." not in host or host.rstrip(".").endswith(_PRIVATE_DOMAINS):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class OriginGuard:
    """
    ASGI middleware that answers 403 to foreign hosts and origins, before any route.

    Args:
        app: What it guards.
        bind_host: The address the collector listens on.
        allowed_origins: Further origins, exact: ``https://dash.example.org``; their host names are
            allowed as ``Host`` as well.
        is_open: Whether nobody is asked for a token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bind_host: str,
        allowed_origins: Collection[str] = (),
        is_open: bool = False,
    ) -> None:
        self._app = app
        self._is_open = is_open
        self._is_loopback = is_loopback_name(bind_host)
        self._allowed = frozenset(allowed_origins)
        # A proxy on this machine passes on the name that it is known by.
        self._hosts = frozenset(urlsplit(origin).hostname for origin in allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            reason = self._refusal(scope)
            if reason is not None:
                answer = refusal(scope, 403, reason)
                await send_refusal(scope, receive, send, answer, _NOT_ALLOWED)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in headers:
                return f"{name.decode()} is given twice"
            if name in _ONCE:
                headers[name] = value.decode("latin-1")
        host = headers.get(b"host", "")
        found = _HOST.fullmatch(host)
        if host and found is None:
            return "Host is not a host"
        own_name = found[1].lower() if found else ""
        if self._is_loopback and not (is_loopback_name(own_name) or own_name in self._hosts):
            return "Host is not this machine's loopback address, nor of an allowed origin"
        if self._is_open and not (_is_private_name(own_name) or own_name in self._hosts):
            return (
                "Host could be anybody's name; MONITORING_ALLOWED_ORIGINS lists those that are ours"
            )
        origin = headers.get(b"origin")
        is_reading = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        if origin is None or is_reading or origin in self._allowed:
            return None
        secure = scope.get("scheme") in ("https", "wss")
        own = f"{'https' if secure else 'http'}://{host}"
        if origin.lower() != own.lower():
            return "Origin is another site"
        return None
