"""``otel-bridge top`` and ``submit --follow`` against a real collector, by their keys alone."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.settings import BridgeSettings
from otel_bridge.terminal import follow
from otel_bridge.terminal.screen.app import TopApp
from tests.support.app_server import AppProcess, AppServer, fetch
from tests.support.raised import look_up
from tests.support.top_screen import TopScreen
from tests.support.waiting import wait_until

_names = itertools.count()
SIZE = (80, 24)
journeys = pytest.mark.journeys


@pytest.fixture
def server(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://top-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as running:
        yield running


@contextlib.contextmanager
def bridge_to(url: str) -> Iterator[otel_bridge.Bridge]:
    """A program whose events go to this collector over HTTP."""
    settings = BridgeSettings(bus_url=url, send_timeout_ms=10_000)
    provider = TracerProvider(shutdown_on_exit=False)
    bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
    try:
        yield bridge
        assert bridge.flush(10)
    finally:
        bridge.shutdown()


def run_jobs(url: str, task: str, *, jobs: int = 4, failing: tuple[int, ...] = ()) -> None:
    """Run one task of one phase to its end; some of its jobs fail."""
    with (
        bridge_to(url),
        otel_bridge.research_task(task, title=f"Private schools {task}", project_id="shop"),
        otel_bridge.phase("search", total=jobs),
        otel_bridge.worker("worker-1"),
    ):
        for number in range(jobs):
            job = f"{task}:search:{number}"
            with otel_bridge.enqueue(task_id=job, task_type="search_page") as carrier:
                pass
            with (
                contextlib.suppress(KeyError),
                otel_bridge.job(task_id=job, task_type="search_page", carrier=carrier),
            ):
                if number in failing:
                    look_up(f"fees of page {number}")
    params = quote(json.dumps({"keys": [task]}))
    path = f"{url}/monitor/views/tasks?params={params}"
    wait_until(lambda: [row["end"] for row in fetch(path).json()["rows"]] not in ([], [None]), task)


@asynccontextmanager
async def top(url: str, size: tuple[int, int] = SIZE) -> AsyncIterator[TopScreen]:
    app = TopApp(url, token="", project=None)
    async with app.run_test(size=size) as pilot:
        yield TopScreen(app, pilot)


async def test_a_failed_job_and_its_stack_in_three_keys(server: AppServer) -> None:
    """From the start at 80 columns: failures, the group with its stack, the job with its stack."""
    run_jobs(server.url, "t1", failing=(2,))
    async with top(server.url) as screen:
        await screen.until("Private schools t1")
        assert "4/4 ✕1" in screen.text
        await screen.press("2")
        await screen.until("KeyError")
        await screen.press("enter")
        await screen.until("look_up")
        await screen.press("enter")
        await screen.until("search:2")
        await screen.until("look_up")
        assert "✕ failed" in screen.text
        assert "worker-1" in screen.text
        assert all(len(line) <= 80 for line in screen.lines)


@journeys
async def test_the_next_failure_from_the_tree(server: AppServer) -> None:
    """Enter opens the task, n finds its failed job, Enter shows it; n goes to the next one."""
    run_jobs(server.url, "t2", jobs=260, failing=(230, 250))
    async with top(server.url) as screen:
        await screen.until("Private schools t2")
        await screen.press("enter")
        await screen.until("search:3")
        await screen.press("n")
        await screen.until(lambda: "> " in screen.text and "search:230" in screen.text)
        await screen.press("enter")
        await screen.until("look_up")
        assert "search:230" in screen.text
        await screen.press("n")
        await screen.until("search:250")
        await screen.press("n")
        await screen.until("no further failure")
        await screen.press("N")
        await screen.until("search:230")
        await screen.press("escape")
        await screen.until("rows failed")


@journeys
async def test_folds_zoom_and_search_of_a_tree(server: AppServer) -> None:
    """W folds, e unfolds, the arrows fold one row, + zooms, / finds a job."""
    run_jobs(server.url, "t3", jobs=30)
    async with top(server.url) as screen:
        await screen.until("Private schools t3")
        await screen.press("enter")
        await screen.until("search:3")
        await screen.press("w")
        await screen.until(lambda: "search:3" not in screen.text)
        assert "▸ search" in screen.text
        await screen.press("j", "right")
        await screen.until("search:3")
        await screen.press("w", "e")
        await screen.until("search:3")
        await screen.press("plus")
        await screen.until(lambda: "list of " in screen.text)
        await screen.press("0")
        await screen.until(lambda: "list of " not in screen.text)
        await screen.press("slash", *"search:17", "enter")
        await screen.until("“search:17”")
        await screen.until(lambda: "search:17" in screen.text and "search:3 " not in screen.text)
        await screen.press("escape")
        await screen.until("search:3 ")
        await screen.press("G")
        await screen.until("search:29")


@journeys
async def test_workers_and_queues(server: AppServer) -> None:
    """A worker's details say how it is; a queue from which no worker takes says so in its row."""
    with bridge_to(server.url):
        otel_bridge.queue_depth({"emails": 7})
    run_jobs(server.url, "t4")
    async with top(server.url) as screen:
        await screen.press("3")
        await screen.until("worker-1")
        await screen.press("enter")
        await screen.until("takes from")
        assert "4 done, 0 failed" in screen.text
        await screen.press("4")
        await screen.until("emails")
        await screen.press("enter")
        await screen.until("7 jobs, measured")


