"""Public bug reports about tracing agents, tried as they are written: docs/AGENTS.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_bridge.settings import BridgeSettings
from tests.agents.observed import Picture, awaited, pictures, starting
from tests.support.app_server import AppServer
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.agents, pytest.mark.redis, pytest.mark.timeout(300)]

# While each waits: what its report misses.
REPORTS = {
    "stuck": (
        "three steps: processing, done 2, failed 0, running 1",
        "  task three steps: processing",
        "    job first: completed",
        "    job second: completed",
        "    job third: processing",
    ),
    "unended": (
        "reply: processing, done 0, failed 0, running 0",
        "  task reply: processing",
    ),
    "generator": (
        "stream: processing, done 0, failed 0, running 0",
        "  task stream: processing",
    ),
    "background": (
        "sender: processing, done 0, failed 0, running 0",
        "  task sender: processing",
        "    span POST /send: completed",
        "      phase sender: processing",
    ),
    "parallel": (
        "triage: processing, done 0, failed 0, running 0",
        "  task triage: processing",
        "    span classify: processing",
        "    span title: processing",
    ),
}
ENDS = {
    "stuck": "three steps: completed, done 3, failed 0, running 0",
    # Its object is gone, so its heartbeats have ended.
    "unended": "reply: stalled (heartbeat_lost), done 0, failed 0, running 0",
    "generator": "stream: completed, done 0, failed 0, running 0",
    "background": "sender: completed, done 0, failed 0, running 0",
    "parallel": "triage: completed, done 0, failed 0, running 0",
}


@pytest.mark.xdist_group("reports")
def test_public_reports(redis_server: RedisServer, tmp_path: Path) -> None:
    """What each report misses is there while its program runs, and its end is true."""
    bus_url = f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}"
    command = ["python", "-m", "tests.agents.programs.public_reports", *REPORTS]
    live = {}
    with AppServer(BridgeSettings(bus_url=bus_url), stats_interval_sec=3600) as site:
        with starting(
            command,
            "langchain",
            tmp_path,
            site,
            "bus",
            bus_url,
            MONITORING_HEARTBEAT_INTERVAL_SEC="1",
        ) as program:
            for number, (name, lines) in enumerate(REPORTS.items()):
                program.wait_for(f"{name}-tool")
                live[name] = awaited(site, number, Picture(lines)).lines
                if name == "unended":
                    program.cancel(f"{name}-tool")
                else:
                    program.let_go(f"{name}-tool")
                program.wait_for(f"{name}-end")
            assert program.process.wait(30) == 0
        wait_until(
            lambda: [each.lines[0] for each in pictures(site)] == list(ENDS.values()),
            "the ends",
            60,
            every_sec=0.5,
        )
    assert live == REPORTS
