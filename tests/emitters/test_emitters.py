"""Programs in JavaScript, Go and Java with our emitters are watched while their span is open."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.emitters, pytest.mark.timeout(900)]

_names = itertools.count()


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://emitters-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


@contextmanager
def running(
    command: list[str], site: AppServer, heartbeat_ms: int
) -> Iterator[subprocess.Popen[str]]:
    """The program, which reads what to do from its standard input."""
    environ = {
        **os.environ,
        "TRACES_URL": f"{site.url}/v1/traces",
        "HEARTBEAT_MS": str(heartbeat_ms),
    }
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        process.stdout.close()


def order(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def card(site: AppServer) -> dict[str, Any]:
    found = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return found[0] if found else {}


def events(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/events?limit=500").json()["events"]
    return found


def kinds(site: AppServer) -> list[str]:
    return [event["event_type"] for event in events(site)]


def test_a_long_span_is_live_and_ends_once(program: list[str], site: AppServer) -> None:
    """It runs, changes its name and fails with its own end; short spans are sent once."""
    with running(program, site, heartbeat_ms=10_000) as process:
        wait_until(lambda: card(site).get("status") == "processing", "the open span", 60)
        assert (card(site)["title"], card(site)["project_id"]) == ("import", "alpha")
        order(process, "rename schools")
        wait_until(lambda: card(site)["title"] == "schools", "its new name")
        order(process, "short")
        order(process, "end")
        assert process.wait(30) == 0
    wait_until(lambda: card(site)["status"] == "failed", "the end")
    assert card(site)["error"] == "no such school"
    assert card(site)["duration_ms"] > 500
    found = events(site)
    of_jobs = [event for event in found if event.get("task_type") == "maps"]
    assert len(of_jobs) == 200
    assert {event["event_type"] for event in of_jobs} == {"task_started", "task_completed"}
    assert [event for event in of_jobs if "beat_ms" in event] == []
    own = [event["event_type"] for event in found if event not in of_jobs]
    assert (own.count("task_started"), own.count("task_failed")) == (1, 1)


def test_a_killed_program_stalls(program: list[str], site: AppServer) -> None:
    """Three promised heartbeats that do not come, at least 15 s: stalled, with the reason."""
    with running(program, site, heartbeat_ms=1000) as process:
        wait_until(lambda: card(site).get("status") == "processing", "the open span", 60)
        wait_until(lambda: "span_beats" in kinds(site), "a heartbeat")
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: card(site)["status"] == "stalled", "the stall", 40)
        assert card(site)["reason"] == "heartbeat_lost"


def test_a_busy_program_is_limited(program: list[str], site: AppServer) -> None:
    """Of 10,000 spans open at once 2,048 are watched; the program can read how many are not."""
    with running(program, site, heartbeat_ms=10_000) as process:
        wait_until(lambda: card(site).get("status") == "processing", "the open span", 60)
        order(process, "many")
        assert process.stdout is not None
        assert process.stdout.readline() == "7953\n"
        started = site.collector.model.tree.nodes
        wait_until(lambda: len(started) == 2048, "what is watched", 60)
