"""The parameters of views: what is filled in, what is refused, and that equal ones are equal."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.views import params
from pydantic import BaseModel, ValidationError

WINDOWED = (params.ListParams, params.TasksParams, params.FailuresParams)


@pytest.mark.parametrize("model", WINDOWED)
def test_windows_are_bounded(model: type[BaseModel]) -> None:
    """At most 200 rows, at least one; without parameters the first ones."""
    assert model().model_dump()["at"] == {"row": 0}
    model(count=200)
    with pytest.raises(ValidationError):
        model(count=201)


def test_parameters_are_values() -> None:
    """Equal ones are equal and hash alike: they are keys of shared subscriptions."""
    one = params.TasksParams.model_validate({"status": ["failed"], "at": {"key": "a"}})
    other = params.TasksParams.model_validate(
        {"at": {"above": 0, "key": "a"}, "status": ["failed"]}
    )
    assert hash(one) == hash(other)
    assert one == other


def test_the_order_of_folds_does_not_matter() -> None:
    """Clients that folded the same rows in another order share one subscription."""
    one = params.TreeParams.model_validate({"task": "t", "except": ["b", "a", "a"]})
    other = params.TreeParams.model_validate({"task": "t", "except": ["a", "b"]})
    assert one == other


def test_a_zoom_that_ends_before_it_starts_is_refused() -> None:
    """Such a stretch of time would pass no row."""
    with pytest.raises(ValidationError, match="first time"):
        params.TreeParams.model_validate({"task": "t", "zoom": [2, 1]})
