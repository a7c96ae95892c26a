"""The event table: newest events, pages of the log, what was missed, one event, full load."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from otel_bridge.spans.context_managers import job, worker
from tests.support.app_server import fetch
from tests.support.dashboard_site import PROJECT, DashboardSite, open_task

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

OpenPage = Callable[..., Page]

ROOT = Path(__file__).parents[2]

_SCROLL_TO_THE_END = """
async (table, count) => {
  const body = table.querySelector('.table-body');
  while (Number(table.getAttribute('aria-rowcount')) < count) {
    body.scrollTop = body.scrollHeight;
    await new Promise(requestAnimationFrame);
  }
  body.scrollTop = body.scrollHeight;
}
"""
_ROW_PX = 28


def run_jobs(prefix: str, count: int, start: int = 0) -> None:
    """Jobs one after the other, each with two events."""
    for number in range(start, start + count):
        with job(task_id=f"{prefix}:{number}", task_type="search"):
            pass


def table(page: Page) -> Locator:
    return page.get_by_role("table", name="Recent events, newest first")


def detail(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Chosen event")


def events_of(site: DashboardSite, project: str) -> list[dict[str, Any]]:
    """What the table shows of a project when it was scrolled to its end, newest first."""
    assert site.bridge.flush()
    query = f"project_id={project}&all=false&limit=1000"
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/events?{query}").json()["events"]
    return found


def test_events_go_back_into_the_log(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """Scrolled down, rows stand still and go on to the log's first event, none lost or doubled."""
    with open_task("log", "Logged", "log") as run:
        run(run_jobs, "log", 250)
        before = events_of(busy_site, "log")
        page = open_page("?project=log")
        expect(table(page)).to_have_attribute("aria-rowcount", "201")
        newest, pill = table(page).locator("[aria-rowindex='2']"), page.get_by_test_id("new-events")
        expect(newest).to_contain_text(re.compile(r"done\s*search\s*249"))
        assert table(page).get_by_role("row").count() < 60
        table(page).evaluate(_SCROLL_TO_THE_END, len(before) + 1)
        oldest = table(page).locator(f"[aria-rowindex='{len(before) + 1}']")
        expect(oldest).to_contain_text(re.compile(r"worker up.*worker-1"))
        expect(table(page)).to_have_attribute("aria-rowcount", str(len(before) + 1))
        expect(page.locator(".row-end")).to_have_count(0)
        expect(pill).to_have_text("Latest ↑")
        place = oldest.bounding_box()
        run(run_jobs, "log", 3, 250)
        expect(pill).to_have_text("6 new ↑")
        assert oldest.bounding_box() == place
        pill.click()
        expect(newest).to_contain_text("252")
        expect(table(page)).to_have_attribute("aria-rowcount", str(len(before) + 7))

        page.keyboard.press(" ")
        expect(page.get_by_test_id("connection")).to_have_text("Paused")
        assert "paused=1" in page.url
        run(run_jobs, "log", 2, 253)
        expect(page.get_by_role("button", name="Resume")).to_contain_text("new")
        expect(newest).to_contain_text("252")
        pill.click()
        expect(newest).to_contain_text("254")
        expect(table(page).locator(".row-mark")).to_have_text("4 events came while paused")
        assert "paused=" not in page.url


