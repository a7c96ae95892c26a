"""The models of the view of log lines."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.views.lines import LinesHead
from pydantic import ValidationError

HEAD = {"first": 0, "matches": 0, "total": None, "dropped": None, "ended": False, "last": 0}


def test_what_is_not_known_is_none_and_the_state_says_why() -> None:
    """A head without a state, or with another word, is none."""
    assert LinesHead(**HEAD, state="reading").total is None
    for wrong in ({}, {"state": "empty"}):
        with pytest.raises(ValidationError):
            LinesHead.model_validate({**HEAD, **wrong})
