"""Messages of the views: tolerant to what is newer, strict to what is wrong."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.wire.views.messages import (
    Gone,
    Hello,
    Limits,
    Refused,
    SubOp,
    Subscribed,
    Tick,
    UnsubOp,
    first_error,
)
from pydantic import BaseModel, ValidationError


def test_unknown_fields_of_a_client_are_ignored() -> None:
    """A newer page may say more than this collector understands."""
    assert SubOp.model_validate({"id": 1, "view": "tasks", "later": True}).params == {}


@pytest.mark.parametrize("number", [-1, 2**31 + 1, "x"])
def test_the_number_of_a_subscription_is_bounded(number: object) -> None:
    """The error names the field, and nothing of pydantic but what is wrong."""
    with pytest.raises(ValidationError) as refused:
        UnsubOp.model_validate({"id": number})
    assert first_error(refused.value).startswith("id: Input should be")


@pytest.mark.parametrize(
    "message",
    [
        Hello(at=1, limits=Limits(subs=1, count=1, text=1)),
        Subscribed(id=1, s=2),
        Gone(s=1, why="unknown"),
        Refused(why="limit", detail="d"),
        Tick(at=1, position="e:1"),
    ],
)
def test_every_message_names_its_kind(message: BaseModel) -> None:
    """``t`` is always sent, also where it is the default."""
    assert json.loads(message.model_dump_json())["t"] == message.model_dump()["t"]
