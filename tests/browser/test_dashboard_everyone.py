"""The dashboard for everyone: accessible, on a phone, in the dark, signed in, and never markup."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from otel_bridge_collector.app import STATIC_DIR
from playwright.sync_api import Browser, Page, expect

from otel_bridge.events.model import MonitoringEventType
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer
from tests.support.dashboard_site import PROJECT, TASK, TITLE, DashboardSite, run_busy_task
from tests.support.node_tools import node_modules

pytestmark = pytest.mark.redis

DOCS = Path(__file__).parents[2] / "docs"
MAX_SCRIPT_BYTES = 130_000
TOKEN = "t-browser-0123456789abcdef"
TOKENS = f"browser sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects={PROJECT}"

MARKUP = (
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
    "<a href='javascript:window.hacked=1'>x</a>{{7*7}}${window.hacked=1}\u202e\u0000"
)


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong, all of its rules; it is loaded past the page's own policy."""
    script = (node_modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    # Colours are judged when they are still: a new row fades in.
    page.wait_for_function("() => document.getAnimations().every(a => a.playState !== 'pending')")
    page.evaluate(script)
    found: dict[str, Any] = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.usefixtures("open_work")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(site: DashboardSite, scheme: str) -> None:
    """No violation on the busy page, with a row open, in the help, beside the workers."""
    page = site.open(color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator(f"[data-task='{TASK}']")).to_contain_text("1 retried")
    assert violations(page) == []
    page.keyboard.press("j")
    page.get_by_role("tab", name=re.compile("Workers")).click()
    expect(page.locator(".worker")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and meanings")).to_be_visible()
    assert violations(page) == []


@pytest.mark.usefixtures("open_work")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_phone(site: DashboardSite, scheme: str) -> None:
    """One section at a time; the waterfall is a drawer; nothing is wider than the phone."""
    page = site.open(width=390, height=844, color_scheme=scheme, reduced_motion="reduce")
    card = page.locator(f"[data-task='{TASK}']")
    expect(card).to_contain_text("1 retried")
    assert violations(page) == []
    for name in ("Events", re.compile("^Failures"), "Tasks"):
        page.get_by_role("navigation").get_by_role("button", name=name).click()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    card.get_by_role("button", name=TITLE).click()
    drawer = page.get_by_role("dialog", name="Waterfall")
    expect(drawer).to_be_visible()
    assert violations(page) == []
    drawer.get_by_role("button", name="Close").click()
    expect(drawer).to_have_count(0)


@pytest.mark.usefixtures("open_work")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_other_states(site: DashboardSite, scheme: str) -> None:
    """Nor when paused and zoomed, with nothing that matches, nor when the connection is lost."""
    page = site.open(color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator(f"[data-task='{TASK}']")).to_contain_text("1 retried")
    page.keyboard.press("+")
    page.keyboard.press(" ")
    expect(page.get_by_test_id("new-events")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press(" ")
    page.get_by_label("Type", exact=True).select_option("search")
    expect(page.locator(".wf-space .is-dim").first).to_be_visible()
    assert violations(page) == []
    page.locator("input[type=search]").fill("nothing has this text")
    expect(page.get_by_text("No tasks match.")).to_be_visible()
    assert violations(page) == []
    site.server.kill()
    expect(page.get_by_test_id("connection")).to_contain_text("Reconnecting")
    assert violations(page) == []


def test_axe_finds_nothing_while_empty(site: DashboardSite, redis_url: str) -> None:
    """An empty page offers a line for each kind of work, with the address of this log."""
    page = site.open(permissions=["clipboard-read", "clipboard-write"])
    empty = page.get_by_role("region", name="Getting started")
    expect(empty).to_contain_text("Nothing has run yet")
    expect(empty.get_by_role("term")).to_have_text(
        [
            *("Python", "Any language", "Celery", "RQ", "arq", "Dramatiq", "Taskiq"),
            "Coordinator",
        ]
    )
    empty.get_by_role("button", name="Copy Celery").click()
    expect(empty.get_by_role("button", name="Copied Celery")).to_be_visible()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"REDIS_URL={redis_url} opentelemetry-instrument celery -A app worker"
    expect(empty).to_contain_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={site.url} ")
    expect(empty).not_to_contain_text("curl")
    assert violations(page) == []


@pytest.mark.usefixtures("open_work")
def test_reduced_motion_and_forced_themes(site: DashboardSite) -> None:
    """Who asked for less motion gets none; the theme button cycles and is remembered."""
    page = site.open(reduced_motion="reduce", color_scheme="light")
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


@pytest.mark.usefixtures("open_work")
def test_forced_colors_leave_what_color_tells(site: DashboardSite) -> None:
    """Under the system's own colours bars and dots are seen, and only the chosen is marked."""
    page = site.open(forced_colors="active")
    look = "e => { const s = getComputedStyle(e); return s.backgroundColor + s.backgroundImage }"
    panel = page.locator(".waterfall").evaluate(look)
    for seen in (".wf-space .wf-bar.is-completed", ".seg-completed", ".legend-bar.is-failed"):
        assert page.locator(seen).first.evaluate(look) != panel, seen
    assert page.locator(".badge-dot").evaluate(look) != panel
    line = "e => getComputedStyle(e).borderBottomColor"
    tab, other = (page.get_by_role("tab", name=name) for name in (re.compile("^F"), "Workers"))
    assert tab.evaluate(line) != other.evaluate(line)


@pytest.mark.usefixtures("open_work")
def test_keyboard_alone_reaches_everything(site: DashboardSite) -> None:
    """Tab goes through every control with a visible ring, and space presses a focused button."""
    page = site.open()
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


def test_every_field_is_text(site: DashboardSite) -> None:
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
            site.publish(
                event_type=kind,
                task_id=task_id,
                counts=counts,
                meta={"title": MARKUP, "domain": MARKUP, "host": MARKUP, MARKUP: MARKUP},
                **fields,
            )
    assert site.bridge.flush()
    page = site.open("?all=1")
    expect(page.get_by_text("<img src=x").first).to_be_visible()
    page.get_by_role("tab", name=re.compile("Workers")).click()
    page.keyboard.press("j")
    expect(page.get_by_role("complementary", name="Chosen event")).to_contain_text("<script>")
    assert page.evaluate("() => window.hacked") is None
    assert page.locator(".ob img:not([role]), .ob script, .ob a[href^=javascript]").count() == 0
    assert page.get_by_role("link", name="Trace").count() == 0


def test_signing_in_and_out(browser: Browser, redis_url: str) -> None:
    """A token gives a cookie that scripts cannot read; the page goes live; signing out forgets."""
    with DashboardSite(browser, redis_url, tokens=TOKENS) as site, ExitStack() as stack:
        run_busy_task(TASK, TITLE, stack=stack)
        page = site.open(reduced_motion="reduce")
        page.goto(site.url.replace("127.0.0.1", "localhost"))
        form = page.get_by_role("region", name="Sign in")
        expect(form).to_be_visible()
        expect(page.get_by_test_id("connection")).to_contain_text("Signed out")
        assert violations(page) == []
        form.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        expect(form.get_by_role("alert")).to_contain_text("does not know this token")
        form.get_by_label("Access token").fill(TOKEN)
        form.get_by_role("button", name="Sign in").click()
        expect(page.locator(f"[data-task='{TASK}']")).to_contain_text(TITLE)
        assert page.evaluate("() => document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(form).to_be_visible()
        assert page.get_by_text(TITLE).count() == 0
        # The browser itself logs every 401.
        site.trouble[:] = [line for line in site.trouble if "401" not in line]


def test_not_connected_and_not_built(
    browser: Browser, redis_url: str, make_settings: Callable[..., BridgeSettings], tmp_path: Path
) -> None:
    """A collector that is gone and a page that was not built say what to do."""
    with DashboardSite(browser, redis_url) as site:
        page = site.open()
        expect(page.get_by_test_id("connection")).to_contain_text("Live")
        page.route_web_socket(re.compile("/ws/monitor"), lambda ws: ws.close())
        page.reload()
        expect(page.get_by_text("otel-bridge serve")).to_be_visible()
        expect(page.get_by_role("button", name="Try now")).to_be_visible()
    with AppServer(make_settings(bus_url="memory://unbuilt"), static_dir=tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.get_by_text("make dashboard")).to_be_visible()
        page.close()


def test_policy_allows_nothing_from_outside(site: DashboardSite) -> None:
    """No request leaves the collector; no inline script or style; the script stays small."""
    page = site.open()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.reload()
    expect(page.get_by_test_id("connection")).to_contain_text("Live")
    assert hosts == {site.url.split("/")[2]}
    assert page.locator("script:not([src]), style, [onclick]").count() == 0
    scripts = b"".join(path.read_bytes() for path in STATIC_DIR.glob("assets/*.js"))
    assert len(gzip.compress(scripts, 9)) < MAX_SCRIPT_BYTES


@pytest.mark.usefixtures("open_work")
@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("light", 1440, 900, "light"), ("dark", 1440, 900, "dark"), ("phone", 390, 844, "light")],
)
def test_pictures(
    site: DashboardSite,
    name: str,
    width: int,
    height: int,
    scheme: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """The page draws in every theme and width; ``--screenshots`` keeps the pictures."""
    page = site.open(width=width, height=height, color_scheme=scheme)
    expect(page.locator(f"[data-task='{TASK}']")).to_contain_text("1 retried")
    folder = DOCS if request.config.getoption("--screenshots") else tmp_path
    picture = page.screenshot(path=folder / f"dashboard-{name}.png")
    assert picture.startswith(b"\x89PNG")
