"""Backoff and circuit breaker: when the next attempt is due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.publish.retry import MAX_DELAY_SEC, OPEN_AFTER_FAILURES, Breaker


def longest(_: float, bound: float) -> float:
    return bound


def test_delays_double_up_to_their_bound() -> None:
    """With the longest jitter the delays are 50, 100, 200, ... ms and then 1 s."""
    breaker, now, waits = Breaker(longest), 100.0, []
    for _ in range(8):
        breaker.fail(now)
        waits.append(breaker.wait_sec(now))
        now += waits[-1]
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_nothing_waits_before_a_failure() -> None:
    """Without a failure every attempt is due at once."""
    assert Breaker().wait_sec(5.0) == 0.0


def test_three_failures_open_it_once() -> None:
    """Only the third failure in a row reports that the breaker opened."""
    breaker = Breaker(longest)
    assert [breaker.fail(float(now)) for now in range(5)] == [False, False, True, False, False]
    assert breaker.is_open


def test_success_closes_it_and_returns_the_length_of_the_outage() -> None:
    """The outage lasted from the first failure to the success."""
    breaker = Breaker(longest)
    for now in range(10, 10 + OPEN_AFTER_FAILURES):
        breaker.fail(float(now))
    assert breaker.succeed(25.0) == 15.0
    assert (breaker.is_open, breaker.wait_sec(25.0)) == (False, 0.0)


def test_a_single_failure_is_no_outage() -> None:
    """Success after fewer failures than open it reports nothing."""
    breaker = Breaker(longest)
    breaker.fail(1.0)
    assert breaker.succeed(2.0) is None


@pytest.mark.parametrize(("asked", "kept"), [(7.0, 7.0), (3600.0, 60.0), (-5.0, 0.0)])
def test_a_retry_after_is_observed_up_to_a_minute(asked: float, kept: float) -> None:
    """The delay that the receiver asks for is added to the jitter, at most 60 s of it."""
    breaker = Breaker(longest)
    breaker.fail(0.0, asked)
    assert breaker.wait_sec(0.0) == pytest.approx(kept + 0.05)


def test_a_flush_brings_the_next_attempt_forward() -> None:
    """A caller that waits for a flush does not wait for the whole backoff."""
    breaker = Breaker(longest)
    for _ in range(8):
        breaker.fail(0.0)
    breaker.bring_forward(0.0, 0.1)
    assert breaker.wait_sec(0.0) == pytest.approx(0.1)


@given(st.integers(1, 2000))
def test_jitter_stays_within_the_bound(failures: int) -> None:
    """No number of failures makes a delay longer than the bound, or overflow."""
    breaker = Breaker()
    for _ in range(failures):
        breaker.fail(0.0)
    assert 0.0 <= breaker.wait_sec(0.0) <= MAX_DELAY_SEC


def test_the_jitter_is_between_nothing_and_the_bound() -> None:
    """Each delay is drawn from the whole interval: full jitter spreads the workers best."""
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    breaker = Breaker(draw)
    for _ in range(3):
        breaker.fail(7.0)
    assert drawn == [(0.0, 0.05), (0.0, 0.1), (0.0, 0.2)]
    assert breaker.wait_sec(7.0) == 0.0


def test_after_a_success_nothing_waits() -> None:
    """A success makes the next attempt due at once, however long the delay was to be."""
    breaker = Breaker(longest)
    breaker.fail(0.0, 60.0)
    breaker.succeed(1.0)
    assert breaker.wait_sec(1.0) == 0.0


def test_each_outage_is_counted_from_its_own_first_failure() -> None:
    """After a success it takes three failures again, and the next outage begins with the first."""
    breaker = Breaker(longest)
    for now in (1.0, 2.0, 3.0):
        breaker.fail(now)
    breaker.succeed(4.0)
    assert [breaker.fail(now) for now in (10.0, 11.0, 12.0)] == [False, False, True]
    assert breaker.succeed(15.0) == 5.0


def test_a_flush_before_any_failure_changes_nothing() -> None:
    """Bringing forward an attempt that is due already leaves it due."""
    breaker = Breaker(longest)
    breaker.bring_forward(0.0, 0.1)
    assert breaker.wait_sec(0.0) == 0.0
