"""The parameters of views: what is filled in, what is refused, and what rows never have."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire import view_rows
from pydantic import BaseModel, ValidationError

ROWS = (view_rows.TaskRow, view_rows.WorkerRow, view_rows.QueueRow, view_rows.FailureRow)


@pytest.mark.parametrize("params", [view_rows.ListParams, view_rows.TasksParams])
def test_windows_are_bounded(params: type[BaseModel]) -> None:
    """At most 200 rows, at least one; without parameters the first ones."""
    assert params().model_dump()["at"] == {"row": 0}
    params(count=200)
    with pytest.raises(ValidationError):
        params(count=201)


def test_parameters_are_values() -> None:
    """Equal ones are equal and hash alike: they are keys of shared subscriptions."""
    one = view_rows.TasksParams.model_validate({"status": ["failed"], "at": {"key": "a"}})
    other = view_rows.TasksParams.model_validate(
        {"at": {"above": 0, "key": "a"}, "status": ["failed"]}
    )
    assert hash(one) == hash(other)
    assert one == other


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_key_and_no_default(row: type[BaseModel]) -> None:
    """A field that a view forgets is an error, never a made-up 0."""
    assert "k" in row.model_fields
    assert all(field.is_required() for field in row.model_fields.values())
