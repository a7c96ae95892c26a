"""The dashboard in use: by keyboard, by link, held still, hidden, under load, listened to."""

from __future__ import annotations

import re
import subprocess
import sys
from contextvars import Context
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from otel_bridge.spans.context_managers import job, phase, research_task, worker
from tests.support.dashboard_site import PROJECT, TASK, DashboardSite

pytestmark = pytest.mark.redis

ROOT = Path(__file__).parents[2]

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


def begin(task_id: str, title: str) -> tuple[Context, object]:
    """A research task of its own context, as another coroutine's; ``end`` ends it."""
    context, task = Context(), research_task(task_id, title=title, project_id=PROJECT)
    context.run(task.__enter__)
    return context, task


def end(begun: tuple[Context, object]) -> None:
    context, task = begun
    context.run(task.__exit__, None, None, None)  # type: ignore[attr-defined]


def table(page: Page) -> Locator:
    return page.get_by_role("table", name="Recent events, newest first")


def run_jobs(prefix: str, count: int) -> None:
    with worker("w"):
        for number in range(count):
            with job(task_id=f"{prefix}:{number}", task_type="search"):
                pass


@pytest.mark.usefixtures("open_work")
def test_density_strip_selects_a_stretch(site: DashboardSite) -> None:
    """Failures are on its baseline; a click, a drag and the keys choose what the chart shows."""
    page = site.open(f"?focus={TASK}")
    fall = page.get_by_role("region", name="Waterfall", exact=True)
    strip = fall.get_by_role("img", name=re.compile(r"ended over time, 1 of them failed"))
    expect(strip).to_be_visible()
    baseline = strip.locator(".density-failed").get_attribute("d")
    assert baseline is not None
    assert re.match(r"M[\d.]+ 26h", baseline), "drawn up from the bottom of 26 px"
    box = strip.bounding_box()
    assert box is not None
    reset = fall.get_by_role("button", name="Reset zoom")
    strip.click(position={"x": box["width"] / 2, "y": 10})
    expect(reset).to_be_visible()
    expect(page).to_have_url(re.compile(r"zoom=[\d.]+-[\d.]+"))
    expect(strip.locator(".density-brush")).to_be_visible()
    reset.click()
    expect(page).not_to_have_url(re.compile("zoom="))
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 10, steps=4)
    page.mouse.up()
    expect(reset).to_be_visible()
    dragged = page.url
    page.keyboard.press("d")
    expect(page).not_to_have_url(dragged)
    page.keyboard.press("a")
    page.keyboard.press("+")
    page.keyboard.press("0")
    expect(reset).to_have_count(0)


@pytest.mark.usefixtures("open_work")
def test_filters_dim_the_waterfall(site: DashboardSite) -> None:
    """What a filter does not want stays in the chart, faint; the legend is made of the bars."""
    page = site.open(f"?focus={TASK}")
    rows = page.locator(".wf-space").get_by_role("listitem")
    expect(rows).to_have_count(11)
    page.get_by_label("Type", exact=True).select_option("search")
    expect(page.locator(".wf-space .is-job.is-dim")).to_have_count(3)
    expect(rows).to_have_count(11)
    faint = page.locator(".wf-space .is-dim .wf-track").first
    assert faint.evaluate("e => getComputedStyle(e).opacity") == "0.4"
    look = "e => { const s = getComputedStyle(e); return s.backgroundColor + s.backgroundImage }"
    for status in ("completed", "failed", "retrying"):
        bar = page.locator(f".wf-space .wf-bar.is-{status}:not(.wf-phase)").first.evaluate(look)
        assert page.locator(f".legend-bar.is-{status}").evaluate(look) == bar
    # A bar of microseconds is still there to see.
    width = page.locator(".wf-space .is-job .wf-bar.is-completed").first.bounding_box()
    assert width is not None
    assert width["width"] >= 2


@pytest.mark.usefixtures("open_work")
def test_paused_is_still(site: DashboardSite) -> None:
    """Held, the axis stands, bars neither grow nor timer, times do not count; then all goes on."""
    page = site.open(f"?focus={TASK}")
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
    foot = page.locator(f"[data-task='{TASK}'] .card-foot").inner_text()
    assert page.evaluate(_FRAMES, 90) == held
    assert page.locator(f"[data-task='{TASK}'] .card-foot").inner_text() == foot
    page.keyboard.press(" ")
    expect(page.get_by_test_id("connection")).to_contain_text("Live")
    page.wait_for_function(
        "old => parseFloat(document.querySelector('.wf').style.getPropertyValue('--now')) > old",
        arg=float(held),
    )


