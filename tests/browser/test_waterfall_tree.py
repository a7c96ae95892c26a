"""The waterfall as a tree: any depth, thousands of rows, by scroll bar, keyboard and link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import copy_context

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.spans.context_managers import job, phase, research_task
from tests.support.axe import violations
from tests.support.dashboard_site import PROJECT, DashboardSite
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

JOBS = 5_000
FAILED = range(37, JOBS, 1000)
LEVELS = 8
ROW_PX = 24
TALL = 1800

_VISIBLE = """
body => {
  const top = body.getBoundingClientRect().top;
  return [...body.querySelectorAll('.wf-space .wf-row')]
    .map(row => [Math.round(row.getBoundingClientRect().top - top), row.textContent])
    .filter(([y]) => y >= 24 && y < 120).sort(([a], [b]) => a - b)
    .map(([y, text]) => [y, text.match(/second-\\d+/)?.[0]]);
}
"""
"""Where the topmost rows are, and which ones."""

_NAMES = """
rows => rows.map(row => {
  const name = row.querySelector('.wf-name').getBoundingClientRect();
  return [name.width, name.right - row.querySelector('.wf-label').getBoundingClientRect().right];
})
"""
"""Of each row how wide its name is, and how far it sticks out of its column, in px."""


def run_job(task: str, name: str, *, is_failed: bool = False) -> None:
    with job(task_id=f"{task}:{name}", task_type="tool", worker_id="a-long-name") as current:
        if is_failed:
            current.fail(ValueError(f"{name} has no address"))


def run_loop() -> None:
    """A phase of one name three times; all three jobs of the first time fail."""
    with research_task("loop", title="Loop", project_id=PROJECT):
        for turn in range(3):
            with phase("act"):
                for number in range(3):
                    run_job("loop", f"act_{turn}_{number}", is_failed=turn == 0)


def run_nested() -> None:
    """A job eight levels below its task."""
    with research_task("nested", title="Nested", project_id=PROJECT), ExitStack() as stack:
        for level in range(1, LEVELS):
            stack.enter_context(phase(f"a planner of level number {level}"))
        run_job("nested", "call-of-the-innermost-tool-0007")


def run_large() -> None:
    """5,000 jobs in one phase, five of which fail, and a short phase after it."""
    with research_task("large", title="Large", project_id=PROJECT):
        with phase("search"):
            for number in range(JOBS):
                run_job("large", f"search-{number:05d}", is_failed=number in FAILED)
        with phase("merge"):
            run_job("large", "merge-00001")


@pytest.fixture(scope="module")
def tree_site(browser: Browser) -> Iterator[DashboardSite]:
    """One collector for this file, with three tasks on it."""
    with RedisServer() as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        with DashboardSite(browser, url) as site:
            run_loop()
            run_nested()
            run_large()
            assert site.bridge.flush()
            yield site


def grid(page: Page) -> Locator:
    return page.get_by_role("treegrid", name="Phases and jobs")


def rows(page: Page) -> Locator:
    return grid(page).locator(".wf-space").get_by_role("row")


def chosen(page: Page) -> Locator:
    return grid(page).locator(".wf-space").get_by_role("row", selected=True)


def test_a_phase_that_repeats_is_a_row_each_time(tree_site: DashboardSite) -> None:
    """Three runs of one phase are three rows, and the failures are below the run that had them."""
    page = tree_site.open("?task=loop", height=TALL)
    expect(rows(page)).to_have_count(13)
    names = rows(page).locator(".wf-name").all_inner_texts()
    assert [index for index, name in enumerate(names) if name == "act"] == [1, 5, 9]
    expect(rows(page).nth(1).locator(".wf-failed")).to_have_text("3 failed", use_inner_text=False)
    for index in (2, 3, 4):
        expect(rows(page).nth(index).locator(".wf-bar.is-failed")).to_have_count(1)
    expect(rows(page).nth(5).locator(".wf-failed")).to_have_count(0)
    expect(rows(page).nth(6)).to_have_attribute("aria-posinset", "1")
    expect(rows(page).nth(6)).to_have_attribute("aria-setsize", "3")
    page.context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_every_level_is_a_level(tree_site: DashboardSite, width: int) -> None:
    """Eight levels below the task are eight levels of rows, whose names are readable."""
    page = tree_site.open("?task=nested", width=width, height=TALL)
    if width < 1000:
        page.locator("[data-task='nested'] .card-title").click()
    expect(rows(page)).to_have_count(LEVELS + 1)
    levels = rows(page).evaluate_all("rows => rows.map(row => row.ariaLevel)")
    assert levels == [str(level + 1) for level in range(LEVELS + 1)]
    for width_px, overhang_px in rows(page).evaluate_all(_NAMES):
        assert width_px >= 36
        assert overhang_px <= 0
    expect(rows(page).last.locator(".wf-name")).to_have_text("call-of-the-innermost-tool-0007")
    expect(rows(page).last.locator(".wf-name-end")).to_have_text("ol-0007")
    page.context.close()


def test_every_failed_job_is_reached(tree_site: DashboardSite) -> None:
    """Of 5,000 jobs each failed one is found by scrolling, as the next failure, and by a link."""
    page = tree_site.open("?task=large")
    # The large phase is folded at first, so what is below it is reached by unfolding it.
    expect(grid(page)).to_have_attribute("aria-rowcount", "4")
    page.keyboard.press("n")
    for number in FAILED:
        expect(chosen(page).locator(".wf-name")).to_have_text(f"search-{number:05d}")
        expect(page.locator(".wf-detail-error")).to_contain_text(f"{number:05d} has no address")
        expect(chosen(page)).to_be_in_viewport()
        page.keyboard.press("n")
    expect(page.get_by_role("status").filter(has_text="other end")).to_be_visible()
    expect(chosen(page).locator(".wf-name")).to_have_text(f"search-{FAILED[0]:05d}")
    page.keyboard.press("Shift+N")
    expect(chosen(page).locator(".wf-name")).to_have_text(f"search-{FAILED[-1]:05d}")
    node = re.search(r"node=([0-9a-f]{16})", page.url)
    assert node is not None

    expect(grid(page)).to_have_attribute("aria-rowcount", str(JOBS + 4))
    for number in FAILED:
        grid(page).evaluate("(e, y) => { e.scrollTop = y }", (number + 2) * ROW_PX - 60)
        row = rows(page).filter(has_text=f"{number:05d}")
        expect(row.locator(".wf-bar.is-failed")).to_be_visible()
        assert rows(page).count() < 60
    expect(grid(page).locator(".wf-pinned")).to_contain_text("search")
    page.context.close()

    for link in (f"node={node[1]}", f"job=large:search-{FAILED[-1]:05d}"):
        page = tree_site.open(f"?task=large&{link}")
        expect(chosen(page).locator(".wf-name")).to_have_text(f"search-{FAILED[-1]:05d}")
        expect(chosen(page)).to_be_in_viewport()
        page.context.close()


def test_the_tree_by_keyboard(tree_site: DashboardSite) -> None:
    """Arrows move, fold and unfold, Home and End go to the ends, Enter puts the row in the link."""
    page = tree_site.open("?task=loop", height=TALL)
    expect(rows(page)).to_have_count(13)
    grid(page).focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(chosen(page)).to_have_attribute("aria-rowindex", "3")
    active = grid(page).get_attribute("aria-activedescendant")
    assert chosen(page).get_attribute("id") == active
    page.keyboard.press("ArrowLeft")
    expect(chosen(page)).to_have_attribute("aria-rowindex", "2")
    expect(chosen(page)).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowLeft")
    expect(chosen(page)).to_have_attribute("aria-expanded", "false")
    expect(rows(page)).to_have_count(10)
    expect(page).to_have_url(re.compile(r"folds=-[0-9a-f]{16}$"))
    page.keyboard.press("ArrowRight")
    expect(rows(page)).to_have_count(13)
    page.keyboard.press("End")
    expect(chosen(page)).to_have_attribute("aria-rowindex", "13")
    page.keyboard.press("Home")
    expect(chosen(page)).to_have_attribute("aria-level", "1")
    assert "node=" not in page.url
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("node=[0-9a-f]{16}"))
    page.keyboard.press("w")
    expect(rows(page)).to_have_count(4)
    page.keyboard.press("e")
    expect(rows(page)).to_have_count(13)
    page.go_back()
    expect(chosen(page)).to_have_count(0)
    page.context.close()


def test_zoom_and_filters_choose_the_rows(tree_site: DashboardSite) -> None:
    """Rows follow the zoom, and a filter shows its matches and the way to them, or all again."""
    page = tree_site.open("?task=large&status=failed")
    fall = page.get_by_role("region", name="Waterfall", exact=True)
    matches = f"{len(FAILED)} matches of {JOBS + 4:,}"
    expect(fall.get_by_role("status")).to_have_text(matches)
    expect(grid(page)).to_have_attribute("aria-rowcount", str(len(FAILED) + 2))
    rows(page).last.click()
    expect(chosen(page)).to_have_count(1)
    assert violations(page) == []
    fall.get_by_role("button", name="Matches only").click()
    # Its phase was folded: what was chosen stays in sight.
    expect(grid(page)).to_have_attribute("aria-rowcount", str(JOBS + 4))
    expect(chosen(page).locator(".wf-name")).to_have_text(f"search-{FAILED[-1]:05d}")
    expect(chosen(page)).to_be_in_viewport()
    page.context.close()

    page = tree_site.open("?task=large")
    expect(grid(page)).to_have_attribute("aria-rowcount", "4")
    strip = page.locator(".density").bounding_box()
    assert strip is not None
    page.mouse.move(strip["x"] + 2, strip["y"] + 10)
    page.mouse.down()
    page.mouse.move(strip["x"] + strip["width"] / 10, strip["y"] + 10, steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"zoom=\d+-\d+"))
    expect(grid(page)).not_to_have_attribute("aria-rowcount", "4")
    count = int(grid(page).get_attribute("aria-rowcount") or "0")
    assert 10 < count < JOBS / 2
    page.get_by_role("button", name="Reset zoom").click()
    expect(grid(page)).to_have_attribute("aria-rowcount", "4")
    page.context.close()


def test_a_click_on_the_strip_goes_there(tree_site: DashboardSite) -> None:
    """A click on a failure's mark in the strip chooses a failed job that ended then."""
    page = tree_site.open("?task=loop")
    strip = page.locator(".density")
    mark = strip.locator(".density-failed")
    expect(mark).to_have_attribute("d", re.compile("^M"))
    box = strip.bounding_box()
    assert box is not None
    left = float((mark.get_attribute("d") or "")[1:].split()[0]) / 1000
    page.mouse.click(box["x"] + left * box["width"] + 1, box["y"] + 20)
    expect(chosen(page).locator(".wf-bar.is-failed")).to_have_count(1)
    expect(page).to_have_url(re.compile("node=[0-9a-f]{16}"))
    page.context.close()


