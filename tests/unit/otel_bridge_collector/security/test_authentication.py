"""Failed attempts, WebSockets and browser sessions are counted, within bounds."""

from __future__ import annotations

import hashlib

import pytest
from otel_bridge_collector.security.authentication import Authenticator, TooManyConnectionsError
from otel_bridge_collector.security.tokens import Principal, TokenTable

SECRETS = ("t-one-0123456789abcdef", "t-two-0123456789abcdef")


def line(name: str) -> str:
    return f"t{name[2:5]} sha256={hashlib.sha256(name.encode()).hexdigest()} projects=*"


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(TokenTable(";".join(map(line, SECRETS)), None), address_connections=2)


def principal(authenticator: Authenticator, number: int = 0) -> Principal:
    assert authenticator.tokens is not None
    found = authenticator.tokens.find(SECRETS[number])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unix", "unix", True),
    ],
)
def test_what_counts_as_one_address(
    authenticator: Authenticator, first: str, second: str, is_same: bool
) -> None:
    """A /64 of IPv6 is one address for limits, not 2**64."""
    for _ in range(10):
        authenticator.record_failure(first)
    assert (authenticator.record_failure(second) > 0) == is_same
    client = principal(authenticator)
    with (
        authenticator.connected(client, first, lambda: None),
        authenticator.connected(client, first, lambda: None),
    ):
        if is_same:
            with (
                pytest.raises(TooManyConnectionsError),
                authenticator.connected(client, second, lambda: None),
            ):
                raise AssertionError
        else:
            with authenticator.connected(client, second, lambda: None):
                pass
    assert authenticator._connections == {}


def test_addresses_are_forgotten(authenticator: Authenticator) -> None:
    """A client with many addresses does not fill the memory: 10,000 are kept."""
    for number in range(10_500):
        authenticator.record_failure(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(authenticator._failures) == 10_000


def test_one_token_does_not_sign_out_others(authenticator: Authenticator) -> None:
    """A token has 100 sessions: the next one ends its own oldest, and none of another token."""
    other = authenticator.open_session(principal(authenticator, 1))
    opened = [authenticator.open_session(principal(authenticator)) for _ in range(150)]
    assert authenticator.resume_session(other) == principal(authenticator, 1)
    live = [authenticator.resume_session(session) is not None for session in opened]
    assert live == [False] * 50 + [True] * 100
