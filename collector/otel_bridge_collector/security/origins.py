"""
``OriginGuard``: checks Host and Origin, against DNS rebinding and requests of other sites' pages.

The collector listens on loopback by default, where a browser on the same machine would send the
requests of any page. On a loopback address the ``Host`` must therefore name loopback, which a
rebound name does not; and a WebSocket or a request that changes something, if it has an ``Origin``,
must come from the collector's own address. Programs send no ``Origin`` and pass. CORS does not
protect WebSockets (OWASP: cross-site WebSocket hijacking).

Beyond loopback a rebound name gets a browser past a firewall, but not past authentication. Without
authentication, the ``Host`` must be an IP address or a name that cannot be registered in public.
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

__all__ = ["OriginGuard", "is_loopback_name", "normal_origin"]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_PRIVATE_DOMAINS: Final = (".internal", ".local", ".localhost", ".lan", ".home.arpa", ".svc")
"""Domains that no public registry has; ``.svc`` is that of services in a Kubernetes cluster."""
_SINGLE_HEADERS: Final = (b"host", b"origin", b"authorization")
"""A request with two of one name is refused: a proxy may have checked the other one."""
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_MAX_SHOWN_CHARS: Final = 100
_NOT_ALLOWED: Final = CloseCode(1008, "host or origin is not allowed")
"""1008 is "policy violation" (RFC 6455, 7.4.1)."""


def is_loopback_name(host: str) -> bool:
    """
    Return whether a host name or address always means loopback; any other text is False.

    Looks nothing up and never raises.

    Args:
        host: Without port; IPv6 with or without brackets. True for ``localhost``, ``*.localhost``
            and loopback addresses. A name that merely resolves to loopback is False.
    """
    host = host.strip("[]").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private_name(host: str) -> bool:
    """Whether a host is an address, a name without a dot, or in a domain of private networks."""
    if "." not in host or host.rstrip(".").endswith(_PRIVATE_DOMAINS):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def normal_origin(origin: str) -> str:
    """
    Return an origin as browsers send it: in lower case, without its scheme's default port.

    Args:
        origin: Any text of any length, such as ``https://Dash.example.org:443``; without ``://`` it
            only becomes lower case. Never raises.
    """
    origin = origin.lower()
    scheme, mark, _ = origin.partition("://")
    return origin.removesuffix(_DEFAULT_PORTS.get(scheme, "")) if mark else origin


class OriginGuard:
    """
    ASGI middleware that answers 403 to a wrong Host or Origin, before any route.

    * ``Host``, if it is given, must be a name or address with or without a port.
    * If ``bind_host`` is loopback, ``Host`` must name loopback or the host of an allowed origin.
    * Without authentication, ``Host`` must be an IP address, a name without a dot, a name in a
      private domain (``.internal``, ``.local``, ``.localhost``, ``.lan``, ``.home.arpa`` or
      ``.svc``), or the host of an allowed origin.
    * A WebSocket or a method other than GET, HEAD and OPTIONS: ``Origin``, if there is one, must be
      the collector's own or an allowed one.
    * ``Host``, ``Origin`` and ``Authorization`` may be given once.

    A refused WebSocket handshake gets 403 too; the answer's ``detail`` says what to change, and
    quotes at most 100 characters. The guard raises only what the application raises.

    Args:
        app: The application that it guards.
        bind_host: The address that the collector listens on.
        allowed_origins: Further origins, such as ``https://dash.example.org``; compared exactly,
            but a scheme's default port may be written or left out. Their host names are allowed as
            ``Host`` too. Default: none.
        has_authentication: Whether requests need credentials.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bind_host: str,
        allowed_origins: Collection[str] = (),
        has_authentication: bool = True,
    ) -> None:
        self._app = app
        self._has_authentication = has_authentication
        self._is_loopback = is_loopback_name(bind_host)
        self._allowed_origins = frozenset(map(normal_origin, allowed_origins))
        # A proxy on this machine passes on the Host that its own clients use.
        self._allowed_hosts = frozenset(urlsplit(origin).hostname for origin in allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 with the reason, or run the application."""
        if scope["type"] in ("http", "websocket"):
            reason = self._reason_to_refuse(scope)
            if reason is not None:
                answer = refusal(scope, 403, reason)
                await send_refusal(scope, receive, send, answer, _NOT_ALLOWED)
                return
        await self._app(scope, receive, send)

    def _reason_to_refuse(self, scope: Scope) -> str | None:
        headers: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in headers:
                return f"the header {name.decode().title()} is given twice; send it once"
            if name in _SINGLE_HEADERS:
                headers[name] = value.decode("latin-1")
        host = headers.get(b"host", "")
        found = _HOST.fullmatch(host)
        if host and found is None:
            return f"Host {_shown(host)} is not a host name or address with an optional port"
        host_name = found[1].lower() if found else ""
        is_allowed = host_name in self._allowed_hosts
        if self._is_loopback and not (is_loopback_name(host_name) or is_allowed):
            return (
                f"Host {_shown(host)} is not a loopback name of this machine; use localhost, or "
                "add the origin to MONITORING_ALLOWED_ORIGINS"
            )
        if not self._has_authentication and not (_is_private_name(host_name) or is_allowed):
            return (
                f"Host {_shown(host)} could be registered by any other site; add the origin to "
                "MONITORING_ALLOWED_ORIGINS, or set tokens"
            )
        origin = headers.get(b"origin")
        is_reading = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        if origin is None or is_reading or normal_origin(origin) in self._allowed_origins:
            return None
        is_secure = scope.get("scheme") in ("https", "wss")
        own_origin = f"{'https' if is_secure else 'http'}://{host}"
        if normal_origin(origin) != normal_origin(own_origin):
            return (
                f"Origin {_shown(origin)} is another site; to allow it, add it to "
                "MONITORING_ALLOWED_ORIGINS"
            )
        return None


def _shown(value: str) -> str:
    """A header's value for the answer: in quotes, as ASCII, of bounded length."""
    return ascii(value[:_MAX_SHOWN_CHARS])
