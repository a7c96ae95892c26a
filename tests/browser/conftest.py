"""A real collector for the browser tests to look at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import browser
from tests.support.dashboard_site import TASK, TITLE, DashboardSite, run_busy_task

__all__ = ["browser", "collector_url", "open_work", "site"]


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
