"""What needs attention, as the header gets it."""

from __future__ import annotations

from typing import get_args

from otel_bridge_collector.wire.views.attention import Attention, AttentionKind


def test_every_kind_is_described() -> None:
    """A page finds in the docstring what each kind means."""
    assert all(f"``{kind}``" in (Attention.__doc__ or "") for kind in get_args(AttentionKind))


def test_nothing_is_left_out() -> None:
    """A field that the collector forgets is an error, never a made-up 0."""
    assert all(field.is_required() for field in Attention.model_fields.values())
