"""
A dashboard with work on it for the browser tests: a collector on Redis, and this process as worker.

Spans are opened and ended by the test itself, so that what is running is running as long as the
test looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from types import TracebackType
from typing import Any, Self

from opentelemetry.sdk.trace import TracerProvider
from playwright.sync_api import Browser, BrowserContext, Page

from otel_bridge.bridge import Bridge, configure
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.context_managers import (
    enqueue,
    job,
    phase,
    queue_depth,
    research_task,
    worker,
)
from tests.support.app_server import AppProcess

__all__ = ["DEADLINE_MS", "PROJECT", "TASK", "TITLE", "DashboardSite", "open_task", "run_busy_task"]

DEADLINE_MS = 20_000
PROJECT = "schools"
TASK = "6ba529d4"
TITLE = "Private schools GA"


class DashboardSite:
    """
    A collector process, a bridge in this process, and pages that may not err.

    Args:
        browser: Chromium.
        redis_url: The log.
        bridge: Further fields of ``BridgeSettings``.
        settings: Fields of ``CollectorSettings``.
    """

    def __init__(
        self,
        browser: Browser,
        redis_url: str,
        bridge: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        fields = {"bus_url": redis_url, "redis_url": redis_url, **(bridge or {})}
        fields.setdefault("heartbeat_interval_sec", 0.5)
        self._browser = browser
        self._bridge_settings = BridgeSettings(**fields)
        self._stack = ExitStack()
        settings = {"stats_interval_sec": 0.25, **settings}
        self.server = AppProcess(fields, **settings)
        self.trouble: list[str] = []
        """Uncaught errors and refused resources of every page."""

    @property
    def url(self) -> str:
        return self.server.url

    def __enter__(self) -> Self:
        self._stack.enter_context(self.server)
        self.bridge: Bridge = configure(
            tracer_provider=TracerProvider(), settings=self._bridge_settings
        )
        self._stack.callback(self.bridge.shutdown)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        if kind is None:
            assert not self.trouble, self.trouble

    @property
    def bus(self) -> EventBus:
        assert self.bridge.bus is not None
        return self.bridge.bus

    def publish(self, **fields: Any) -> None:
        """Publish one event as it is, when no span of ours would make it."""
        self.bus.publish(MonitoringEvent.model_validate(fields))

    def open(
        self, query: str = "", *, width: int = 1440, height: int = 900, **options: Any
    ) -> Page:
        """A page of its own context, loaded; its errors go to ``trouble``."""
        context: BrowserContext = self._browser.new_context(
            viewport={"width": width, "height": height}, **options
        )
        self._stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("console", self._note)
        page.goto(f"{self.url}/{query}")
        return page

    def _note(self, message: Any) -> None:
        # A lost connection is logged by the browser itself; everything else is ours.
        is_lost = "WebSocket connection" in message.text or "ERR_CONNECTION" in message.text
        if message.type == "error" and not is_lost:
            self.trouble.append(f"console: {message.text}")


@contextmanager
def open_task(task_id: str, title: str, project: str) -> Iterator[Callable[..., Any]]:
    """A research task in a context of its own; gives what runs a function inside it."""
    context, task = Context(), research_task(task_id, title=title, project_id=project)
    context.run(task.__enter__)
    try:
        yield context.run
    finally:
        context.run(task.__exit__, None, None, None)


def run_busy_task(
    task_id: str, title: str, *, stack: ExitStack, jobs: int = 6, project: str = PROJECT
) -> None:
    """
    A research task in the middle of its work, left open on ``stack``.

    ``search`` has ended with one failed and one retried job, ``extraction`` runs: one job open, one
    waiting in the queue; it runs first of all when the stack is closed.
    """
    stack.enter_context(
        research_task(
            task_id,
            title=title,
            project_id=project,
            task_type="data_aggregation",
            domain="schools",
        )
    )
    stack.enter_context(worker("worker-1", meta={"queues": ["nexus:tasks:high_priority"]}))
    with phase("search", total=jobs) as search:
        for number in range(jobs):
            _search(f"{task_id}:search:{number}", number)
            search.advance(completed=int(number != 1), failed=int(number == 1))
    extraction = stack.enter_context(phase("extraction", total=3))
    with enqueue(task_id=f"{task_id}:extract:0", task_type="extract") as carrier:
        pass
    with job(task_id=f"{task_id}:extract:0", task_type="extract", carrier=carrier):
        pass
    extraction.advance(completed=1)
    with enqueue(task_id=f"{task_id}:extract:1", task_type="extract") as running:
        pass
    open_job = job(task_id=f"{task_id}:extract:1", task_type="extract", carrier=running)
    stack.enter_context(open_job).progress(3, 10)
    with enqueue(
        task_id=f"{task_id}:extract:2", task_type="extract", queue="nexus:tasks:high_priority"
    ) as waiting:
        pass
    stack.callback(_run_waiting, f"{task_id}:extract:2", waiting)
    queue_depth({"nexus:tasks:high_priority": 3, "nexus:tasks:normal_priority": 118})


def _run_waiting(task_id: str, carrier: dict[str, str]) -> None:
    with job(task_id=task_id, task_type="extract", carrier=carrier):
        pass


def _search(task_id: str, number: int) -> None:
    with enqueue(task_id=task_id, task_type="search") as carrier:
        pass
    if number == 2:
        with job(task_id=task_id, task_type="search", carrier=carrier) as first:
            first.retry(TimeoutError("the source did not answer"))
    with job(
        task_id=task_id, task_type="search", carrier=carrier, retry_count=int(number == 2)
    ) as last:
        if number == 1:
            last.fail(ValueError("no such county"))
