"""
Tickets of one process: each is redeemed once, within 30 s.

Two collectors on one Redis, and Redis' outages: ``tests/integration/test_tickets.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.security import tickets
from otel_bridge_collector.security.tickets import TICKET_TTL_SEC, Tickets
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal

from tests.support.faults import FakeClock

ALICE = Principal("alice", frozenset({"a", "b"}), 5.0, "1" * 64, "key", "subject")


async def test_a_ticket_is_redeemed_once() -> None:
    """It gives the principal that it was issued to, and then none."""
    made = Tickets()
    ticket, other = await made.issue(ALICE), await made.issue(ANONYMOUS)
    assert ticket != other
    assert [await made.redeem(ticket), await made.redeem(ticket)] == [ALICE, None]
    assert await made.redeem(other) == ANONYMOUS


async def test_a_ticket_expires() -> None:
    """It is good for less than 30 s."""
    clock = FakeClock()
    made = Tickets(clock)
    early, late = await made.issue(ALICE), await made.issue(ALICE)
    clock.advance(TICKET_TTL_SEC - 0.1)
    assert await made.redeem(early) == ALICE
    clock.advance(0.1)
    assert await made.redeem(late) is None


async def test_tickets_are_stored_as_digests_and_in_bounds() -> None:
    """Memory holds no ticket in clear, and the newest 10,000 at most."""
    made = Tickets()
    first = await made.issue(ALICE)
    assert first not in repr(made._local)
    for _ in range(10_000):
        await made.issue(ALICE)
    assert len(made._local) == 10_000
    assert await made.redeem(first) is None


@pytest.mark.parametrize("ticket", ["", "x", "x" * 42, "x" * 44, "x" * 42 + "\n", "\u00e9" * 43])
async def test_what_is_no_ticket_is_not_looked_up(ticket: str) -> None:
    """Text of another form is refused before Redis is asked."""
    made = Tickets()
    made.redis = object()  # has no methods: a look-up would raise
    assert await made.redeem(ticket) is None


@pytest.mark.parametrize("principal", [ALICE, ANONYMOUS, replace(ALICE, reads_lines=True)])
def test_a_principal_survives_redis(principal: Principal) -> None:
    """What is stored in Redis is read back as it was; a release before knows no such right."""
    stored = tickets.principal_to_json(principal)
    assert tickets.principal_from_json(stored.encode()) == principal
    assert ("reads_lines" in stored) is principal.reads_lines


@given(
    st.binary(max_size=20)
    | st.recursive(
        st.none() | st.booleans() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["name", "projects"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_anything_in_redis_is_read_or_refused(raw: bytes) -> None:
    """Whatever another client wrote there, nothing is raised."""
    found: Any = tickets.principal_from_json(raw)
    assert found is None or isinstance(found, Principal)
