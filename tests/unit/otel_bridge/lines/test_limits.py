"""How many lines pass: so many at once, then so many a second, warnings apart."""

from __future__ import annotations

import logging

from otel_bridge.lines.limits import Limits, ProcessLimits, TokenBucket


def allowed(process: ProcessLimits, limits: Limits, level: int, count: int, now: float) -> int:
    return sum(process.allow(limits, level, now) for _ in range(count))


def test_a_bucket_has_a_burst_and_a_rate() -> None:
    """3 at once, 2 a second after that, and never more than 3."""
    bucket = TokenBucket(2, 3)
    assert [bucket.take(10) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(11) for _ in range(3)] == [True, True, False]
    assert [bucket.take(99) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_is_full_at_first_and_fills_again() -> None:
    """Up to its burst, however long nothing was taken; a clock that steps back adds nothing."""
    bucket = TokenBucket(2, 3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert not bucket.take(9.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_token_that_is_given_back_is_there_again() -> None:
    """One more passes, and a full bucket stays full."""
    bucket = TokenBucket(2, 3)
    bucket.give_back()
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    bucket.give_back()
    assert [bucket.take(10.0), bucket.take(10.0)] == [True, False]


def test_a_node_writes_500_lines_at_once_and_50_a_second() -> None:
    """What is over that does not pass."""
    process, limits = ProcessLimits(), Limits()
    assert allowed(process, limits, logging.INFO, 10_000, 1) == 500
    assert allowed(process, limits, logging.INFO, 10_000, 2) == 50


def test_the_error_after_a_flood_passes() -> None:
    """Warnings and worse have a bucket of their own: 100 at once, 5 a second."""
    process, limits = ProcessLimits(), Limits()
    allowed(process, limits, logging.INFO, 10_000, 1)
    assert allowed(process, limits, logging.ERROR, 1000, 1) == 100
    assert allowed(process, limits, logging.WARNING, 1000, 2) == 5


def test_late_nodes_of_a_burst_have_their_first_lines() -> None:
    """Of a process 4,000 lines pass at once, and the first 10 of each node."""
    process = ProcessLimits()
    found = [allowed(process, Limits(), logging.INFO, 500, 1) for _ in range(100)]
    assert (found[0], found[-1]) == (500, 10)
    assert sum(found) == 4000 + 100 * 10


def test_the_process_keeps_room_for_warnings() -> None:
    """After a flood of infos in many nodes, each still has its warnings."""
    process = ProcessLimits()
    for _ in range(100):
        allowed(process, Limits(), logging.INFO, 500, 1)
    late = Limits()
    allowed(process, late, logging.INFO, 500, 1)
    assert allowed(process, late, logging.WARNING, 500, 1) == 100
