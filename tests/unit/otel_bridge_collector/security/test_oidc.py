"""
JWTs that are refused before any key is fetched, and what is read from a valid one.

A provider with keys, and what its changes do: ``tests/integration/test_oidc.py``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from otel_bridge_collector.security.oidc import OidcSettings, OidcVerifier
from otel_bridge_collector.security.tokens import ANONYMOUS

from otel_bridge.errors import ConfigurationError
from tests.support.faults import FakeClock

ISSUER = "https://login.example.org"
KEY = ec.generate_private_key(ec.SECP256R1())


class NoFetch(OidcVerifier):
    """A verifier that has one key, and counts how often it would fetch them."""

    def __init__(self, settings: OidcSettings, clock: FakeClock) -> None:
        super().__init__(settings, clock)
        self.fetches = 0
        self.failure: Exception | None = None

    def _fetch(self) -> dict[str, Any]:
        self.fetches += 1
        if self.failure is not None:
            raise self.failure
        return {"one": jwt.PyJWK(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True))}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def verifier(clock: FakeClock) -> NoFetch:
    return NoFetch(OidcSettings(ISSUER, "otel-bridge", projects_claim="p"), clock)


def token(headers: dict[str, Any] | None = None, **claims: Any) -> str:
    fields = {"iss": ISSUER, "aud": "otel-bridge", "sub": "alice", "exp": time.time() + 600}
    given = {name: value for name, value in {**fields, **claims}.items() if value is not None}
    return jwt.encode(given, KEY, "ES256", headers={"kid": "one", **(headers or {})})


@pytest.mark.parametrize("url", ["http://login.example.org", "ftp://x", "login.example.org"])
@pytest.mark.parametrize("name", ["ISSUER", "JWKS_URL"])
def test_an_address_without_tls_is_refused(url: str, name: str) -> None:
    """Keys that could be changed on their way are no keys; loopback is for tests."""
    given = {"issuer": ISSUER, "jwks_url": "", name.lower(): url}
    with pytest.raises(ConfigurationError, match=f"MONITORING_OIDC_{name}={url}"):
        OidcVerifier(OidcSettings(audience="otel-bridge", **given))
    OidcVerifier(OidcSettings("http://127.0.0.1:8080", "otel-bridge", "http://localhost/keys"))


@pytest.mark.parametrize(
    "password", ["hunter%40orchid", "hunter@orchid", "hunter/orchid", "[hunter"]
)
@pytest.mark.parametrize("name", ["ISSUER", "JWKS_URL"])
def test_an_address_with_a_password_is_not_quoted(password: str, name: str) -> None:
    """It is refused, because an error of the HTTP client would quote a piece of it."""
    url = f"https://user:{password}@login.example.org"
    given = {"issuer": ISSUER, "jwks_url": "", name.lower(): url}
    with pytest.raises(ConfigurationError, match=f"MONITORING_OIDC_{name}=https://") as raised:
        OidcVerifier(OidcSettings(audience="otel-bridge", **given))
    assert [piece for piece in ("hunter", "orchid") if piece in str(raised.value)] == []


async def test_a_valid_token_is_a_principal(verifier: NoFetch) -> None:
    """Its name, projects, expiry with 30 s of leeway, and key are those of the token."""
    expires_at = int(time.time()) + 600
    found = await verifier.find(token(p=["a", "b"], exp=expires_at))
    assert found is not None
    assert (found.name, found.key_id) == ("jwt:alice", "one")
    assert found.projects == frozenset({"a", "b"})
    assert found.expires_at == expires_at + 30
    assert verifier.is_valid(found)
    again = await verifier.find(token(p=["a", "b"], exp=expires_at, jti="2"))
    assert again is not None
    assert (again.account == found.account, again.digest == found.digest) == (True, False)


@pytest.mark.parametrize(
    ("claim", "projects"),
    [
        (None, set()),
        ("", set()),
        ("a b", {"a", "b"}),
        (["a", 5], {"a", "5"}),
        ("*", None),
        (["a", "*"], None),
        ({"a": True}, set()),
        (5, set()),
    ],
)
async def test_projects_of_a_claim(
    verifier: NoFetch, claim: Any, projects: set[str] | None
) -> None:
    """A list, or text with spaces; ``*`` is every project, and no claim is none."""
    found = await verifier.find(token(p=claim))
    assert found is not None
    assert found.projects == projects


@pytest.mark.parametrize(
    "wrong",
    [
        token(iss="https://evil.example"),
        token(aud="other"),
        token(exp=time.time() - 60),
        token(exp=None),
        token(sub=None),
        token(headers={"kid": "two"}),
        token()[:-8] + "AAAAAAAA",
    ],
    ids=["issuer", "audience", "expired", "no expiry", "no subject", "key", "signature"],
)
async def test_a_token_that_is_not_valid_is_refused(verifier: NoFetch, wrong: str) -> None:
    """Every claim and the signature count."""
    assert await verifier.find(wrong) is None


@pytest.mark.parametrize(
    "exp",
    [10**400, "9" * 400, float("inf"), float("nan"), 1e300, 253_402_300_770],
    ids=["integer", "text", "inf", "nan", "float", "the year 10000"],
)
async def test_an_expiry_that_no_clock_reaches_is_refused(verifier: NoFetch, exp: Any) -> None:
    """A signed token whose ``exp`` is infinite, or is beyond the year 9999, is not valid."""
    assert await verifier.find(token(exp=exp)) is None


async def test_the_latest_expiry_can_be_shown(verifier: NoFetch) -> None:
    """The latest ``exp`` that is accepted still is a date with the leeway added."""
    found = await verifier.find(token(exp=253_402_300_769))
    assert found is not None
    assert found.expires_at is not None
    assert datetime.fromtimestamp(found.expires_at, UTC).isoformat() == "9999-12-31T23:59:59+00:00"


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "a.b.c", "..", "x" * 16_385 + ".b.c"),
        *(token(headers={name: ISSUER}) for name in ("jku", "jwk", "x5c", "x5u")),
    ],
)
async def test_a_token_that_brings_its_key_is_refused_unseen(verifier: NoFetch, wrong: str) -> None:
    """What is no JWT, too long, or names its own key causes no fetch."""
    assert await verifier.find(wrong) is None
    assert verifier.fetches == 0


async def test_unknown_keys_are_fetched_every_ten_seconds(
    verifier: NoFetch, clock: FakeClock
) -> None:
    """Made-up key ids cause one fetch in 10 s, the refresh one a minute."""
    for _ in range(50):
        assert await verifier.find(token(headers={"kid": "made-up"})) is None
    assert verifier.fetches == 1
    clock.advance(10)
    await verifier.find(token(headers={"kid": "made-up"}))
    await verifier.refresh()
    assert verifier.fetches == 2
    clock.advance(60)
    await verifier.refresh()
    assert verifier.fetches == 3


async def test_old_keys_stay_while_the_provider_is_away(
    verifier: NoFetch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed fetch changes nothing and is logged once, with the issuer, until one succeeds."""
    assert await verifier.find(token()) is not None
    verifier.failure = OSError("away")
    for _ in range(3):
        clock.advance(60)
        await verifier.refresh()
    assert await verifier.find(token()) is not None
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"the keys of {ISSUER} cannot be fetched: away"]


def test_a_principal_of_another_kind_is_not_valid(verifier: NoFetch) -> None:
    """Without the provider's key nothing is valid."""
    assert not verifier.is_valid(ANONYMOUS)
