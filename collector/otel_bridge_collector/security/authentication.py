"""
Authenticates every request before any route: deny by default.

``AuthenticationGuard`` wraps the application, so a new route is protected without any code of its
own. A route gets the principal from ``principal_of(scope)`` and passes ``principal.projects`` on.
Tokens are taken from ``Authorization: Bearer`` or from the password of ``Basic``, which a URL can
carry; never from the query, where only a one-time ticket may be.

A browser cannot read the status of a refused WebSocket. A handshake with an ``Origin`` is therefore
accepted and closed with code 4401; a program, which sends no ``Origin``, gets the plain 401.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge_collector.security.concurrency import ConcurrencyLimits
from otel_bridge_collector.security.oidc import REFRESH_SEC, OidcVerifier
from otel_bridge_collector.security.refusals import (
    AUTHENTICATION_REQUIRED,
    refusal,
    send_refusal,
    too_many_failures,
)
from otel_bridge_collector.security.sessions import SESSION_TTL_SEC, Sessions
from otel_bridge_collector.security.tickets import Tickets
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal, TokenTable
from otel_bridge_collector.settings import PEER_PATH
from otel_bridge_collector.wire.close_codes import AUTH_REQUIRED
from otel_bridge_collector.wire.subprotocol import choose_subprotocol

__all__ = [
    "COOKIE",
    "PRINCIPAL",
    "SESSION_TTL_SEC",
    "AuthenticationGuard",
    "Authenticator",
    "TooManyConnectionsError",
    "address_of",
    "principal_of",
    "session_cookie",
]

logger = logging.getLogger(__name__)

PRINCIPAL: Final = "otel_bridge.principal"
PUBLIC_PATHS: Final = frozenset({"/", "/healthz", "/readyz", "/monitor/config", "/session"})
PUBLIC_PREFIXES: Final = ("/assets/",)
PUBLIC_FILES: Final = frozenset({"/icon.svg", "/theme.js", "/favicon.ico"})

COOKIE: Final = "__Host-otel-bridge"

MAX_FAILURES: Final = 10
"""Wrong credentials from one address in a minute; the next one gets 429."""
_FAILURE_WINDOW_SEC: Final = 60.0
_MAX_ADDRESSES: Final = 10_000
_WATCH_INTERVAL_SEC: Final = 0.25
_RELOAD_INTERVAL_SEC: Final = 15.0
"""How often the token file is read; SECURITY.md promises that a revoked token stops in 60 s."""


class TooManyConnectionsError(Exception):
    """Raised when a ``token`` or an ``address``, its text, has as many WebSockets as it may."""


def address_of(scope: Scope) -> str:
    """The IP address of the client, also behind a trusted proxy; empty on a Unix socket."""
    return str(scope["client"][0]) if scope.get("client") else ""


def principal_of(scope: Scope) -> Principal:
    """
    Return who makes a request; ``ANONYMOUS`` if the collector has no authentication.

    Raises:
        KeyError: No guard ran, or the path is public and the credentials are missing or invalid.
    """
    found: Principal = scope[PRINCIPAL]
    return found


class Authenticator:
    """
    Finds out who makes a request, keeps browser sessions, counts failures and WebSockets.

    The application makes one and runs ``watch`` as a task; use it on one event loop only. It needs
    no closing. Without tokens and OIDC, every request is ``ANONYMOUS``. Making one never raises.

    Args:
        tokens: The collector's own tokens; None: there are none.
        token_connections: The most WebSockets of one account (a token, or a JWT's subject); 100.
        address_connections: The most of one IPv4 address or IPv6 /64 network; 500.
        clock: Its monotonic time limits sessions (12 h) and failures (10 in 60 s).
        oidc: Verifies JWTs of an OpenID Connect provider; None: no JWTs are taken.

    Attributes:
        is_enabled: Whether requests need credentials.
        tickets: One-time tickets for WebSockets.
        sessions: Who has signed in with a browser.
        concurrency: Limits expensive answers to one at a time for each account.
    """

    def __init__(
        self,
        tokens: TokenTable | None,
        *,
        token_connections: int = 100,
        address_connections: int = 500,
        clock: Clock = SYSTEM_CLOCK,
        oidc: OidcVerifier | None = None,
    ) -> None:
        self.tokens = tokens
        self._oidc = oidc
        self.tickets = Tickets(clock)
        self.concurrency = ConcurrencyLimits()
        self.is_enabled = tokens is not None or oidc is not None
        self._clock = clock
        self._max_connections = {"token": token_connections, "address": address_connections}
        self._connections: Counter[tuple[str, str]] = Counter()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._watched: dict[int, tuple[Principal, Callable[[], None]]] = {}
        self._next_number = 0
        self.sessions = Sessions(clock)

    async def identify(self, authorization: str | None) -> Principal | None:
        """
        Find out who makes a request (async); never raises for what a client sends.

        None if credentials are missing, malformed, unknown, revoked or expired. A JWT of an unknown
        key first waits for a fetch of the provider's keys, once in 10 s; None if it fails.

        Args:
            authorization: The header's value: ``Bearer``, or ``Basic`` with a token as password.
        """
        if not self.is_enabled:
            return ANONYMOUS
        token = _token_of(authorization)
        if token is None:
            return None
        found = None if self.tokens is None else self.tokens.find(token)
        if found is None and self._oidc is not None and token.count(".") == 2:
            found = await self._oidc.find(token)
            # PyJWT has checked the expiry at this moment, and the verifier added its leeway to it.
            return found if found is not None and self.is_valid(found) else None
        return found

    def is_valid(self, principal: Principal) -> bool:
        """Whether the credentials of a principal identified earlier are still accepted."""
        if not self.is_enabled:
            return True
        if principal.key_id is not None:
            is_fresh = principal.expires_at is None or time.time() < principal.expires_at
            return is_fresh and self._oidc is not None and self._oidc.is_valid(principal)
        return self.tokens is not None and self.tokens.is_valid(principal)

    async def redeem_ticket(self, ticket: str) -> Principal | None:
        """Use up a ticket: its principal, or None if it is used, over 30 s old or unknown."""
        principal = await self.tickets.redeem(ticket)
        return principal if principal is not None and self.is_valid(principal) else None

    def open_session(self, principal: Principal) -> str:
        """
        Start a browser session of 12 h and return its id, 256 random bits as text; never raises.

        Beyond 100 of one account or 10,000 in all, the oldest ends. Only the id's digest is kept.
        """
        return self.sessions.open(principal)

    def close_session(self, session_id: str | None) -> None:
        """End the session of an id from ``open_session``; None or an unknown id does nothing."""
        if session_id is not None:
            self.sessions.close(session_id)

    def resume_session(self, session_id: str | None) -> Principal | None:
        """Return the principal of a session's id; None if unknown, ended or its token invalid."""
        if session_id is None or not self.is_enabled:
            return None
        principal = self.sessions.find(session_id)
        return principal if principal is not None and self.is_valid(principal) else None

    async def find_session(self, session_id: str | None) -> Principal | None:
        """As ``resume_session``, of a session of any process on the port (async)."""
        if session_id is None or not self.is_enabled:
            return None
        principal = await self.sessions.fetch(session_id)
        return principal if principal is not None and self.is_valid(principal) else None

    def record_failure(self, address: str) -> int:
        """
        Count one wrong credential from an IPv4 address or IPv6 /64; never raises.

        Returns the seconds to wait, 1 to 61, if 10 others came in the last 60 s; else 0. The newest
        10,000 addresses are kept.
        """
        wait_sec = self._wait_sec(address)
        network = _network_of(address)
        times = self._failures.setdefault(network, [])
        times.append(self._clock.monotonic())
        del times[:-MAX_FAILURES]
        self._failures.move_to_end(network)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return wait_sec

    def _wait_sec(self, address: str) -> int:
        times = self._failures.get(_network_of(address), [])
        since = self._clock.monotonic() - _FAILURE_WINDOW_SEC
        recent = [at for at in times if at > since]
        return 0 if len(recent) < MAX_FAILURES else max(1, int(recent[0] - since) + 1)

    @contextmanager
    def connected(
        self, principal: Principal, address: str, close: Callable[[], None]
    ) -> Iterator[None]:
        """
        Context manager for an open WebSocket: counts it, and has it closed with its credentials.

        Args:
            principal: Whose WebSocket it is; ``ANONYMOUS`` counts only for its address.
            address: The client's IP address.
            close: Called on the event loop 4 times a second, from when the credentials have become
                invalid until the block ends. Must not block; its error ends that check of all.

        Raises:
            TooManyConnectionsError: On entry: over 100 an account or 500 an address (default).
        """
        keys = [("address", _network_of(address))]
        if principal is not ANONYMOUS:
            keys.append(("token", principal.account))
        for kind, name in keys:
            if self._connections[kind, name] >= self._max_connections[kind]:
                raise TooManyConnectionsError(kind)
        self._connections.update(keys)
        self._next_number += 1
        number = self._next_number
        self._watched[number] = (principal, close)
        try:
            yield
        finally:
            self._watched.pop(number, None)
            for key in keys:
                self._connections[key] -= 1
                if not self._connections[key]:
                    del self._connections[key]

    def sweep(self) -> None:
        """Call ``close`` of each WebSocket in ``connected`` whose credentials are now invalid."""
        for principal, close in list(self._watched.values()):
            if not self.is_valid(principal):
                close()

    async def watch(self) -> None:
        """
        Close WebSockets whose credentials are invalid, 4 checks a second; run it once as a task.

        Also reloads tokens every 15 s and JWT keys every 60 s. Errors are logged, and it goes on
        until it is cancelled; without authentication it returns at once.
        """
        reload_at = self._clock.monotonic() + _RELOAD_INTERVAL_SEC
        while self.is_enabled:
            await asyncio.sleep(_WATCH_INTERVAL_SEC)
            try:
                if self._clock.monotonic() >= reload_at:
                    reload_at = self._clock.monotonic() + _RELOAD_INTERVAL_SEC
                    if self.tokens is not None:
                        await asyncio.to_thread(self.tokens.reload)
                    if self._oidc is not None:
                        await self._oidc.refresh(REFRESH_SEC)
                self.sweep()
            except Exception:
                logger.exception("checking the credentials of open WebSockets failed")


def _network_of(address: str) -> str:
    """The unit that limits count: an IPv4 address, or the /64 of IPv6 that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


def _token_of(authorization: str | None) -> str | None:
    scheme, _, rest = (authorization or "").partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return rest
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeError):
            return None
        return pair.partition(":")[2] or None
    return None


class AuthenticationGuard:
    """
    ASGI middleware that stores who makes a request in its scope, or refuses the request.

    Missing or invalid credentials get 401 (a browser's WebSocket: close code 4401), and 429 after
    10 wrong ones in 60 s of one address. None are needed for ``/``, ``/healthz``, ``/readyz``,
    ``/session``, ``/monitor/config`` and the dashboard's files. It raises nothing of its own.

    Args:
        app: The application that it guards.
        authenticator: Checks bearer tokens, session cookies and WebSocket tickets.
    """

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 429, close a browser's WebSocket with 4401, or run the application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        raw = headers.get(b"authorization")
        authorization = None if raw is None else raw.decode("latin-1")
        if scope["type"] == "websocket" and scope["path"] == PEER_PATH:
            await self._app(scope, receive, send)  # the route checks the token of the cluster
            return
        principal = await self._authenticator.identify(authorization)
        if principal is None and authorization is None and _may_use_cookie(scope, headers):
            principal = await self._authenticator.find_session(session_cookie(headers))
        ticket = None
        if principal is None and authorization is None and scope["type"] == "websocket":
            ticket = _ticket_of(scope)
            if ticket is not None:
                principal = await self._authenticator.redeem_ticket(ticket)
        if principal is None and not _is_public(scope):
            wait_sec = 0
            if authorization is not None or ticket is not None:
                wait_sec = self._authenticator.record_failure(address_of(scope))
            await _refuse(scope, receive, send, wait_sec, is_browser=b"origin" in headers)
            return
        if principal is not None:
            scope[PRINCIPAL] = principal
        await self._app(scope, receive, send)


def session_cookie(headers: Mapping[bytes, bytes]) -> str | None:
    """The id of the browser session in a request's cookies; None without one."""
    for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and value:
            return value
    return None


def _ticket_of(scope: Scope) -> str | None:
    # In the query, because browsers cannot set headers of a WebSocket. A ticket that ends up in a
    # proxy's log is already used.
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket", [])
    return values[0] if len(values) == 1 else None


def _may_use_cookie(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    # Browsers name the Origin of a WebSocket and of a request that changes something, and
    # OriginGuard has checked it. One without an Origin could come from any page.
    is_reading = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return is_reading or b"origin" in headers


def _is_public(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["type"] == "http" and (
        path in PUBLIC_PATHS or path in PUBLIC_FILES or path.startswith(PUBLIC_PREFIXES)
    )


async def _refuse(
    scope: Scope, receive: Receive, send: Send, wait_sec: int, *, is_browser: bool
) -> None:
    headers = {"Cache-Control": "no-store"}
    if wait_sec:
        again = headers | {"Retry-After": str(wait_sec)}
        response = refusal(scope, 429, too_many_failures(wait_sec), again)
    elif scope["type"] == "websocket" and is_browser:
        await receive()
        # Without the subprotocol that its page asked for, a browser would not see the close code.
        subprotocol = choose_subprotocol(scope["headers"])
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        code, reason = AUTH_REQUIRED
        await send({"type": "websocket.close", "code": code, "reason": reason})
        return
    else:
        challenge = headers | {"WWW-Authenticate": "Bearer"}
        response = refusal(scope, 401, AUTHENTICATION_REQUIRED, challenge)
    await send_refusal(scope, receive, send, response, AUTH_REQUIRED)