def test_resume_keeps_the_place(site: DashboardSite) -> None:
    """Scrolled down and paused, then resumed: the same row is at the same place."""
    with research_task("many", title="Many", project_id=PROJECT):
        run_jobs("many", 150)
        page = site.open()
        expect(table(page)).to_have_attribute("aria-rowcount", re.compile(r"^\d{3}$"))
        expect(page.locator(".card-title")).to_have_text("Many")
        page.locator(".table-body").evaluate("e => { e.scrollTop = 28 * 60 }")
        expect(page.get_by_test_id("new-events")).to_have_text("Latest ↑")
        row = table(page).locator("[aria-rowindex='65']")
        text, place = row.inner_text(), row.bounding_box()
        page.keyboard.press(" ")
        expect(page.get_by_test_id("connection")).to_have_text("Paused")
        run_jobs("more", 5)
        expect(page.get_by_test_id("new-events")).to_have_text("12 new ↑")
        page.keyboard.press(" ")
        expect(page.get_by_test_id("connection")).to_contain_text("Live")
        expect(page.get_by_test_id("new-events")).to_have_text(re.compile(r"^\d+ new ↑"))
        assert (row.inner_text(), row.bounding_box()) == (text, place)


@pytest.mark.usefixtures("open_work")
def test_a_link_shows_the_same(site: DashboardSite) -> None:
    """The task looked at, the stretch, the chosen event, the tab and the pause are in the link."""
    page = site.open(permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator(f"[data-task='{TASK}'].is-focused")).to_be_visible()
    page.get_by_role("tab", name=re.compile("Workers")).click()
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("+")
    detail = page.get_by_role("complementary", name="Chosen event")
    chosen = detail.locator("dl").inner_text()
    # Somebody else's newer task would be the one looked at by itself.
    newer = begin("newer", "A newer one")
    expect(page.locator("[data-task]")).to_have_count(2)
    page.keyboard.press("c")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    other = site.open(copied.removeprefix(f"{site.url}/"))
    expect(other.locator(f"[data-task='{TASK}'].is-focused")).to_be_visible()
    expect(other.get_by_role("button", name="Reset zoom")).to_be_visible()
    expect(other.get_by_role("tab", name=re.compile("Workers"))).to_have_attribute(
        "aria-selected", "true"
    )
    expect(other.get_by_role("complementary", name="Chosen event").locator("dl")).to_have_text(
        chosen, use_inner_text=True
    )
    expect(other.locator(".row.is-chosen")).to_be_in_viewport()
    end(newer)


@pytest.mark.usefixtures("open_work")
def test_folded_phases_are_in_the_address(site: DashboardSite) -> None:
    """A link folds what was folded, in the task it was folded in; garbage folds nothing."""
    page = site.open()
    fall = page.get_by_role("region", name="Waterfall", exact=True)
    rows = fall.locator(".wf-space").get_by_role("listitem")
    expect(rows).to_have_count(11)
    page.keyboard.press("w")
    expect(rows).to_have_count(2)
    search = fall.locator(".wf-space .wf-fold", has_text="search")
    search.click()
    expect(rows).to_have_count(8)
    expect(page).to_have_url(re.compile(rf"focus={TASK}&folds=-\*\._search$"))
    newer = begin("newer", "A newer one")
    expect(page.locator("[data-task]")).to_have_count(2)
    page.reload()
    expect(page.locator(f"[data-task='{TASK}'].is-focused")).to_be_visible()
    expect(search).to_have_attribute("aria-expanded", "true")
    expect(rows).to_have_count(8)
    page.locator("[data-task='newer'] .card-title").click()
    expect(page).to_have_url(re.compile(r"focus=newer$"))
    end(newer)
    page.goto(f"{site.url}/?focus={TASK}&folds=%00-search._extraction%5C.%2B*..")
    expect(rows).to_have_count(11)


