"""A real Chromium, for every test that looks at a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

__all__ = ["browser", "launch"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(playwright: Playwright) -> Browser:
    """Chromium from PATH; without one the test skips, or fails when ``CI`` is set."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        line = f"NO BROWSER: none of {', '.join(_NAMES)} is on PATH; the browser tests did not run"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    return playwright.chromium.launch(executable_path=found, args=_FLAGS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium from PATH; see ``launch``.

    One a module, not one a session: while Playwright's synchronous API is open the main thread
    counts as running an event loop, and every asynchronous test after it would be refused.
    """
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
