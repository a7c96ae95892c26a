"""
Authentication of every request before any route: deny by default.

``AuthenticationGuard`` wraps the application, so a new route is protected without doing anything;
a route asks ``principal_of(scope)`` and passes ``principal.projects`` on. Tokens come as
``Authorization: Bearer`` (or the password of ``Basic``, which URLs can carry), never in the query;
a one-time ticket may be there.

A browser cannot read the status of a refused WebSocket: with an ``Origin`` it is accepted and
closed with 4401, a program gets the plain 401.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
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
from otel_bridge_collector.security.tickets import Tickets
from otel_bridge_collector.security.tokens import ANYONE, Principal, TokenTable, token_digest
from otel_bridge_collector.wire.close_codes import AUTH_REQUIRED

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
SESSION_TTL_SEC: Final = 12 * 3600
_MAX_SESSIONS: Final = 10_000
_MAX_ACCOUNT_SESSIONS: Final = 100
"""Of one token; with more it forgets its own, before it could push out everybody's."""

MAX_FAILURES: Final = 10
"""Wrong credentials per address and minute; the next gets 429."""
_FAILURE_SPAN_SEC: Final = 60.0
_MAX_ADDRESSES: Final = 10_000
_WATCH_INTERVAL_SEC: Final = 0.25
_RELOAD_INTERVAL_SEC: Final = 15.0
"""Revocation holds after this, well within the 60 s promised."""


class TooManyConnectionsError(Exception):
    """Raised when a token or an address has all the WebSockets it may have."""


def address_of(scope: Scope) -> str:
    """From where a request comes, a trusted proxy seen through; empty on a Unix socket."""
    return str(scope["client"][0]) if scope.get("client") else ""


def principal_of(scope: Scope) -> Principal:
    """
    Who asks; the dependency every route uses: ``principal_of(request.scope)``.

    Raises:
        KeyError: The request did not pass the guard, which is a mistake in the application.
    """
    found: Principal = scope[PRINCIPAL]
    return found


class Authenticator:
    """
    Knows credentials, counts failures and connections, watches long connections.

    Args:
        tokens: None: no authentication, everybody is ``ANYONE``.
        token_connections: WebSockets at most per token.
        address_connections: WebSockets at most per address.
        clock: Monotonic for limits.
        oidc: Knows JWTs of an OpenID Connect provider; None: none are taken.
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
        self.turns = ConcurrencyLimits()
        self.is_open = tokens is None and oidc is None
        self._clock = clock
        self._limits = (token_connections, address_connections)
        self._counts: dict[tuple[str, str], int] = {}
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._watched: dict[int, tuple[Principal, Callable[[], None]]] = {}
        self._next = 0
        self._sessions: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    async def identify(self, authorization: str | None) -> Principal | None:
        """The principal of an ``Authorization`` header; None when there is none."""
        if self.is_open:
            return ANYONE
        token = _token_of(authorization)
        if token is None:
            return None
        found = None if self.tokens is None else self.tokens.find(token)
        if found is None and self._oidc is not None and token.count(".") == 2:
            found = await self._oidc.find(token)
            # Its leeway is over: PyJWT has looked at the rest.
            return found if found is not None and self.holds(found) else None
        return found

    def holds(self, principal: Principal) -> bool:
        """Whether a principal identified earlier still may come in."""
        if principal.key_id is not None:
            is_fresh = principal.expires_at is None or time.time() < principal.expires_at
            return is_fresh and self._oidc is not None and self._oidc.holds(principal)
        return self.tokens is not None and self.tokens.holds(principal)

    async def redeem_ticket(self, ticket: str) -> Principal | None:
        """The principal of a ticket that has not been used; it is from now on."""
        principal = await self.tickets.take(ticket)
        return principal if principal is not None and self.may_go_on(principal) else None

    def may_go_on(self, principal: Principal) -> bool:
        """As ``holds``; everybody may where nobody is asked."""
        return self.is_open or self.holds(principal)

    def open_session(self, principal: Principal) -> str:
        """A new session's id, 256 random bits; kept here as its digest, for 12 h at most."""
        session_id = secrets.token_urlsafe(32)
        ends = self._clock.monotonic() + SESSION_TTL_SEC
        own = [key for key, (one, _) in self._sessions.items() if one.account == principal.account]
        for key in own[: max(0, len(own) + 1 - _MAX_ACCOUNT_SESSIONS)]:
            del self._sessions[key]
        self._sessions[token_digest(session_id)] = (principal, ends)
        if len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session_id

    def close_session(self, session_id: str | None) -> None:
        """Forget a session; an unknown one is no error."""
        if session_id is not None:
            self._sessions.pop(token_digest(session_id), None)

    def resume_session(self, session_id: str | None) -> Principal | None:
        """The principal of a session, while its token holds."""
        if session_id is None or self.is_open:
            return None
        principal, ends = self._sessions.get(token_digest(session_id), (None, 0.0))
        is_live = self._clock.monotonic() < ends
        return principal if principal and is_live and self.holds(principal) else None

    def retry_after(self, address: str) -> int:
        """Seconds that an address must wait; 0 while it may try."""
        times = self._failures.get(_network_of(address), [])
        since = self._clock.monotonic() - _FAILURE_SPAN_SEC
        recent = [at for at in times if at > since]
        return 0 if len(recent) < MAX_FAILURES else max(1, int(recent[0] - since) + 1)

    def note_failure(self, address: str) -> None:
        """Count one wrong credential; the newest 10,000 addresses are remembered."""
        address = _network_of(address)
        times = self._failures.setdefault(address, [])
        times.append(self._clock.monotonic())
        del times[:-MAX_FAILURES]
        self._failures.move_to_end(address)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)

    @contextmanager
    def connected(
        self, principal: Principal, address: str, close: Callable[[], None]
    ) -> Iterator[None]:
        """
        Hold one WebSocket; ``close`` is called, perhaps again, when its token no longer holds.

        Raises:
            TooManyConnectionsError: Over a limit.
        """
        keys = [("address", _network_of(address))]
        if principal is not ANYONE:
            keys.append(("token", principal.account))
        limits = {"token": self._limits[0], "address": self._limits[1]}
        if any(self._counts.get(key, 0) >= limits[key[0]] for key in keys):
            raise TooManyConnectionsError
        for key in keys:
            self._counts[key] = self._counts.get(key, 0) + 1
        self._next += 1
        number = self._next
        self._watched[number] = (principal, close)
        try:
            yield
        finally:
            self._watched.pop(number, None)
            for key in keys:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]

    def sweep(self) -> None:
        """Close what no longer holds."""
        for principal, close in list(self._watched.values()):
            if not self.may_go_on(principal):
                close()

    async def watch(self) -> None:
        """Sweep four times a second, read file and keys again now and then; until cancelled."""
        reload_at = self._clock.monotonic() + _RELOAD_INTERVAL_SEC
        while not self.is_open:
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
                logger.exception("a sweep of the connections failed")


