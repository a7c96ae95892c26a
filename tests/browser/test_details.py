"""The details of a job: from every sign of trouble to its cause, and as a link for a colleague."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.spans.context_managers import enqueue, job, phase, research_task, worker
from tests.support.axe import violations
from tests.support.dashboard_site import PROJECT, DashboardSite
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

QUEUE = "nexus:tasks:normal_priority"
ERROR = "the address 'Main St 12' has no ZIP code\n  while reading row 4711\n  of schools.csv"


def run_job(number: int, *errors: str, is_failed: bool = False) -> None:
    """One job of ``search``: an attempt for each error, and one more that ends as said."""
    job_id = f"details:search-{number:02d}"
    with enqueue(task_id=job_id, task_type="search", queue=QUEUE) as carrier:
        pass
    for attempt, error in enumerate((*errors, None)):
        with job(
            task_id=job_id,
            task_type="search",
            carrier=carrier,
            worker_id="w-1",
            retry_count=attempt,
        ) as current:
            if error is not None:
                current.retry(TimeoutError(error))
            elif is_failed:
                current.fail(ValueError(ERROR))


def parse_row() -> None:
    raise KeyError("zip")


def run_raising_job() -> None:
    with (
        suppress(KeyError),
        job(task_id="details:parse-01", task_type="parse", worker_id="w-1"),
    ):
        parse_row()


@pytest.fixture(scope="module")
def details_site(browser: Browser) -> Iterator[DashboardSite]:
    """One collector for this file, with a task of 21 jobs and one that runs; three failed."""
    with RedisServer() as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        template = "http://localhost:16686/trace/{trace_id}"
        with (
            DashboardSite(
                browser, url, {"heartbeat_ttl_sec": 2}, trace_url_template=template
            ) as site,
            ExitStack() as stack,
        ):
            stack.enter_context(worker("w-1"))
            stack.enter_context(
                research_task("details", title="Private schools GA", project_id=PROJECT)
            )
            with phase("search"):
                for number in range(18):
                    run_job(number)
                run_job(18, "no answer in 1 s", "no answer in 2 s", is_failed=True)
                run_job(19)
                run_job(19, is_failed=True)
            run_raising_job()
            stack.enter_context(job(task_id="details:merge", task_type="merge", worker_id="w-1"))
            assert site.bridge.flush()
            yield site


@pytest.fixture
def page(details_site: DashboardSite) -> Iterator[Page]:
    """The page of the task, closed after the test."""
    opened = details_site.open("?task=details")
    yield opened
    opened.context.close()


def details(page: Page) -> Locator:
    return page.get_by_test_id("details")


def test_a_failure_leads_to_its_attempts_and_a_link(
    details_site: DashboardSite, page: Page
) -> None:
    """A failure gives its jobs, a job its attempts, each an earlier error, and all an address."""
    page.locator(".failure-error", has_text="no ZIP code").click()
    expect(details(page).get_by_role("heading", name="2 failures of one cause")).to_be_visible()
    details(page).get_by_role("button", name="search-19").click()
    expect(details(page).get_by_role("heading", name="search-19")).to_be_visible()
    page.go_back()
    expect(details(page).get_by_role("heading", name="2 failures of one cause")).to_be_visible()
    page.go_back()
    expect(details(page)).to_have_count(0)

    page.goto(f"{details_site.url}/?task=details&job=details:search-18")
    error = details(page).get_by_role("region", name="Error").locator("pre")
    expect(error).to_have_text(f"ValueError: {ERROR}", use_inner_text=True)
    expect(details(page)).to_contain_text("Private schools GA \u203a search")
    attempts = details(page).get_by_role("tab")
    expect(attempts).to_have_text(["try 1", "try 2", "try 3"], use_inner_text=True)
    attempts.nth(1).click()
    expect(error).to_have_text("TimeoutError: no answer in 2 s", use_inner_text=True)
    expect(attempts.nth(1)).to_have_attribute("aria-selected", "true")

    same = details_site.open(page.url.removeprefix(f"{details_site.url}/"))
    expect(details(same).get_by_role("tab", selected=True)).to_have_text(
        "try 2", use_inner_text=True
    )
    same.context.close()


def test_a_failure_shows_its_stack(details_site: DashboardSite) -> None:
    """Where it was raised, the innermost call last, as text that can be copied."""
    page = details_site.open("?task=details&job=details:parse-01")
    stack = details(page).get_by_role("region", name="Stack")
    expect(stack).to_contain_text("parse_row")
    expect(stack).to_contain_text("test_details.py")
    expect(stack.get_by_role("button", name="Copy")).to_be_visible()
    page.context.close()


def test_a_link_names_the_run_of_a_job(details_site: DashboardSite) -> None:
    """Of a job that was enqueued twice a link shows the run it names, else the newest."""
    for query, status in (("&run=1", "done"), ("&run=2", "failed"), ("", "failed")):
        page = details_site.open(f"?task=details&job=details:search-19{query}")
        expect(details(page).locator(".details-status")).to_contain_text(status)
        number = query.removeprefix("&run=") or "2"
        chosen = details(page).get_by_role("tab", selected=True)
        expect(chosen).to_have_text(f"run {number}, try 1", use_inner_text=True)
        page.context.close()


def test_the_keyboard_alone_opens_and_closes_details(page: Page) -> None:
    """Enter opens the details of a row and gives them the focus; Escape gives the row it back."""
    grid = page.get_by_role("treegrid", name="Phases and jobs")
    expect(grid.get_by_role("row", name="merge")).to_have_count(1)
    grid.focus()
    for key in ("Home", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(details(page).get_by_role("heading", name="search")).to_be_visible()
    expect(details(page)).to_be_focused()
    expect(details(page).get_by_label("Jobs below it")).to_contain_text("2 failed")
    page.keyboard.press("Escape")
    expect(details(page)).to_have_count(0)
    expect(grid).to_be_focused()


def test_open_details_follow_the_next_failure_and_a_click(page: Page) -> None:
    """``n`` goes on to the next failed job; a row that is clicked is shown, and runs as it runs."""
    grid = page.get_by_role("treegrid", name="Phases and jobs")
    expect(grid.get_by_role("row", name="merge")).to_have_count(1)
    # The end of a task that runs is followed until one goes elsewhere.
    grid.focus()
    page.keyboard.press("Home")
    grid.locator(".wf-space [aria-rowindex='2']").click()
    expect(details(page).get_by_role("heading", name="search")).to_be_visible()
    for name in ("search-18", "search-19"):
        page.keyboard.press("n")
        expect(details(page).get_by_role("heading", name=name)).to_be_visible()
        expect(details(page).locator(".details-status")).to_contain_text("failed")
    grid.focus()
    page.keyboard.press("End")
    expect(details(page).get_by_role("heading", name="merge")).to_be_visible()
    expect(details(page)).to_contain_text("Running for")
    expect(details(page)).to_contain_text("online")


@pytest.mark.parametrize("width", [390, 1280])
def test_details_are_for_everyone(details_site: DashboardSite, width: int) -> None:
    """On a phone and a laptop they fit the page, and axe finds nothing."""
    page = details_site.open("?task=details&job=details:search-18", width=width)
    expect(details(page).get_by_role("region", name="Events of the job")).to_contain_text("retry")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = details(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    details(page).get_by_label("Close the details").click()
    expect(details(page)).to_have_count(0)
    page.context.close()


def test_a_lost_worker_says_what_it_held(details_site: DashboardSite) -> None:
    """From the list of workers to the job that one held when its heartbeats ended, and back."""
    process = {"worker_id": "w-lost", "incarnation": "c" * 16}
    fields = {"parent_task_id": "lost", "project_id": PROJECT, "task_type": "search"}
    now = datetime.now(UTC)
    details_site.publish(
        event_type="worker_heartbeat", ts=now, meta={"host": "node-7", "pid": 4711}, **process
    )
    details_site.publish(
        event_type="task_started", ts=now, task_id="lost:search-7", **fields, **process
    )
    page = details_site.open("?tab=workers&task=lost")
    lost = page.locator(".worker.is-offline", has_text="w-lost")
    lost.get_by_role("button", name="w-lost").click()
    expect(details(page).get_by_role("heading", name="Worker w-lost")).to_be_visible()
    expect(details(page)).to_contain_text("Held 1 job when it was lost")
    expect(details(page)).to_contain_text("node-7")
    expect(page).to_have_url(re.compile("worker=w-lost%40"))
    details(page).get_by_role("button", name="search-7").click()
    expect(details(page).locator(".details-status")).to_contain_text("stalled: its worker is lost")
    details(page).get_by_role("button", name="w-lost").click()
    expect(details(page).get_by_role("heading", name="Worker w-lost")).to_be_visible()
    assert violations(page) == []
    page.context.close()


def test_what_has_left_says_so(details_site: DashboardSite) -> None:
    """A link to a job that the collector does not have shows that, and no other job."""
    page = details_site.open("?task=details&job=details:unknown")
    said = details(page).get_by_role("status")
    expect(said.first).to_contain_text("no longer, in the collector's memory")
    expect(said.last).to_contain_text("The log has none of its events")
    expect(details(page).get_by_role("heading")).to_have_count(0)
    page.goto(f"{details_site.url}/?worker=unknown%40")
    expect(details(page).get_by_role("status")).to_contain_text("No such worker")
    page.context.close()
