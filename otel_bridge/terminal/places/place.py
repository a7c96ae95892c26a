"""``Place``: what all places of ``otel-bridge top`` have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from otel_bridge.terminal.feed import Subscription, ViewFeed
from otel_bridge.terminal.layout import Page, paragraph
from otel_bridge.terminal.nodes import CollectorHttp, SpanText
from otel_bridge.terminal.window import Row

__all__ = ["GONE", "ROWS", "Place", "next_anchor"]

ROWS: Final = 200
"""Rows of one window: what the collector sends at most."""
_EDGE_ROWS: Final = 20
"""So near to the end of the window the cursor asks for the next one."""

GONE: Final = {
    "unknown": "It does not exist, or your access does not include it.",
    "evicted": "It has left the collector's memory.",
    "error": "The collector could not compute it; its log says why.",
}


class Place:
    """
    What all places have in common; a base class.

    A place subscribes in ``enter`` and ends that in ``leave``. All methods are called on the feed's
    event loop and return at once; none raises.

    Args:
        feed: Gives the views.
        http: Gives stacks.
        name: What people call it.
        changed: Called when something that did not come over the feed has changed.

    Attributes:
        name: As given.
        can_filter: Whether ``filter_by`` does something.
        text: What it is filtered by; empty: nothing.
        at: Where the window of ``listed`` starts; None: at its first row.
    """

    can_filter = False
    listed = ""
    """The subscription whose window follows the cursor; empty: none does."""

    def __init__(
        self, feed: ViewFeed, http: CollectorHttp, name: str, changed: Callable[[], None]
    ) -> None:
        self.feed, self.http, self.name, self.changed = feed, http, name, changed
        self.text = ""
        self.at: dict[str, Any] | str | None = None
        self.subs: dict[str, Subscription] = {}
        self._span: SpanText | None = None
        self._span_of: tuple[str, ...] = ()
        self._reads: set[asyncio.Task[None]] = set()

    def enter(self) -> None:
        """Subscribe to the views that it shows."""

    def leave(self) -> None:
        """End all subscriptions; what was shown is forgotten."""
        for subscription in self.subs.values():
            self.feed.unsubscribe(subscription)
        self.subs.clear()

    def page(self, width: int) -> Page:
        """Return what is to be seen now in so many columns."""
        raise NotImplementedError

    def move(self, key: str, index: int) -> None:
        """Note where the cursor is: the key of its line, and its number among the lines."""
        shown = self.subs[self.listed].shown if self.listed else None
        at = None if shown is None else next_anchor(shown.head, len(shown.rows), key, index)
        if at is not None:
            self.at = at
            self.enter()

    def filter_by(self, text: str) -> None:
        """Show only what has this text; empty: all."""

    def show(self, name: str, view: str, **params: Any) -> Subscription:
        """Subscribe to a view under a name of this place, or change its parameters."""
        found = self.feed.subscribe(view, params, self.subs.get(name))
        self.subs[name] = found
        return found

    def missing(self, subscription: Subscription, width: int) -> Page | None:
        """Return a page that says why a view shows nothing; None if it shows something."""
        if subscription.shown is not None:
            return None
        if subscription.refusal:
            return Page(lines=paragraph(f"The collector refuses: {subscription.refusal}", width))
        return Page(note=GONE.get(subscription.gone) or "Loading…")

    def span_text(self, stack_of: str | None, span: str | None) -> SpanText | None:
        """Return what is stored of a span; it is asked for once, when it first is named."""
        ids = tuple(dict.fromkeys(each for each in (stack_of, span) if each))
        if ids != self._span_of:
            self._span_of, self._span = ids, None
            if ids:
                task = asyncio.get_running_loop().create_task(self._read(ids, stack_of))
                self._reads.add(task)
                task.add_done_callback(self._reads.discard)
        return self._span

    async def _read(self, ids: tuple[str, ...], stack_of: str | None) -> None:
        found = [await self.http.span(each) for each in ids]
        first, last = found[0], found[-1]
        if ids == self._span_of:
            # The attributes are those of the span itself, the stack may be another's.
            self._span = SpanText(
                stack=first.stack,
                note=first.note if stack_of else "",
                is_of_another=len(ids) > 1 or first.is_of_another,
                attributes=last.attributes,
                links=last.links,
                log=last.log,
            )
            self.changed()


def next_anchor(head: Row, count: int, key: str, index: int) -> dict[str, Any] | None:
    """
    Return where the next window must start for the rows around the cursor; None: it need not.

    Args:
        head: Of the view, with ``first`` and ``total``.
        count: Rows of the window.
        key: Of the row at the cursor.
        index: Its number in the window.
    """
    first, total = int(head.get("first", 0)), int(head.get("total", count))
    is_low = index < _EDGE_ROWS and first > 0
    is_high = index >= count - _EDGE_ROWS and first + count < total
    return {"key": key, "above": ROWS // 2} if key and (is_low or is_high) else None
