"""A Celery application and an agent, no code of ours in either, live in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.dashboard_site import DashboardSite

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.journeys]

ROOT = Path(__file__).parents[2]
APPS = "tests.support.task_apps"
BIN = Path(sys.executable).parent


@contextmanager
def running(redis_url: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process under ``opentelemetry-instrument``, as its user starts it."""
    environ = {"REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    for signal in ("TRACES", "METRICS", "LOGS"):
        environ[f"OTEL_{signal}_EXPORTER"] = "none"
    process = subprocess.Popen(
        [f"{BIN}/opentelemetry-instrument", *command],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def test_a_celery_app_appears_live(browser: Browser, redis_url: str, tmp_path: Path) -> None:
    """Its job runs on a worker, on a card of its own, ends, and the page says so by itself."""
    gate = tmp_path / "gate"
    module = f"{APPS}.plain_celery"
    worker = [f"{BIN}/celery", "-A", module, "worker", "--concurrency", "1"]
    with DashboardSite(browser, redis_url) as site, running(redis_url, *worker):
        page = site.open()
        page.get_by_role("tab", name="Workers").click()
        workers = page.get_by_role("tabpanel", name="Workers")
        expect(workers).to_contain_text("celery@")
        with running(redis_url, sys.executable, "-m", module, "send_mail", str(gate)) as sending:
            sending.wait(60)
        expect(workers).to_contain_text("send mail")
        card = page.locator("[data-task]").filter(has_text="send mail")
        expect(card).to_have_count(1)
        page.screenshot(path=ROOT / "docs" / "dashboard-celery.png")
        gate.touch()
        expect(card).to_contain_text("done")
        assert site.trouble == []


def test_an_agent_appears_live(browser: Browser, redis_url: str) -> None:
    """An agent's run is a card with its phase, tools in the waterfall, the failed one marked."""
    with (
        DashboardSite(browser, redis_url) as site,
        running(redis_url, sys.executable, "-m", f"{APPS}.plain_agent") as agent,
    ):
        page = site.open()
        card = page.locator("[data-task]").filter(has_text="plan a trip to Oslo")
        expect(card).to_contain_text("travel planner")
        waterfall = page.get_by_role("region", name="Waterfall")
        expect(waterfall).to_contain_text("maps")
        expect(page.get_by_role("tabpanel", name="Failures")).to_contain_text("no such town")
        page.screenshot(path=ROOT / "docs" / "dashboard-agent.png")
        assert agent.stdin is not None
        agent.stdin.write("\n")
        agent.stdin.flush()
        expect(card).to_contain_text("done")
        assert site.trouble == []
