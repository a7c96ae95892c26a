"""Connection storms: hundreds of WebSocket clients that connect at once, as after a restart."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppProcess, AppServer, fetch
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.storm_clients import CrowdReport, StormCrowd, raise_open_files
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]

MANY = 100_000
"""A limit of connections of an address that no test reaches."""
LATE = '"worker_id":"late"'
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
TOKEN = "t-storm-0123456789abcdef"
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
TOKENS = f"storm sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"


def metrics(url: str) -> dict[str, float]:
    """Values by name; of several with labels their sum."""
    found: dict[str, float] = {}
    text = fetch(f"{url}/metrics").body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def all_in(app: AppProcess, crowd: StormCrowd, timeout_sec: float) -> tuple[CrowdReport, list[int]]:
    """Wait until all clients are in; the report, and every status of ``/readyz`` meanwhile."""
    statuses: list[int] = []

    def are_in() -> bool:
        statuses.append(fetch(f"{app.url}/readyz").status)
        return metrics(app.url)["otel_bridge_clients"] == crowd.clients == crowd.report().is_in

    wait_until(are_in, f"{crowd.clients} clients to be in", timeout_sec, 0.05)
    return crowd.report(), statuses


def test_a_storm_is_admitted_at_a_rate(redis_url: str) -> None:
    """200 clients at 150 a second: all are in, each 503 says when to come back and is counted."""
    with (
        AppProcess(
            {"bus_url": redis_url}, address_max_connections=MANY, connects_per_sec=150
        ) as app,
        StormCrowd(app.port, 200) as crowd,
    ):
        report, statuses = all_in(app, crowd, 60)
        counted = metrics(app.url)
    assert set(statuses) == {200}
    assert (report.without_retry_after, report.closed) == (0, {})
    assert counted["otel_bridge_handshakes_refused_total"] == report.refused
    assert report.attempts == 200 + report.refused + sum(report.errors.values())
    assert (counted["otel_bridge_clients"], counted["otel_bridge_log_read"]) == (200, 1)


def test_refused_handshakes_do_not_use_up_the_rate(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """After hundreds without credentials, a path, an origin or a key, those with all get in."""
    bridge = make_settings(bus_url="memory://refused-handshakes")
    with AppServer(bridge, tokens=TOKENS, connects_per_sec=1) as server:
        for more in ("", "Origin: http://127.0.0.1:{port}\r\n", "Origin: http://evil.example\r\n"):
            for path in ("/ws/monitor", "/nowhere"):
                for _ in range(30):
                    assert handshake(server.port, path, KEY + more) in (101, 401, 403)
        for _ in range(30):
            assert handshake(server.port, "/ws/monitor", "") in (400, 426)
        admitted = 0
        while (status := handshake(server.port, "/ws/monitor", KEY + BEARER)) == 101:
            admitted += 1
        assert (admitted >= 20, status) == (True, 503)
        assert server.app.state.admission.refused == {"rate": 1, "address": 0, "token": 0}


def handshake(port: int, path: str, headers: str) -> int:
    """The status of one handshake."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\n{headers.format(port=port)}\r\n".encode()
        )
        return int(link.recv(1000).split()[1])


@pytest.mark.chaos
@pytest.mark.parametrize("path", ["/ws/monitor", "/ws/views"])
def test_an_idle_client_takes_at_most_28_kib(path: str) -> None:
    """Memory of the collector's process for each of a thousand more, which do not say anything."""
    raise_open_files()
    limits = {"address_max_connections": MANY, "connects_per_sec": 0}

    def wait_for(count: int) -> None:
        views = "views_" if path == "/ws/views" else ""
        name = f"otel_bridge_{views}clients"
        wait_until(lambda: metrics(app.url)[name] == count, f"{count} clients", 60, 0.1)

    with (
        AppProcess({"bus_url": "memory://idle"}, **limits) as app,
        StormCrowd(app.port, 100, path=path),
    ):
        wait_for(100)
        before = psutil.Process(app.pid).memory_info().rss
        with StormCrowd(app.port, 1000, path=path):
            wait_for(1100)
            after = psutil.Process(app.pid).memory_info().rss
    assert (after - before) / 1000 / 1024 <= 28


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_two_thousand_clients_come_back_after_a_kill(own_redis: RedisServer) -> None:
    """With events flowing: never red, the log never lost, no gap, all in, each event to each."""
    raise_open_files()
    settings = BridgeSettings(bus_url=own_redis.url)
    bus = EventBus.connect(settings)
    app = AppProcess({"bus_url": own_redis.url}, address_max_connections=MANY)
    try:
        with app, StormCrowd(app.port, 2_000, processes=2, mark=LATE) as crowd:
            all_in(app, crowd, 120)
            flowing = Load(bus, per_sec=20).start()
            app.kill()
            app.start()
            report, statuses = all_in(app, crowd, 120)
            late = Load(bus, "late", per_sec=20).start()
            wait_until(lambda: crowd.report().least >= 50, "events to each")
            flowing.stop()
            sent = late.stop()
            wait_until(lambda: crowd.report().least == sent, "each event to each")
            final, found = crowd.report(), metrics(app.url)
    finally:
        bus.shutdown(2)
    assert set(statuses) == {200}
    assert report.refused > 0
    assert (report.without_retry_after, report.closed.get("None")) == (0, 2_000)
    assert (final.least, final.most, final.closed) == (sent, sent, report.closed)
    assert found["otel_bridge_reader_restarts_total"] == 0
    assert found.get("otel_bridge_log_gaps_total", 0) == 0
    assert found["otel_bridge_clients_slow_closed_total"] == 0
    assert found["otel_bridge_clients"] == 2_000
