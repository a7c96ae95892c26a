"""Repeated parameters of a query: lists are joined, anything ambiguous is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.wire.filters import EventFilter, FilterError
from otel_bridge_collector.wire.query import LIST_PARAMETERS, QueryValues, parse_number


@given(st.dictionaries(st.text(), st.text()))
def test_parameters_given_once_are_a_dict(values: dict[str, str]) -> None:
    """Where each parameter is given once, it is a plain mapping."""
    assert dict(QueryValues(values.items())) == values


def test_a_list_is_joined() -> None:
    """Each repetition adds to a list; empty ones add nothing."""
    assert {"status", "types"} == LIST_PARAMETERS
    query = QueryValues([("types", "task_failed"), ("types", ""), ("types", "task_retry,span_end")])
    assert query["types"] == "task_failed,task_retry,span_end"
    again = QueryValues([("types", "task_failed"), ("types", "task_retry")])
    assert EventFilter.parse(again).types == frozenset({"task_failed", "task_retry"})


def test_different_values_are_an_error() -> None:
    """An ambiguous parameter is named when it is looked up, and ignored when it never is."""
    query = QueryValues([("project_id", "a"), ("x", "1"), ("x", "2"), ("project_id", "b")])
    with pytest.raises(FilterError, match="project_id: given 2 times with different values"):
        query.get("project_id")
    with pytest.raises(FilterError, match="project_id"):
        EventFilter.parse(query)
    assert (query.get("task_id"), len(query), list(query)) == (None, 2, ["project_id", "x"])


@pytest.mark.parametrize("values", [["a", "a"], ["", "a"], ["a", ""]])
def test_one_value_may_be_repeated(values: list[str]) -> None:
    """Equal values are one, and an empty value counts as absent."""
    assert QueryValues([("before", value) for value in values])["before"] == "a"


def test_only_empty_values_are_empty() -> None:
    """A parameter that is only given empty is empty."""
    assert QueryValues([("before", ""), ("before", "")])["before"] == ""


def test_a_number_has_a_default() -> None:
    """Absent and empty are the default; both bounds are allowed."""
    assert [parse_number(q, "limit", 7, 50) for q in ({}, {"limit": ""})] == [7, 7]
    assert [parse_number({"limit": n}, "limit", 7, 50) for n in ("1", "50")] == [1, 50]


@pytest.mark.parametrize("text", ["0", "51", "-1", "1.5", "x", "9" * 5000, "\N{SUPERSCRIPT TWO}"])
def test_another_number_is_an_error(text: str) -> None:
    """A value out of range, or no number, is an error with the value, within bounds."""
    with pytest.raises(FilterError, match=r"limit: .* is not a number from 1 to 50") as raised:
        parse_number({"limit": text}, "limit", 7, 50)
    assert len(str(raised.value)) < 120
