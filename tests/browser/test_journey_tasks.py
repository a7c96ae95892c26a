"""The list of 60 tasks and the waterfall beside it, by pointer, by keyboard and by touch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import Context
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.spans.context_managers import enqueue, job, phase, research_task
from tests.support.axe import violations
from tests.support.dashboard_site import DashboardSite
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.journeys]

TASKS = 60
PROJECTS = ("billing", "clinics", "newsletter", "schools", None)
LONG_WORKER = "worker-of-a-very-long-host-name-in-eu-west-1-0007"
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=30)
ROW_PX = 32

OpenPage = Callable[..., Page]

_STATE = """
() => [
  document.querySelector('.tasks').innerText,
  document.querySelector('.wf-body').innerText,
  ...[...document.querySelectorAll('.wf-space .wf-bar')].map(bar => bar.style.cssText),
]
"""
"""All that could go on by itself: the texts of both panels, and where bars are."""


def title_of(number: int) -> str:
    return f"Weekly report of the branch in Tbilisi, district {number:04d}"


def run_report(number: int, context: Context, stack: ExitStack) -> None:
    """A task: every fourth is done, every seventh has a failed job, every eleventh has failed."""
    task = f"report-{number:04d}"
    root = research_task(task, title=title_of(number), project_id=PROJECTS[number % 5])
    root.__enter__()
    search = phase("search", total=5)
    search.__enter__()
    for place in range(4):
        name = f"{task}:search-{place:04d}"
        with enqueue(task_id=name, task_type="search") as carrier:
            pass
        with job(task_id=name, task_type="search", carrier=carrier, worker_id=LONG_WORKER) as ran:
            if number % 7 == 0 and place == 1:
                ran.fail(ValueError("no such county"))

    def end(error: Exception | None = None) -> None:
        kind = None if error is None else type(error)
        search.__exit__(kind, error, None)
        root.__exit__(kind, error, None)

    if number % 4 == 0:
        end()
    elif number % 11 == 3:
        end(ValueError("the address list of the branch is not there"))
    else:
        stack.callback(context.run, end)


def publish_yesterday(site: DashboardSite) -> None:
    """An ended task of another day: 300 jobs in five hours, a minute each; three have failed."""

    def publish(kind: str, minutes: float, **fields: object) -> None:
        at = (YESTERDAY + timedelta(minutes=minutes)).isoformat()
        site.publish(event_type=kind, ts=at, parent_task_id="old", project_id="archive", **fields)

    publish("task_started", 0, task_id="old", meta={"title": "Of another day"})
    publish("phase_started", 0, phase="crawl", counts={"total": 300})
    for number in range(300):
        work = {"task_id": f"old:crawl-{number:04d}", "phase": "crawl", "worker_id": LONG_WORKER}
        publish("task_started", number, **work)
        is_failed = number in (40, 140, 240)
        end = {"error": "ValueError: no such page"} if is_failed else {}
        publish("task_failed" if is_failed else "task_completed", number + 1, **work, **end)
    publish("phase_completed", 301, phase="crawl")
    publish("task_completed", 301, task_id="old")


@pytest.fixture(scope="module")
def reports_site(browser: Browser) -> Iterator[DashboardSite]:
    """A collector with 60 tasks, and one of another day in a project of its own."""
    with RedisServer() as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        with DashboardSite(browser, url) as site, ExitStack() as stack:
            for number in range(TASKS):
                context = Context()
                context.run(run_report, number, context, stack)
            publish_yesterday(site)
            assert site.bridge.flush()
            yield site


@pytest.fixture
def open_reports(reports_site: DashboardSite) -> Iterator[OpenPage]:
    """Open a page on the site; it is closed after the test."""
    pages: list[Page] = []

    def open_one(query: str = "", *, width: int = 1280, height: int = 800, **options: str) -> Page:
        options = {"reduced_motion": "reduce", **options}
        pages.append(reports_site.open(query, width=width, height=height, **options))
        expect(lines(pages[-1]).first).to_be_visible()
        return pages[-1]

    yield open_one
    for page in pages:
        page.context.close()


def lines(page: Page) -> Locator:
    return page.locator(".tasks [data-task]")


def heads(page: Page) -> Locator:
    return page.locator(".tasks .group-head")


def chosen_title(page: Page) -> Locator:
    return page.get_by_role("region", name="Waterfall").locator(".wf-title")


def rows(page: Page) -> Locator:
    return page.locator(".wf-space").get_by_role("row")


@pytest.mark.parametrize(
    ("width", "height", "scheme", "row_px"),
    [(1280, 800, "light", ROW_PX), (1920, 1080, "dark", ROW_PX), (390, 844, "light", 48)],
)
def test_sixty_tasks_at_a_glance(
    open_reports: OpenPage, width: int, height: int, scheme: str, row_px: int
) -> None:
    """A row each, what needs attention first; names keep their ends; nothing overflows."""
    # Of the chosen row, too, each colour must be readable: it has failed.
    page = open_reports(
        "?group=status&task=report-0014", width=width, height=height, color_scheme=scheme
    )
    expect(heads(page).first).to_contain_text("failed")
    assert lines(page).first.evaluate("e => e.parentElement.offsetHeight") == row_px
    expect(lines(page).first).to_contain_text("the address list of the branch is not there")
    in_view = lines(page).evaluate_all(
        "all => all.filter(e => e.getBoundingClientRect().bottom"
        " < e.closest('.cards').getBoundingClientRect().bottom).length"
    )
    assert in_view >= 7
    overhang = lines(page).evaluate_all(
        "all => Math.max(...all.map(e => {"
        " const name = e.querySelector('.line-name').getBoundingClientRect();"
        " return e.querySelector('.middle-name').lastChild.getBoundingClientRect().right"
        " - name.right; }))"
    )
    assert overhang < 1
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    if width > 1000:
        expect(page.locator(".line.is-focused")).to_contain_text("the address list")
    assert violations(page) == []


def test_the_number_of_tasks_chooses_rows_or_cards(open_reports: OpenPage) -> None:
    """One task is a card, sixty are rows; a button keeps another choice in the address."""
    page = open_reports("?project=archive")
    expect(page.locator(".card")).to_have_count(1)
    page = open_reports()
    expect(page.locator(".card")).to_have_count(0)
    button = page.get_by_role("button", name="Tasks as rows")
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(page.locator(".card").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"layout=cards"))
    page.reload()
    expect(page.locator(".card").first).to_be_visible()
    button.click()
    expect(page.locator(".card")).to_have_count(0)
    assert "layout" not in page.url


def test_groups_keep_their_head_in_sight(open_reports: OpenPage) -> None:
    """By project each head has its count; while its rows are scrolled it stays at the top."""
    page = open_reports()
    page.get_by_label("Group tasks").select_option("By project")
    expect(page).to_have_url(re.compile(r"group=project"))
    expect(heads(page).first).to_have_text("archive1")
    expect(heads(page)).to_have_text(
        ["archive1", "billing12", "clinics12", "newsletter12", "schools12", "No project12"]
    )
    body = page.locator(".cards")
    body.evaluate("e => { e.scrollTop = 20 * 32 }")
    top = "e => e.getBoundingClientRect().top - e.closest('.cards').getBoundingClientRect().top"
    clinics = heads(page).filter(has_text="clinics")
    assert abs(clinics.evaluate(top)) < 1
    assert violations(page) == []


@pytest.mark.parametrize("way", ["key", "button"])
def test_pins_stay_on_top(open_reports: OpenPage, way: str) -> None:
    """A pinned task is first, also after the page is opened again; unpinned it goes back."""
    page = open_reports("?group=project")
    task = page.locator("[data-task='report-0037']")
    if way == "key":
        task.locator("[data-choose]").focus()
        page.keyboard.press("p")
    else:
        task.hover()
        task.get_by_role("button", name="Pin to the top").click()
    expect(page).to_have_url(re.compile(r"pins=report-0037"))
    expect(heads(page).first).to_have_text("Pinned1")
    page.reload()
    expect(lines(page).first).to_have_attribute("data-task", "report-0037")
    expect(lines(page).first).to_be_in_viewport()
    lines(page).first.locator("[data-choose]").focus()
    page.keyboard.press("p")
    expect(heads(page).filter(has_text="Pinned")).to_have_count(0)
    assert "pins" not in page.url


def test_keys_alone_go_through_the_tasks(open_reports: OpenPage) -> None:
    """Tab stops at one row; arrows go on; Enter shows the task in the waterfall, and no more."""
    page = open_reports("?task=report-0055")
    page.get_by_role("button", name="Tasks as rows").focus()
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_attribute("aria-label", title_of(55))
    order = lines(page).evaluate_all("all => all.map(e => e.dataset.task)")
    at = order.index("report-0055")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"task={order[at + 1]}"))
    expect(chosen_title(page)).to_contain_text(title_of(int(order[at + 1][-4:])))
    expect(page.locator(f"[data-task='{order[at + 1]}']")).to_have_class(re.compile("is-focused"))
    assert page.locator(".card, .phases").count() == 0
    page.keyboard.press("End")
    page.keyboard.press("Home")
    expect(focused).to_be_in_viewport()
    expect(focused.locator("xpath=ancestor::*[@data-task]")).to_have_attribute(
        "data-task", order[0]
    )


def test_a_touch_shows_the_task(reports_site: DashboardSite) -> None:
    """On a phone a row is touched anywhere, the waterfall comes, and Close brings the list back."""
    page = reports_site.open(width=390, height=844, has_touch=True, is_mobile=True)
    why = page.locator("[data-task='report-0059'] .line-why")
    expect(why).to_be_visible()
    # A link that covers the row gets the touch, so Playwright waits for nothing by itself: rows
    # that are still coming move the list.
    tops: list[float] = []

    def is_still() -> bool:
        tops.append(why.evaluate("e => e.getBoundingClientRect().top"))
        return len(tops) > 2 and len(set(tops[-3:])) == 1

    wait_until(is_still, "the list stands still", every_sec=0.3)
    why.tap(force=True)
    drawer = page.get_by_role("dialog", name="Waterfall")
    expect(drawer).to_contain_text("district 0059")
    assert violations(page) == []
    close = drawer.get_by_role("button", name="Close")
    expect(close).to_be_in_viewport(ratio=1)
    close.tap()
    expect(drawer).to_have_count(0)
    page.locator("[data-task='report-0059']").get_by_role("button", name="Pin").tap()
    expect(lines(page).first).to_have_attribute("data-task", "report-0059")
    page.context.close()


def test_rows_follow_the_zoom(open_reports: OpenPage) -> None:
    """Every row of a zoomed chart has its bar in it, wherever it is panned to."""
    page = open_reports("?task=old&project=archive")
    page.keyboard.press("e")
    expect(page.get_by_role("treegrid")).to_have_attribute("aria-rowcount", "302")
    for key in "++++ddd":
        page.keyboard.press(key)
    matches = page.locator(".wf-matches")
    expect(matches).to_have_text(re.compile(r"^2\d matches of 302$"))
    page.keyboard.press("d")
    expect(rows(page).nth(2)).not_to_have_text(re.compile("crawl-0000"))
    expect(rows(page).nth(2).locator(".wf-bar")).to_be_visible()
    shown = "all => all.map(e => [...e.querySelectorAll('.wf-bar')].some(b => b.offsetWidth > 0))"
    assert all(rows(page).evaluate_all(shown))


def test_a_status_filter_unfolds_what_failed(open_reports: OpenPage) -> None:
    """With all folded, the failed rows are listed below their phase."""
    page = open_reports("?task=old&project=archive&folds=-*")
    expect(rows(page)).to_have_count(1)
    page.get_by_label("Status", exact=True).select_option("failed")
    names = rows(page).locator(".wf-name")
    expect(names).to_have_text(
        ["Of another day", "crawl", "crawl-0040", "crawl-0140", "crawl-0240"]
    )


def test_failed_is_never_green(open_reports: OpenPage) -> None:
    """A phase that ended with failed jobs has a mark of its own, in the card and the waterfall."""
    page = open_reports("?task=old&project=archive&folds=-*")
    text = "done with 3 failed"
    card = page.locator("[data-task='old']")
    expect(card.get_by_role("img", name=text).first).to_be_visible()
    expect(card).to_contain_text(text)
    expect(rows(page).first.get_by_role("img", name=text)).to_be_visible()
    expect(rows(page).first.locator(".wf-bar.is-partly")).to_have_count(1)
    assert page.locator("[data-task='old'] .st-completed").count() == 0


def test_names_and_days_are_whole(open_reports: OpenPage) -> None:
    """A long worker leaves the job its name; another day is named; ids are whole."""
    page = open_reports("?task=old&project=archive")
    page.keyboard.press("e")
    expect(rows(page).nth(3).locator(".wf-name")).to_have_text("crawl-0001")
    width = rows(page).nth(3).locator(".wf-name").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert width
    day = YESTERDAY.astimezone()
    date = f"{day:%b} {day.day}, {day:%H:%M}"
    expect(page.locator("[data-task='old'] .facts")).to_contain_text(date)
    expect(chosen_title(page)).to_contain_text(date)


def test_clocks_stand_still_without_a_collector(reports_site: DashboardSite) -> None:
    """A minute after the collector was lost no clock, bar or estimate has gone on."""
    pages = []
    for layout in ("rows", "cards"):
        page = reports_site.open(f"?task=report-0059&layout={layout}")
        page.clock.install()
        page.reload()
        expect(page.locator(".wf-space .is-processing.is-open").first).to_be_visible()
        page.wait_for_load_state("networkidle")
        pages.append(page)
    reports_site.server.kill()
    for page in pages:
        expect(page.get_by_test_id("as-of")).to_be_visible()
        before = page.evaluate(_STATE)
        page.clock.run_for(60_000)
        assert page.evaluate(_STATE) == before
        page.context.close()
    reports_site.server.start()