@journeys
async def test_no_colour_is_needed(server: AppServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR nothing is coloured, and every status has its mark and word."""
    monkeypatch.setenv("NO_COLOR", "1")
    run_jobs(server.url, "t5", failing=(1,))
    async with top(server.url) as screen:
        await screen.until("Private schools t5")
        await screen.press("enter")
        await screen.until("✕ failed")
        await screen.until("✓ done")
        assert screen.colours == set()


@journeys
async def test_it_fits_every_size(server: AppServer) -> None:
    """From 40 to 200 columns nothing is wider than the terminal, and what was there comes back."""
    run_jobs(server.url, "t6", failing=(0,))
    async with top(server.url) as screen:
        await screen.until("Private schools t6")
        for columns in (40, 200, 80):
            await screen.pilot.resize_terminal(columns, 20)
            await screen.until(lambda: "live " in screen.text)
            assert max(len(line) for line in screen.lines) <= columns
            assert len(screen.lines) == 20
        await screen.until("Private schools t6")
        await screen.press("question_mark")
        await screen.until("copy a link")
        await screen.press("escape")
        await screen.until("Private schools t6")


@journeys
async def test_a_lost_collector_is_said_and_comes_back() -> None:
    """While it is gone the rows stay, as of their time; then everything is asked for again."""
    bus = {"bus_url": f"memory://top-{next(_names)}"}
    with AppProcess(bus, stats_interval_sec=3600) as process:
        run_jobs(process.url, "t7")
        async with top(process.url) as screen:
            await screen.until("Private schools t7")
            process.kill()
            await screen.until("no connection to")
            assert "as of " in screen.text
            assert "Private schools t7" in screen.text
            process.start()
            # Its memory was the log: what was shown has left it, and the screen says that.
            await screen.until("No tasks.")
            assert "live " in screen.text


@journeys
@pytest.mark.parametrize("failing", [(), (1,)])
def test_a_task_is_followed_to_its_end(server: AppServer, failing: tuple[int, ...]) -> None:
    """In a pipe each phase is a line, and the last line is the outcome."""
    run_jobs(server.url, "t8", failing=failing)
    output = io.StringIO()
    assert follow.follow(server.url, "t8", token="", output=output)
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("search: done, ")
    assert lines[-1].startswith("✓ done after ")
    assert ("1 failed" in lines[-1]) == bool(failing)


@journeys
def test_a_failed_task_is_followed_to_its_failure(server: AppServer) -> None:
    """The outcome of a task that raised is its error, and is not success."""
    with (
        bridge_to(server.url),
        contextlib.suppress(KeyError),
        otel_bridge.research_task("t9", project_id="shop"),
    ):
        look_up("no such county")
    output = io.StringIO()
    assert not follow.follow(server.url, "t9", token="", output=output)
    assert output.getvalue().splitlines()[-1].endswith("KeyError: 'no such county'")
