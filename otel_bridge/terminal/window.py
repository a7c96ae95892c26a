"""What a view shows, from its messages ``full`` and ``change``, by the page's rule; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "ShownWindow", "next_window"]

Row = Mapping[str, Any]
"""A row of a view as decoded JSON; ``k`` is its key."""


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """
    The window of a view at one version; immutable, made by ``next_window``.

    Attributes:
        version: ``v`` of the message that led to it.
        at: The collector's time then, ms.
        head: What holds for the whole view.
        rows: In their order.
    """

    version: int
    at: int
    head: Row
    rows: tuple[Row, ...]


def next_window(old: ShownWindow | None, message: Mapping[str, Any]) -> ShownWindow | None:
    """
    Return the window after a message; None if a change is missing: then ask for the view again.

    Args:
        old: The window before; None: there is none.
        message: A ``full`` or ``change`` of ``/ws/views``, decoded. Unknown fields are ignored.

    Raises:
        KeyError: A field is missing: the server is no collector.
    """
    if message["t"] == "full":
        rows = tuple(message.get("rows", ()))
        return ShownWindow(message["v"], message["at"], message["head"], rows)
    if old is None or message["v"] != old.version + 1:
        return None
    by_key = {row["k"]: row for row in (*old.rows, *message.get("rows", ()))}
    keys = [row["k"] for row in old.rows]
    if "cut" in message:
        start, leaving, coming = message["cut"]
        keys[start : start + leaving] = coming
    if any(key not in by_key for key in keys):
        return None
    head = {**old.head, **message.get("head", {})}
    return ShownWindow(message["v"], message["at"], head, tuple(by_key[key] for key in keys))
