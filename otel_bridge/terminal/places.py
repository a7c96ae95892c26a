"""
The places one can be at in ``otel-bridge top``: each shows views of a feed as one page.

A place subscribes in ``enter`` and ends that in ``leave``. All methods are called on the feed's
event loop and return at once; none raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from rich.text import Text

from otel_bridge.terminal import details, lists, texts
from otel_bridge.terminal.feed import Subscription, ViewFeed
from otel_bridge.terminal.layout import Line, Page, Target, paragraph
from otel_bridge.terminal.nodes import CollectorHttp, SpanText
from otel_bridge.terminal.window import Row

__all__ = [
    "FailurePlace",
    "JobPlace",
    "ListPlace",
    "Place",
    "QueuePlace",
    "RowPlace",
    "TreePlace",
    "WorkerPlace",
]

_ROWS: Final = 200
"""Rows of one window: what the collector sends at most."""
_EDGE_ROWS: Final = 20
"""So near to the end of the window the cursor asks for the next one."""

_GONE: Final = {
    "unknown": "It does not exist, or your access does not include it.",
    "evicted": "It has left the collector's memory.",
    "error": "The collector could not compute it; its log says why.",
}
_EMPTY: Final = {
    "tasks": "No tasks.",
    "failures": "No failures.",
    "workers": "No workers yet. One appears with its first heartbeat or job.",
    "queues": "No queue depth was reported, so none is known.",
}


class Place:
    """
    What all places have in common; a base class.

    Args:
        feed: Gives the views.
        http: Gives stacks.
        name: What people call it.
        changed: Called when something that did not come over the feed has changed.

    Attributes:
        name: As given.
        can_filter: Whether ``filter_by`` does something.
        text: What it is filtered by; empty: nothing.
    """

    can_filter = False

    def __init__(
        self, feed: ViewFeed, http: CollectorHttp, name: str, changed: Callable[[], None]
    ) -> None:
        self.feed, self.http, self.name, self.changed = feed, http, name, changed
        self.text = ""
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
        return Page(note=_GONE.get(subscription.gone) or "Loading…")

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


class ListPlace(Place):
    """
    The list of a view: ``tasks``, ``failures``, ``workers`` or ``queues``.

    Args:
        view: Its name.
        project: Only of this project; None: of all.
    """

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
        self.at: dict[str, Any] | str | None = None

    def enter(self) -> None:
        params: dict[str, Any] = {"project": self.project, "at": self.at, "count": _ROWS}
        if self.can_filter:
            params["text"] = self.text or None
        self.show("list", self.view, **params)

    def filter_by(self, text: str) -> None:
        self.text, self.at = text, None
        self.enter()

    def move(self, key: str, index: int) -> None:
        shown = self.subs["list"].shown
        if shown is None:
            return
        at = next_anchor(shown.head, len(shown.rows), key, index)
        if at is not None:
            self.at = at
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
    return {"key": key, "above": _ROWS // 2} if key and (is_low or is_high) else None


class TreePlace(Place):
    """
    The tree of one task, with bars in time.

    Args:
        task: Its id.
        name: Its title.
    """

    can_filter = True

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
        self.at: dict[str, Any] | str | None = None
        self.zoom: tuple[float, float] | None = None
        self.is_folded = False
        self.differing: set[str] = set()

    def enter(self) -> None:
        self.show(
            "tree",
            "tree",
            task=self.task,
            at=self.at,
            count=_ROWS,
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
        self.at, self.is_folded, self.differing = {"key": key, "above": _ROWS // 2}, False, set()
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

    def move(self, key: str, index: int) -> None:
        shown = self.subs["tree"].shown
        if shown is None:
            return
        at = next_anchor(shown.head, len(shown.rows), key, index)
        if at is not None:
            self.at = at
            self.enter()

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
            return Page(note=_GONE["evicted"])
        is_span = len(self.node) == 16 and ":" not in self.node
        failed = self.node if is_span and row.get("status") == "failed" else None
        span = self.span_text(failed, self.node if is_span else None)
        log = self.log(self.node, width)
        now = self.feed.now()
        return Page([], details.row_lines(row, span, log, now=now, width=width))


class _GroupPlace(Place):
    """What has facts of its own, and jobs in a list below: a failure, a worker, a queue."""

    view = ""
    list_view = ""
    """The list that it is in: what an older collector, without ``view``, says of it."""

    def __init__(
        self,
        feed: ViewFeed,
        http: CollectorHttp,
        changed: Callable[[], None],
        *,
        target: Target,
        project: str | None,
    ) -> None:
        super().__init__(feed, http, target.name or target.key, changed)
        self.key, self.project = target.key, project

    def enter(self) -> None:
        self.show("own", self.view, **{self.view: self.key, "project": self.project})
        if self.list_view:
            self.show("list", self.list_view, project=self.project, count=_ROWS)

    def facts(self, head: Row, width: int) -> Sequence[Line]:
        raise NotImplementedError

    def page(self, width: int) -> Page:
        own, listed = self.subs["own"], self.subs.get("list")
        now = self.feed.now()
        if own.shown is not None:
            rows = [lists.held_line(row, width, now) for row in own.shown.rows]
            head = [details.jobs_heading(width)] if rows else []
            return Page([], [*self.facts(own.shown.head, width), *head, *rows])
        rows_of_list = listed.shown.rows if listed is not None and listed.shown is not None else ()
        row = next((row for row in rows_of_list if row["k"] == self.key), None)
        missing = self.missing(own, width)
        assert missing is not None
        if row is None:
            return missing
        jobs = self.known_jobs(row, width)
        return Page([], [*self.facts(row, width), *(jobs or missing.lines)])

    def known_jobs(self, row: Row, width: int) -> list[Line]:
        """The jobs that the row of the list names; none by default."""
        return []


class FailurePlace(_GroupPlace):
    """A group of failures: what they have in common, with the stack, and the newest of them."""

    view, list_view = "failure", "failures"

    def facts(self, head: Row, width: int) -> Sequence[Line]:
        span = self.span_text(head.get("stack"), None)
        lines = details.failure_facts(head, span, self.feed.now(), width)
        return [*lines, *details.title("jobs, the newest first")]

    def known_jobs(self, row: Row, width: int) -> list[Line]:
        lines = []
        for job in row.get("jobs", ()):
            tasks = [task for task in row.get("tasks", ()) if job.startswith(task)]
            task = (tasks or row.get("tasks") or [""])[0]
            found = {"k": job, "job": job, "task": task, "status": "failed", "at": row.get("last")}
            lines.append(lists.job_line(found, width, self.feed.now()))
        return lines


class WorkerPlace(_GroupPlace):
    """A worker: how it is, and the jobs that it runs or held when it was lost."""

    view, list_view = "worker", "workers"

    def facts(self, head: Row, width: int) -> Sequence[Line]:
        return details.worker_facts(head, self.feed.now(), width)


class QueuePlace(_GroupPlace):
    """A queue: how it is, and the jobs that wait in it, the oldest first."""

    view, list_view = "queue", "queues"

    def facts(self, head: Row, width: int) -> Sequence[Line]:
        return [
            *details.queue_facts(head, self.feed.now(), width),
            *details.title("jobs that wait in it, the oldest first"),
        ]
