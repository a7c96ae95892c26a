"""The leader asks publishers for larger batches while it helps, and comes back from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.leader.linger import LingerRule, LingerSetter, Rates

from otel_bridge.publish.redis_keys import DEFAULT_KEYS

rates = st.builds(Rates, *[st.floats(0, 1e6) | st.integers(0, 20_000).map(float)] * 2)
CROWD = Rates(20_000.0, 18_000.0)
IDLE = Rates(10.0, 5.0)


@given(st.integers(0, 1000), st.lists(rates, max_size=50))
def test_it_is_bounded_moves_by_one_step_and_comes_back(max_ms: int, seen: list[Rates]) -> None:
    """Whatever the rates: never over the setting, one step a round, and 0 again when quiet."""
    rule = LingerRule(max_ms)
    steps = sorted({0, max_ms, *(step for step in (10, 25, 50) if step < max_ms)})
    for one in seen:
        before = steps.index(rule.linger_ms)
        assert abs(steps.index(rule.decide(one)) - before) <= 1
    for _ in range(3 * len(steps)):
        rule.decide(IDLE)
    assert rule.linger_ms == 0


def test_a_crowd_of_small_batches_raises_it() -> None:
    """Up one step a round, through 10 and 25 to 50 ms, and no further."""
    rule = LingerRule(50)
    assert [rule.decide(CROWD) for _ in range(5)] == [10, 25, 50, 50, 50]


@pytest.mark.parametrize(
    "seen",
    [
        Rates(5_000.0, 5_000.0),
        Rates(48_000.0, 6_000.0),
        Rates(100_000.0, 400.0),
        Rates(100.0, 50_000.0),
        Rates(0.0, 0.0),
    ],
)
def test_other_load_leaves_it(seen: Rates) -> None:
    """Few scripts, batches of 8, full batches, scripts of other programs, nothing at all."""
    assert LingerRule(50).decide(seen) == 0


def test_it_goes_back_after_three_quiet_rounds() -> None:
    """A pause between two bursts is no reason; three rounds in a row are, for each step."""
    rule = LingerRule(25)
    assert [rule.decide(one) for one in (CROWD, CROWD, IDLE, IDLE)] == [10, 25, 25, 25]
    assert rule.decide(CROWD) == 25
    assert [rule.decide(IDLE) for _ in range(7)] == [25, 25, 10, 10, 10, 0, 0]


@given(
    st.integers(1, 5_000),
    st.floats(0.1, 1_000),
    st.sampled_from([5, 10, 25, 50, 200]),
    st.lists(rates, max_size=10),
)
def test_a_steady_crowd_does_not_switch_it(
    publishers: int, each_per_sec: float, max_ms: int, past: list[Rates]
) -> None:
    """Publishers at a steady rate bring it to one value, from wherever it was, and it stays."""
    rule = LingerRule(max_ms)
    for one in past:
        rule.decide(one)

    def decide() -> int:
        # A publisher sends when its linger, or else the flush interval, is over after an event.
        wait_sec = max(rule.linger_ms, 3) / 1000
        scripts = publishers / (wait_sec + 1 / each_per_sec)
        return rule.decide(Rates(publishers * each_per_sec, scripts))

    for _ in range(20):
        decide()
    assert len({decide() for _ in range(20)}) == 1


@given(st.integers(0, 200), st.integers(-10, 10_000))
def test_another_leaders_value_is_taken_over(max_ms: int, held: int) -> None:
    """The longest own step that is not longer; what is too long or negative is bounded."""
    rule = LingerRule(max_ms)
    rule.resume(held)
    assert 0 <= rule.linger_ms <= max(0, min(held, max_ms))
    if held in (10, 25, 50) and held < max_ms:
        assert rule.linger_ms == held


@given(rates)
def test_a_script_that_appends_has_an_event(seen: Rates) -> None:
    """So other programs' scripts cannot make batches look smaller than one event."""
    assert seen.appends <= seen.events
    assert seen.batch_events is None or seen.batch_events >= 1


async def test_it_asks_nothing_in_memory_or_with_0() -> None:
    """Without Redis, or switched off, a round does nothing, and the metrics are unknown."""
    setter = LingerSetter(
        max_ms=50,
        interval_sec=2,
        redis=None,
        keys=DEFAULT_KEYS,
        events=lambda: 1 // 0,
        position=lambda: "",
    )
    await setter.run_round()
    assert (setter.rates, setter.linger_ms) == (None, None)
