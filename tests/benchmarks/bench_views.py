"""
What views cost the collector: clients with equal and distinct views, slow readers, heavy filters.

``python -m tests.benchmarks views``; the slow reader needs nginx. The collector runs in a process
of its own behind real sockets (``view_server.py``), its clients in another (``view_clients.py``).
Costs are its processor's time without that of taking events in, and without what it needs when no
client looks; with the first client come the indexes, which follow each change of the model. Clients
are measured at 4 ticks a second, if the machine keeps up; the rest at the collector's own pace.
"""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.views.catalog import CATALOG, parse_query

from otel_bridge.settings import BridgeSettings
from tests.benchmarks.results import ROOT, row
from tests.benchmarks.view_clients import Frames, client_frame, handshake
from tests.benchmarks.view_server import BIG, Load
from tests.support.app_server import AppProcess

_RATE: Final = 5000
_LOW_RATE: Final = 500
_HZ: Final = 4.0
_SETTLE_SEC: Final = 3.0
_WINDOW_SEC: Final = 4.0
_ROUNDS: Final = 3
_HEAVY: Final = 20
_PAUSE_SEC: Final = 8.0
_VIEWS: Final = [
    view
    for view in ("overview", "tasks", "tree", "events", "failures", "workers")
    if view in CATALOG
][:4]
"""What a page shows; the last two stand in for views that this code does not have."""


