"""What each part of the dashboard shows while real spans are open, in a real browser."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from functools import partial
from os import kill
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from otel_bridge.spans.context_managers import job, phase, research_task, worker
from tests.support.dashboard_site import (
    DEADLINE_MS,
    PROJECT,
    TASK,
    TITLE,
    DashboardSite,
    run_busy_task,
)

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

OpenPage = Callable[..., Page]


def tile(page: Page, label: str) -> Locator:
    return page.locator(".tile", has=page.get_by_text(label, exact=True))


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def card(page: Page, task_id: str) -> Locator:
    return page.locator(f"[data-task='{task_id}']")


def choose(page: Page, label: str, value: str) -> None:
    """Type into a filter, take the first of what it finds, and leave it."""
    page.get_by_role("combobox", name=label, exact=True).fill(value)
    expect(page.get_by_role("listbox").get_by_role("option").first).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")


def ids(page: Page) -> list[str]:
    """The tasks in the document, in their order."""
    found = page.locator("[data-task]").evaluate_all("all => all.map(card => card.dataset.task)")
    return [str(task_id) for task_id in found]


@contextmanager
def open_task(task_id: str, **fields: Any) -> Iterator[Callable[..., Any]]:
    """A research task in a context of its own; gives what runs a function inside it."""
    context, task = Context(), research_task(task_id, **fields)
    context.run(task.__enter__)
    try:
        yield context.run
    finally:
        context.run(task.__exit__, None, None, None)


def test_header_and_workers(open_page: OpenPage) -> None:
    """Workers, queues by priority, running jobs, error rates, throughput; who runs what."""
    page = open_page(f"?project={PROJECT}&tab=workers")
    expect(tile(page, "Workers online")).to_contain_text("1")
    queues = page.locator(".tile-queues")
    expect(queues).to_contain_text("3 high")
    expect(queues).to_contain_text("118 normal")
    expect(tile(page, "In progress")).to_contain_text("1 extract")
    # 6 jobs of search and 1 of extraction ended, 1 of them failed; the retried attempt is no end.
    expect(tile(page, "Errors, last minute")).to_contain_text("14 %")
    expect(tile(page, "Errors, last minute")).to_contain_text("14 % in 5 min")
    expect(page.locator(".tile-rate").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("Jobs per second over the last minute")
    )
    expect(page.get_by_test_id("connection")).to_have_text(re.compile(r"Live( \d+ ms)?"))
    expect(page).to_have_title(
        re.compile(r"^! (normal stuck, 1 failing|1 failing, 1 running) · otel-bridge$")
    )
    workers = panel(page, "Workers")
    busy = workers.locator(".worker", has_text="worker-1")
    expect(busy).to_contain_text("busy")
    expect(busy).to_contain_text("extract:1")
    expect(busy).to_contain_text("1 failed")
    expect(panel(page, "Queues").get_by_role("listitem").first).to_contain_text("high3 waiting")
    idle = workers.locator(".worker", has_text="worker-2")
    with worker("worker-2"):
        expect(idle).to_contain_text("idle")
        expect(idle).to_contain_text(re.compile(r"seen (just now|\d+ s ago)"))
    expect(idle).to_contain_text("stopped")


def test_queues_and_who_takes_from_them(open_page: OpenPage) -> None:
    """How many jobs wait, since when, and which workers take them; an unknown age is a dash."""
    page = open_page(f"?project={PROJECT}&tab=workers")
    busy = page.locator(".worker", has_text="worker-1")
    expect(busy).to_contain_text("takes from high")
    high, normal = page.locator(".queue-row").nth(0), page.locator(".queue-row").nth(1)
    expect(high).to_contain_text("3 waiting")
    expect(high).to_contain_text("1 worker")
    expect(high).to_contain_text(re.compile(r"oldest \d"))
    age = high.get_by_text("oldest").inner_text()
    expect(high.get_by_text("oldest")).not_to_have_text(age)  # grows, though no event came
    expect(normal).to_contain_text("oldest \u2013")
    expect(normal).to_contain_text("no worker takes from it")


def test_card_tells_the_whole_task(open_page: OpenPage) -> None:
    """Title, type, domain, project, start, a bar per phase; at its end it goes below what runs."""
    context, work = Context(), ExitStack()
    context.run(partial(run_busy_task, "whole", TITLE, stack=work, project="whole"))
    page = open_page("?project=whole")
    whole = card(page, "whole")
    for text in (TITLE, "data aggregation", "schools", "whole", "search", "extraction"):
        expect(whole).to_contain_text(text)
    expect(whole).to_contain_text("1 running")
    expect(whole).to_contain_text("1 failed")
    expect(whole).to_contain_text("1 retried")
    search = whole.locator(".phases > li", has_text="search")
    expect(search).to_contain_text("6/6")
    with open_task("later", title="A later one", project_id="whole"):
        expect(page.locator("[data-task]")).to_have_count(2)
        # A job of it has failed, so it comes before the newer one while it runs.
        assert ids(page) == ["whole", "later"]
        running = whole.bounding_box()
        context.run(work.close)
        expect(whole.get_by_test_id("percent")).to_have_text("100 %")
        expect(page.locator("[data-task]").first).to_have_attribute("data-task", "later")
        ended = whole.bounding_box()
        assert running is not None
        assert ended is not None
        assert running["height"] == ended["height"]
    # Announced once to a screen reader, politely.
    expect(page.get_by_test_id("ended")).to_contain_text(f"{TITLE}: done")


def test_list_of_tasks_is_a_window(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """Of 130 cards 40 are in the document; all are reached; what is read or pointed at stays."""
    fields = {"project_id": "many", "event_type": "task_completed"}
    for number in range(130):
        name = f"many-{number:03d}"
        at = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}+00:00"
        busy_site.publish(task_id=name, parent_task_id=name, ts=at, **fields)
    page = open_page("?project=many&layout=cards")
    cards = page.locator("[data-task]")
    expect(page.locator(".tasks .panel-head")).to_contain_text("130")
    expect(cards).to_have_count(40)
    assert ids(page)[0] == "many-129"
    expect(page.locator(".cards li").first).to_have_attribute("aria-setsize", "130")
    body = page.locator(".cards")
    body.evaluate("e => { e.scrollTop = e.scrollHeight }")
    expect(card(page, "many-000")).to_be_in_viewport()
    expect(cards).to_have_count(40)
    body.evaluate("e => { e.scrollTop = 4000 }")
    expect(page.locator(".cards [aria-busy=false]")).to_be_visible()
    read = card(page, "many-090")
    read.scroll_into_view_if_needed()
    place = read.bounding_box()
    with open_task("above", project_id="many"):
        expect(page.locator(".tasks .panel-head")).to_contain_text("131")
        moved = read.bounding_box()
        assert place is not None
        assert moved is not None
        assert abs(moved["y"] - place["y"]) < 1
    body.evaluate("e => { e.scrollTop = 0 }")
    expect(card(page, "above")).to_be_in_viewport()
    card(page, "many-129").hover()
    before = ids(page)
    with open_task("new", project_id="many"):
        expect(page.get_by_text("order has changed")).to_be_visible()
        assert ids(page) == before
        page.mouse.move(0, 0)
        expect(page.locator("[data-task]").first).to_have_attribute("data-task", "new")
        expect(page.get_by_text("order has changed")).to_have_count(0)


def test_waterfall_grows_and_marks(open_page: OpenPage) -> None:
    """Open bars grow, waits are dashed, failures and retries are marked; the trace is linked."""
    page = open_page(f"?project={PROJECT}&task={TASK}")
    fall = panel(page, "Waterfall")
    rows = fall.locator(".wf-space").get_by_role("row")
    # The task, 2 phases, 6 jobs of search, one of them with 2 attempts, and 3 of extraction.
    expect(rows).to_have_count(13)
    running = fall.locator(".is-job .wf-bar.is-processing.is-open")
    expect(running).to_have_count(1)
    assert running.evaluate("bar => getComputedStyle(bar).animationName") != "none"
    row = rows.filter(has=page.locator(".wf-bar.is-processing.is-open:not(.wf-thin)"))
    expect(row).to_contain_text("extract:1")
    expect(row).to_contain_text("worker-1")
    expect(row).to_contain_text("3 of 10")
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "30")
    queued = fall.locator(".wf-bar.is-queued.is-open")
    expect(queued).to_have_count(1)
    assert queued.evaluate("bar => getComputedStyle(bar).borderTopStyle") == "dashed"
    expect(rows.filter(has=page.locator(".wf-bar.is-failed"))).to_have_count(1)
    retried = rows.filter(has=page.locator(".wf-bar.is-retrying"))
    expect(retried).to_have_count(1)
    expect(retried.locator(".is-open")).to_have_count(0)
    first = float(fall.locator(".wf").evaluate("e => e.style.getPropertyValue('--now')"))
    page.wait_for_function(
        "old => parseFloat(document.querySelector('.wf').style.getPropertyValue('--now'))"
        " > old + 0.3",
        arg=first,
    )
    link = fall.get_by_role("link", name="Trace")
    expect(link).to_have_attribute(
        "href", re.compile(r"^http://localhost:16686/trace/[0-9a-f]{32}$")
    )
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_failures_lead_to_their_job(open_page: OpenPage) -> None:
    """The same error is one group with its count; two clicks show a job, in the waterfall too."""
    with open_task("counties", title="All counties", project_id="counties") as run:
        run(fail_jobs, "counties", 4)
        page = open_page("?project=counties")
        group = panel(page, "Failures").locator(".failure", has_text="no such county")
        expect(group).to_contain_text("\u00d74")
        expect(group).to_contain_text("All counties")
        group.get_by_role("button").click()
        details = page.get_by_test_id("details")
        expect(details.get_by_role("heading", name="4 failures of one cause")).to_be_visible()
        details.get_by_role("list", name="Failed jobs").get_by_role("button").first.click()
        expect(page).to_have_url(re.compile(r"task=counties&job=counties%3A\d&open=1$"))
        expect(details).to_contain_text("no such county")
        chosen = panel(page, "Waterfall").get_by_role("row", selected=True)
        expect(chosen.locator(".wf-bar.is-failed")).to_have_count(1)


def fail_jobs(prefix: str, number_of_jobs: int) -> None:
    with worker("w"), phase("search"):
        for number in range(number_of_jobs):
            with job(task_id=f"{prefix}:{number}", task_type="search") as last:
                last.fail(ValueError("no such county"))


def test_filters_live_in_the_address(open_page: OpenPage) -> None:
    """Project, task, type, status and text narrow every panel; the address reproduces them."""
    with open_task("other", title="Other work", project_id="hospitals") as run:
        run(fail_jobs, "other", 1)
        page = open_page(permissions=["clipboard-read", "clipboard-write"])
        cards = page.locator("[data-task]")
        choose(page, "Project", "hospitals")
        expect(cards).to_have_count(1)
        choose(page, "Project", PROJECT)
        expect(cards).to_have_count(1)
        expect(card(page, TASK)).to_be_visible()
        choose(page, "Task", TASK)
        choose(page, "Type", "search")
        page.get_by_label("Status", exact=True).select_option("failed")
        page.keyboard.press("/")
        page.keyboard.type("county")
        expect(page.locator("input[type=search]")).to_have_value("county")
        rows = page.locator(".table-body [role=row]")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("no such county")
        expect(panel(page, "Failures").locator(".failure")).to_have_count(1)
        for part in (f"project={PROJECT}", f"task={TASK}", "type=search", "status=failed"):
            assert part in page.url
        expect(page).to_have_url(re.compile("q=county"))
        page.get_by_role("button", name="Copy link").click()
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert page.url == copied
        page.goto(copied)
        expect(rows).to_have_count(1)
        page.locator("input[type=search]").fill("nothing has this text")
        expect(page.get_by_text(re.compile("No events match"))).to_be_visible()
        expect(page.get_by_text("No tasks match.")).to_be_visible()
        expect(page.locator(".tasks .panel-head")).to_contain_text("0 of 1")
        expect(page.get_by_text("No failures match.")).to_be_visible()
        page.get_by_role("button", name="Clear").click()
        expect(card(page, "other")).to_be_visible()
        assert "status=" not in page.url


def test_silence_is_said(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """A collector that hangs makes the page say since when; it goes live by itself."""
    page = open_page(f"?project={PROJECT}")
    badge = page.get_by_test_id("connection")
    page.clock.install()
    page.reload()
    expect(card(page, TASK)).to_be_visible()
    kill(busy_site.server.pid, signal.SIGSTOP)
    try:
        page.clock.fast_forward(7_000)
        expect(badge).to_contain_text(re.compile(r"Silent for \d+ s"))
        expect(page.get_by_test_id("as-of")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d"))
    finally:
        kill(busy_site.server.pid, signal.SIGCONT)
    expect(badge).to_contain_text("Live")
    # A second that passed unheard is not lost: jobs still run by the collector's clock.
    expect(card(page, TASK).locator(".card-foot")).to_contain_text(re.compile(r"\d+s"))


def test_skewed_clock_is_corrected(open_page: OpenPage) -> None:
    """On a machine an hour ahead a task that started now has run for seconds, not for an hour."""
    with open_task("now", title="Just begun", project_id="skewed"):
        page = open_page("?project=skewed")
        page.clock.install()
        page.clock.set_system_time(page.evaluate("() => Date.now() + 3600000"))
        page.reload()
        expect(card(page, "now").locator(".card-foot")).to_contain_text(re.compile(r"^\s*\d+s"))


def test_frozen_page_catches_up(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """A page the browser froze in the background shows what it missed as soon as it is back."""
    page = open_page("?project=frozen")
    expect(page.get_by_test_id("connection")).to_contain_text("Live")
    cdp = page.context.new_cdp_session(page)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    with open_task("unseen", title="Begun unseen", project_id="frozen"):
        assert busy_site.bridge.flush()
        cdp.send("Page.setWebLifecycleState", {"state": "active"})
        expect(card(page, "unseen")).to_be_visible(timeout=DEADLINE_MS)
