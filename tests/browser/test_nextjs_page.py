"""A Next.js page built around the dashboard's exports, served by Next and looked at."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.app_server import AppProcess, fetch
from tests.support.dashboard_site import DashboardSite, run_busy_task
from tests.support.node_tools import DASHBOARD, node_environment, run_npm
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.nextjs, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[1] / "nextjs"


def test_next_page_is_live(browser: Browser, redis_url: str, tmp_path: Path) -> None:
    """``next build`` prerenders and type-checks both pages; in the browser they go live."""
    app = tmp_path / "app"
    shutil.copytree(PAGE, app)
    package = app / "packages" / "otel-bridge-dashboard"
    shutil.copytree(
        DASHBOARD, package, ignore=shutil.ignore_patterns("node_modules", "*.test.ts", "vite.*")
    )
    options = ["--no-audit", "--no-fund", "--no-package-lock"]
    run_npm("install", "--ignore-scripts", *options, cwd=app)
    modules = app / "node_modules" / "otel-bridge-dashboard"
    shutil.copytree(package, modules)
    shutil.rmtree(package)
    next_port = AppProcess({}).port
    origin = f"http://localhost:{next_port}"
    with DashboardSite(browser, redis_url, allowed_origins=origin) as site, ExitStack() as stack:
        environment = {"NEXT_PUBLIC_COLLECTOR_URL": site.url, "NEXT_TELEMETRY_DISABLED": "1"}
        run_npm("run", "build", cwd=app, **environment)
        server = subprocess.Popen(
            ["node", "node_modules/next/dist/bin/next", "start", "-p", str(next_port)],
            cwd=app,
            env=node_environment(**environment),
            stdout=subprocess.DEVNULL,
        )
        try:
            run_busy_task("6ba529d4", "Private schools GA", stack=stack)

            def is_up() -> bool:
                try:
                    return fetch(origin).status == 200
                except OSError:
                    return False

            wait_until(is_up, "Next to serve", 60, every_sec=0.1)
            page = site.open()
            page.goto(origin)
            expect(page.locator("[data-task='6ba529d4']")).to_contain_text("Private schools GA")
            expect(page.get_by_test_id("connection")).to_contain_text("Live")
            page.goto(f"{origin}/own")
            expect(page.get_by_role("listitem")).to_contain_text("Private schools GA")
        finally:
            server.terminate()
            server.wait(30)
