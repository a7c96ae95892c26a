"""A dashboard that is open during the whole run, and what it costs its browser."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from playwright.sync_api import sync_playwright

from tests.support.chromium import launch

__all__ = ["OpenPage", "PageSize"]

_LOOKS: Final = 5
_LOOK_EVERY_SEC: Final = 1.0
_MIB: Final = 1024 * 1024


def _number(text: str) -> int:
    return int("".join(filter(str.isdigit, text)) or "0")


@dataclass(frozen=True, slots=True)
class PageSize:
    """
    What a page keeps.

    Attributes:
        heap_mib: Memory of its JavaScript objects after garbage was collected.
        dom_nodes: Its DOM nodes, those included that are held and not shown.
        event_rows: Rows of its table of events, of which it keeps 5,000.
    """

    heap_mib: float
    dom_nodes: int
    event_rows: int


class OpenPage:
    """
    The dashboard of a collector in a Chromium of its own; use as a context manager.

    Args:
        url: Of the collector.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = contextlib.ExitStack()
        self.errors: list[str] = []
        """Uncaught errors of the page."""

    def __enter__(self) -> Self:
        browser = launch(self._stack.enter_context(sync_playwright()))
        self._stack.callback(browser.close)
        self._page = browser.new_page(viewport={"width": 1440, "height": 900})
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.goto(self._url)
        self._devtools = self._page.context.new_cdp_session(self._page)
        self._devtools.send("Performance.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def size(self) -> PageSize:
        """
        The largest of five looks in five seconds.

        What is shown differs from one second to the next: a task with more rows, a longer list of
        events. The largest of several differs less.
        """
        badge = self._page.get_by_test_id("connection").inner_text()
        assert badge.startswith("Live"), f"the page is not connected: {badge}"
        looks = []
        for _ in range(_LOOKS):
            time.sleep(_LOOK_EVERY_SEC)
            looks.append(self._look())
        return PageSize(
            heap_mib=max(look.heap_mib for look in looks),
            dom_nodes=max(look.dom_nodes for look in looks),
            event_rows=looks[-1].event_rows,
        )

    def _look(self) -> PageSize:
        self._devtools.send("HeapProfiler.collectGarbage")
        answer = self._devtools.send("Performance.getMetrics")
        found = {metric["name"]: metric["value"] for metric in answer["metrics"]}
        rows = self._page.locator(".events .panel-head .num").inner_text()
        return PageSize(found["JSHeapUsedSize"] / _MIB, int(found["Nodes"]), _number(rows))
