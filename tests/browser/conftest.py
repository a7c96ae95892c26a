"""A real collector for the browser tests to look at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.chromium import browser
from tests.support.dashboard_site import TASK, TITLE, DashboardSite, run_busy_task
from tests.support.redis_server import RedisServer

__all__ = ["browser", "busy_site", "collector_url", "open_page", "open_work", "site"]


@pytest.fixture
def collector_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An ``otel-bridge serve`` process with embedded workers; a parameter is their pace."""
    pace = str(getattr(request, "param", 0.02))
    command = ["serve", "--port", "0", "--pace", pace, "--data-dir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge_collector", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        assert found, "the collector did not say where it listens"
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def busy_site(browser: Browser) -> Iterator[DashboardSite]:
    """
    A collector with the busy research task on it, for all tests of a module.

    Each test that adds work gives it a project of its own, and starts it in a ``Context`` of its
    own if it stays open. A module that uses it must not start another ``DashboardSite``: this
    process has one bridge.
    """
    template = "http://localhost:16686/trace/{trace_id}"
    with RedisServer() as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        with DashboardSite(browser, url, trace_url_template=template) as found:
            stack, context = ExitStack(), Context()
            context.run(partial(run_busy_task, TASK, TITLE, stack=stack))
            yield found
            context.run(stack.close)


@pytest.fixture
def open_page(busy_site: DashboardSite) -> Iterator[Callable[..., Page]]:
    """``busy_site.open``; the pages are closed after the test, so that the next is not slower."""
    pages: list[Page] = []

    def open_one(query: str = "", **options: Any) -> Page:
        pages.append(busy_site.open(query, **options))
        return pages[-1]

    yield open_one
    for page in pages:
        page.context.close()


@pytest.fixture
def site(browser: Browser, redis_url: str) -> Iterator[DashboardSite]:
    """A collector and the pages opened on it."""
    with DashboardSite(browser, redis_url) as found:
        yield found


@pytest.fixture
def open_work(site: DashboardSite) -> Iterator[ExitStack]:
    """The busy research task; closing the stack ends it."""
    with ExitStack() as stack:
        run_busy_task(TASK, TITLE, stack=stack)
        yield stack
