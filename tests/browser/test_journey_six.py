"""Six questions that users have, each answered in at most three steps, by pointer and by keyboard.

A step is a click, a touch, a key, or a text typed into one field. ``Steps`` counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.spans.context_managers import job, phase, queue_depth, research_task, worker
from tests.support.axe import violations
from tests.support.dashboard_site import PROJECT, DashboardSite
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

JOBS = 5_000
MAX_STEPS = 3
SIZES = [(1280, 800), (390, 844)]


def raise_no_zip() -> None:
    raise KeyError("the address has no ZIP code")


def run_one_of(number: int) -> None:
    """One of many short jobs; the 4,711th fails, the 42nd succeeds at its second attempt."""
    fields: dict[str, Any] = {
        "task_id": f"many:search-{number}",
        "task_type": "search",
        "worker_id": "w-1",
    }
    if number == 42:
        with job(**fields) as first:
            first.retry(TimeoutError("no answer in 2 s"))
    with job(**fields, retry_count=1 if number == 42 else 0) as current:
        if number == 4711:
            try:
                raise_no_zip()
            except KeyError as error:
                current.fail(error)


@pytest.fixture(scope="module")
def journey_site(browser: Browser) -> Iterator[DashboardSite]:
    """A collector with a task of 5,000 jobs, a lost worker, a stuck queue and a task that runs."""
    with RedisServer() as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        with (
            DashboardSite(browser, url, {"heartbeat_ttl_sec": 2}) as site,
            ExitStack() as stack,
        ):
            with (
                worker("w-1"),
                research_task("many", title="All schools of GA", project_id=PROJECT),
                phase("search", total=JOBS),
            ):
                for number in range(JOBS):
                    run_one_of(number)
                    if number % 500 == 0:
                        assert site.bridge.flush()
            assert site.bridge.flush()
            lose_worker(site)
            stick_queue(site)
            stack.enter_context(worker("w-2", meta={"queues": ["crawls"]}))
            stack.enter_context(research_task("open", title="Charter schools", project_id=PROJECT))
            stack.enter_context(phase("crawl", total=8))
            for number in range(3):
                with job(task_id=f"open:crawl-{number}", task_type="crawl", worker_id="w-2"):
                    pass
            assert site.bridge.flush()
            yield site


def lose_worker(site: DashboardSite) -> None:
    """A worker on node-7 takes a job, and its heartbeats end."""
    life = {"worker_id": "w-lost", "incarnation": "c" * 16}
    now = datetime.now(UTC)
    site.publish(
        event_type="worker_heartbeat", ts=now, meta={"host": "node-7", "pid": 4711}, **life
    )
    fields = {"parent_task_id": "lost", "project_id": PROJECT, "task_type": "search"}
    site.publish(event_type="task_started", ts=now, task_id="lost:search-7", **fields, **life)


def stick_queue(site: DashboardSite) -> None:
    """300 mails wait since four minutes, and the only worker takes from another queue."""
    since = datetime.now(UTC) - timedelta(minutes=4)
    fields = {"parent_task_id": "mails", "project_id": PROJECT, "task_type": "mail"}
    for number in range(3):
        site.publish(
            event_type="task_enqueued",
            ts=since,
            task_id=f"mails:mail-{number}",
            queue="emails",
            **fields,
        )
    queue_depth({"emails": 300})


class Steps:
    """Counts what a user does; fails with the fourth step."""

    def __init__(self, page: Page, *, is_keyboard: bool = False) -> None:
        self.page = page
        self.count = 0
        self._is_keyboard = is_keyboard

    def open(self, target: Locator) -> None:
        """Click it, or bring the focus to it and press Enter: one step, however far Tab goes."""
        self._count()
        expect(target).to_be_visible()
        if self._is_keyboard:
            target.focus()
            self.page.keyboard.press("Enter")
        else:
            target.click()

    def press(self, key: str) -> None:
        self._count()
        self.page.keyboard.press(key)

    def _count(self) -> None:
        self.count += 1
        assert self.count <= MAX_STEPS, "this journey takes more than three steps"


@pytest.fixture(params=[*SIZES, (1280, 0)], ids=["laptop", "phone", "keyboard"])
def steps(request: pytest.FixtureRequest, journey_site: DashboardSite) -> Iterator[Steps]:
    """The page as a link without parameters opens it, on a laptop, a phone, by keyboard alone."""
    width, height = request.param
    page = journey_site.open("", width=width, height=height or 800, has_touch=width == 390)
    expect(page.get_by_role("region", name="Tasks")).to_be_visible()
    yield Steps(page, is_keyboard=height == 0)
    # Rows of another choice are pale until the new ones are there.
    expect(page.locator(".is-refreshing")).to_have_count(0)
    assert violations(page) == []
    page.context.close()


def details(page: Page) -> Locator:
    return page.get_by_test_id("details")


def open_attention(steps: Steps, name: str) -> None:
    """Open what the header's sentence says, if need be after the rest of the sentence."""
    said = steps.page.get_by_role("banner").get_by_role("button", name=name)
    more = steps.page.get_by_role("banner").get_by_role("button", name=re.compile("and \\d+ more"))
    expect(said.or_(more).first).to_be_visible()
    if said.count() == 0:
        steps.open(more)
        said = steps.page.get_by_role("button", name=name)
    steps.open(said.first)