class Child:
    """A process that is written JSON lines and answers with JSON lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def ask(self, message: Any) -> dict[str, Any]:
        self.write(message)
        return self.read()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _server(hz: float = 0.0) -> Iterator[tuple[Child, int]]:
    """A collector that takes events in and ticks at this pace (0: its own), and its port."""
    with Child("view_server") as server:
        port = server.read()["port"]
        server.ask({"rate": _RATE, "hz": hz})
        yield server, port


def _sub(number: int, view: str, **params: Any) -> dict[str, Any]:
    return {"op": "sub", "id": number, "view": view, "params": params}


def _page(number: int = 0) -> list[dict[str, Any]]:
    """What one page asks for; each number stands for a page that is scrolled elsewhere."""
    params: dict[str, dict[str, Any]] = {
        "tasks": {"at": {"row": number % 360}, "count": 40 + number // 360},
        "tree": {"task": BIG, "at": {"row": 20 * number}, "count": 60},
    }
    return [_sub(index, view, **params.get(view, {})) for index, view in enumerate(_VIEWS)]


# --- what clients cost ---------------------------------------------------------------------------


class _Cost:
    """What was measured of one set of clients, a value for each round."""

    def __init__(self) -> None:
        self.ms_per_sec: list[float] = []
        self.hz: list[float] = []
        self.events_per_sec: list[float] = []
        self.kb_per_sec: list[float] = []
        self.late_ms: list[float] = []
        self.tick_ms: list[float] = []
        self.groups = 0


def _measure(server: Child, clients: Child | None, base: float = 0.0) -> _Cost:
    cost = _Cost()
    for _ in range(_ROUNDS):
        before = server.ask({})
        read = clients.ask({})["read"] if clients else 0
        time.sleep(_WINDOW_SEC)
        after = server.ask({})
        seen = clients.ask({}) if clients else {"read": 0, "lost": 0}
        wall = after["wall"] - before["wall"]
        spent = after["cpu"] - before["cpu"] - (after["feed"] - before["feed"])
        cost.ms_per_sec.append(spent / wall * 1e3 - base)
        cost.hz.append(after["ticks"] / wall)
        cost.events_per_sec.append((after["events"] - before["events"]) / wall)
        cost.kb_per_sec.append((seen["read"] - read) / wall / 1e3)
        cost.late_ms.append(after["late_p99"])
        cost.tick_ms.append(after["longest_tick"])
        cost.groups = after["groups"]
        assert not seen["lost"], "the collector closed clients"
        assert not after["errors"], "a view could not be computed"
    return cost


def _with_clients(
    server: Child, port: int, pages: list[list[dict[str, Any]]], base: float, *, is_deflated: bool
) -> _Cost:
    with Child("view_clients") as clients:
        clients.write({"port": port, "messages": pages, "is_deflated": is_deflated})
        _wait_for(server, len(pages))
        time.sleep(_SETTLE_SEC)
        cost = _measure(server, clients, base)
    _wait_for(server, 0)
    return cost


def _wait_for(server: Child, clients: int) -> None:
    deadline = time.monotonic() + 60
    while (found := server.ask({})["subscribed"]) != clients:
        assert time.monotonic() < deadline, f"{found} of {clients} clients after 60 s"
        time.sleep(0.2)


def _bench_clients() -> None:
    print(f"views {', '.join(_VIEWS)}; {_RATE} events/s, a tree of 50,000 nodes")
    costs: dict[tuple[int, str], _Cost] = {}
    with _server(_HZ) as (server, port):
        time.sleep(_SETTLE_SEC)
        base = statistics.median(_measure(server, None).ms_per_sec)
        for count, kind in ((1, "equal"), (50, "equal"), (500, "equal")):
            pages = [_page()] * count
            costs[count, kind] = _with_clients(server, port, pages, base, is_deflated=True)
        for count in (50, 500):
            pages = [_page(number) for number in range(count)]
            costs[count, "distinct"] = _with_clients(server, port, pages, base, is_deflated=True)
        plain = _with_clients(server, port, [_page()], base, is_deflated=False)
        server.ask({"rate": _LOW_RATE})
        time.sleep(_SETTLE_SEC)
        base = statistics.median(_measure(server, None).ms_per_sec)
        quiet = _with_clients(server, port, [_page()], base, is_deflated=True)
    row(f"views: 1 client of 4, {_LOW_RATE} events/s, ms/s", quiet.ms_per_sec, digits=1)
    for (count, kind), cost in costs.items():
        who = f"{count} {kind} clients" if count > 1 else "1 client"
        row(f"views: {who} of 4, ms/s", cost.ms_per_sec, digits=1)
        row(f"views: {who} of 4, {cost.groups} subscriptions, ticks/s", cost.hz, digits=1)
    taken = costs[500, "distinct"].events_per_sec
    row(f"views: events/s taken in of {_RATE}, beside 500 distinct clients", taken, digits=0)
    row("views: read by a client of 4, compressed, kB/s", costs[1, "equal"].kb_per_sec, digits=1)
    row("views: read by a client of 4, not compressed, kB/s", plain.kb_per_sec, digits=1)
    few, equal = costs[50, "equal"], costs[500, "equal"]
    more = [
        (many - one) / 450
        for many, one in zip(sorted(equal.ms_per_sec), sorted(few.ms_per_sec), strict=True)
    ]
    row("views: a further equal client of 4, ms/s", more, "<= 0.1", 3)
    distinct = costs[50, "distinct"]
    each = [
        (many - one) / (distinct.groups - few.groups)
        for many, one in zip(sorted(distinct.ms_per_sec), sorted(few.ms_per_sec), strict=True)
    ]
    row("views: one distinct subscription, ms/s", each, "<= 1", 3)


# --- heavy filters -------------------------------------------------------------------------------


def _heavy(number: int) -> dict[str, Any]:
    """A filter that looks at every node of the tree, or at every task."""
    if "tree" not in CATALOG:
        return _sub(1, "tasks", text=f"district {number}")
    if number % 2:
        return _sub(1, "tree", task=BIG, text=f":{number}1")
    return _sub(1, "tree", task=BIG, zoom=[0, 1_000_000_000_000 + number])


def _bench_heavy() -> None:
    print(f"{_HEAVY} clients, each with a filter of its own over {_RATE} events/s")
    with _server() as (server, port):
        time.sleep(_SETTLE_SEC)
        idle = _measure(server, None)
        base = statistics.median(idle.ms_per_sec)
        pages = [[_heavy(number)] for number in range(_HEAVY)]
        cost = _with_clients(server, port, pages, base, is_deflated=True)
    row(f"views: {_HEAVY} heavy filters, ms/s", cost.ms_per_sec, digits=1)
    row(f"views: {_HEAVY} heavy filters, longest tick, ms of the processor", cost.tick_ms, digits=1)
    row(f"views: {_HEAVY} heavy filters, a timer is late, p99 ms", cost.late_ms, "<= 100", 1)
    row("views: without a client, a timer is late, p99 ms", idle.late_ms, digits=1)


# --- a reader that stops, behind a proxy ---------------------------------------------------------

_NGINX: Final = """
daemon off; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
  server {{
    listen 127.0.0.1:{listen};
    location / {{
      proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""


@contextmanager
def _nginx(program: str, port: int) -> Iterator[int]:
    """The port of an nginx in front of a collector."""
    with tempfile.TemporaryDirectory() as folder:
        listen = AppProcess({}).port
        config = Path(folder) / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, listen=listen, port=port), encoding="utf-8")
        process = subprocess.Popen([program, "-e", "stderr", "-c", str(config), "-p", folder])
        try:
            yield listen
        finally:
            process.terminate()
            process.wait(10)


def _connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), 10)
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing answers on port {port}")


