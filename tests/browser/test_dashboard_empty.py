"""The page before anything has run: lines to start a program, and a request where one can run."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import closing

import pytest
from playwright.sync_api import Browser, expect

from tests.support.axe import violations
from tests.support.dashboard_site import DashboardSite

pytestmark = pytest.mark.redis


def test_a_request_is_offered_where_it_runs(browser: Browser, collector_url: str) -> None:
    """The lines have the address in the browser; with workers there is a request, which works."""
    # Another name, as behind a proxy.
    url = collector_url.replace("127.0.0.1", "localhost")
    with closing(browser.new_context(permissions=["clipboard-read", "clipboard-write"])) as context:
        page = context.new_page()
        page.goto(url)
        expect(page.locator(".steps")).to_contain_text(f"MONITORING_BUS_URL={url} ")
        page.get_by_role("button", name="Copy the request").click()
        copied = page.evaluate("() => navigator.clipboard.readText()")
        subprocess.run(shlex.split(copied), check=True, capture_output=True)
        expect(page.get_by_role("region", name="Tasks")).to_contain_text("Private Schools GA")


def test_an_empty_page_has_a_line_for_each_kind_of_work(
    site: DashboardSite, redis_url: str
) -> None:
    """Each can be copied and has this log's address; on a phone each breaks, to be read whole."""
    page = site.open(permissions=["clipboard-read", "clipboard-write"], width=1280)
    empty = page.get_by_role("region", name="Getting started")
    expect(empty).to_contain_text("Nothing has run yet")
    expect(empty.get_by_role("term")).to_have_text(
        [
            *("Python", "Any language", "Celery", "RQ", "arq", "Dramatiq", "Taskiq"),
            "Coordinator",
        ]
    )
    empty.get_by_role("button", name="Copy Celery").click()
    expect(empty.get_by_role("button", name="Copied Celery")).to_be_visible()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"REDIS_URL={redis_url} opentelemetry-instrument celery -A app worker"
    expect(empty).to_contain_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={site.url} ")
    expect(empty).not_to_contain_text("curl")
    # Nothing was reported, so nothing is known: neither 0 queued jobs nor a rate of errors.
    for tile in ("Queued jobs", "Errors, last minute"):
        expect(page.locator(".tile", has_text=tile).locator("b")).to_have_text("\u2013")
    expect(page.get_by_test_id("says")).to_have_text("nothing runs, nothing needs attention")
    expect(page).to_have_title("otel-bridge")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "./icon.svg")
    assert violations(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") == 1280
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    overflowing = "all => all.filter(line => line.scrollWidth > line.clientWidth).length"
    assert page.locator(".steps pre").evaluate_all(overflowing) == 0