def is_narrow(page: Page) -> bool:
    size = page.viewport_size
    return size is not None and size["width"] < 1000


def test_the_one_failed_job_of_5000_with_its_stack(steps: Steps) -> None:
    """From the list of failures to the error as written and the line that raised it."""
    page = steps.page
    if is_narrow(page):
        steps.open(page.get_by_role("button", name="Failures"))
    steps.open(page.locator(".failure-error", has_text="ZIP code"))
    stack = details(page).get_by_role("region", name="Stack")
    expect(stack).to_contain_text("raise_no_zip")


def test_why_a_job_was_retried(steps: Steps) -> None:
    """A search finds the job; its attempts are tabs, the first with its error."""
    page = steps.page
    steps.press("Control+k")
    page.keyboard.type("many:search-42")
    expect(page.get_by_role("option", name="search-42").first).to_be_visible()
    steps.press("Enter")
    attempts = details(page).get_by_role("tab")
    expect(attempts).to_have_text(["try 1", "try 2"], use_inner_text=True)
    steps.open(attempts.first)
    expect(details(page).get_by_role("region", name="Error")).to_contain_text("no answer in 2 s")


def test_which_worker_died_and_what_it_held(steps: Steps) -> None:
    """The header says it; one step leads to the worker with the jobs that it held."""
    page = steps.page
    open_attention(steps, "w-lost")
    expect(details(page)).to_contain_text("Held 1 job when it was lost")
    expect(details(page)).to_contain_text("node-7")
    steps.open(details(page).get_by_role("button", name="search-7"))
    expect(details(page).locator(".details-status")).to_contain_text("its worker is lost")


def test_which_queue_is_stuck_and_since_when(steps: Steps) -> None:
    """The header names the queue; its details say since when and that no worker takes from it."""
    page = steps.page
    open_attention(steps, "emails")
    expect(details(page).get_by_role("heading", name="emails")).to_be_visible()
    expect(details(page)).to_contain_text("300")
    expect(details(page)).to_contain_text(re.compile(r"the oldest for \d+m \d+s, and no worker"))


def test_how_one_task_goes_on(steps: Steps) -> None:
    """A task's title leads to its waterfall; on a phone it covers the page."""
    page = steps.page
    steps.open(page.get_by_role("button", name="Charter schools"))
    grid = page.get_by_role("treegrid", name="Phases and jobs")
    expect(grid.get_by_role("row", name="running crawl")).to_be_visible()


def test_a_link_to_exactly_this(steps: Steps, journey_site: DashboardSite) -> None:
    """What a colleague opens is what is shown here: the same job, its error and its stack."""
    page = steps.page
    if is_narrow(page):
        steps.open(page.get_by_role("button", name="Failures"))
    steps.open(page.locator(".failure-error", has_text="ZIP code"))
    expect(details(page).get_by_role("region", name="Stack")).to_contain_text("raise_no_zip")
    same = journey_site.open(page.url.removeprefix(f"{journey_site.url}/"))
    expect(details(same).get_by_role("region", name="Stack")).to_contain_text("raise_no_zip")
    same.context.close()