@pytest.mark.usefixtures("open_work")
def test_hidden_tab_rests_and_catches_up(site: DashboardSite) -> None:
    """Nobody looks: the title goes on, the table is left alone; somebody looks: all is there."""
    page = site.open()
    expect(page).to_have_title("1 running · otel-bridge")
    rows = table(page).get_attribute("aria-rowcount")
    page.evaluate(_SHOW, True)
    hidden = begin("hidden", "Begun unseen")
    expect(page).to_have_title("2 running · otel-bridge")
    assert table(page).get_attribute("aria-rowcount") == rows
    page.evaluate(_SHOW, False)
    expect(page.locator(".table-body")).to_contain_text("Begun unseen")
    end(hidden)


def test_screen_reader_is_told_little(site: DashboardSite) -> None:
    """One polite region, changed every five seconds at most; an alert for a lost connection."""
    first, second, third = (begin(name, f"Task {name}") for name in ("a", "b", "c"))
    page = site.open()
    expect(page.locator("[data-task]")).to_have_count(3)
    live = page.locator("[aria-live], [role=status], [role=alert], [role=log], [role=timer]")
    assert live.evaluate_all("all => all.map(e => e.role)") == ["alert", "status"]
    assert table(page).locator("[aria-live], [role=status], [role=alert]").count() == 0
    page.evaluate(
        "() => { window.told = []; new MutationObserver(() => told.push(performance.now()))"
        ".observe(document.querySelector('[role=status]'),"
        " {childList: true, characterData: true, subtree: true}) }"
    )
    status = page.locator("[role=status]")
    end(first)
    expect(status).to_have_text("Task a: done")
    end(second)
    end(third)
    expect(status).to_have_text(re.compile(r"^Task [bc]: done, Task [bc]: done$"))
    told = page.evaluate("() => told")
    assert told[-1] - told[0] >= 4900
    alert = page.locator("[role=alert]")
    expect(alert).to_have_text("")
    site.server.kill()
    expect(alert).to_have_text("Connection to the collector lost")
    site.server.start()
    expect(alert).to_have_text("")
    expect(status).to_have_text("Connected again")


def test_dropped_events_are_shown_with_their_worker(site: DashboardSite) -> None:
    """What a worker's process had to drop is counted beside it and in the header."""
    site.publish(event_type="worker_heartbeat", worker_id="w9", counts={"dropped": 312})
    page = site.open("?tab=workers")
    expect(page.locator(".worker", has_text="w9")).to_contain_text("312 dropped")
    expect(page.locator(".tile", has_text="Events")).to_contain_text("312 dropped")


@pytest.mark.parametrize("width", [390, 820, 1100, 1440])
def test_long_texts_fit(site: DashboardSite, width: int) -> None:
    """Titles, errors and ids without a break make nothing too wide and cut no numbers."""
    error = "RuntimeError: " + "https://www.example.org/a/path/that/does/not/break/" * 5
    title = "A very long title of a research task about schools " * 5
    with research_task("long", title=title, project_id="project-" * 12, domain="schools " * 12):
        with phase("extraction_of_everything_there_is", total=9), worker("worker-" * 12):
            for number in range(3):
                with job(task_id="long:" + "x" * 120 + str(number), task_type="t" * 90) as one:
                    one.fail(ValueError(error))
        page = site.open(width=width, height=844)
        foot = page.locator("[data-task='long'] .card-foot")
        expect(foot).to_contain_text("3 failed")
        wide = "() => document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(wide) <= 0
        assert foot.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
        if width < 1000:
            for name in ("Events", re.compile("^Failures"), "Tasks"):
                page.get_by_role("navigation").get_by_role("button", name=name).click()
                assert page.evaluate(wide) <= 0


@pytest.mark.parametrize("width", [390, 720, 1000, 1280])
@pytest.mark.parametrize("has_font", [True, False], ids=["own font", "system font"])
def test_header_cuts_no_number(site: DashboardSite, width: int, has_font: bool) -> None:
    """Three deep queues fit their tile, also before our font is loaded; the search is legible."""
    names = ("high_priority", "normal_priority", "low_priority")
    depths = {f"nexus:tasks:{name}": 88_800 for name in names}
    site.publish(event_type="queue_depth_update", counts=depths)
    page = site.open(width=width, height=844)
    if not has_font:
        page.route("**/*.woff2", lambda route: route.abort("connectionreset"))
        page.reload()
    expect(page.locator(".queue").nth(2)).to_contain_text("88.8k")
    page.evaluate("document.fonts.ready")
    for value in page.locator(".tile-value").all():
        assert value.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, value.inner_text()
    field = page.get_by_placeholder("Search")
    assert field.evaluate("e => e.clientWidth") > 60


