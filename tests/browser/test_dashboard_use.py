"""The dashboard in use: by keyboard, by link, back and forward, paused, hidden, on any width."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from otel_bridge.spans.context_managers import job, phase, research_task, worker
from tests.support.dashboard_site import PROJECT, TASK, DashboardSite, open_task

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

OpenPage = Callable[..., Page]

_FRAMES = """
async count => {
  for (let i = 0; i < count; i++) await new Promise(requestAnimationFrame);
  return document.querySelector('.wf').style.getPropertyValue('--now');
}
"""
_NEXT_SECOND = """
async () => {
  while (Date.now() % 1000 >= 100) await new Promise(requestAnimationFrame);
}
"""
_SHOW = """
isHidden => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event('visibilitychange'));
}
"""


def run_jobs(prefix: str, count: int, start: int = 0) -> None:
    """Jobs one after the other, each with two events."""
    for number in range(start, start + count):
        with job(task_id=f"{prefix}:{number}", task_type="search"):
            pass


def table(page: Page) -> Locator:
    return page.get_by_role("table", name="Recent events, newest first")


def card(page: Page, task_id: str) -> Locator:
    return page.locator(f"[data-task='{task_id}']")


def detail(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Chosen event")


def test_back_and_forward(open_page: OpenPage) -> None:
    """Each task and stretch of time that was chosen is an entry of the history; filters are not."""
    with open_task("first", "First", "back") as run, open_task("second", "Second", "back"):
        run(run_jobs, "first", 2)
        page = open_page("?project=back")
        for task in ("first", "second"):
            card(page, task).locator(".card-title").click()
            expect(card(page, task)).to_have_class(re.compile("is-focused"))
        expect(page).to_have_url(re.compile("task=second"))
        page.get_by_label("Status", exact=True).select_option("failed")
        page.get_by_label("Status", exact=True).select_option("")
        page.keyboard.press("+")
        expect(page).to_have_url(re.compile(r"zoom=\d+-\d+"))
        reset = page.get_by_role("button", name="Reset zoom")
        page.go_back()
        expect(reset).to_have_count(0)
        expect(card(page, "second")).to_have_class(re.compile("is-focused"))
        page.go_back()
        expect(card(page, "first")).to_have_class(re.compile("is-focused"))
        page.go_back()
        expect(page).to_have_url(re.compile(r"\?project=back$"))
        for _ in range(3):
            page.go_forward()
        expect(reset).to_be_visible()
        expect(card(page, "second")).to_have_class(re.compile("is-focused"))


def test_a_link_shows_the_same(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """The shown task, its zoom and folds, the chosen event, the tab and the pause are in it."""
    page = open_page(
        f"?project={PROJECT}&paused=1", permissions=["clipboard-read", "clipboard-write"]
    )
    expect(card(page, TASK)).to_have_class(re.compile("is-focused"))
    page.get_by_role("tab", name=re.compile("Workers")).click()
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("w")
    rows = page.locator(".wf-space").get_by_role("row")
    expect(rows).to_have_count(3)
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Reset zoom")).to_be_visible()
    chosen = detail(page).locator("dl").inner_text()
    # A newer task would be the one that is shown by itself.
    with open_task("newer", "A newer one", PROJECT):
        page.keyboard.press("c")
        copied = page.evaluate("() => navigator.clipboard.readText()")
        other = open_page(copied.removeprefix(f"{busy_site.url}/"))
        expect(other.get_by_test_id("connection")).to_have_text("Paused")
        expect(card(other, TASK)).to_have_class(re.compile("is-focused"))
        expect(other.get_by_role("button", name="Reset zoom")).to_be_visible()
        expect(other.get_by_role("tab", name=re.compile("Workers"))).to_have_attribute(
            "aria-selected", "true"
        )
        expect(detail(other).locator("dl")).to_have_text(chosen, use_inner_text=True)
        expect(other.locator(".row.is-chosen")).to_be_in_viewport()
        # Old links name the task by focus, and the zoom in seconds; folds of another page do not
        # disturb.
        other.goto(f"{busy_site.url}/?focus={TASK}&zoom=0.5-600&folds=%00-search._x%5C.%2B*..")
        expect(other).to_have_url(re.compile(rf"\?zoom=500-600000&folds=.*&task={TASK}$"))
        expect(other.get_by_role("button", name="Reset zoom")).to_be_visible()


def test_paused_is_still(open_page: OpenPage) -> None:
    """Paused, the axis stands, bars neither grow nor move, times do not count; then all goes on."""
    page = open_page(f"?task={TASK}")
    bar = page.locator(".wf-space .is-job .wf-bar.is-processing.is-open")
    expect(bar).to_have_count(1)
    state = "e => getComputedStyle(e).animationPlayState"
    assert bar.evaluate(state) == "running"
    # A second begins that no tick of the page has shown yet: it must not come after the pause.
    page.evaluate(_NEXT_SECOND)
    page.keyboard.press(" ")
    expect(page.get_by_test_id("connection")).to_have_text("Paused")
    assert bar.evaluate(state) == "paused"
    held = page.evaluate(_FRAMES, 2)
    foot = card(page, TASK).locator(".card-foot").inner_text()
    assert page.evaluate(_FRAMES, 70) == held
    assert card(page, TASK).locator(".card-foot").inner_text() == foot
    page.keyboard.press(" ")
    expect(page.get_by_test_id("connection")).to_contain_text("Live")
    page.wait_for_function(
        "old => parseFloat(document.querySelector('.wf').style.getPropertyValue('--now')) > old",
        arg=float(held),
    )


def test_hidden_tab_rests_and_catches_up(open_page: OpenPage) -> None:
    """In the background the title goes on and the table rests; in front again, all is there."""
    with open_task("seen", "Started in view", "hidden"):
        page = open_page("?project=hidden")
        expect(page).to_have_title(re.compile("1 running · otel-bridge$"))
        expect(page.locator(".table-body")).to_contain_text("Started in view")
        rows = table(page).get_attribute("aria-rowcount")
        page.evaluate(_SHOW, True)
        with open_task("unseen", "Started unseen", "hidden"):
            expect(page).to_have_title(re.compile("2 running · otel-bridge$"))
            assert table(page).get_attribute("aria-rowcount") == rows
            page.evaluate(_SHOW, False)
            expect(page.locator(".table-body")).to_contain_text("Started unseen")


def test_dropped_events_are_shown_with_their_worker(
    busy_site: DashboardSite, open_page: OpenPage
) -> None:
    """What a worker's process had to drop is counted beside it and in the header."""
    busy_site.publish(event_type="worker_heartbeat", worker_id="w9", counts={"dropped": 312})
    page = open_page("?tab=workers")
    expect(page.locator(".worker", has_text="w9")).to_contain_text("312 dropped")
    expect(page.locator(".tile", has_text="Events")).to_contain_text("312 dropped")


