"""
The messages of ``/ws/views``: what a client asks for, and what it gets.

A client's message has ``op``, the collector's ``t``. Unknown ones of either, and unknown fields,
are ignored by both sides, so that an older page and a newer collector understand each other. The
specification is DESIGN 4.5.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = [
    "MAX_PARAMS_BYTES",
    "MAX_SUBSCRIPTIONS",
    "PROTOCOL",
    "Gone",
    "Hello",
    "HoldOp",
    "Limits",
    "Refused",
    "SubOp",
    "Subscribed",
    "Tick",
    "UnsubOp",
]

PROTOCOL = 1
MAX_SUBSCRIPTIONS = 16
"""Open subscriptions of one client, at most."""
MAX_PARAMS_BYTES = 16 * 1024
"""Of one message of a client."""


class _Op(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SubOp(_Op):
    """``{"op":"sub","id":3,"view":"tasks","params":{...}}``; the same id again replaces it."""

    id: int = Field(ge=0, le=2**31)
    view: str = Field(max_length=64)
    params: dict[str, JsonValue] = Field(default_factory=dict)


class UnsubOp(_Op):
    """``{"op":"unsub","id":3}``; of an id that is not subscribed it does nothing."""

    id: int = Field(ge=0, le=2**31)


class HoldOp(_Op):
    """``{"op":"hold","on":true}``: send nothing but ``overview`` until it is off again."""

    on: bool


class _Sent(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_serialization_defaults_required=True
    )


class Limits(_Sent):
    """What the collector takes of one client."""

    subs: int
    count: int
    text: int


class Hello(_Sent):
    """The first message to every client."""

    t: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    at: int
    """The collector's time, in milliseconds since the Unix epoch."""
    limits: Limits


class Subscribed(_Sent):
    """The subscription ``id`` of the client is the shared subscription ``s``."""

    t: Literal["sub"] = "sub"
    id: int
    s: int


class Gone(_Sent):
    """What the subscription ``s`` shows does not exist, or may not be seen; both look the same."""

    t: Literal["gone"] = "gone"
    s: int
    why: Literal["unknown", "evicted", "error"]


class Refused(_Sent):
    """A message of the client was not carried out; the text says what to change."""

    t: Literal["refused"] = "refused"
    id: int | None = None
    why: Literal["params", "limit", "busy"]
    detail: str


class Tick(_Sent):
    """Proof of life, every 2 s."""

    t: Literal["tick"] = "tick"
    at: int
    position: str


def first_error(error: Any) -> str:
    """Return the first problem of a pydantic error as ``field: what is wrong``, shortened."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "message"
    return f"{place}: {first['msg']}"[:300]
