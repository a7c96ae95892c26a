"""From failures and queues to their jobs, from a job to its lines and attributes, by any means."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from opentelemetry import trace
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.spans.context_managers import enqueue, job, phase, queue_depth, research_task
from tests.support.axe import violations
from tests.support.dashboard_site import PROJECT, DashboardSite
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

TASK = "journey"
STUCK = "emails"
WIDTHS = [390, 1280]
DROPPED = 106_950


def read_zip(row: dict[str, str]) -> str:
    return row["zip"]


def run_job(number: int) -> None:
    """One job of ``parse``, which fails by a cause that all odd ones share."""
    job_id = f"{TASK}:parse-{number}"
    with enqueue(task_id=job_id, task_type="parse", queue="imports") as carrier:
        pass
    with (
        suppress(KeyError),
        job(task_id=job_id, task_type="parse", carrier=carrier, worker_id="w-1") as current,
    ):
        span = trace.get_current_span()
        span.set_attribute("gen_ai.request.model", "small-2026")
        span.set_attribute("gen_ai.usage.input_tokens", 12_345)
        span.set_attribute("app.row", number)
        span.set_attribute("nexus.meta.county", "Fulton")
        current.progress(1, 2)
        if number % 2:
            read_zip({})


@pytest.fixture(scope="module")
def journey_redis() -> Iterator[RedisServer]:
    """The log of this file."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def journey_site(browser: Browser, journey_redis: RedisServer) -> Iterator[DashboardSite]:
    """A task with four failures of one cause, and a queue that no worker takes from."""
    url = f"redis://127.0.0.1:{journey_redis.port}/0"
    fields = {"heartbeat_ttl_sec": 2, "meta_attributes": "gen_ai.*,app.*"}
    with DashboardSite(browser, url, fields) as site:
        with research_task(TASK, title="Private schools GA", project_id=PROJECT), phase("parse"):
            for number in range(8):
                run_job(number)
        queue_depth({STUCK: 3})
        site.publish(
            event_type="worker_heartbeat",
            ts=datetime.now(UTC),
            worker_id="mailer",
            incarnation="d" * 16,
            meta={"queues": ["reports"]},
        )
        for number in range(3):
            site.publish(
                event_type="task_enqueued",
                ts=datetime.now(UTC) - timedelta(minutes=4),
                task_id=f"mails:send-{number}",
                parent_task_id="mails",
                project_id=PROJECT,
                task_type="send",
                queue=STUCK,
            )
        assert site.bridge.flush()
        yield site


@pytest.fixture
def open_page(journey_site: DashboardSite) -> Iterator[Callable[..., Page]]:
    """``journey_site.open`` at one of the widths; a phone is touched."""
    pages: list[Page] = []

    def open_one(query: str, width: int) -> Page:
        height = 844 if width < 500 else 800
        pages.append(journey_site.open(query, width=width, height=height, has_touch=width < 500))
        return pages[-1]

    yield open_one
    for page in pages:
        page.context.close()


def details(page: Page) -> Locator:
    return page.get_by_test_id("details")


def press(target: Locator, width: int) -> None:
    """A tap on a phone, a click elsewhere."""
    if width < 500:
        target.tap()
    else:
        target.click()


def fits(page: Page) -> bool:
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    return bool(page.evaluate(wide))


def heading(page: Page, name: str | re.Pattern[str]) -> Locator:
    return details(page).get_by_role("heading", level=2, name=name)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_failure_leads_to_its_group_and_each_job(
    open_page: Callable[..., Page], width: int
) -> None:
    """Two steps lead to a failed job; from there on to the next one of the group, and back."""
    page = open_page(f"?task={TASK}&section=failures", width)
    press(page.locator(".failure", has_text="KeyError"), width)
    expect(heading(page, "4 failures of one cause")).to_be_visible()
    expect(page).to_have_url(re.compile("failure="))
    expect(details(page).get_by_role("region", name="Stack")).to_contain_text("read_zip")
    expect(details(page)).to_contain_text("First failed")
    jobs = details(page).get_by_role("list", name="Failed jobs").get_by_role("button")
    expect(jobs).to_have_text(["parse-7", "parse-5", "parse-3", "parse-1"])
    assert violations(page) == []
    assert fits(page)
    press(jobs.nth(1), width)
    expect(heading(page, "parse-5")).to_be_visible()
    expect(details(page).get_by_text("2 of 4")).to_be_visible()
    press(details(page).get_by_role("button", name="Next"), width)
    expect(heading(page, "parse-3")).to_be_visible()
    press(details(page).get_by_role("button", name="Back to the group"), width)
    expect(heading(page, "4 failures of one cause")).to_be_visible()
    page.go_back()
    expect(heading(page, "parse-3")).to_be_visible()