def test_long_texts_fit(open_page: OpenPage) -> None:
    """Titles, errors and ids without a break make nothing too wide and cut no numbers."""
    error = "RuntimeError: " + "https://www.example.org/a/path/that/does/not/break/" * 5
    title = "A very long title of a research task about schools " * 5
    project = "project-" * 12
    with research_task("long", title=title, project_id=project, domain="schools " * 12):
        with phase("extraction_of_everything_there_is", total=9), worker("worker-" * 12):
            for number in range(3):
                with job(task_id="long:" + "x" * 120 + str(number), task_type="t" * 90) as one:
                    one.fail(ValueError(error))
        page = open_page(f"?project={project}", width=390, height=844)
        foot = card(page, "long").locator(".card-foot")
        expect(foot).to_contain_text("3 failed")
        wide = "() => document.documentElement.scrollWidth - innerWidth"
        for width in (390, 820, 1100, 1440):
            page.set_viewport_size({"width": width, "height": 844})
            sections = page.get_by_role("navigation")
            expect(sections).to_have_count(int(width < 1000))
            if width < 1000:
                for name in ("Events", re.compile("^Failures"), "Tasks"):
                    sections.get_by_role("button", name=name).click()
                    assert page.evaluate(wide) <= 0
            assert page.evaluate(wide) <= 0
            assert foot.evaluate("e => e.scrollWidth - e.clientWidth") <= 0


def test_header_cuts_no_number(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """Three deep queues fit their tile, also before our font is loaded; the search is legible."""
    names = ("high_priority", "normal_priority", "low_priority")
    depths = {f"nexus:tasks:{name}": 88_800 for name in names}
    busy_site.publish(event_type="queue_depth_update", counts=depths)
    page = open_page()
    for has_font in (True, False):
        if not has_font:
            page.route("**/*.woff2", lambda route: route.abort("connectionreset"))
            page.reload()
        expect(page.locator(".queue").nth(2)).to_contain_text("88.8k")
        page.evaluate("document.fonts.ready")
        for width in (390, 720, 1000, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            cut = page.locator(".tile-value").evaluate_all(
                "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
            )
            assert cut == [], width
            field = page.get_by_placeholder("Search")
            assert field.evaluate("e => e.clientWidth") > 60


def test_right_to_left_text_keeps_its_place(open_page: OpenPage) -> None:
    """A long Arabic title loses its middle; a short project stays before the time of day."""
    title, project = "مدارس خاصة في جورجيا: الأسعار والعناوين والهواتف والمواعيد", "مدارس"
    with open_task("rtl", title, project):
        page = open_page(f"?project={project}", width=390, height=844)
        shown = card(page, "rtl").locator(".card-title")
        expect(shown).to_have_text(title)
        name = shown.locator("[dir=auto]")
        assert name.evaluate("e => getComputedStyle(e).direction") == "rtl"
        facts = page.locator(".card .facts span")
        boxes = [facts.filter(has_text=text).bounding_box() for text in (project, ":")]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert boxes[0]["x"] < boxes[1]["x"]


def test_counts_move_nothing(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """A card is as high with running, retried and failed jobs as without."""
    fields = {"project_id": "counts", "parent_task_id": "counts", "phase": "extraction"}
    with open_task("counts", "Counted", "counts") as run:
        extraction = phase("extraction", total=90)
        run(extraction.__enter__)
        page = open_page("?project=counts")
        counts = card(page, "counts").locator(".card-counts")
        expect(counts).to_have_text("0/90 jobs")
        height = card(page, "counts").evaluate("e => e.offsetHeight")
        now = datetime.now(UTC).isoformat()
        for number, kind in enumerate(["task_failed"] * 5 + ["task_retry"] * 12 + ["task_started"]):
            busy_site.publish(event_type=kind, ts=now, task_id=str(number), **fields)
        expect(counts).to_have_text("5/90 jobs1 running12 retried5 failed")
        assert card(page, "counts").evaluate("e => e.offsetHeight") == height
        run(extraction.__exit__, None, None, None)


def test_drawer_takes_and_returns_the_focus(open_page: OpenPage) -> None:
    """On a phone the waterfall opens over the page; Escape closes it, back to where one was."""
    page = open_page(f"?project={PROJECT}", width=390, height=844)
    button = card(page, TASK).locator(".card-title")
    button.click()
    drawer = page.get_by_role("dialog", name="Waterfall")
    expect(drawer).to_be_focused()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(button).to_be_focused()
