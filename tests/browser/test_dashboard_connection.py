"""The page and its connection: signed out, limited, without a collector, and after a restart."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from playwright.sync_api import Browser, expect

from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.context_managers import job
from tests.support.app_server import AppServer
from tests.support.axe import violations
from tests.support.dashboard_site import PROJECT, TASK, TITLE, DashboardSite, run_busy_task
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

TOKEN = "t-browser-0123456789abcdef"
TOKENS = f"browser sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects={PROJECT}"


def test_signing_in_and_out(browser: Browser, redis_url: str) -> None:
    """A token gives a cookie that scripts cannot read, and what its projects show."""
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
        # What is shared between projects is not known here, which is not 0.
        tile = page.locator(".tile", has_text="Workers online")
        expect(tile.locator("b")).to_have_text("\u2013")
        expect(page.locator(".tile-queues b")).to_have_text("\u2013")
        page.get_by_role("tab", name="Workers \u2013").click()
        expect(page.get_by_role("tabpanel")).to_contain_text("shared between projects")
        page.get_by_role("button", name="Sign out").click()
        expect(form).to_be_visible()
        assert page.get_by_text(TITLE).count() == 0
        # The browser itself logs every 401.
        site.trouble[:] = [line for line in site.trouble if "401" not in line]


def test_not_connected_and_back(site: DashboardSite, open_work: ExitStack) -> None:
    """Without a collector the page says as of when it is; after a restart it has what it missed."""
    del open_work
    page = site.open(reduced_motion="reduce")
    badge = page.get_by_test_id("connection")
    expect(page.locator(f"[data-task='{TASK}']")).to_contain_text("1 retried")
    # A file that is cut off on its way would be trouble of the test's own making.
    page.wait_for_load_state("networkidle")
    site.server.kill()
    expect(badge).to_contain_text(re.compile(r"Reconnecting( in \d+ s)?"))
    expect(page.get_by_test_id("as-of")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d"))
    assert violations(page) == []
    with job(task_id=f"{TASK}:missed", task_type="search"):
        pass
    assert site.bridge.flush()
    site.server.start()
    expect(badge).to_contain_text("Live")
    expect(page.locator(".table-body")).to_contain_text("missed")
    expect(page.get_by_test_id("as-of")).to_have_count(0)
    page.route_web_socket(re.compile("/ws/views"), lambda ws: ws.close())
    page.reload()
    expect(page.get_by_text("otel-bridge serve")).to_be_visible()
    expect(page.get_by_role("button", name="Try now")).to_be_visible()


@pytest.mark.chaos
def test_a_page_over_the_rate_says_so_and_comes_back(browser: Browser, redis_url: str) -> None:
    """A collector to which many connect at once asks the page to wait, and the page says so."""
    is_enough = threading.Event()

    def crowd(port: int) -> None:
        while not is_enough.is_set():
            with Handshake(port) as link:
                assert link.status == 101 or link.wait_sec > 0

    with DashboardSite(browser, redis_url, connects_per_sec=1) as site:
        others = threading.Thread(target=crowd, args=(site.server.port,), daemon=True)
        others.start()
        try:
            wait_until(lambda: handshake_status(site.server.port) == 503, "the rate to be used up")
            page = site.open(reduced_motion="reduce")
            badge = page.get_by_test_id("connection")
            expect(badge).to_contain_text(re.compile(r"Busy, reconnecting in \d+ s"))
            expect(page.get_by_text("many clients that connect at once")).to_be_visible()
            assert violations(page) == []
        finally:
            is_enough.set()
            others.join()
        again = page.get_by_role("button", name="Try now")

        def is_live() -> bool:
            if again.is_visible():
                again.click()
            return "Live" in badge.inner_text()

        # Each second one more is admitted.
        wait_until(is_live, "the page to be live", every_sec=0.5)


class Handshake:
    """One handshake of a program: its status, and the seconds of ``Retry-After``."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(
            f"GET /ws/views HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = self._socket.recv(1000).decode("latin-1").lower()
        self.status = int(head.split()[1])
        self.wait_sec = int(head.partition("retry-after: ")[2].partition("\r")[0] or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def handshake_status(port: int) -> int:
    with Handshake(port) as link:
        return link.status


def test_not_built(
    browser: Browser, make_settings: Callable[..., BridgeSettings], tmp_path: Path
) -> None:
    """Where the page was not built the answer says how to build it."""
    with AppServer(make_settings(bus_url="memory://unbuilt"), static_dir=tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.get_by_text("make dashboard")).to_be_visible()
        page.close()
