"""Expensive lists are made again by their cost, share one part of a core, and take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from otel_bridge_collector.views.budget import Budget

from tests.support.faults import FakeClock


class Lists:
    """Lists that cost what a test says, counted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.budget = Budget(self.clock)
        self.builds: Counter[object] = Counter()

    def ask(self, key: object, cost: float, version: object = None) -> int:
        """Ask for a list; its value is the number of times that it was made."""
        return self.budget.list(key, self.build(key, cost), version)[0]

    def build(self, key: object, cost: float) -> Callable[[], int]:
        def make() -> int:
            self.clock.advance(cost)
            self.builds[key] += 1
            return self.builds[key]

        return make

    def ticks(self, seconds: float, keys: list[tuple[object, float]], every: float = 0.1) -> float:
        """Ask for all keys each tick; returns the seconds that passed."""
        started = self.clock.monotonic()
        while self.clock.monotonic() < started + seconds:
            self.budget.refresh(0)
            for key, cost in keys:
                self.ask(key, cost)
            self.clock.advance(every)
        return self.clock.monotonic() - started


@pytest.mark.parametrize(
    ("cost", "wait"), [(0.0, 0.2), (0.005, 0.2), (0.03, 0.6), (0.4, 8.0), (3.0, 17.0)]
)
def test_a_list_is_used_for_twenty_times_its_cost(cost: float, wait: float) -> None:
    """At least 0.2 s; at most 10 s, unless the share of 15 % takes longer: 3 s in 20 s."""
    lists = Lists()
    assert lists.ask("a", cost) == 1
    lists.clock.advance(20.0)
    assert lists.ask("a", cost) == 2
    lists.clock.advance(wait - 0.001)
    assert lists.ask("a", cost) == 2
    lists.clock.advance(0.002)
    assert lists.ask("a", cost) == 3
    assert lists.budget.rebuilds == 2


def test_a_list_says_of_when_it_is() -> None:
    """A list that is kept has the time of the state that it was made from."""
    lists = Lists()
    lists.budget.refresh(17)
    assert lists.budget.list("a", lists.build("a", 1)) == (1, 17)
    lists.budget.refresh(18)
    assert lists.budget.list("a", lists.build("a", 1)) == (1, 17)


def test_a_first_build_is_always_allowed() -> None:
    """However much was built, a new list is made at once; and it takes nothing from the others."""
    lists = Lists()
    for key in range(100):
        assert lists.ask(key, 0.1) == 1
    lists.clock.advance(2.0)
    assert lists.ask(0, 0.1) == 2
    assert (lists.budget.rebuilds, lists.budget.postponed) == (1, 0)


def test_twenty_heavy_filters_stay_within_their_share() -> None:
    """20 lists of 40 ms, asked for ten times a second, take 15 % of a core, each its part."""
    lists = Lists()
    keys: list[tuple[object, float]] = [(number, 0.04) for number in range(20)]
    lists.ticks(1, keys)
    before = lists.budget.rebuilds
    passed = lists.ticks(60, keys)
    rebuilds = lists.budget.rebuilds - before
    assert 0.1 * passed < rebuilds * 0.04 <= 0.15 * (passed + 0.25) + 0.04
    assert max(lists.builds.values()) - min(lists.builds.values()) <= 1
    assert lists.budget.postponed > rebuilds


@given(
    costs=st.lists(st.sampled_from((0.002, 0.01, 0.05, 0.3)), min_size=1, max_size=12),
    every=st.sampled_from((0.1, 0.3, 1.0)),
)
@hypothesis_settings(max_examples=40)
def test_no_list_waits_for_ever(costs: list[float], every: float) -> None:
    """Whatever lists there are: the share holds, and each is made again in its turn."""
    lists = Lists()
    keys: list[tuple[object, float]] = list(enumerate(costs))
    lists.ticks(1, keys, every)
    before = Counter(lists.builds)
    passed = lists.ticks(60, keys, every)
    spent = sum(costs[key] * (lists.builds[key] - before[key]) for key in range(len(costs)))
    assert spent <= 0.15 * (passed + 0.25) + max(costs)
    assert all(lists.builds[key] > before[key] for key in range(len(costs)))


def test_a_list_that_is_no_longer_asked_for_holds_up_no_other() -> None:
    """After 2 s the next one has its turn, after 10 s it is dropped."""
    lists = Lists()
    keys: list[tuple[object, float]] = [(number, 0.1) for number in range(6)]
    lists.ticks(4, keys)
    assert lists.budget.postponed
    rest = keys[:1]
    before = lists.builds[0]
    lists.ticks(6, rest)
    assert lists.builds[0] > before
    assert len(lists.budget) == 6
    lists.ticks(6, rest)
    assert len(lists.budget) == 1


def test_an_unchanged_version_is_not_made_again() -> None:
    """What the caller knows to be the same stays, however old; another version is due by cost."""
    lists = Lists()
    assert lists.ask("a", 0.01, version=1) == 1
    lists.clock.advance(100)
    assert lists.ask("a", 0.01, version=1) == 1
    assert lists.ask("a", 0.01, version=2) == 2
    assert lists.ask("a", 0.01, version=3) == 2


def test_a_build_that_fails_is_forgotten() -> None:
    """Its error passes through, and the next time is a first time."""
    lists = Lists()
    lists.ask("a", 0.01)
    lists.clock.advance(1)

    def fail() -> int:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        lists.budget.list("a", fail)
    assert len(lists.budget) == 0
    assert lists.ask("a", 0.01) == 2
