"""The rows and heads of views: what they always have."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.views import events, failures, queues, rows, tree
from pydantic import BaseModel

ROWS = (
    rows.TaskRow,
    rows.WorkerRow,
    rows.HeldRow,
    queues.QueueRow,
    queues.QueueHead,
    queues.WaitingRow,
    failures.FailureRow,
    failures.FailedRow,
    tree.TreeRow,
    tree.StripRow,
    tree.AttemptRow,
    events.EventRow,
    events.SearchRow,
)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_key_and_no_default(row: type[BaseModel]) -> None:
    """A field that a view forgets is an error, never a made-up 0."""
    assert "k" in row.model_fields
    assert all(field.is_required() for field in row.model_fields.values())
