"""Counts by upper bound, as a Prometheus histogram needs them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.log.histogram import Histogram


def test_a_value_on_a_bound_is_below_it() -> None:
    """Bounds are inclusive, and what is over the last one is in the bucket without a bound."""
    found = Histogram(1, 5)
    for value in (0, 1, 1.1, 5, 6):
        found.observe(value)
    assert (found.buckets(), found.total) == ([(1, 2), (5, 4), (inf, 5)], 13.1)


@given(st.lists(st.integers(0, 100)))
def test_buckets_are_cumulative(values: Sequence[int]) -> None:
    """Each bucket counts all values up to its bound; the last one counts all."""
    found = Histogram(10, 20, 50)
    for value in values:
        found.observe(value)
    counts = [(bound, sum(value <= bound for value in values)) for bound in (10, 20, 50, inf)]
    assert (found.buckets(), found.total) == (counts, sum(values))


@given(st.lists(st.lists(st.integers(0, 60), max_size=5)))
def test_several_at_once_count_as_each_alone(parts: list[list[int]]) -> None:
    """Whether they are in one bucket, in several, or none."""
    one, other = Histogram(10, 20, 50), Histogram(10, 20, 50)
    for part in parts:
        one.observe_all(part)
        for value in part:
            other.observe(value)
    assert (one.buckets(), one.total) == (other.buckets(), other.total)