def test_search_goes_through_the_log(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """What matches is found behind the newest events; none matches only once all were searched."""
    with open_task("find", "Found", "find") as run:
        run(run_jobs, "needle", 1)
        run(run_jobs, "hay", 150)
        assert busy_site.bridge.flush()
        page = open_page("?project=find")
        rows = page.locator(".table-body [role=row]")
        search = page.get_by_placeholder("Search")
        search.fill("NEEDLE")
        expect(rows).to_have_count(2)
        expect(rows.last).to_contain_text("needle:0")
        search.fill("nothing has this text")
        expect(page.get_by_text("No events match.")).to_be_visible()
        # Typing replaces the entry of the history, so Back does not go through it.
        assert page.evaluate("() => history.length") == 2
        page.get_by_role("button", name="Clear").click()
        expect(table(page)).to_have_attribute("aria-rowcount", "201")


def test_event_row_and_its_details(open_page: OpenPage) -> None:
    """Time, event, type, job, task, worker, try, duration, message; the keyboard opens it."""
    with open_task("one", "One task", "one") as run:

        def fail() -> None:
            with worker("w7"), job(task_id="one:a", task_type="resolve", retry_count=2) as last:
                last.fail(ValueError("two answers"))

        run(fail)
        page = open_page("?project=one&status=failed")
        row = table(page).locator("[aria-rowindex='2']")
        for text in ("failed", "resolve", "a", "One task", "w7", "3", "two answers"):
            expect(row).to_contain_text(text)
        expect(row.locator(".c-time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))
        expect(row.locator(".c-took")).to_have_text(re.compile(r"\d.* m?s"))
        page.keyboard.press("j")
        expect(detail(page)).to_contain_text("two answers")
        expect(detail(page).get_by_role("link", name="Trace")).to_be_visible()
        detail(page).get_by_role("button", name="Waterfall").click()
        expect(page).to_have_url(re.compile(r"event=.*task=one&job=one%3Aa"))
        expect(page.locator(".wf-space").get_by_role("row", selected=True)).to_contain_text("a")
        expect(detail(page)).to_be_visible()
        # The details of the job lie above: Escape closes them first.
        expect(page.get_by_test_id("details")).to_contain_text("two answers")
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("details")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(detail(page)).to_have_count(0)


def test_links_to_what_has_moved_on(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """An event is found in the log by its position; what has left is said, not replaced."""
    with open_task("moved", "Moved", "moved") as run:
        run(run_jobs, "early", 1)
        newest, *_ = events_of(busy_site, "moved")
        position = newest["position"]
        page = open_page(f"?project=moved&event={newest['event_id']}")
        expect(detail(page)).to_contain_text("early:0")
        run(run_jobs, "later", 120)
        assert busy_site.bridge.flush()
        page.goto(f"{busy_site.url}/?project=moved&event={position}")
        expect(detail(page)).to_contain_text("early:0")
        notice = page.get_by_role("note")
        page.goto(f"{busy_site.url}/?project=moved&event={newest['event_id']}")
        expect(notice).to_contain_text("not among those loaded")
        epoch = position.rpartition(":")[0]
        page.goto(f"{busy_site.url}/?task=moved&node=00000000000000ff&event={epoch}:5-0")
        expect(notice).to_contain_text("has left the log")
        expect(page.locator(".wf-notice")).to_contain_text("no longer, in the collector's memory")
        expect(page.locator(".wf-space [aria-selected=true]")).to_have_count(0)
        notice.get_by_role("button", name="Close").click()
        expect(page).to_have_url(re.compile("node=00000000000000ff$"))


def test_connection_lost_and_back(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """It is announced, politely and seldom; rows stay, and what was missed can be shown."""
    with (
        open_task("a", "Task a", "away") as run,
        open_task("b", "Task b", "away"),
        open_task("c", "Task c", "away"),
    ):
        page = open_page("?project=away")
        expect(page.locator("[data-task]")).to_have_count(3)
        live = page.locator("[aria-live], [role=status], [role=alert], [role=log], [role=timer]")
        assert live.evaluate_all("all => all.map(e => e.role)") == ["alert", "status"]
        page.evaluate(
            "() => { window.said = []; new MutationObserver(() => said.push(performance.now()))"
            ".observe(document.querySelector('[role=status]'),"
            " {childList: true, characterData: true, subtree: true}) }"
        )
        status, alert = page.locator("[role=status]"), page.locator("[role=alert]")
        shown = table(page).get_attribute("aria-rowcount")
    ended = re.compile(r"^Task [abc]: done(, Task [abc]: done){0,2}$")
    expect(status).to_have_text(ended)
    expect(alert).to_have_text("")
    expect(table(page)).not_to_have_attribute("aria-rowcount", str(shown))
    rows = int(table(page).get_attribute("aria-rowcount") or "0")
    page.wait_for_load_state("networkidle")
    busy_site.server.kill()
    expect(alert).to_have_text("Connection to the collector lost")
    expect(table(page)).to_have_attribute("aria-rowcount", str(rows))
    with open_task("d", "Task d", "away") as run:
        run(run_jobs, "missed", 150)
    assert busy_site.bridge.flush()
    busy_site.server.start()
    expect(alert).to_have_text("")
    # The newest 200, and a row for those between.
    expect(table(page)).to_have_attribute("aria-rowcount", str(rows + 201))
    page.locator(".table-body").evaluate(f"e => {{ e.scrollTop = {_ROW_PX} * 198 }}")
    page.locator(".row-mark").get_by_role("button", name="Show").click()
    expect(table(page)).to_have_attribute("aria-rowcount", str(rows + 302))
    expect(page.locator(".row-mark")).to_have_count(0)
    expect(status).to_have_text(re.compile("Connected again$"))
    said = page.evaluate("() => said")
    assert said[-1] - said[0] >= 4900


def test_table_keeps_duration_and_message(open_page: OpenPage) -> None:
    """A table too narrow for all columns leaves out project and task, not what went wrong."""
    page = open_page(f"?section=events&project={PROJECT}&status=failed", width=720, height=844)
    body = page.locator(".table-body")
    failed = body.get_by_role("row").filter(has_text="no such county")
    expect(failed).to_be_visible()
    for width in (720, 820, 1000, 1100, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        edge = body.evaluate("e => e.getBoundingClientRect().right")
        for cell in (".c-took", ".c-message"):
            box = failed.locator(cell).bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= edge
            assert box["width"] >= 50
        heads = page.get_by_role("columnheader").evaluate_all("all => all.map(e => e.offsetLeft)")
        cells = failed.get_by_role("cell").evaluate_all("all => all.map(e => e.offsetLeft)")
        assert heads == cells


def test_five_thousand_events_a_second(
    busy_site: DashboardSite,
    open_page: OpenPage,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """At full load every part is drawn and live; ``--screenshots`` keeps the picture."""
    page = open_page()
    bus_url = busy_site.bridge.settings.bus_url
    producer = subprocess.Popen(
        [sys.executable, "-m", "tests.support.full_load", bus_url, "8"],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        # Twice a second the newest 20, and a row for those that are not shown.
        expect(table(page)).to_have_attribute("aria-rowcount", re.compile(r"^(2[3-9]|[3-9]\d)\d$"))
        expect(page.locator(".tile-rate .spark-line")).to_be_attached()
        expect(page.locator(".failure")).not_to_have_count(0)
        expect(page.get_by_test_id("connection")).to_contain_text("Live")
        folder = ROOT / "docs" if request.config.getoption("--screenshots") else tmp_path
        picture = page.screenshot(path=folder / "dashboard-load.png")
        assert picture.startswith(b"\x89PNG")
    finally:
        producer.terminate()
        producer.wait(60)
