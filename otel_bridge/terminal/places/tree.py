"""``TreePlace``: the tree of one task, with bars in time."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from otel_bridge.terminal import lists, texts
from otel_bridge.terminal.feed import ViewFeed
from otel_bridge.terminal.layout import Page
from otel_bridge.terminal.nodes import CollectorHttp
from otel_bridge.terminal.places.place import ROWS, Place

__all__ = ["TreePlace"]


class TreePlace(Place):
    """
    The tree of one task, with bars in time.

    Args:
        task: Its id.
        name: Its title.
    """

    can_filter = True
    listed = "tree"

    def __init__(
        self,
        feed: ViewFeed,
        http: CollectorHttp,
        changed: Callable[[], None],
        *,
        task: str,
        name: str,
    ) -> None:
        super().__init__(feed, http, name, changed)
        self.task = task
        self.zoom: tuple[float, float] | None = None
        self.is_folded = False
        self.differing: set[str] = set()

    def enter(self) -> None:
        self.show(
            "tree",
            "tree",
            task=self.task,
            at=self.at,
            count=ROWS,
            default="folded" if self.is_folded else None,
            text=self.text or None,
            zoom=None if self.zoom is None else [int(self.zoom[0]), int(self.zoom[1])],
            **({"except": sorted(self.differing)} if self.differing else {}),
        )

    def filter_by(self, text: str) -> None:
        self.text = text
        self.enter()

    def go_to(self, key: str) -> None:
        """Move the window to a row, unfolded."""
        self.at, self.is_folded, self.differing = {"key": key, "above": ROWS // 2}, False, set()
        self.enter()

    def fold_all(self, *, folded: bool) -> None:
        """Fold or unfold all rows but the task itself."""
        shown = self.subs["tree"].shown
        root = next((row["k"] for row in shown.rows if not row.get("depth")), "") if shown else ""
        self.is_folded, self.differing = folded, {root} if folded and root else set()
        self.at = None
        self.enter()

    def fold(self, key: str, *, folded: bool) -> None:
        """Fold or unfold one row."""
        if folded == self.is_folded:
            self.differing.discard(key)
        else:
            self.differing.add(key)
        self.enter()

    def is_open(self, key: str) -> bool:
        """Whether the rows below one are listed."""
        return self.is_folded == (key in self.differing)

    def zoom_by(self, factor: float, shift: float = 0.0) -> None:
        """Show a longer or shorter time, and move it by a share of itself; 0: all of it."""
        start, end = self.span()
        whole = self._whole()
        length = (end - start) * factor
        if not factor or length >= whole[1] - whole[0]:
            self.zoom = None
        else:
            length = max(length, 10.0)
            middle = (start + end) / 2 + shift * length
            first = min(max(middle - length / 2, whole[0]), whole[1] - length)
            self.zoom = (first, first + length)
        self.enter()

    def _whole(self) -> tuple[float, float]:
        shown = self.subs["tree"].shown
        head = shown.head if shown else {}
        now = self.feed.now()
        start = head.get("start") or now
        return start, max(start + 1, head.get("end") or now)

    def span(self) -> tuple[float, float]:
        """From when to when the bars are drawn, ms."""
        return self.zoom or self._whole()

    def page(self, width: int) -> Page:
        subscription = self.subs["tree"]
        missing = self.missing(subscription, width)
        if missing is not None:
            return missing
        shown, now, span = subscription.shown, self.feed.now(), self.span()
        assert shown is not None
        is_filtered = bool(self.text or self.zoom)
        held = shown.head.get("nodes") or {}
        start = self._whole()[0]
        seen = f"{texts.duration(span[0] - start)} to {texts.duration(span[1] - start)}"
        facts = [texts.marked_status(str(shown.head.get("status"))), seen]
        if shown.head.get("failed"):
            facts.append(f"✕ {texts.count(shown.head['failed'])} rows failed")
        if held.get("seen") != held.get("kept"):
            kept, seen = texts.count(held.get("kept")), texts.count(held.get("seen"))
            facts.append(f"{kept} of {seen} spans in memory")
        if is_filtered and shown.head.get("as_of") is not None:
            facts.append(f"list of {texts.clock_time(shown.head['as_of'])}")
        lines = [
            lists.tree_line(
                row,
                width,
                now,
                span,
                task=self.task,
                is_open=is_filtered or self.is_open(row["k"]),
            )
            for row in shown.rows
        ]
        return Page(
            [Text(" · ".join(facts), "bold"), lists.list_heading("tree", width)],
            lines,
            int(shown.head.get("first", 0)),
            int(shown.head.get("total", len(lines))),
            "Nothing of the task is in this time, or has this text.",
        )
