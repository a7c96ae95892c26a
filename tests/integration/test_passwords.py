"""No piece of a Redis password is in what the service prints, logs or answers, however written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import pytest

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

PIECES = ("hunter", "orchid", "velvet")
"""Parts of every password below; none of them may be seen."""
PASSWORDS = {
    "encoded": "hunter%40orchid%2Fvelvet",
    "at signs and slashes": "hunter@orchid/velvet@",
    "spaces and colons": "hunter orchid:velvet",
    "a query": "hunter?orchid=#velvet",
    "brackets and percent signs": "hunter[orchid]%zzvelvet",
}


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port on which nothing listens while the tests run."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def shown_by_serve(**variables: str) -> str:
    """Everything that ``otel-bridge serve`` prints and logs with these variables until it ends."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "otel_bridge_collector", "serve", "--port", "0"],
        env={**kept, "PYTHONWARNINGS": "default", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize("variable", ["REDIS_URL", "MONITORING_BUS_URL"])
def test_a_redis_password_is_not_shown(closed_port: int, variable: str, name: str) -> None:
    """Whatever is wrong with the URL of a Redis, no part of its password is shown."""
    password = PASSWORDS[name]
    url = f"redis://user:{password}@127.0.0.1:{closed_port}/0?password={password}"
    shown = shown_by_serve(**{variable: url})
    assert "redis://" in shown
    assert [piece for piece in PIECES if piece in shown] == []


@pytest.mark.parametrize("name", ["encoded", "a query"])
def test_a_collector_without_its_log_does_not_show_it(
    closed_port: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A collector that cannot reach its log says so in its log and in ``/readyz``, by the host."""
    password = quote(PASSWORDS[name], safe="")
    settings = BridgeSettings(bus_url=f"redis://user:{password}@127.0.0.1:{closed_port}/0")
    with AppServer(settings, stats_interval_sec=0.1) as server:
        wait_until(lambda: server.collector.feed.log_error, "the log to be missing")
        shown = fetch(f"{server.url}/readyz").body.decode()
        assert str(closed_port) in shown
        for path in ("/metrics", "/monitor/events", "/monitor/snapshot", "/tasks"):
            shown += fetch(server.url + path).body.decode()
    assert "cannot be reached" in caplog.text
    assert [piece for piece in PIECES if piece in shown + caplog.text] == []
