"""The page's frame: palette, comboboxes, splitters, folded events, wall mode, saved views."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.axe import violations
from tests.support.dashboard_site import PROJECT, TASK, TITLE, DashboardSite

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

OpenPage = Callable[..., Page]

PHONE = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}


def palette(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Command palette")


def details(page: Page) -> Locator:
    return page.get_by_test_id("details")


def filter_of(page: Page, name: str) -> Locator:
    return page.get_by_role("combobox", name=name, exact=True)


def width_of(panel: Locator) -> float:
    box = panel.bounding_box()
    assert box is not None
    return float(box["width"])


def test_palette_goes_to_a_job_by_keyboard(open_page: OpenPage) -> None:
    """Ctrl-K, a part of the name, Enter: the details of the job; Escape gives the focus back."""
    page = open_page(reduced_motion="reduce")
    expect(page.locator(f"[data-task='{TASK}']")).to_be_visible()
    page.get_by_role("button", name="Help").focus()
    page.keyboard.press("Control+k")
    field = palette(page).get_by_role("combobox")
    expect(field).to_be_focused()
    assert violations(page) == []
    page.keyboard.type("search:3")
    found = palette(page).get_by_role("option", name=re.compile(r"^search:3 "))
    expect(found).to_be_visible()
    expect(found).to_have_attribute("aria-selected", "true")
    assert violations(page) == []
    page.keyboard.press("Enter")
    expect(palette(page)).to_have_count(0)
    expect(details(page).get_by_role("heading", name="search:3")).to_be_visible()
    expect(details(page)).to_be_focused()
    assert f"task={TASK}" in page.url

    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(palette(page)).to_have_count(0)
    page.get_by_role("button", name="Help").focus()
    page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    page.keyboard.press("Control+k")
    expect(palette(page)).to_have_count(0)
    expect(page.get_by_role("button", name="Help")).to_be_focused()


def test_palette_finds_workers_queues_and_tasks(open_page: OpenPage) -> None:
    """A worker and a queue by their names, a task by its title, an action by its words."""
    page = open_page()
    expect(page.locator(f"[data-task='{TASK}']")).to_be_visible()
    for text, kind, part in (
        ("worker-1", "worker", "worker="),
        ("high", "queue", "queue="),
        (TITLE[:10], "task", f"task={TASK}"),
    ):
        page.keyboard.press("Control+k")
        page.keyboard.type(text)
        palette(page).get_by_role("option", name=re.compile(f" {kind}$")).first.click()
        expect(page).to_have_url(re.compile(re.escape(part)))
    page.keyboard.press("Control+k")
    page.keyboard.type("group status")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("group=status"))


def test_palette_by_touch(open_page: OpenPage) -> None:
    """On a phone a button opens it, a finger chooses, and a press beside it closes it."""
    page = open_page(**PHONE)
    page.get_by_role("button", name="Commands").tap()
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    palette(page).get_by_text("Show the workers and queues").tap()
    expect(page.locator(".worker")).to_be_visible()
    page.get_by_role("button", name="Commands").tap()
    page.touchscreen.tap(200, 820)
    expect(palette(page)).to_have_count(0)


def test_saved_views(open_page: OpenPage) -> None:
    """A view gets a name, is found by it after a reload, and is removed again."""
    page = open_page(f"?project={PROJECT}&status=failed")
    expect(page.locator(f"[data-task='{TASK}']")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("save")
    page.keyboard.press("Enter")
    page.keyboard.type("What fails at school")
    page.keyboard.press("Enter")
    expect(palette(page)).to_have_count(0)
    page.goto(page.url.split("?")[0])
    expect(page.locator(f"[data-task='{TASK}']")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("at school")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"project={PROJECT}&status=failed$"))
    page.keyboard.press("Control+k")
    page.keyboard.type("remove")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+k")
    page.keyboard.type("school")
    expect(palette(page).get_by_role("option").first).to_be_visible()
    expect(palette(page).get_by_text("What fails at school")).to_have_count(0)


def test_filters_by_keyboard(open_page: OpenPage) -> None:
    """A filter opens by an arrow, narrows while one types, and Escape leaves it as it was."""
    page = open_page(reduced_motion="reduce")
    task = filter_of(page, "Task")
    task.focus()
    expect(page.get_by_role("listbox")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", name="All tasks")).to_have_attribute("aria-selected", "true")
    assert violations(page) == []
    page.keyboard.type(TASK[:5])
    expect(page.get_by_role("listbox").get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(task).to_have_value(TITLE)
    expect(page).to_have_url(re.compile(f"task={TASK}"))
    page.keyboard.press("ArrowDown")
    page.keyboard.type("nothing has this name")
    expect(page.get_by_text("Nothing has this text.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(task).to_have_value(TITLE)
    expect(task).to_be_focused()
    page.keyboard.press("Escape")
    expect(task).not_to_be_focused()


def test_filters_by_touch(open_page: OpenPage) -> None:
    """On a phone the list is as wide as the page, and what was tapped is chosen."""
    page = open_page(**PHONE)
    page.get_by_role("button", name="Filters").tap()
    filter_of(page, "Type").tap()
    page.get_by_role("option", name="extract", exact=True).tap()
    expect(page).to_have_url(re.compile("type=extract"))
    expect(page.get_by_role("listbox")).to_have_count(0)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


def test_splitters(open_page: OpenPage) -> None:
    """By keys and by pointer; the browser keeps the width, and a double click resets it."""
    page = open_page()
    tasks = page.locator(".tasks")
    expect(tasks).to_be_visible()
    first = width_of(tasks)
    splitter = page.get_by_role("separator", name="Width of the task list")
    splitter.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(splitter).to_have_attribute("aria-valuenow", "34")
    wider = width_of(tasks)
    assert wider > first
    page.reload()
    expect(splitter).to_have_attribute("aria-valuenow", "34")
    assert abs(width_of(tasks) - wider) < 1
    box = splitter.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 145, box["y"] + 100)
    page.mouse.up()
    assert abs(width_of(tasks) - wider - 140) < 3
    splitter.dblclick()
    assert abs(width_of(tasks) - first) < 1
    lower = page.get_by_role("separator", name="Height of the tasks and the waterfall")
    lower.focus()
    page.keyboard.press("End")
    expect(lower).to_have_attribute("aria-valuenow", "85")
    assert violations(page) == []


def test_events_fold_away(open_page: OpenPage) -> None:
    """A key folds the events away, the address says so, and a button brings them back."""
    page = open_page(reduced_motion="reduce")
    table = page.get_by_role("table", name="Recent events, newest first")
    expect(table).to_be_visible()
    page.keyboard.press("f")
    expect(table).to_have_count(0)
    expect(page).to_have_url(re.compile("fold=1"))
    expect(page.locator(".failure")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Events").click()
    expect(table).to_be_visible()
    page.get_by_role("button", name="Fold the events away").click()
    expect(table).to_have_count(0)


def test_wall_mode(open_page: OpenPage) -> None:
    """Tasks and failures alone, larger, without a scroll bar of the page; Escape leaves."""
    page = open_page(width=1920, height=1080, reduced_motion="reduce")
    card = page.locator(f"[data-task='{TASK}']")
    expect(card).to_be_visible()
    before = card.locator(".card-title").bounding_box()
    page.keyboard.press("W")
    expect(page).to_have_url(re.compile("wall=1"))
    expect(page.get_by_role("search")).to_have_count(0)
    expect(page.get_by_role("treegrid")).to_have_count(0)
    expect(page.locator(".failure")).to_be_visible()
    after = card.locator(".card-title").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > 1.4 * before["height"]
    fits = "() => document.documentElement.scrollHeight <= innerHeight"
    assert page.evaluate(fits)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("search")).to_be_visible()


def test_sentence_title_and_icon(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """A failed job of a running task is said first, in the tab too, and leads to its task."""
    page = open_page(f"?project={PROJECT}", reduced_motion="reduce")
    part = page.get_by_test_id("says").get_by_role("button", name=f"{TITLE}: 1 failed")
    expect(part).to_be_visible()
    # After some seconds the queue that no worker takes from is stuck too.
    expect(page).to_have_title(
        re.compile(r"^! (normal stuck, 1 failing|1 failing, 1 running) · otel-bridge$")
    )
    icon = page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", "./icon-attention.svg")
    assert violations(page) == []
    for name in ("icon", "icon-attention", "icon-offline"):
        assert page.request.get(f"{busy_site.url}/{name}.svg").ok
    part.click()
    expect(page).to_have_url(re.compile(f"task={TASK}"))
