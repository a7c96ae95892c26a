"""What all messages have in common."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.base import WireModel
from pydantic import ValidationError


class Row(WireModel):
    """A message for the tests."""

    k: str
    depth: int | None = None


def test_an_unknown_field_is_an_error() -> None:
    """A field that a view misspells never travels unseen."""
    with pytest.raises(ValidationError):
        Row(k="a", deph=1)  # type: ignore[call-arg]


def test_a_message_cannot_be_changed() -> None:
    """It may be shared by all clients."""
    with pytest.raises(ValidationError):
        Row(k="a").depth = 1  # type: ignore[misc]


def test_fields_with_a_default_travel() -> None:
    """The schema that TypeScript is made from requires them."""
    assert Row.model_json_schema(mode="serialization")["required"] == ["k", "depth"]
    assert Row(k="a").model_dump_json() == '{"k":"a","depth":null}'
