"""``FailurePlace``, ``WorkerPlace``, ``QueuePlace``: facts, and jobs in a list below them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from otel_bridge.terminal import details, lists
from otel_bridge.terminal.feed import ViewFeed
from otel_bridge.terminal.layout import Line, Page, Target
from otel_bridge.terminal.nodes import CollectorHttp
from otel_bridge.terminal.places.place import ROWS, Place
from otel_bridge.terminal.window import Row

__all__ = ["FailurePlace", "QueuePlace", "WorkerPlace"]


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
            self.show("list", self.list_view, project=self.project, count=ROWS)

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
