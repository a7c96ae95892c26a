"""The page before anything has run: lines to start a program, and a request where one can run."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import closing

import pytest
from playwright.sync_api import Browser, expect

from tests.support.dashboard_site import DashboardSite

pytestmark = pytest.mark.redis


def test_a_request_is_offered_where_it_runs(browser: Browser, collector_url: str) -> None:
    """With workers in the collector the empty page has a request, which works as it is."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    with closing(context):
        page = context.new_page()
        page.goto(collector_url)
        page.get_by_role("button", name="Copy the request").click()
        copied = page.evaluate("() => navigator.clipboard.readText()")
        subprocess.run(shlex.split(copied), check=True, capture_output=True)
        expect(page.get_by_role("region", name="Tasks")).to_contain_text("Private Schools GA")


def test_lines_have_the_address_in_the_browser(browser: Browser, collector_url: str) -> None:
    """Reached under another name, as behind a proxy, the page shows that name."""
    url = collector_url.replace("127.0.0.1", "localhost")
    context = browser.new_context()
    with closing(context):
        page = context.new_page()
        page.goto(url)
        expect(page.locator(".steps")).to_contain_text(f"MONITORING_BUS_URL={url} ")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_page(site: DashboardSite, width: int) -> None:
    """On a phone each line breaks so that all of it can be read."""
    page = site.open(width=width)
    lines = page.locator(".steps pre")
    expect(lines.first).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    overflowing = "all => all.filter(line => line.scrollWidth > line.clientWidth).length"
    if width == 390:
        assert lines.evaluate_all(overflowing) == 0
