"""What each part of the dashboard shows while real spans are open, in a real browser."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from contextvars import Context
from os import kill

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.spans.context_managers import enqueue, job, phase, research_task, worker
from tests.support.dashboard_site import (
    DEADLINE_MS,
    PROJECT,
    TASK,
    TITLE,
    DashboardSite,
    run_busy_task,
)

pytestmark = pytest.mark.redis


@pytest.fixture
def site(browser: Browser, redis_url: str) -> Iterator[DashboardSite]:
    template = "http://localhost:16686/trace/{trace_id}"
    with DashboardSite(browser, redis_url, trace_url_template=template) as found:
        yield found


def tile(page: Page, label: str) -> Locator:
    return page.locator(".tile", has=page.get_by_text(label, exact=True))


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def width_of(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box is not None
    return box["width"]


@pytest.mark.usefixtures("open_work")
def test_header_counts_what_runs(site: DashboardSite) -> None:
    """Workers, queues by priority, running jobs, both error rates, throughput, lag."""
    page = site.open()
    expect(tile(page, "Workers online")).to_contain_text("1")
    queues = page.locator(".tile-queues")
    expect(queues).to_contain_text("3 high")
    expect(queues).to_contain_text("118 normal")
    expect(tile(page, "In progress")).to_contain_text("1 extract")
    # 6 jobs of search and 1 of extraction ended, 1 of them failed; the retried attempt is no end.
    expect(tile(page, "Errors, 1 min")).to_contain_text("14 %")
    expect(tile(page, "Errors, 1 min")).to_contain_text("14 % in 5 min")
    expect(page.locator(".tile-rate").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("Jobs per second over the last minute")
    )
    expect(page.get_by_test_id("connection")).to_have_text(re.compile(r"Live( \d+ ms)?"))
    expect(page).to_have_title("1 running · otel-bridge")


def test_card_tells_the_whole_task(site: DashboardSite, open_work: ExitStack) -> None:
    """Title, type, domain, project, start, a bar per phase; at its end it stays where it is."""
    page = site.open()
    card = page.locator(f"[data-task='{TASK}']")
    for text in (TITLE, "data aggregation", "schools", PROJECT, TASK, "search", "extraction"):
        expect(card).to_contain_text(text)
    expect(card).to_contain_text("1 running")
    expect(card).to_contain_text("1 failed")
    expect(card).to_contain_text("1 retried")
    search = card.locator(".phases > li", has_text="search")
    expect(search).to_contain_text("6/6")
    # Of its own context, as another coroutine's: the older one ends while it runs.
    context = Context()
    later = research_task("later", title="A later one", project_id=PROJECT)
    context.run(later.__enter__)
    expect(page.locator("[data-task]")).to_have_count(2)
    ids = "all => all.map(card => card.dataset.task)"
    order = page.locator("[data-task]").evaluate_all(ids)
    running = card.bounding_box()
    open_work.close()
    expect(card.get_by_test_id("percent")).to_have_text("100 %")
    assert order == page.locator("[data-task]").evaluate_all(ids)
    ended = card.bounding_box()
    assert running is not None
    assert ended is not None
    assert (running["y"], running["height"]) == (ended["y"], ended["height"])
    context.run(later.__exit__, None, None, None)
    # Said once to a screen reader, politely.
    expect(page.get_by_test_id("ended")).to_contain_text(f"{TITLE}: done")


def test_eta_is_rough_and_late(site: DashboardSite) -> None:
    """No estimate before enough jobs ended; then one that begins with a tilde or a bound."""
    page = site.open()
    with (
        research_task("eta", title="Estimated", project_id=PROJECT),
        phase("search", total=400) as search,
        worker("w"),
    ):
        card = page.locator("[data-task='eta']")
        expect(card).to_contain_text("search")
        expect(card.locator(".card-foot")).not_to_contain_text("left")
        for number in range(60):
            with job(task_id=f"eta:{number}", task_type="search"):
                pass
            search.advance(completed=1)
        expect(card.locator(".card-foot")).to_contain_text(re.compile(r"[~<]\d+"))


@pytest.mark.usefixtures("open_work")
def test_waterfall_grows_and_marks(site: DashboardSite) -> None:
    """Open spans grow, queued ones are dashed, retries and failures are marked, phases fold."""
    page = site.open(f"?focus={TASK}")
    fall = panel(page, "Waterfall")
    running = fall.locator(".is-job .wf-bar.is-processing.is-open")
    expect(running).to_have_count(1)
    before = running.evaluate("bar => getComputedStyle(bar).animationName")
    assert before != "none", "a running bar pulses"
    queued = fall.locator(".wf-bar.is-queued.is-open")
    expect(queued).to_have_count(1)
    assert queued.evaluate("bar => getComputedStyle(bar).borderTopStyle") == "dashed"
    first = float(fall.locator(".wf").evaluate("e => e.style.getPropertyValue('--now')"))
    page.wait_for_function(
        "old => parseFloat(document.querySelector('.wf').style.getPropertyValue('--now'))"
        " > old + 0.3",
        arg=first,
    )
    expect(fall.locator(".is-job", has_text="extract:1")).to_contain_text("worker-1")
    expect(fall.locator(".wf-bar.is-failed")).not_to_have_count(0)
    expect(fall.locator(".wf-bar.is-retrying")).not_to_have_count(0)
    rows = fall.locator(".wf-space").get_by_role("listitem")
    page.keyboard.press("w")
    expect(rows).to_have_count(2)
    page.keyboard.press("e")
    expect(rows).to_have_count(11)
    retried = rows.filter(has=page.locator(".is-retrying"))
    expect(retried).to_have_count(1)
    # Its last attempt ended well, so it no longer grows.
    expect(retried.locator(".is-open")).to_have_count(0)
    link = fall.get_by_role("link", name="Trace")
    expect(link).to_have_attribute(
        "href", re.compile(r"^http://localhost:16686/trace/[0-9a-f]{32}$")
    )
    expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_waterfall_of_thousands_stays_small(site: DashboardSite) -> None:
    """3,000 jobs of one phase are in the chart and only the visible rows in the document."""
    with research_task("big", title="Big", project_id=PROJECT), phase("search", total=3000):
        with worker("w"):
            for number in range(3000):
                with job(task_id=f"big:{number}", task_type="search"):
                    pass
        assert site.bridge.flush()
        page = site.open("?focus=big")
        fall = panel(page, "Waterfall")
        expect(fall.get_by_role("button", name=re.compile(r"search.*3,000"))).to_be_visible()
        page.keyboard.press("e")
        body = fall.locator(".wf-body")
        page.wait_for_function("() => document.querySelector('.wf-body').scrollHeight > 50000")
        assert fall.get_by_role("listitem").count() < 80
        body.evaluate("e => { e.scrollTop = 36000 }")
        expect(fall.locator(".is-job", has_text=re.compile(r"^.*1[45]\d\d"))).not_to_have_count(0)
        assert fall.get_by_role("listitem").count() < 80
        # Folded while scrolled: what is left is there to see, and nothing to scroll through.
        page.keyboard.press("w")
        expect(fall.locator(".wf-space .is-phase")).to_be_in_viewport()
        assert body.evaluate("e => e.scrollHeight - e.clientHeight") == 0


@pytest.mark.usefixtures("open_work")
def test_failures_lead_to_their_job(site: DashboardSite) -> None:
    """The same error is one group with its count; its button shows the job in the waterfall."""
    with worker("w"), phase("search"):
        for number in range(4):
            with job(task_id=f"{TASK}:more:{number}", task_type="search") as last:
                last.fail(ValueError("no such county"))
    page = site.open()
    failures = panel(page, "Failures")
    group = failures.locator(".failure", has_text="no such county")
    expect(group).to_contain_text("\u00d75")
    expect(group).to_contain_text(TITLE)
    page.keyboard.press("w")
    group.get_by_role("button", name="Show in the waterfall").click()
    expect(panel(page, "Waterfall").locator(".is-marked")).to_have_count(1)


@pytest.mark.usefixtures("open_work")
def test_workers_tell_what_they_run(site: DashboardSite) -> None:
    """Who runs what since when, who is idle, and when it was last heard."""
    with worker("worker-2"):
        page = site.open("?tab=workers")
        workers = panel(page, "Workers")
        busy = workers.locator(".worker", has_text="worker-1")
        expect(busy).to_contain_text("busy")
        expect(busy).to_contain_text("extract:1")
        expect(busy).to_contain_text("1 failed")
        idle = workers.locator(".worker", has_text="worker-2")
        expect(idle).to_contain_text("idle")
        expect(idle).to_contain_text(re.compile(r"seen (just now|\d+ s ago)"))
    expect(idle).to_contain_text("stopped")


def test_events_are_virtual_and_held(site: DashboardSite) -> None:
    """600 events, few rows; pause holds them, counts the new, and marks them after resuming."""
    page = site.open()
    expect(page.get_by_test_id("connection")).to_contain_text("Live")
    table = page.get_by_role("table", name="Recent events, newest first")
    with research_task("many", title="Many", project_id=PROJECT), worker("w"):
        for number in range(300):
            with job(task_id=f"many:{number}", task_type="search"):
                pass
        expect(table).to_have_attribute("aria-rowcount", re.compile(r"60[0-9]"))
        assert table.get_by_role("row").count() < 60
        newest = table.locator("[aria-rowindex='2']")
        expect(newest).to_contain_text("many:299".removeprefix("many:"))
        page.keyboard.press(" ")
        expect(page.get_by_test_id("connection")).to_have_text("Paused")
        assert "paused=1" in page.url
        for number in range(300, 303):
            with job(task_id=f"many:{number}", task_type="search"):
                pass
        pill = page.get_by_test_id("new-events")
        expect(pill).to_have_text("6 new ↑")
        expect(newest).to_contain_text("299")
        pill.click()
        expect(newest).to_contain_text("302")
        expect(table).to_contain_text("6 events came while paused")
        body = table.locator(".table-body")
        body.evaluate("e => { e.scrollTop = 2800 }")
        expect(pill).to_have_text("Latest ↑")
        held = table.locator("[aria-rowindex='103']").inner_text()
        with job(task_id="many:303", task_type="search"):
            pass
        expect(pill).to_have_text("2 new ↑")
        assert held == table.locator("[aria-rowindex='103']").inner_text()


def test_event_row_tells_everything(site: DashboardSite) -> None:
    """Time, event, type, job, task, worker, try, duration, message; the keyboard opens it."""
    with research_task("one", title="One task", project_id=PROJECT), worker("w7"):
        with job(task_id="one:a", task_type="resolve", retry_count=2) as last:
            last.fail(ValueError("two answers"))
        page = site.open("?status=failed")
        row = page.locator("[aria-rowindex='2']")
        for text in ("failed", "resolve", "a", "One task", "w7", "3", "two answers"):
            expect(row).to_contain_text(text)
        expect(row.locator(".c-time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))
        expect(row.locator(".c-took")).to_have_text(re.compile(r"\d.* m?s"))
        page.keyboard.press("j")
        detail = page.get_by_role("complementary", name="Chosen event")
        expect(detail).to_contain_text("two answers")
        expect(detail.get_by_role("link", name="Trace")).to_be_visible()
        page.keyboard.press("Escape")
        expect(detail).to_have_count(0)


@pytest.mark.usefixtures("open_work")
def test_filters_live_in_the_address(site: DashboardSite) -> None:
    """Project, task, type, status and text narrow every panel; the address reproduces them."""
    with research_task("other", title="Other work", project_id="hospitals"):
        page = site.open(permissions=["clipboard-read", "clipboard-write"])
        cards = page.locator("[data-task]")
        expect(cards).to_have_count(2)
        page.get_by_label("Project", exact=True).select_option(PROJECT)
        expect(cards).to_have_count(1)
        page.get_by_label("Task", exact=True).select_option(TASK)
        page.get_by_label("Type", exact=True).select_option("search")
        page.get_by_label("Status", exact=True).select_option("failed")
        page.keyboard.press("/")
        page.keyboard.type("county")
        expect(page.locator("input[type=search]")).to_have_value("county")
        rows = page.locator(".table-body [role=row]")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("no such county")
        for part in (
            f"project={PROJECT}",
            f"task={TASK}",
            "type=search",
            "status=failed",
            "q=county",
        ):
            assert part in page.url
        page.get_by_role("button", name="Copy link").click()
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert page.url == copied
        page.goto(copied)
        expect(rows).to_have_count(1)
        page.locator("input[type=search]").fill("nothing has this text")
        expect(page.get_by_text(re.compile("No matches among the last"))).to_be_visible()
        expect(page.get_by_text("No tasks match.")).to_be_visible()
        expect(page.locator(".tasks .panel-head")).to_have_text("Tasks0")
        expect(page.get_by_text("No failures match.")).to_be_visible()
        page.get_by_role("button", name="Clear").click()
        expect(cards).to_have_count(2)
        assert "status=" not in page.url


def test_late_join_resume_and_gap(browser: Browser, redis_url: str) -> None:
    """A late page has it all; a restart is resumed; what the log has trimmed is a visible row."""
    bridge = {"stream_max_events": 1000, "heartbeat_interval_sec": 25}
    with DashboardSite(browser, redis_url, bridge) as site, ExitStack() as stack:
        run_busy_task(TASK, TITLE, stack=stack)
        assert site.bridge.flush()
        page = site.open()
        badge = page.get_by_test_id("connection")
        card = page.locator(f"[data-task='{TASK}']")
        table = page.get_by_role("table", name="Recent events, newest first")
        expect(card).to_contain_text("1 retried")
        # A file that is cut off on its way would be trouble of the test's own making.
        page.wait_for_load_state("networkidle")
        site.server.kill()
        expect(badge).to_contain_text(re.compile(r"Reconnecting( in \d+ s)?"))
        with job(task_id=f"{TASK}:missed", task_type="search"):
            pass
        site.server.start()
        expect(badge).to_contain_text("Live")
        expect(page.locator(".table-body")).to_contain_text("missed")
        expect(page.locator(".row-mark")).to_have_count(0)
        page.wait_for_load_state("networkidle")
        site.server.kill()
        expect(badge).to_contain_text("Reconnecting")
        seen = int(table.get_attribute("aria-rowcount") or "0")
        for number in range(2500):
            with job(task_id=f"{TASK}:flood:{number}", task_type="search"):
                pass
        assert site.bridge.flush()
        site.server.start()
        # Its 200 newest events, and the mark.
        expect(table).to_have_attribute("aria-rowcount", str(seen + 201))
        # Under the 200 events of the new snapshot.
        page.locator(".table-body").evaluate("e => { e.scrollTop = 28 * 196 }")
        expect(page.locator(".row-mark")).to_contain_text("missing here: the log was trimmed")
        expect(badge).to_contain_text("Live")


def test_silence_is_said(site: DashboardSite) -> None:
    """A collector that hangs makes the badge say for how long; it goes live by itself."""
    page = site.open()
    badge = page.get_by_test_id("connection")
    expect(badge).to_contain_text("Live")
    kill(site.server.pid, signal.SIGSTOP)
    try:
        expect(badge).to_contain_text(re.compile(r"Silent for \d+ s"))
    finally:
        kill(site.server.pid, signal.SIGCONT)
    expect(badge).to_contain_text("Live")


def test_skewed_clock_is_corrected(site: DashboardSite) -> None:
    """On a machine an hour ahead a job that began now has run for seconds, not for an hour."""
    with research_task("now", title="Just begun", project_id=PROJECT):
        page = site.open()
        page.clock.install()
        page.clock.set_system_time(page.evaluate("() => Date.now() + 3600000"))
        page.reload()
        foot = page.locator("[data-task='now'] .card-foot")
        expect(foot).to_contain_text(re.compile(r"^\s*\d+s"))


@pytest.mark.usefixtures("open_work")
def test_frozen_page_catches_up(site: DashboardSite) -> None:
    """A page the browser froze in the background shows what it missed as soon as it is back."""
    page = site.open()
    expect(page.locator(f"[data-task='{TASK}']")).to_be_visible()
    cdp = page.context.new_cdp_session(page)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    with enqueue(task_id=f"{TASK}:unseen", task_type="search"):
        pass
    assert site.bridge.flush()
    cdp.send("Page.setWebLifecycleState", {"state": "active"})
    expect(page.locator(".table-body")).to_contain_text("unseen", timeout=DEADLINE_MS)
