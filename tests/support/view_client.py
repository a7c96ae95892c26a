"""What a client of ``/ws/views`` shows, from the messages alone: the rule in the specification."""

from __future__ import annotations

from typing import Any

__all__ = ["ShownView", "ViewClient"]


class ShownView:
    """One shared subscription as a client has it."""

    def __init__(self) -> None:
        self.version = 0
        self.head: dict[str, Any] = {}
        self.keys: list[str] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.fulls = 0

    def apply(self, message: dict[str, Any]) -> None:
        """Apply a ``full`` or a ``change``."""
        rows = {row["k"]: row for row in message.get("rows", [])}
        if message["t"] == "full":
            self.head, self.keys, self.rows = message["head"], list(rows), rows
            self.fulls += 1
        else:
            assert message["v"] == self.version + 1, "a change is missing"
            self.head = {**self.head, **message.get("head", {})}
            if "cut" in message:
                start, leaving, coming = message["cut"]
                self.keys[start : start + leaving] = coming
            self.rows |= rows
            self.rows = {key: self.rows[key] for key in self.keys}
        self.version = message["v"]

    @property
    def shown(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The head, and the rows in their order."""
        return self.head, [self.rows[key] for key in self.keys]


class ViewClient:
    """
    All subscriptions of one client.

    Attributes:
        others: Messages that show nothing: ``hello``, ``refused``, ``gone``, ``tick``.
    """

    def __init__(self) -> None:
        self.others: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}
        self._views: dict[int, ShownView] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Take one message."""
        if message["t"] == "sub":
            self._numbers[message["id"]] = message["s"]
        elif message["t"] in ("full", "change"):
            self._views.setdefault(message["s"], ShownView()).apply(message)
        else:
            self.others.append(message)

    def view(self, subscription: int) -> ShownView:
        """What it shows for a subscription of its own; empty before the first ``full``."""
        return self._views.get(self._numbers.get(subscription, -1)) or ShownView()
