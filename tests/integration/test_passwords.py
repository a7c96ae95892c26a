"""No piece of a Redis password is in what the service prints, logs or answers, however written."""

from __future__ import annotations

import itertools
import json
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


# One process for all: each start takes 1.3 s of a CPU.
_SERVE_EACH = """
import json, os, sys
from otel_bridge_collector.commands.cli import main
for variable, url in json.loads(sys.argv[1]):
    os.environ[variable] = url
    assert main(["serve", "--port", "0"]) == 2
    del os.environ[variable]
    print(end="\\0")
"""
VARIABLES = ("REDIS_URL", "MONITORING_BUS_URL")


@pytest.fixture(scope="module")
def shown_by_serve(closed_port: int) -> dict[tuple[str, str], str]:
    """All that ``otel-bridge serve`` prints and logs until it ends, by variable and password."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "REDIS_"))}
    cases = list(itertools.product(VARIABLES, PASSWORDS))
    urls = [
        (variable, f"redis://user:{word}@127.0.0.1:{closed_port}/0?password={word}")
        for variable, word in ((variable, PASSWORDS[name]) for variable, name in cases)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _SERVE_EACH, json.dumps(urls)],
        env={**kept, "PYTHONWARNINGS": "always", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return dict(zip(cases, done.stdout.removesuffix("\0").split("\0"), strict=True))


@pytest.mark.parametrize("name", PASSWORDS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_redis_password_is_not_shown(
    shown_by_serve: dict[tuple[str, str], str], variable: str, name: str
) -> None:
    """Whatever is wrong with the URL of a Redis, no part of its password is shown."""
    shown = shown_by_serve[variable, name]
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