def _read_until(connection: socket.socket, frames: Frames, end: float) -> list[tuple[float, Any]]:
    """Messages until a moment, each with when it was read; pings are answered."""
    found = []
    while (left := end - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            data = connection.recv(1 << 16)
        except TimeoutError:
            break
        assert data, "the collector closed the connection"
        for first, payload in frames.feed(data):
            if first & 0xF == 0x9:
                connection.sendall(client_frame(0xA, payload))
            elif first == 0x81:
                found.append((time.time(), json.loads(payload)))
    return found


def _slow_reader(port: int) -> tuple[int, float]:
    """Old messages that a reader which paused has to read, and until when they were sent, s."""
    frames = Frames()
    with _connect(port) as connection:
        connection.sendall(handshake(port, is_deflated=False))
        _read_until(connection, frames, time.monotonic() + 0.5)
        for message in _page():
            connection.sendall(client_frame(1, json.dumps(message).encode()))
        _read_until(connection, frames, time.monotonic() + 3)
        stopped = time.time()
        time.sleep(_PAUSE_SEC)
        woke = time.time()
        later = _read_until(connection, frames, time.monotonic() + 3)
    shown = [each["at"] / 1e3 for _, each in later if each["t"] in ("full", "change")]
    old = [at for at in shown if at < woke]
    assert len(old) < len(shown), "the reader was not sent anything new"
    return len(old), max(0.0, max(old, default=stopped) - stopped)


def _bench_slow_reader() -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    print(f"a reader behind nginx that stops for {_PAUSE_SEC:.0f} s")
    if program is None:
        print("  not measured: needs nginx")
        return
    with _server() as (_, port), _nginx(program, port) as listen:
        found = [_slow_reader(listen) for _ in range(_ROUNDS)]
    row("views: old messages that a slow reader reads", [count for count, _ in found], digits=0)
    spans = [seconds for _, seconds in found]
    row("views: a slow reader is sent to after it stopped, s", spans, "<= 3", 1)


# --- the window of a large tree ------------------------------------------------------------------


def _window_us(nodes: int, *, moves: bool = False) -> float:
    """
    Processor's microseconds of a window of 60 rows in the middle, each time after a few events.

    Args:
        nodes: Of the tree.
        moves: Whether it is elsewhere each time, where no row was made yet, as when scrolling.
    """
    settings = BridgeSettings(bus_url="memory://bench-window")
    collector = Collector(CollectorSettings(), settings)
    collector.feed._is_rebuilt = True
    load = Load("bench")
    collector.feed._take(list(load.beginning(nodes, 1)))  # type: ignore[arg-type]
    collector.answers.refresh()
    spent = []
    for step in range(200):
        collector.feed._take([*load.start(0), *load.end()])  # type: ignore[list-item]
        collector.answers.refresh()
        at = {"row": 60 * step if moves else nodes // 2}
        query = parse_query("tree", {"task": BIG, "at": at, "count": 60})
        started = time.process_time_ns()
        collector.answers.window(query, None)
        spent.append((time.process_time_ns() - started) / 1e3)
    collector.bus.shutdown(1)
    return statistics.median(spent)


def _bench_window() -> None:
    print("a window of 60 rows of a tree")
    if "tree" not in CATALOG:
        print("  not measured: this collector has no view of trees")
        return
    small, large = zip(
        *((_window_us(500), _window_us(50_000)) for _ in range(_ROUNDS)), strict=True
    )
    row("views: window of 60 at 50,000 nodes, us", large, digits=0)
    moved = [_window_us(50_000, moves=True) for _ in range(_ROUNDS)]
    row("views: window of 60 at 50,000 nodes, elsewhere each time, us", moved, digits=0)
    ratios = [many / few for many, few in zip(large, small, strict=True)]
    row("views: window of 60 at 50,000 nodes / at 500", ratios, "<= 3")


def main() -> None:
    """Print the rows."""
    _bench_window()
    _bench_clients()
    _bench_heavy()
    _bench_slow_reader()


if __name__ == "__main__":
    main()
