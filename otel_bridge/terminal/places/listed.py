"""``ListPlace``: the lists of tasks, failures, workers and queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from otel_bridge.terminal import lists
from otel_bridge.terminal.feed import ViewFeed
from otel_bridge.terminal.layout import Page
from otel_bridge.terminal.nodes import CollectorHttp
from otel_bridge.terminal.places.place import ROWS, Place

__all__ = ["ListPlace"]

_EMPTY: Final = {
    "tasks": "No tasks.",
    "failures": "No failures.",
    "workers": "No workers yet. One appears with its first heartbeat or job.",
    "queues": "No queue depth was reported, so none is known.",
}


class ListPlace(Place):
    """
    The list of a view: ``tasks``, ``failures``, ``workers`` or ``queues``.

    Args:
        view: Its name.
        project: Only of this project; None: of all.
    """

    listed = "list"
    _LINES: Final = {
        "tasks": lists.task_line,
        "failures": lists.failure_line,
        "workers": lists.worker_line,
        "queues": lists.queue_line,
    }

    def __init__(
        self,
        feed: ViewFeed,
        http: CollectorHttp,
        changed: Callable[[], None],
        *,
        view: str,
        project: str | None,
    ) -> None:
        super().__init__(feed, http, view, changed)
        self.view, self.project = view, project
        self.can_filter = view in ("tasks", "failures")

    def enter(self) -> None:
        params: dict[str, Any] = {"project": self.project, "at": self.at, "count": ROWS}
        if self.can_filter:
            params["text"] = self.text or None
        self.show("list", self.view, **params)

    def filter_by(self, text: str) -> None:
        self.text, self.at = text, None
        self.enter()

    def page(self, width: int) -> Page:
        subscription = self.subs["list"]
        missing = self.missing(subscription, width)
        if missing is not None:
            return missing
        shown, now = subscription.shown, self.feed.now()
        assert shown is not None
        make = self._LINES[self.view]
        return Page(
            [lists.list_heading(self.view, width)] if shown.rows else [],
            [make(row, width, now) for row in shown.rows],
            int(shown.head.get("first", 0)),
            int(shown.head.get("total", len(shown.rows))),
            f"Nothing has “{self.text}”." if self.text else _EMPTY[self.view],
        )