def test_the_row_under_the_eye_stays(tree_site: DashboardSite) -> None:
    """Rows that come above what is read do not move it."""
    with research_task("live", title="Live", project_id=PROJECT):
        above, first = copy_context(), phase("first")
        above.run(first.__enter__)
        with phase("second"):
            for number in range(80):
                run_job("live", f"second-{number:02d}")
            assert tree_site.bridge.flush()
            page = tree_site.open("?task=loop")
            expect(rows(page).first).to_be_visible()
            with page.expect_websocket() as socket:
                page.goto(f"{tree_site.url}/?task=live")
            expect(grid(page)).to_have_attribute("aria-rowcount", "83")
            # The end of what runs is followed, until one scrolls elsewhere.
            expect(rows(page).filter(has_text="second-79")).to_be_in_viewport()
            # Once scrolling rests, the page asks by the key of a row.
            with socket.value.expect_event("framesent", lambda frame: '"above"' in frame):
                grid(page).evaluate("e => { e.scrollTop = 960 }")
            expect(rows(page).filter(has_text="second-40")).to_be_visible()
            expect(grid(page)).to_have_attribute("aria-busy", "false")
            seen = grid(page).evaluate(_VISIBLE)
            assert len(seen) >= 3
            for turn in range(5):
                for number in range(10):
                    above.run(run_job, "live", f"first-{turn}-{number}")
                expect(grid(page)).to_have_attribute("aria-rowcount", str(93 + 10 * turn))
                assert grid(page).evaluate(_VISIBLE) == seen
        above.run(first.__exit__, None, None, None)
    page.context.close()


def test_what_has_left_is_said(tree_site: DashboardSite) -> None:
    """A link to a row or a task that is not there says so, and shows nothing else instead."""
    page = tree_site.open("?task=loop&node=00000000000000ff")
    expect(page.locator(".wf-notice")).to_contain_text("no longer, in the collector's memory")
    expect(chosen(page)).to_have_count(0)
    page.context.close()
    page = tree_site.open("?task=never")
    fall = page.get_by_role("region", name="Waterfall", exact=True)
    expect(fall).to_contain_text("no longer, in the collector's memory")
    expect(rows(page)).to_have_count(0)
    page.context.close()
