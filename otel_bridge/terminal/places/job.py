"""``JobPlace`` and ``RowPlace``: the details of a job, and of any other row of a tree."""

from __future__ import annotations

from collections.abc import Callable

from otel_bridge.terminal import details
from otel_bridge.terminal.feed import ViewFeed
from otel_bridge.terminal.layout import Line, Page, Target
from otel_bridge.terminal.nodes import CollectorHttp
from otel_bridge.terminal.places.place import GONE, Place

__all__ = ["JobPlace", "RowPlace"]


class _LogPlace(Place):
    """A place that shows log lines of one span."""

    task: str

    def log(self, node: str | None, width: int) -> list[Line]:
        if node is None:
            return []
        found = self.show("lines", "lines", task=self.task, node=node)
        refusal = found.refusal
        if refusal.startswith("view:"):
            refusal = ""  # an older collector, which keeps no lines
        return details.log_lines(found.shown, refusal, self.feed.now(), width)


class JobPlace(_LogPlace):
    """
    The details of one job.

    Args:
        target: The job: its id, its task, and the key of the attempt to show.
    """

    def __init__(
        self, feed: ViewFeed, http: CollectorHttp, changed: Callable[[], None], target: Target
    ) -> None:
        super().__init__(feed, http, target.name or target.key, changed)
        self.task, self.job, self.node = target.task, target.key, target.node

    def enter(self) -> None:
        self.show("job", "job", task=self.task, job=self.job)

    def step_attempt(self, step: int) -> None:
        """Show the attempt before (-1) or after (1) the one that is shown."""
        shown = self.subs["job"].shown
        rows = shown.rows if shown else ()
        chosen = details.chosen_attempt(rows, self.node)
        if chosen is not None:
            index = min(len(rows) - 1, max(0, rows.index(chosen) + step))
            self.node = str(rows[index]["k"])

    def page(self, width: int) -> Page:
        subscription = self.subs["job"]
        missing = self.missing(subscription, width)
        if missing is not None:
            return missing
        shown = subscription.shown
        assert shown is not None
        chosen = details.chosen_attempt(shown.rows, self.node)
        stack = chosen.get("stack") if chosen else None
        span = self.span_text(stack, chosen.get("span") if chosen else None)
        log = self.log(chosen["k"] if chosen else None, width)
        now = self.feed.now()
        lines = details.job_lines(shown, chosen, span, log, now=now, width=width)
        return Page([], lines)


class RowPlace(_LogPlace):
    """
    The details of a row of a tree that is no job.

    Args:
        target: The row: its key and its task.
    """

    def __init__(
        self, feed: ViewFeed, http: CollectorHttp, changed: Callable[[], None], target: Target
    ) -> None:
        super().__init__(feed, http, target.name or target.key, changed)
        self.task, self.node = target.task, target.key

    def enter(self) -> None:
        self.show("row", "tree", task=self.task, at={"key": self.node, "above": 0}, count=1)

    def page(self, width: int) -> Page:
        subscription = self.subs["row"]
        missing = self.missing(subscription, width)
        if missing is not None:
            return missing
        shown = subscription.shown
        row = shown.rows[0] if shown and shown.rows else None
        if row is None or row["k"] != self.node:
            return Page(note=GONE["evicted"])
        is_span = len(self.node) == 16 and ":" not in self.node
        failed = self.node if is_span and row.get("status") == "failed" else None
        span = self.span_text(failed, self.node if is_span else None)
        log = self.log(self.node, width)
        now = self.feed.now()
        return Page([], details.row_lines(row, span, log, now=now, width=width))
