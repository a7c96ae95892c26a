"""A collector killed under load, watched by a page and by 49 clients of ``/ws/views``."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_bridge.spans.context_managers import job, phase, research_task
from tests.support.dashboard_site import PROJECT, DashboardSite
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.resuming_viewers import ResumingViewers, Subscription, fresh
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.chaos, pytest.mark.timeout(600)]

TASK = "large"
JOBS = 5_000
FAILS_EVERY = 100
VIEWERS = 49
BACK_WITHIN_SEC = 5.0
LONG_AWAY_ATTEMPTS = 6
"""As many in vain as reach the longest time between two attempts of the page."""
JOBS_PER_SEC = 40
EVENTS_PER_SEC = 300
ROW_PX = 24
SCROLL_PX = 240

_SEEN = """
body => {
  const top = body.getBoundingClientRect().top;
  return [...body.querySelectorAll('.wf-space .wf-row')]
    .map(row => [Math.round(row.getBoundingClientRect().top - top), row.textContent])
    .filter(([y]) => y >= 24 && y < 144).sort(([a], [b]) => a - b)
    .map(([y, text]) => [y, text.match(/second-\\d+/)?.[0]]);
}
"""
"""Of the rows under the eye: where each is, in px below the top, and its job."""

_WATCH = f"""
body => {{
  const look = {_SEEN};
  window.eyes = new Set();
  const note = () => {{
    window.eyes.add(JSON.stringify(look(body)));
    requestAnimationFrame(note);
  }};
  note();
}}
"""
"""Keep every arrangement of those rows that a frame shows."""

_STATE = """
body => ({
  badge: document.querySelector('[data-testid=connection]').textContent,
  isBusy: body.getAttribute('aria-busy'),
  total: Number(body.getAttribute('aria-rowcount')),
  rows: [...body.querySelectorAll('.wf-space .wf-row')].map(row => row.ariaRowIndex),
})
"""

_EVENTS = """
body => [...body.querySelectorAll('[aria-rowindex]')].map(row => [
  Number(row.ariaRowIndex),
  row.querySelector('.c-event')?.textContent ?? 'gap',
  row.querySelector('.c-job')?.textContent ?? '',
])
"""


def grid(page: Page) -> Locator:
    return page.get_by_role("treegrid", name="Phases and jobs")


def run_job(name: str, *, is_failed: bool = False) -> None:
    with job(task_id=f"{TASK}:{name}", task_type="tool") as current:
        if is_failed:
            current.fail(ValueError(f"{name} has no address"))


@contextmanager
def jobs_above(context: Context) -> Iterator[None]:
    """Jobs of the phase above the one that is read, one after the other, from a thread."""
    is_stopping = threading.Event()

    def run() -> None:
        number = 0
        while not is_stopping.wait(1 / JOBS_PER_SEC):
            context.run(run_job, f"first-{number:05d}", is_failed=number % FAILS_EVERY == 0)
            number += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_stopping.set()
        thread.join()


def subscriptions(number: int, keys: list[str]) -> list[Subscription]:
    """What one client shows: trees of its own, and lists that it shares with others."""
    key = keys[number % len(keys)]
    sort = ("attention", "newest", "slowest")[number % 3]
    return [
        ("overview", {}),
        ("tasks", {"sort": sort}),
        ("tree", {"task": TASK, "at": {"row": number * 100}}),
        ("tree", {"task": TASK, "at": {"key": key, "above": number % 40}}),
        ("tree", {"task": TASK, "status": ["failed"], "at": {"row": number}}),
        ("strip", {"task": TASK}),
        ("job", {"task": TASK, "job": f"{TASK}:second-{number:05d}"}),
        ("failures", {}),
        ("workers", {}),
        ("queues", {}),
        ("events", {"count": 60 + number % 3}),
        ("search", {"text": f"second-000{number:02d}"}),
    ]


def test_a_killed_collector_comes_back_with_the_same_row_under_the_eye(
    browser: Browser, own_redis: RedisServer
) -> None:
    """Within 5 s of being ready again the page and 49 clients show all there is, each row once."""
    with DashboardSite(browser, own_redis.url) as site, research_task(TASK, project_id=PROJECT):
        above, first = copy_context(), phase("first")
        above.run(first.__enter__)
        with phase("second"):
            for number in range(JOBS):
                run_job(f"second-{number:05d}", is_failed=number % FAILS_EVERY == 0)
            assert site.bridge.flush(60)
            tree = {"task": TASK, "at": {"row": JOBS // 2}, "count": 200}
            wait_until(lambda: fresh(site.url, "tree", tree)[0]["total"] == JOBS + 3, "all jobs")
            keys = [row["k"] for row in fresh(site.url, "tree", tree)[1]]
            page = site.open(f"?task={TASK}", reduced_motion="reduce")
            scroll_to_the_middle(page)
            url = f"ws://127.0.0.1:{site.server.port}/ws/views"
            asked = [subscriptions(number, keys) for number in range(VIEWERS)]
            with ResumingViewers(url, asked) as crowd:
                wait_until(lambda: crowd.are_complete, "all views of 49 clients", 60)
                load = Load(site.bus, per_sec=EVENTS_PER_SEC).start()
                with jobs_above(above):
                    for attempts in (1, LONG_AWAY_ATTEMPTS):
                        kill_and_look(site, page, crowd, attempts)
                    load.stop()
                assert site.bridge.flush(30)
                all_equal_fresh_ones(site, crowd)
                the_page_is_complete(site, page)
                assert [viewer.doubles for viewer in crowd.viewers] == [[]] * VIEWERS
            page.context.close()
        above.run(first.__exit__, None, None, None)


def scroll_to_the_middle(page: Page) -> None:
    """Unfold everything, scroll to the middle, and let the page hold on to the row there."""
    expect(grid(page)).not_to_have_attribute("aria-rowcount", "0")
    page.keyboard.press("e")
    expect(grid(page)).to_have_attribute("aria-rowcount", str(JOBS + 3))
    # The address keeps it over the reload, and is written a moment after the key.
    page.wait_for_url("**folds=**")
    with page.expect_websocket() as socket:
        page.reload()
    expect(grid(page)).to_have_attribute("aria-rowcount", str(JOBS + 3))
    with socket.value.expect_event("framesent", lambda frame: '"above"' in frame):
        grid(page).evaluate("(e, y) => { e.scrollTop = y }", JOBS // 2 * ROW_PX)
    expect(grid(page)).to_have_attribute("aria-busy", "false")
    expect(
        grid(page).locator(".wf-space .wf-row").filter(has_text="second-0250").first
    ).to_be_visible()
    # A file that is cut off on its way would be trouble of the test's own making.
    page.wait_for_load_state("networkidle")


def kill_and_look(site: DashboardSite, page: Page, crowd: ResumingViewers, attempts: int) -> None:
    """
    Kill the collector, and start it after the page tried to connect so many times in vain.

    Measures from when the collector is ready until everything is shown again.
    """
    body = grid(page)
    seen = body.evaluate(_SEEN)
    assert len(seen) == 5, seen
    assert all(name for _, name in seen), seen
    body.evaluate(_WATCH)
    connects = [viewer.connects for viewer in crowd.viewers]
    total = body.evaluate(_STATE)["total"]
    site.server.kill()
    expect(page.get_by_test_id("connection")).to_contain_text("Reconnecting")
    for _ in range(attempts):
        page.wait_for_event("websocket")
    site.server.start()
    ready = time.monotonic()

    def is_page_back() -> bool:
        state = body.evaluate(_STATE)
        return "Live" in state["badge"] and state["isBusy"] == "false" and state["total"] > total

    def are_viewers_back() -> bool:
        again = zip(crowd.viewers, connects, strict=True)
        return crowd.are_complete and all(viewer.connects > before for viewer, before in again)

    took: dict[str, float] = {}
    waited = {"page": is_page_back, "viewers": are_viewers_back}

    def are_all_back() -> bool:
        for name in waited.keys() - took.keys():
            if waited[name]():
                took[name] = round(time.monotonic() - ready, 2)
        return len(took) == len(waited)

    try:
        wait_until(are_all_back, "page and clients to be back", 30, 0.02)
    finally:
        print(f"back after {took} s: {body.evaluate(_STATE)}, without: {crowd.missing()}")
    assert body.evaluate(_SEEN) == seen
    assert max(took.values()) <= BACK_WITHIN_SEC, took
    rows = body.evaluate(_STATE)["rows"]
    assert len(set(rows)) == len(rows)
    # No frame, from before the kill until now, showed another row there.
    eyes = page.evaluate("() => [...window.eyes].map(text => JSON.parse(text))")
    assert eyes == [seen]


def all_equal_fresh_ones(site: DashboardSite, crowd: ResumingViewers) -> None:
    """What each client shows is what the collector answers to a new reader."""
    answers: dict[str, Any] = {}
    for number, viewer in enumerate(crowd.viewers):
        for place, (view, params) in enumerate(viewer.subscriptions):
            name = f"{view} {params}"

            def is_equal(
                number: int = number,
                place: int = place,
                view: str = view,
                params: dict[str, Any] = params,
                name: str = name,
            ) -> bool:
                shown = crowd.shown(number, place)
                if answers.get(name) != shown:
                    answers[name] = fresh(site.url, view, params)
                return bool(answers[name] == shown)

            wait_until(is_equal, f"client {number} to show {name}", 20, 0.05)


def the_page_is_complete(site: DashboardSite, page: Page) -> None:
    """The tree has every row once, and the table of events each event once, in order."""
    head, _ = fresh(site.url, "tree", {"task": TASK})
    expect(grid(page)).to_have_attribute("aria-rowcount", str(head["total"]))
    table = page.locator(".table-body")
    gap = 0
    while gap := read_events(page, table, until="first-00000", top=gap):
        show = table.get_by_role("button", name="Show").first
        row = show.locator("xpath=ancestor::*[@aria-rowindex]").inner_text()
        print(f"gap at {gap} px: {row!r}")
        show.click()
        expect(table.get_by_text("reading the log")).to_have_count(0)
    assert read_events(page, table, until="first-00000", top=0) == 0, "a gap opened again"


def read_events(page: Page, table: Locator, *, until: str, top: int) -> int:
    """Scroll down to the first event of a job; return where there is a gap, or check the rows."""
    found: dict[int, tuple[str, str]] = {}
    is_whole = top == 0
    deadline = time.monotonic() + 60
    while (until, "started") not in found.values():
        assert time.monotonic() < deadline, f"{until} is not in the table: {top} px"
        table.evaluate("(body, y) => { body.scrollTop = y }", top)
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        for index, label, name in table.evaluate(_EVENTS):
            if label == "gap":
                return max(1, top)
            assert found.setdefault(index, (name, label)) == (name, label)
        is_at_end = table.evaluate("e => e.scrollTop + e.clientHeight >= e.scrollHeight - 1")
        top = top if is_at_end else top + SCROLL_PX
    if not is_whole:
        return 0
    rows = [found[index] for index in sorted(found, reverse=True)]
    numbers = [int(name.split("-")[1]) for name, _ in rows if name.startswith("first-")]
    assert numbers == [number for number in range(len(numbers) // 2) for _ in range(2)]
    assert len(numbers) > 2 * JOBS_PER_SEC
    return 0
