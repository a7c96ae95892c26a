"""JWTs of an OpenID Connect provider that serves its keys on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from otel_bridge_collector.security.oidc import OidcSettings, OidcVerifier
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

_names = itertools.count()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


class Provider:
    """A provider's discovery document and keys, which can be changed."""

    def __init__(self) -> None:
        provider = self
        self.fetches = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found: dict[str, Any] = {"keys": provider.keys}
                if self.path == "/.well-known/openid-configuration":
                    found = {"issuer": provider.issuer, "jwks_uri": f"{provider.issuer}/keys"}
                else:
                    provider.fetches += 1
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        rsa_key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key()))
        curve = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(CURVE.public_key()))
        secret = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"}
        self.keys = [{**rsa_key, "kid": "rsa"}, {**curve, "kid": "ec"}, secret, {"kty": "odd"}]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(
        self,
        key: Any = RSA,
        algorithm: str = "RS256",
        kid: str = "rsa",
        more: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        fields = {
            "iss": self.issuer,
            "aud": "otel-bridge",
            "sub": "alice",
            "exp": time.time() + 600,
            "projects": ["alpha"],
            **claims,
        }
        fields = {name: value for name, value in fields.items() if value is not None}
        return jwt.encode(fields, key, algorithm, headers={"kid": kid, **(more or {})})


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.close()


@pytest.fixture
def site(
    provider: Provider, make_settings: Callable[..., BridgeSettings]
) -> Iterator[tuple[AppServer, EventBus]]:
    settings = make_settings(bus_url=f"memory://oidc-{next(_names)}")
    with AppServer(settings, oidc_issuer=provider.issuer, stats_interval_sec=3600) as server:
        bus = EventBus.connect(settings)
        yield server, bus
        bus.shutdown()


def status(site: AppServer, token: str) -> int:
    return fetch(f"{site.url}/monitor/events", headers=authorization(token)).status


def test_a_jwt_sees_its_projects(provider: Provider, site: tuple[AppServer, EventBus]) -> None:
    """The claim's projects and nothing else, by RSA and by elliptic curve; ``*`` is everything."""
    server, bus = site
    for project in ("alpha", "beta", None):
        fields = {"event_type": "task_failed", "task_id": f"j-{project}", "project_id": project}
        bus.publish(MonitoringEvent.model_validate(fields))
    wait_until(lambda: server.collector.stats.events_in == 3, "the events")

    def seen(token: str) -> set[str]:
        answer = fetch(f"{server.url}/monitor/events", headers={"Authorization": f"Bearer {token}"})
        return {event["task_id"] for event in answer.json()["events"]}

    assert seen(provider.token()) == {"j-alpha"}
    assert seen(provider.token(CURVE, "ES256", "ec", projects="alpha beta")) == {
        "j-alpha",
        "j-beta",
    }
    assert seen(provider.token(projects="*")) == {"j-alpha", "j-beta", "j-None"}
    assert seen(provider.token(projects=None)) == set()


def test_what_does_not_hold_is_refused(
    provider: Provider, site: tuple[AppServer, EventBus]
) -> None:
    """Wrong key, issuer, audience, time or algorithm; missing claims; none and the public key."""
    header, payload, signature = provider.token().split(".")
    empty = base64.urlsafe_b64encode(b'{"alg":"none","kid":"rsa"}').decode().rstrip("=")
    unsigned = f"{empty}.{payload}."
    wrong = [
        provider.token(OTHER),
        provider.token(iss="https://evil.example"),
        provider.token(aud="somebody-else"),
        provider.token(exp=time.time() - 60),
        provider.token(nbf=time.time() + 600),
        provider.token(exp=None),
        provider.token(sub=None),
        provider.token(aud=None),
        provider.token("secretsecretsecretsecret" + "x" * 20, "HS256", "oct"),
        provider.token(kid="unknown"),
        *(signed_with_the_public_key(payload, kind) for kind in PUBLIC),
        f"{header}.{payload}.{signature[:-8]}AAAAAAAA",
        unsigned,
        "a.b.c",
        "..",
        "x" * 20_000 + ".b.c",
    ]
    for number, token in enumerate(wrong):
        # Past ten wrong ones a minute the address waits.
        assert status(site[0], token) == (401 if number < 10 else 429)
    assert status(site[0], provider.token()) == 200


PUBLIC = {
    "pem": RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
    "der": RSA.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
    "jwk": jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key()).encode(),
}


