"""``WireModel``: the base of all messages, heads and rows that the collector sends."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["WireModel"]


class WireModel(BaseModel):
    """
    A record of what is sent; it cannot be changed, and all its fields travel.

    Raises:
        pydantic.ValidationError: A field is missing, unknown, or of a wrong type.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_serialization_defaults_required=True
    )
