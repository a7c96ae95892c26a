"""``tests.benchmarks.results``: whether a row of a benchmark meets its goal, and merging."""

from __future__ import annotations

import pytest

from tests.benchmarks.results import is_met, merged


@pytest.mark.parametrize(
    ("value", "goal", "expected"),
    [(12, "<= 12", True), (12.1, "<= 12", False), (2.4, ">= 2.5", False), (1, "", None)],
)
def test_a_goal_is_met_or_not(value: float, goal: str, expected: bool | None) -> None:
    """A value at its limit meets the goal; a row without a goal is neither met nor missed."""
    assert is_met(value, goal) is expected


def test_a_row_replaces_the_one_of_its_name() -> None:
    """Rows of other benchmarks stay, and all are in the order of their names."""
    known = [{"name": "b", "value": 1}, {"name": "a", "value": 2}]
    assert merged(known, {"name": "b", "value": 3}) == [
        {"name": "a", "value": 2},
        {"name": "b", "value": 3},
    ]
