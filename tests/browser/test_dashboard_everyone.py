"""The dashboard for everyone: accessible, on a phone, in the dark, and never markup."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from otel_bridge_collector.app import STATIC_DIR
from playwright.sync_api import Page, expect

from otel_bridge.events.model import MonitoringEventType
from tests.support.axe import violations
from tests.support.dashboard_site import TASK, TITLE, DashboardSite

pytestmark = pytest.mark.redis

OpenPage = Callable[..., Page]

DOCS = Path(__file__).parents[2] / "docs"
MAX_SCRIPT_BYTES = 130_000

MARKUP = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    "<a href='javascript:window.hacked=1'>x</a>{{7*7}}${window.hacked=1}\u202e\u0000"
)


@pytest.mark.journeys
def test_axe_finds_nothing(open_page: OpenPage) -> None:
    """No violation on the busy page, with what can be opened, paused, filtered and silent."""
    page = open_page(reduced_motion="reduce")
    expect(page.locator(f"[data-task='{TASK}']")).to_contain_text("1 retried")
    assert violations(page) == []
    page.keyboard.press("j")
    page.get_by_role("tab", name=re.compile("Workers")).click()
    expect(page.locator(".worker")).to_be_visible()
    page.locator(".wf-space").get_by_text("search:1").click()
    page.keyboard.press("+")
    page.keyboard.press(" ")
    expect(page.get_by_test_id("new-events")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and meanings")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press(" ")
    page.locator("input[type=search]").fill("nothing has this text")
    expect(page.get_by_text("No tasks match.")).to_be_visible()
    assert violations(page) == []


@pytest.mark.journeys
def test_axe_finds_nothing_on_a_phone(open_page: OpenPage) -> None:
    """One section at a time; the waterfall is a drawer; nothing is wider than the phone."""
    page = open_page(width=390, height=844, reduced_motion="reduce")
    card = page.locator(f"[data-task='{TASK}']")
    expect(card).to_contain_text("1 retried")
    assert violations(page) == []
    for name in ("Events", re.compile("^Failures"), "Tasks"):
        page.get_by_role("navigation").get_by_role("button", name=name).click()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    card.get_by_role("button", name=TITLE).click()
    drawer = page.get_by_role("dialog", name="Waterfall")
    expect(drawer.get_by_role("row").first).to_be_visible()
    assert violations(page) == []
    drawer.get_by_role("button", name="Close").click()
    expect(drawer).to_have_count(0)


def test_reduced_motion_and_forced_themes(open_page: OpenPage) -> None:
    """Who asked for less motion gets none; the theme button cycles and is remembered."""
    page = open_page(reduced_motion="reduce", color_scheme="light")
    expect(page.locator(".wf-bar.is-processing.is-open").first).to_be_visible()
    moving = "() => document.getAnimations().filter(a => a.playState === 'running').length"
    assert page.evaluate(moving) == 0
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = page.evaluate(background)
    assert light != dark
    page.reload()
    assert page.evaluate(background) == dark


def test_forced_colors_leave_what_color_tells(open_page: OpenPage) -> None:
    """Under the system's own colours bars and dots are seen, and only the chosen is marked."""
    page = open_page(forced_colors="active")
    look = "e => { const s = getComputedStyle(e); return s.backgroundColor + s.backgroundImage }"
    panel = page.locator(".waterfall").evaluate(look)
    for seen in (".wf-space .wf-bar.is-completed", ".seg-completed", ".legend-bar.is-failed"):
        assert page.locator(seen).first.evaluate(look) != panel, seen
    assert page.locator(".badge-dot").evaluate(look) != panel
    line = "e => getComputedStyle(e).borderBottomColor"
    tab, other = (page.get_by_role("tab", name=name) for name in (re.compile("^F"), "Workers"))
    assert tab.evaluate(line) != other.evaluate(line)


def test_keyboard_alone_reaches_everything(open_page: OpenPage) -> None:
    """Tab goes through every control with a visible ring, and space presses a focused button."""
    page = open_page()
    expect(page.locator(f"[data-task='{TASK}']")).to_be_visible()
    names: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => { const e = document.activeElement; if (!e || e === document.body) return '';"
            " const rings = [e, e.parentElement].map(x => getComputedStyle(x).outlineStyle);"
            " const ring = rings.some(style => style !== 'none');"
            " return (ring ? '' : 'NO RING ') + (e.ariaLabel || e.textContent || e.tagName); }"
        )
        if name == "":
            break
        names.append(name)
    text = " | ".join(names)
    assert "NO RING" not in text
    for wanted in ("Pause", "Theme: system", "Help", "Project", TITLE, "Failures", "Copy link"):
        assert wanted in text, text


def test_every_field_is_text(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """Markup in every text field of an event is shown as it is, everywhere, and never runs."""
    fields = {
        "project_id": MARKUP,
        "parent_task_id": f"root {MARKUP}",
        "task_type": MARKUP,
        "phase": MARKUP,
        "worker_id": MARKUP,
        "queue": MARKUP,
        "message": MARKUP,
        "error": MARKUP,
    }
    for kind in MonitoringEventType:
        counts = {MARKUP: 3} if kind == MonitoringEventType.QUEUE_DEPTH_UPDATE else None
        for task_id in (f"job {MARKUP}", fields["parent_task_id"]):
            busy_site.publish(
                event_type=kind,
                task_id=task_id,
                counts=counts,
                meta={"title": MARKUP, "domain": MARKUP, "host": MARKUP, MARKUP: MARKUP},
                **fields,
            )
    assert busy_site.bridge.flush()
    page = open_page("?all=1")
    page.locator(".table-body").get_by_text("<img src=x").first.click()
    page.get_by_role("tab", name=re.compile("Workers")).click()
    expect(page.get_by_role("complementary", name="Chosen event")).to_contain_text("<script>")
    assert page.evaluate("() => window.hacked") is None
    assert page.locator(".ob img:not([role]), .ob script, .ob a[href^=javascript]").count() == 0
    assert page.get_by_role("link", name="Trace").count() == 0


def test_policy_allows_nothing_from_outside(busy_site: DashboardSite, open_page: OpenPage) -> None:
    """No request leaves the collector; no inline script or style; the script stays small."""
    page = open_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.reload()
    expect(page.get_by_test_id("connection")).to_contain_text("Live")
    assert hosts == {busy_site.url.split("/")[2]}
    assert page.locator("script:not([src]), style, [onclick]").count() == 0
    scripts = b"".join(path.read_bytes() for path in STATIC_DIR.glob("assets/*.js"))
    assert len(gzip.compress(scripts, 9)) < MAX_SCRIPT_BYTES


def test_pictures(open_page: OpenPage, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The page draws in every theme and width; ``--screenshots`` keeps the pictures."""
    page = open_page(width=390, height=844)
    expect(page.locator(f"[data-task='{TASK}']")).to_contain_text("1 retried")
    folder = DOCS if request.config.getoption("--screenshots") else tmp_path
    page.screenshot(path=folder / "dashboard-phone.png")
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(page.locator(".wf-space .wf-bar.is-open").first).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        picture = page.screenshot(path=folder / f"dashboard-{scheme}.png")
        assert picture.startswith(b"\x89PNG")