def signed_with_the_public_key(payload: str, kind: str) -> str:
    """What a verifier that lets the token choose its algorithm would take for the provider's."""
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"rsa"}').rstrip(b"=")
    signing_input = header + b"." + payload.encode()
    made = hmac.digest(PUBLIC[kind], signing_input, "sha256")
    return (signing_input + b"." + base64.urlsafe_b64encode(made).rstrip(b"=")).decode()


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_a_token_does_not_say_whose_key_to_take(
    provider: Provider, site: tuple[AppServer, EventBus], name: str
) -> None:
    """Even rightly signed it is refused, and nothing is fetched from where it says."""
    assert status(site[0], provider.token()) == 200
    evil = Provider()
    key = evil.keys[0] | {"kid": "rsa"}
    value: Any = {"jku": f"{evil.issuer}/keys", "x5u": f"{evil.issuer}/x5u", "jwk": key, "x5c": []}
    for signer in (RSA, OTHER):
        assert status(site[0], provider.token(signer, more={name: value[name]})) == 401
    assert evil.fetches == 0
    evil.close()


async def test_a_removed_key_ends_what_it_signed(
    provider: Provider, site: tuple[AppServer, EventBus]
) -> None:
    """The provider takes a key out: at the next fetch the token and its WebSocket are refused."""
    server, _ = site
    token = provider.token()
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(server.ws_url, additional_headers=headers) as socket:
        provider.keys = provider.keys[1:]
        verifier = server.app.state.authenticator._oidc
        await asyncio.to_thread(server.call, lambda: verifier.refresh(0))
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(10):
                await socket.recv()
        assert socket.close_code == 4401
    assert status(server, token) == 401


def test_a_renewed_token_is_the_same_account(provider: Provider) -> None:
    """Limits and producers' names go by the subject, not by one token of many."""
    verifier = OidcVerifier(OidcSettings(provider.issuer, "otel-bridge"))

    async def account(**claims: Any) -> str:
        found = await verifier.find(provider.token(**claims))
        assert found is not None
        return found.account

    async def ask() -> list[str]:
        return [await account(jti="1"), await account(jti="2"), await account(sub="bob")]

    first, again, other = asyncio.run(ask())
    assert first == again != other


def test_unknown_keys_do_not_make_us_ask_again(provider: Provider) -> None:
    """A client that makes up key ids causes one fetch in ten seconds, not one for each token."""
    verifier = OidcVerifier(OidcSettings(provider.issuer, "otel-bridge"))

    async def ask() -> None:
        for number in range(50):
            assert await verifier.find(provider.token(kid=f"made-up-{number}")) is None

    asyncio.run(ask())
    assert provider.fetches == 1


async def test_expiry_closes_the_connection(
    provider: Provider, site: tuple[AppServer, EventBus]
) -> None:
    """A WebSocket of a JWT that ends is closed with 4401; the 30 s of leeway included."""
    socket = await connect_shortly_before_expiry(provider, site[0].ws_url)
    async with socket:
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(30):
                await socket.recv()
        assert socket.close_code == 4401


async def connect_shortly_before_expiry(provider: Provider, url: str) -> ClientConnection:
    """Connect 1 s before the JWT is over; on a machine too busy for that 4 or 16 s before."""
    for left_sec in (1, 4):
        headers = authorization(provider.token(exp=time.time() - 30 + left_sec))
        with contextlib.suppress(InvalidStatus):
            return await connect(url, additional_headers=headers)
    headers = authorization(provider.token(exp=time.time() - 30 + 16))
    return await connect(url, additional_headers=headers)


def authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_browser_signs_in_with_a_jwt(
    provider: Provider, site: tuple[AppServer, EventBus]
) -> None:
    """``POST /session`` takes it like a token."""
    body = json.dumps({"token": provider.token()}).encode()
    headers = {"Origin": site[0].url, "Content-Type": "application/json"}
    answer = fetch(f"{site[0].url}/session", method="POST", body=body, headers=headers)
    assert answer.status == 204