def test_right_to_left_text_keeps_its_place(site: DashboardSite) -> None:
    """A long Arabic title is cut at its end; a short project stays before the time of day."""
    title, project = "مدارس خاصة في جورجيا: الأسعار والعناوين والهواتف والمواعيد", "مدارس"
    begun = Context(), research_task("rtl", title=title, project_id=project)
    begun[0].run(begun[1].__enter__)
    page = site.open(width=390, height=844)
    shown = page.locator(".card-title")
    expect(shown).to_have_text(title)
    assert shown.evaluate("e => getComputedStyle(e).direction") == "rtl"
    facts = page.locator(".card .facts span")
    boxes = [facts.filter(has_text=text).bounding_box() for text in (project, ":")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] < boxes[1]["x"]
    end(begun)


def test_an_estimate_moves_nothing(site: DashboardSite) -> None:
    """A card is as high with an estimate, retries and failures as without."""
    past = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
    with research_task("eta", title="Estimated", project_id=PROJECT), phase("extraction", total=90):
        page = site.open()
        card = page.locator("[data-task='eta']")
        expect(card.locator(".card-counts")).to_have_text("0/90 jobs")
        height = card.evaluate("e => e.offsetHeight")
        ends = [*["task_failed"] * 5, *["task_retry"] * 12, "task_started"]
        for number, kind in enumerate(ends):
            job_of = {"parent_task_id": "eta", "project_id": PROJECT, "phase": "extraction"}
            site.publish(event_type=kind, ts=past, task_id=str(number), **job_of)
        expect(card.locator(".card-counts")).to_have_text("5/90 jobs1 running12 retried5 failed")
        expect(card.locator(".card-foot")).to_contain_text(re.compile(r"~\d+ min left"))
        assert card.evaluate("e => e.offsetHeight") == height


@pytest.mark.usefixtures("open_work")
@pytest.mark.parametrize("width", [720, 820, 1000, 1100, 1280])
def test_table_keeps_duration_and_message(site: DashboardSite, width: int) -> None:
    """A table too narrow for all columns leaves out project and task, not what went wrong."""
    page = site.open("?section=events&status=failed", width=width, height=844)
    body = page.locator(".table-body")
    failed = body.get_by_role("row").filter(has_text="no such county")
    expect(failed).to_be_visible()
    edge = body.evaluate("e => e.getBoundingClientRect().right")
    for cell in (".c-took", ".c-message"):
        box = failed.locator(cell).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= edge
        assert box["width"] >= 50
    heads = page.get_by_role("columnheader").evaluate_all("all => all.map(e => e.offsetLeft)")
    cells = failed.get_by_role("cell").evaluate_all("all => all.map(e => e.offsetLeft)")
    assert heads == cells


@pytest.mark.usefixtures("open_work")
def test_drawer_takes_and_returns_the_focus(site: DashboardSite) -> None:
    """On a phone the waterfall opens over the page; Escape closes it, back to where one was."""
    page = site.open(width=390, height=844)
    button = page.locator(f"[data-task='{TASK}'] .card-title")
    button.click()
    drawer = page.get_by_role("dialog", name="Waterfall")
    expect(drawer).to_be_focused()
    expect(drawer.get_by_role("list", name="Legend")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(button).to_be_focused()


def test_five_thousand_events_a_second(
    site: DashboardSite, redis_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """At full load every part is drawn and live; ``--screenshots`` keeps the picture."""
    page = site.open()
    producer = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.bench_dashboard", redis_url, "8"],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        expect(table(page)).to_have_attribute("aria-rowcount", re.compile(r"^[45]\d{3}$"))
        expect(page.locator(".tile-rate .spark-line")).to_be_attached()
        expect(page.locator(".failure")).to_have_count(1)
        expect(page.get_by_test_id("connection")).to_contain_text("Live")
        folder = ROOT / "docs" if request.config.getoption("--screenshots") else tmp_path
        picture = page.screenshot(path=folder / "dashboard-load.png")
        assert picture.startswith(b"\x89PNG")
    finally:
        producer.wait(60)
