"""``admission``: how many handshakes pass at once and a second, and when the others come back."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.security.admission import MAX_WAIT_SEC, HandshakeAdmission

from tests.support.faults import FakeClock


def test_a_second_s_worth_passes_at_once_and_then_the_rate() -> None:
    """Of a storm the first 200 pass, and 100 more in each half second that follows."""
    clock = FakeClock()
    admission = HandshakeAdmission(200, clock=clock)
    assert sum(not admission.wait_sec() for _ in range(1000)) == 200
    clock.seconds += 0.5
    assert sum(not admission.wait_sec() for _ in range(1000)) == 100
    assert admission.refused == {"rate": 1700, "address": 0, "token": 0}


@pytest.mark.parametrize("rate", [1, 5, 200])
def test_ten_tabs_are_never_sent_away(rate: int) -> None:
    """However low the rate, a person who opens ten tabs at once gets them all."""
    admission = HandshakeAdmission(rate, clock=FakeClock())
    assert [admission.wait_sec() for _ in range(10)] == [0] * 10
    assert admission.refused["rate"] == 0


@given(st.integers(1, 500), st.integers(0, 3000))
def test_the_others_come_back_spread(rate: int, more: int) -> None:
    """No second is promised to more than can be admitted in it; within 1 to 60 s, in order."""
    admission = HandshakeAdmission(rate, clock=FakeClock())
    waits = [wait for _ in range(rate + 20 + more) if (wait := admission.wait_sec())]
    assert all(1 <= wait <= MAX_WAIT_SEC for wait in waits)
    promised = waits[: int(rate * 0.9) * (MAX_WAIT_SEC - 1)]
    assert promised == sorted(promised)
    assert max(Counter(promised).values(), default=0) <= rate


@pytest.mark.parametrize("count", [2_000, 10_000])
def test_a_storm_is_over_after_the_time_that_its_rate_needs(count: int) -> None:
    """Clients that come back at their Retry-After are all in within count / (0.9 rate) + 2 s."""
    clock = FakeClock()
    admission = HandshakeAdmission(200, clock=clock)
    due, second, attempts = Counter({0: count}), 0, 0
    while due:
        arriving = due.pop(second, 0)
        for _ in range(arriving):
            attempts += 1
            wait = admission.wait_sec()
            if wait:
                due[second + wait] += 1
        clock.seconds += 1
        second += 1
    assert second <= count / 180 + 2
    assert attempts < 2.1 * count


def test_without_a_rate_all_are_admitted() -> None:
    """0 turns it off."""
    admission = HandshakeAdmission(0, clock=FakeClock())
    assert not any(admission.wait_sec() for _ in range(10_000))
    assert admission.refused["rate"] == 0


@pytest.mark.parametrize(
    ("address", "names_cure"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("::1", True),
        ("fd00::7", True),
        ("", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
    ],
)
def test_a_full_address_that_may_be_a_proxy_names_the_cure(
    address: str, names_cure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a minute says what is full, and for a private address the setting for proxies."""
    clock = FakeClock()
    admission = HandshakeAdmission(200, clock=clock)
    for _ in range(3):
        admission.note_limit("address", address)
    clock.seconds += 61
    admission.note_limit("token", address)
    line, other = [record.getMessage() for record in caplog.records]
    assert "MONITORING_ADDRESS_MAX_CONNECTIONS" in line
    assert ("MONITORING_TRUSTED_PROXIES" in line) is names_cure
    assert "MONITORING_TOKEN_MAX_CONNECTIONS" in other
    assert admission.refused == {"rate": 0, "address": 3, "token": 1}
