"""
The messages of ``/ws/views``: what a client asks for, and what it gets.

A client's message has ``op``, the collector's ``t``. Unknown ones of either, and unknown fields,
are ignored by both sides, so that an older page and a newer collector understand each other. The
specification is DESIGN 4.5.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from otel_bridge_collector.wire.base import WireModel

__all__ = [
    "MAX_PARAMS_BYTES",
    "MAX_SUBSCRIPTIONS",
    "PROTOCOL",
    "Gone",
    "Hello",
    "HoldOp",
    "Limits",
    "PartialView",
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
    """
    ``{"op":"sub","id":3,"view":"tasks","params":{...}}``: show a view, as subscription ``id``.

    The same id again replaces it. Other values raise ``ValidationError``; unknown fields are
    ignored.

    Attributes:
        id: The client's own number, 0 to 2^31.
        view: The name of the view, at most 64 characters.
        params: Its parameters as JSON values by name; default: none, so that its own defaults hold.
            Not checked here: ``ViewsHub`` answers wrong ones with ``refused``.
    """

    id: int = Field(ge=0, le=2**31)
    view: str = Field(max_length=64)
    params: dict[str, JsonValue] = Field(default_factory=dict)


class UnsubOp(_Op):
    """
    ``{"op":"unsub","id":3}``: end a subscription; of an id that is not subscribed it does nothing.

    Other values raise ``ValidationError``; unknown fields are ignored.

    Attributes:
        id: The client's own number, 0 to 2^31.
    """

    id: int = Field(ge=0, le=2**31)


class HoldOp(_Op):
    """
    ``{"op":"hold","on":true}``: send nothing but ``overview`` until it is off, as it is at first.

    After it each view follows as it is then. Other values raise ``ValidationError``; unknown fields
    are ignored.

    Attributes:
        on: True: hold; False: go on.
    """

    on: bool


class Limits(WireModel):
    """
    What the collector takes of one client; a record in ``Hello``.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        subs: Open subscriptions, at most: 16.
        count: Rows of one window, at most: 200.
        text: Characters of a text to search for, at most: 200.
    """

    subs: int
    count: int
    text: int


class Hello(WireModel):
    """
    The first message to every client, once; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        t: ``hello``.
        protocol: Version of these messages: 1.
        at: The collector's time, in milliseconds since the Unix epoch.
        limits: What it takes of one client.
    """

    t: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    at: int
    limits: Limits


class Subscribed(WireModel):
    """
    The answer to ``sub``: the subscription ``id`` of the client is the shared subscription ``s``.

    All clients that ask for the same have the same ``s``, which ``full``, ``change`` and ``gone``
    name. A record; a field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        t: ``sub``.
        id: The client's own number.
        s: The collector's number, from 1; not used again while it runs.
    """

    t: Literal["sub"] = "sub"
    id: int
    s: int


class Gone(WireModel):
    """
    What the subscription ``s`` shows does not exist, or may not be seen; both look the same.

    The subscription stays open; ``full`` follows if it can be shown later. A record; a field of a
    wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        t: ``gone``.
        s: The shared subscription.
        why: ``unknown``: there is none, or the client may not see it. ``evicted``: it left the
            collector's memory. ``error``: the view could not be computed, which the collector logs.
    """

    t: Literal["gone"] = "gone"
    s: int
    why: Literal["unknown", "evicted", "error"]


class PartialView(WireModel):
    """
    ``partial`` of ``full`` and ``change``: what of the view is old or missing; a record.

    It is there only where several processes share the work and one of them does not answer, or has
    not taken over yet. ``full`` without it is whole; ``change`` without it changes nothing of it,
    and with null says that the view is whole again. A field of a wrong type, or an unknown one,
    raises ``ValidationError``.

    Attributes:
        why: One or more short sentences for people, without a full stop.
        rows: Keys of rows that are old; None: all of the view may be old or incomplete.
    """

    why: tuple[str, ...]
    rows: tuple[str, ...] | None = None


class Refused(WireModel):
    """
    A message of the client was not carried out; the text says what to change. A record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        t: ``refused``.
        id: The subscription that the client asked for; None: the message could not be read.
        why: ``params``: the message, view or parameters are wrong; sending it again cannot help.
            ``limit``: the client has 16 subscriptions; end one first. ``busy``: the collector
            computes as many views as it can (2,000, 200 of log lines); try later. ``right``: the
            token may not read what the view shows; the text names the right.
        detail: One line of English, at most 300 characters.
    """

    t: Literal["refused"] = "refused"
    id: int | None = None
    why: Literal["params", "limit", "busy", "right"]
    detail: str


class Tick(WireModel):
    """
    Proof of life, sent every 2 s to each client that keeps up; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        t: ``tick``.
        at: The collector's time, in milliseconds since the Unix epoch.
        position: Position of the newest event in the log.
    """

    t: Literal["tick"] = "tick"
    at: int
    position: str


def first_error(error: Any) -> str:
    """
    Return the first problem of a pydantic error as ``field: what is wrong``, in 300 characters.

    Longer texts are truncated. They have no value that the client sent, only its fields' names.
    From any thread; raises nothing.

    Args:
        error: A ``pydantic.ValidationError``.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "message"
    return f"{place}: {first['msg']}"[:300]
