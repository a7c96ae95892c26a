"""
What one event costs on its way to many browsers: fan-out, latency, idle clients.

``python -m tests.benchmarks fanout``. Each server sends the same event to the same raw sockets, as
fast as they take it, one event a WebSocket message. Node's ``ws`` needs ``node`` on PATH and the
package in ``~/.cache/otel-bridge-bench`` (``npm install ws`` there); without them its rows say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppProcess
from tests.support.load import Load
from tests.support.redis_server import RedisServer
from tests.support.ws_clients import Listener

ROOT = Path(__file__).parents[2]
NODE_CACHE = Path.home() / ".cache" / "otel-bridge-bench"
CLIENTS = 50
ROUNDS = 3
MARK = b'"event_id"'
EVENT = json.dumps(
    {
        "position": "f1f1f1f1:1700000000000-0",
        "event_id": "00000000-0000-4000-8000-000000000001",
        "ts": "2026-11-24T12:00:00.000000Z",
        "event_type": "task_completed",
        "project_id": "proj_1",
        "parent_task_id": "6ba529d4",
        "task_id": "6ba529d4:search:17",
        "task_type": "data_aggregation_search",
        "phase": "search",
        "worker_id": "host-1234-1",
        "status": "completed",
        "duration_ms": 1234.5,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
    },
    separators=(",", ":"),
)

OURS = """
import asyncio, json, socket, sys
from otel_bridge_collector.app import create_app, make_server
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge.settings import BridgeSettings
o = json.loads(sys.argv[1])
listener = socket.socket(); listener.bind(("127.0.0.1", o["port"]))
settings = CollectorSettings(port=o["port"])
app = create_app(settings, BridgeSettings(bus_url="memory://fanout"))
server = make_server(app, settings, log_level="error")
data = o["event"].encode()
async def main():
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    hub = app.state.collector.hub
    while len(hub) < o["clients"]:
        await asyncio.sleep(0.01)
    sessions = list(hub._sessions)
    for tick in range(o["ticks"]):
        entries = [Entry(None, data, "task_completed", "proj_1") for _ in range(o["per_tick"])]
        for entry in entries:
            hub.ring.append(entry)
        hub.broadcast(entries)
        await asyncio.sleep(0)
        while max(s.sink.buffered_bytes() for s in sessions[:: max(1, o["clients"] // 5)]) > 262144:
            await asyncio.sleep(0.0002)
    await serving
with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
    runner.run(main())
"""

PLAIN = """
import asyncio, json, sys
import uvicorn
from fastapi import FastAPI, WebSocket
o = json.loads(sys.argv[1])
app = FastAPI()
clients = []
@app.websocket("/ws/monitor")
async def stream(socket: WebSocket):
    await socket.accept()
    clients.append(socket)
    try:
        while True:
            await socket.receive_text()
    except Exception:
        pass
async def main():
    config = uvicorn.Config(app, host="127.0.0.1", port=o["port"], log_level="error",
                            ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while len(clients) < o["clients"]:
        await asyncio.sleep(0.01)
    for tick in range(o["ticks"]):
        for _ in range(o["per_tick"]):
            for client in clients:
                await client.send_text(o["event"])
        await asyncio.sleep(0)
    await serving
asyncio.run(main())
"""

NODE = """
const o = JSON.parse(process.argv[2]);
const { WebSocketServer } = require("ws");
const clients = [];
const server = new WebSocketServer({ host: "127.0.0.1", port: o.port, perMessageDeflate: false });
server.on("connection", (c) => { clients.push(c); if (clients.length === o.clients) go(0); });
function go(tick) {
  if (tick === o.ticks) return;
  if (clients.some((c) => c.bufferedAmount > 262144)) return setTimeout(() => go(tick), 0);
  for (let n = 0; n < o.per_tick; n++) for (const c of clients) c.send(o.event);
  setImmediate(() => go(tick + 1));
}
"""


def _row(what: str, value: str, goal: str = "") -> None:
    print(f"  {what:<66} {value:>14}  {goal}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(kind: str, options: dict[str, Any]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as directory:
        if kind == "node":
            script = Path(directory) / "server.js"
            script.write_text(NODE, encoding="utf-8")
            command = ["node", str(script), json.dumps(options)]
            environ = {"NODE_PATH": str(NODE_CACHE / "node_modules"), "PATH": "/usr/bin:/bin"}
            node = shutil.which("node")
            assert node is not None
            command[0] = node
            process = subprocess.Popen(command, env=environ)
        else:
            source = OURS if kind == "ours" else PLAIN
            command = [sys.executable, "-c", source, json.dumps(options)]
            process = subprocess.Popen(command, cwd=ROOT)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        client = socket.socket()
        try:
            client.connect(("127.0.0.1", port))
            break
        except OSError:
            client.close()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
    client.sendall(
        f"GET /ws/monitor HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return client


def count_events(client: object, tails: dict[socket.socket, bytes]) -> int:
    """Read what a client was sent; count its events, of which one may have begun in its tail."""
    assert isinstance(client, socket.socket)
    data = tails[client] + client.recv(1 << 20)
    tails[client] = data[1 - len(MARK) :]
    return data.count(MARK)


def _messages_per_sec(kind: str, per_tick: int, ticks: int) -> float:
    """Messages a second that all clients together have read."""
    port = _free_port()
    options = {
        "port": port,
        "clients": CLIENTS,
        "per_tick": per_tick,
        "ticks": ticks,
        "event": EVENT,
    }
    expected = CLIENTS * per_tick * ticks
    with _running(kind, options), selectors.DefaultSelector() as selector:
        tails: dict[socket.socket, bytes] = {}
        for _ in range(CLIENTS):
            client = _connect(port)
            client.setblocking(False)
            tails[client] = b""
            selector.register(client, selectors.EVENT_READ)
        seen, begun = 0, 0.0
        while seen < expected:
            ready = selector.select(20)
            assert ready, f"{kind}: {seen} of {expected} messages came"
            for key, _ in ready:
                seen += count_events(key.fileobj, tails)
                if not begun and seen:
                    begun = time.perf_counter()
        elapsed = time.perf_counter() - begun
        for client in tails:
            client.close()
    return expected / elapsed


def _fanout() -> None:
    has_node = shutil.which("node") is not None and (NODE_CACHE / "node_modules" / "ws").is_dir()
    kinds = ["ours", "plain", *(["node"] if has_node else [])]
    print(f"fan-out, {CLIENTS} clients, one event per message, {len(EVENT)} bytes each")
    for per_tick, ticks, goal in ((1, 3000, "goal >= 1.2"), (8, 1500, "goal >= 8")):
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind in kinds:
                share = 1 if kind == "ours" or per_tick == 1 else 4
                rates[kind].append(_messages_per_sec(kind, per_tick, ticks // share))
        ours = statistics.median(rates["ours"])
        _row(f"{per_tick} a tick: messages/s", f"{ours:,.0f}")
        plain = statistics.median(rates["plain"])
        _row(f"{per_tick} a tick: ours / plain FastAPI send_text", f"{ours / plain:.2f}")
        if has_node:
            node = statistics.median(rates["node"])
            _row(f"{per_tick} a tick: ours / Node ws", f"{ours / node:.2f}", goal)
        else:
            _row(f"{per_tick} a tick: ours / Node ws", "not measured", "no node or no ws")


DRAIN = """
import selectors, socket, sys
sys.path.insert(0, sys.argv[3])
from tests.benchmarks.bench_fanout import _connect
selector = selectors.DefaultSelector()
for _ in range(int(sys.argv[2])):
    selector.register(_connect(int(sys.argv[1])), selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        if not key.fileobj.recv(1 << 20):
            sys.exit()
"""


@contextlib.contextmanager
def _draining(port: int, clients: int) -> Iterator[None]:
    """Clients that read and throw away, in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRAIN, str(port), str(clients), str(ROOT)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _latencies(server: RedisServer, port: int, seconds: float) -> list[float]:
    bus = EventBus.connect(BridgeSettings(bus_url=server.url))
    found: list[float] = []
    async with Listener(f"ws://127.0.0.1:{port}/ws/monitor") as listener:
        load = Load(bus, per_sec=1000).start()
        until = time.monotonic() + seconds
        read = 0
        while time.monotonic() < until:
            await asyncio.sleep(0.0005)
            now = time.time()
            events, read = listener.items[read:], len(listener.items)
            found += [
                (now - datetime.fromisoformat(event["ts"]).timestamp()) * 1000
                for event in events
                if event.get("event_type") == "task_started"
            ]
        await asyncio.to_thread(load.stop)
    await asyncio.to_thread(bus.shutdown)
    return found


def _latency_and_memory() -> None:
    with (
        RedisServer() as server,
        AppProcess({"bus_url": server.url, "redis_url": server.url}) as app,
    ):
        process = psutil.Process(app.pid)
        with _draining(app.port, CLIENTS - 1):
            found = sorted(asyncio.run(_latencies(server, app.port, 10)))
        print(f"publish -> client, 1,000 events/s x {CLIENTS} clients, {len(found)} events")
        for share, goal in ((0.5, "goal <= 10"), (0.99, "goal <= 25")):
            value = found[int(share * (len(found) - 1))]
            _row(
                f"p{share * 100:g}, ms (the client's own polling of 0.5 ms in it)",
                f"{value:.1f}",
                goal,
            )
    with AppProcess({"bus_url": "memory://idle"}, connects_per_sec=0) as app:
        process = psutil.Process(app.pid)
        clients = [_connect(app.port) for _ in range(50)]
        time.sleep(1)
        before = process.memory_info().rss
        clients += [_connect(app.port) for _ in range(400)]
        time.sleep(2)
        per_client = (process.memory_info().rss - before) / 400 / 1024
        _row("collector's memory per idle client, KiB", f"{per_client:.1f}", "goal <= 28")
        for client in clients:
            client.close()


def main() -> None:
    """Print the rows."""
    _fanout()
    _latency_and_memory()


if __name__ == "__main__":
    main()
