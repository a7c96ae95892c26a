"""The models of a task's views: what the schema says of them."""

from __future__ import annotations

from typing import get_args

import pytest
from otel_bridge_collector.wire.views.tree import AttemptRow, RowKind, StripHead
from pydantic import ValidationError


def test_an_attempt_is_a_job_or_an_enqueue() -> None:
    """The rows of the view ``job`` are of two of the kinds that a tree has."""
    kinds = set(get_args(AttemptRow.model_fields["kind"].annotation))
    assert kinds == {"job", "enqueue"}
    assert kinds < set(get_args(RowKind))


def test_an_unknown_field_is_an_error() -> None:
    """What the collector sends is what the page's types say."""
    with pytest.raises(ValidationError):
        StripHead.model_validate({"start": 0, "step": 1, "ended": 0, "failed": 0, "more": 1})
