"""A real Chromium for the browser tests, and a real collector for it to look at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium from PATH; without one the test skips, or fails when ``CI`` is set.

    One a module, not one a session: while Playwright's synchronous API is open the main thread
    counts as running an event loop, and every asynchronous test after it would be refused.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        line = f"NO BROWSER: none of {', '.join(_NAMES)} is on PATH; the browser tests did not run"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def collector_url(tmp_path: Path) -> Iterator[str]:
    """An ``otel-bridge serve`` process with embedded workers, as a user starts it."""
    command = ["serve", "--port", "0", "--pace", "0.02", "--data-dir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge", *command], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        assert found, "the collector did not say where it listens"
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)
