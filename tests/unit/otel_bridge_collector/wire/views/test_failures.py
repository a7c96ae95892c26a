"""What the views of failures send, as models."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.views.failures import FailedRow, FailureHead, FailureRow
from pydantic import ValidationError

ROW = {
    "k": "t job:t/j#0",
    "task": "t",
    "title": "Schools",
    "node": "job:t/j#0",
    "job": None,
    "type": None,
    "at": 1,
    "error": None,
    "why": None,
    "worker": 3,
    "stack": None,
}


def test_the_head_of_a_cause_has_the_fields_of_its_row() -> None:
    """What a list says of a cause, its page says too."""
    assert FailureHead.model_fields.keys() == FailureRow.model_fields.keys()


@pytest.mark.parametrize("change", [{"at": None}, {"at": "soon"}, {"more": 1}, {"job": 7}])
def test_a_row_of_another_form_is_none(change: dict[str, object]) -> None:
    """Each failure has a time; a field of a wrong type, or an unknown one, is an error."""
    assert FailedRow.model_validate(ROW).worker == 3
    with pytest.raises(ValidationError):
        FailedRow.model_validate(ROW | change)
