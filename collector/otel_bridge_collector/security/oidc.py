"""
Verifies JWTs of an OpenID Connect provider, which are taken beside the collector's own tokens.

Only asymmetric signature algorithms are accepted, so that the public key cannot be used to sign.
Issuer, audience, subject and expiry are required. The keys are fetched from the provider's JWKS
every minute; a token whose key is no longer there becomes invalid. A claim names the projects.

Source: RFC 7519, RFC 8725 (best current practice), OpenID Connect Discovery 1.0; PyJWT 2.15.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from otel_bridge.clock import SYSTEM_CLOCK, Clock
from otel_bridge.errors import ConfigurationError
from otel_bridge.urls import redact_url
from otel_bridge_collector.security.origins import is_loopback_name
from otel_bridge_collector.security.tokens import Principal, token_digest

__all__ = ["REFRESH_SEC", "OidcSettings", "OidcVerifier"]

logger = logging.getLogger(__name__)

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "EdDSA",
)
_KEY_HEADERS: Final = frozenset({"jku", "jwk", "x5c", "x5u"})
"""Headers with which a token brings its own key or names a URL of it. Such a token is refused, and
the URL is never fetched."""
_LEEWAY_SEC: Final = 30
_MAX_EXP: Final = 253_402_300_799 - _LEEWAY_SEC
"""The latest ``exp``, in seconds since the Unix epoch: with the leeway it is the end of the year
9999, the last that a ``datetime`` can show. ``GET /session`` shows the expiry."""
_FETCH_TIMEOUT_SEC: Final = 5.0
_MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_TOKEN_CHARS: Final = 16 * 1024
REFRESH_SEC: Final = 60.0
"""How often the keys are fetched again."""
_UNKNOWN_KEY_SEC: Final = 10.0
"""The least time between two fetches for an unknown key id, which any client can make up."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """
    Which JSON Web Tokens (JWTs) of an OpenID Connect provider to accept.

    An immutable record of texts that checks nothing. ``OidcVerifier`` raises ``ConfigurationError``
    for a URL that is neither https nor http on loopback, or has a user or password.

    Attributes:
        issuer: The URL that a token must have as ``iss``.
        audience: What a token must have in ``aud``.
        jwks_url: The URL of the provider's keys. Default: empty; it is then read from
            ``<issuer>/.well-known/openid-configuration``.
        projects_claim: The claim that names the projects, as a list or as text with spaces between;
            ``*`` is all, and a token without the claim has none. Default: ``projects``.
    """

    issuer: str
    audience: str
    jwks_url: str = ""
    projects_claim: str = "projects"


class OidcVerifier:
    """
    Verifies JWTs and gives their principals (who makes a request, and its projects).

    ``Authenticator`` uses it on one event loop. Making one fetches nothing: the first ``find`` or
    ``refresh`` fetches the provider's keys. A response may have 1 MiB; the provider may be silent
    for 5 s; redirects are not followed. The number of keys has no other limit. Its methods never
    raise for what a client or the provider sends: what fails is logged. It needs no closing.

    Args:
        settings: The issuer, audience, keys' URL and claim of the JWTs to accept.
        clock: Its monotonic time decides when the keys are fetched again.

    Raises:
        ConfigurationError: PyJWT is missing, or a URL is neither https nor http on loopback, or has
            a user or a password.
    """

    def __init__(self, settings: OidcSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        try:
            import jwt
        except ImportError:
            raise ConfigurationError(
                "MONITORING_OIDC_ISSUER needs PyJWT", "pip install 'otel-bridge[oidc]'"
            ) from None
        self._jwt = jwt
        for name, url in (("ISSUER", settings.issuer), ("JWKS_URL", settings.jwks_url)):
            if url and not _is_safe(url):
                shown = redact_url(url) if "://" in url or "@" in url else url
                raise ConfigurationError(
                    f"MONITORING_OIDC_{name}={shown} is not https, or has a password",
                    "use an https URL without user and password",
                )
        self._settings = settings
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()
        self._is_failing = False

    async def find(self, token: str) -> Principal | None:
        """
        Verify a JWT; for an unknown key id, fetch the keys before, at most every 10 s.

        Args:
            token: The JWT in compact form; over 16,384 characters it is not valid.

        Returns:
            Its principal, which expires 30 s after the token. None for a token that is malformed,
            expired, valid beyond the year 9999, of another issuer or audience, not signed by a key
            of the provider, or that brings its own key. A failed fetch is logged, not raised, and
            gives None too.
        """
        if len(token) > _MAX_TOKEN_CHARS:
            return None
        try:
            header = self._jwt.get_unverified_header(token)
        except self._jwt.PyJWTError:
            return None
        if not _KEY_HEADERS.isdisjoint(header):
            return None
        key_id = header.get("kid", "")
        if key_id not in self._keys:
            await self.refresh(_UNKNOWN_KEY_SEC)
        key = self._keys.get(key_id)
        if key is None:
            return None
        try:
            claims = self._jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_SEC,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (self._jwt.PyJWTError, OverflowError) as error:
            # OverflowError: PyJWT 2.10 raises it for an ``exp`` of 1e400, which JSON reads as inf.
            logger.info("refused a JWT: %s", type(error).__name__)
            return None
        if int(claims["exp"]) > _MAX_EXP:
            logger.info("refused a JWT: its exp is beyond the year 9999")
            return None
        return Principal(
            name=f"jwt:{str(claims['sub'])[:100]}",
            projects=_projects(claims.get(self._settings.projects_claim)),
            expires_at=float(claims["exp"]) + _LEEWAY_SEC,
            digest=token_digest(token),
            key_id=key_id,
            subject=token_digest(f"jwt {claims['sub']}"),
        )

    def is_valid(self, principal: Principal) -> bool:
        """Whether the provider still has the key that signed this principal's token."""
        return principal.key_id in self._keys

    async def refresh(self, min_age_sec: float = REFRESH_SEC) -> None:
        """
        Fetch the provider's keys in a thread; concurrent calls wait for each other.

        A failure (unreachable, silent for 5 s, over 1 MiB, no JSON object) is never raised: the
        first of a row is logged as a warning, and the old keys stay.

        Args:
            min_age_sec: Do nothing if the last fetch, also a failed one, is less old than this;
                default 60 s.
        """
        async with self._lock:
            if self._clock.monotonic() - self._fetched_at < min_age_sec:
                return
            self._fetched_at = self._clock.monotonic()
            try:
                self._keys = await asyncio.to_thread(self._fetch)
            except Exception as error:
                if not self._is_failing:
                    logger.warning(
                        "the keys of %s cannot be fetched: %s", self._settings.issuer, error
                    )
                self._is_failing = True
            else:
                self._is_failing = False

    def _fetch(self) -> dict[str, Any]:
        url = self._settings.jwks_url
        if not url:
            base = self._settings.issuer.rstrip("/")
            found = _get(f"{base}/.well-known/openid-configuration")
            if found.get("issuer") != self._settings.issuer:
                raise ValueError("the discovery document names another issuer")
            url = str(found.get("jwks_uri", ""))
            if not _is_safe(url):
                raise ValueError("jwks_uri is not https")
        keys = {}
        for given in _get(url).get("keys", []):
            try:
                key = self._jwt.PyJWK(given)
            except self._jwt.PyJWTError:
                continue  # a key of an unknown type, or no key at all
            if given.get("kty") != "oct" and given.get("use", "sig") == "sig":
                keys[str(given.get("kid", ""))] = key
        return keys


def _projects(claim: Any) -> frozenset[str] | None:
    """The projects that a claim names: none without a claim; None, which is all, for ``*``."""
    if isinstance(claim, str):
        claim = claim.split()
    names = frozenset(str(name) for name in claim) if isinstance(claim, list) else frozenset()
    return None if "*" in names else names


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_local = parts.scheme == "http" and is_loopback_name(parts.hostname or "")
    # An HTTP client that cannot read a password's "@" or "/" quotes a piece of it in its error.
    has_user = "@" in url
    return bool(parts.hostname) and not has_user and (parts.scheme == "https" or is_local)


def _get(url: str) -> Mapping[str, Any]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    with _OPENER.open(request, timeout=_FETCH_TIMEOUT_SEC) as answer:
        body = answer.read(_MAX_ANSWER_BYTES + 1)
    if len(body) > _MAX_ANSWER_BYTES:
        raise ValueError("the answer is over 1 MiB")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("the answer is not an object")
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)
"""Redirects are not followed: one could lead away from https, to a server of the inner network."""