def _network_of(address: str) -> str:
    """What counts as one address: of IPv6 the /64, which is what one line of a provider has."""
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
    ASGI middleware; puts the principal into the scope or answers 401 or 429 itself.

    Args:
        app: What it guards.
        authenticator: Knows the credentials.
    """

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        raw = headers.get(b"authorization")
        authorization = None if raw is None else raw.decode("latin-1")
        principal = await self._authenticator.identify(authorization)
        if principal is None and authorization is None and _may_use_cookie(scope, headers):
            principal = self._authenticator.resume_session(session_cookie(headers))
        ticket = None
        if principal is None and authorization is None and scope["type"] == "websocket":
            ticket = _ticket_of(scope)
            if ticket is not None:
                principal = await self._authenticator.redeem_ticket(ticket)
        if principal is None and not _is_public(scope):
            address = address_of(scope)
            wait = 0
            if authorization is not None or ticket is not None:
                wait = self._authenticator.retry_after(address)
                self._authenticator.note_failure(address)
            await _refuse(scope, receive, send, wait, is_browser=b"origin" in headers)
            return
        if principal is not None:
            scope[PRINCIPAL] = principal
        await self._app(scope, receive, send)


def session_cookie(headers: dict[bytes, bytes]) -> str | None:
    """The session's id in a request's cookies."""
    for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and value:
            return value
    return None


def _ticket_of(scope: Scope) -> str | None:
    # Browsers cannot set a WebSocket's headers; a ticket in a log is a used one.
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket", [])
    return values[0] if len(values) == 1 else None


def _may_use_cookie(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    # A browser says where a WebSocket or a writing request comes from, and OriginGuard has
    # compared it; one that does not say could be any page's.
    is_reading = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return is_reading or b"origin" in headers


def _is_public(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["type"] == "http" and (
        path in PUBLIC_PATHS or path in PUBLIC_FILES or path.startswith(PUBLIC_PREFIXES)
    )


async def _refuse(
    scope: Scope, receive: Receive, send: Send, wait: int, *, is_browser: bool
) -> None:
    headers = {"Cache-Control": "no-store"}
    if wait:
        again = headers | {"Retry-After": str(wait)}
        response = refusal(scope, 429, too_many_failures(wait), again)
    elif scope["type"] == "websocket" and is_browser:
        await receive()
        await send({"type": "websocket.accept"})
        code, reason = AUTH_REQUIRED
        await send({"type": "websocket.close", "code": code, "reason": reason})
        return
    else:
        challenge = headers | {"WWW-Authenticate": "Bearer"}
        response = refusal(scope, 401, AUTHENTICATION_REQUIRED, challenge)
    await send_refusal(scope, receive, send, response, AUTH_REQUIRED)