def test_the_keyboard_alone_leads_through_a_group(open_page: Callable[..., Page]) -> None:
    """Enter opens group and job, ``n`` goes on, Escape gives the focus back to the row."""
    page = open_page(f"?task={TASK}", 1280)
    row = page.get_by_role("button", name=re.compile("KeyError"))
    row.focus()
    page.keyboard.press("Enter")
    expect(heading(page, "4 failures of one cause")).to_be_visible()
    expect(details(page)).to_be_focused()
    job = details(page).get_by_role("button", name="parse-7", exact=True)
    for _ in range(30):
        page.keyboard.press("Tab")
        if job.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(heading(page, "parse-7")).to_be_visible()
    expect(details(page)).to_be_focused()
    page.keyboard.press("n")
    expect(heading(page, "parse-5")).to_be_visible()
    page.keyboard.press("N")
    expect(heading(page, "parse-7")).to_be_visible()
    page.keyboard.press("Escape")
    expect(details(page)).to_have_count(0)
    expect(row).to_be_focused()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_stuck_queue_says_since_when_and_what_waits(
    open_page: Callable[..., Page], width: int
) -> None:
    """One step from the list of queues to a sentence, one more to a job, and back by its queue."""
    page = open_page("?tab=workers&section=failures", width)
    press(page.locator(".queue-row", has_text=STUCK), width)
    expect(heading(page, f"Queue {STUCK}")).to_be_visible()
    state = details(page).locator(".details-status")
    expect(state).to_contain_text("Stuck: 3 jobs wait, the oldest for 4m")
    expect(state).to_contain_text("no worker takes from it")
    assert violations(page) == []
    assert fits(page)
    jobs = details(page).get_by_role("list", name="Jobs that wait").get_by_role("button")
    expect(jobs).to_have_count(3)
    press(jobs.first, width)
    expect(heading(page, re.compile("send-"))).to_be_visible()
    press(details(page).get_by_role("button", name=STUCK, exact=True), width)
    expect(heading(page, f"Queue {STUCK}")).to_be_visible()


def store_lines(server: RedisServer, span: str, first: int, last: int, text: str) -> None:
    """Append lines of a span, as any publisher does."""
    lines: list[list[Any]] = [
        [time.time_ns() // 1_000_000, 40 if n % 7 == 0 else 20, "app.parse", f"{text} {n}", n]
        for n in range(first, last + 1)
    ]
    with redis.Redis(port=server.port) as client:
        client.rpush(RedisKeys().lines(span), *[json.dumps(line) for line in lines])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_job_shows_its_lines_as_they_come(
    open_page: Callable[..., Page], journey_redis: RedisServer, width: int
) -> None:
    """Dropped lines are counted where they are missing, the end is followed, a search finds."""
    name = f"parse-{2 if width < 500 else 4}"
    page = open_page(f"?task={TASK}&job={TASK}:{name}", width)
    lines = details(page).get_by_role("region", name="Log lines")
    expect(lines).to_contain_text("MONITORING_LOGS")
    raw = details(page).get_by_text("As JSON")
    raw.click()
    found = re.search(r'"span": "([0-9a-f]{16})"', details(page).inner_text())
    assert found is not None
    span = found[1]
    raw.click()
    store_lines(journey_redis, span, 1, 60, "row")
    store_lines(journey_redis, span, 61 + DROPPED, 70 + DROPPED, "row")
    expect(lines).to_contain_text("106,950 lines dropped")
    newest = lines.get_by_text(f"row {70 + DROPPED}")
    expect(newest).to_be_in_viewport()
    assert violations(page) == []
    assert fits(page)
    box = lines.get_by_role("region", name="Lines")
    box.evaluate("element => element.scrollTo(0, 0)")
    press(lines.get_by_role("button", name="Newest line"), width)
    expect(newest).to_be_in_viewport()
    search = lines.get_by_label("Search these lines")
    search.fill("ROW 60")
    expect(lines.locator(".details-line")).to_have_count(1)
    search.press("Escape")
    expect(search).to_have_value("")
    expect(heading(page, name)).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_job_shows_its_attributes_in_words(open_page: Callable[..., Page], width: int) -> None:
    """Model and tokens come first by these names, the program's own attributes are folded."""
    page = open_page(f"?task={TASK}&job={TASK}:parse-6", width)
    found = details(page).get_by_role("region", name="Attributes")
    expect(found.get_by_text("Model", exact=True)).to_be_visible()
    expect(found).to_contain_text("small-2026")
    expect(found).to_contain_text("12,345")
    expect(found).to_contain_text("Fulton")
    expect(found.get_by_text("app.row")).to_be_hidden()
    press(found.locator("summary"), width)
    expect(found.get_by_text("app.row")).to_be_visible()
    assert violations(page) == []
    assert fits(page)


def test_what_has_left_says_what_can_still_be_had(open_page: Callable[..., Page]) -> None:
    """A link to a job that nothing knows says that the log has none of its events either."""
    page = open_page(f"?task={TASK}&job={TASK}:unknown", 1280)
    expect(details(page)).to_contain_text("no longer, in the collector's memory")
    expect(details(page)).to_contain_text("The log has none of its events any more")
    assert violations(page) == []
