"""
Fan-out beside a hub written in Go: gorilla/websocket, prepared messages, a goroutine a client.

``python -m tests.benchmarks go_hub``, where ``go`` is on PATH (it downloads one module the first
time). Each server sends the same event to the same 50 raw sockets, as fast as they take it: one
process of ours, two on one port, and Go's, in turn. The clients read in one process of their own,
so that on two cores three or more processes share two: what two processes gain there is less than
on four.
"""

from __future__ import annotations

import json
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from tests.benchmarks.bench_fanout import (
    CLIENTS,
    EVENT,
    MARK,
    _connect,
    _free_port,
    count_events,
)
from tests.benchmarks.results import ROOT, row

ROUNDS: Final = 5
_GOALS: Final = {(1, 1): ">= 0.5", (1, 2): ">= 0.8", (8, 1): ">= 2.75", (8, 2): ">= 4"}
_TICKS: Final = {1: 6000, 8: 3000}
_GO_TICKS: Final = {1: 6000, 8: 1000}

OURS = """
import asyncio, json, socket, sys
from otel_bridge_collector.app import create_app, make_server
from otel_bridge_collector.commands.listening import shared_socket
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge.settings import BridgeSettings
o = json.loads(sys.argv[1])
settings = CollectorSettings(port=o["port"])
app = create_app(settings, BridgeSettings(bus_url="memory://fanout"))
server = make_server(app, settings, log_level="error")
data = o["event"].encode()
async def main(listener):
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await server.is_up.wait()
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    hub = app.state.collector.hub
    sessions = list(hub._sessions)
    for tick in range(o["ticks"] if sessions else 0):
        entries = [Entry(None, data, "task_completed", "proj_1") for _ in range(o["per_tick"])]
        for entry in entries:
            hub.ring.append(entry)
        hub.broadcast(entries)
        await asyncio.sleep(0)
        sample = sessions[:: max(1, len(sessions) // 5)]
        while max(s.sink.buffered_bytes() for s in sample) > 262144:
            await asyncio.sleep(0.0002)
    await serving
with shared_socket("127.0.0.1", o["port"]) as listener:
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(main(listener))
"""


class _Run(NamedTuple):
    """Messages a second that all clients read, and what one costs the servers."""

    rate: float
    cpu_us: float


def _measure(commands: list[list[str]], options: dict[str, Any]) -> _Run:
    """Let one or more servers send to all clients, until these have read everything."""
    expected = CLIENTS * options["per_tick"] * options["ticks"]
    is_go = not commands[0][-1]
    servers = [
        subprocess.Popen(
            [*command[:-1], command[-1] if not is_go else json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        for command in commands
    ]
    try:
        for server in servers if not is_go else []:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
        clients = [_connect(options["port"]) for _ in range(CLIENTS)]
        tails = {client: _answer(client) for client in clients}
        before = _cpu_sec(servers)
        for server in servers:
            assert server.stdin is not None
            server.stdin.write("go\n")
            server.stdin.flush()
        rate = _read(tails, expected)
        cpu_us = (_cpu_sec(servers) - before) / expected * 1e6
        for client in clients:
            client.close()
        return _Run(rate, cpu_us)
    finally:
        for server in servers:
            server.kill()
            server.communicate()


def _cpu_sec(servers: list[subprocess.Popen[str]]) -> float:
    found = 0.0
    for server in servers:
        times = psutil.Process(server.pid).cpu_times()
        found += times.user + times.system
    return found


def _answer(client: socket.socket) -> bytes:
    """Read the handshake's answer; return what came after it."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += client.recv(4096)
    return found.partition(b"\r\n\r\n")[2]


def _read(tails: dict[socket.socket, bytes], expected: int) -> float:
    with selectors.DefaultSelector() as selector:
        for client in tails:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        seen = sum(tail.count(MARK) for tail in tails.values())
        begun = time.perf_counter()
        while seen < expected:
            ready = selector.select(20)
            assert ready, f"{seen} of {expected} messages came"
            seen += sum(count_events(key.fileobj, tails) for key, _ in ready)
    return expected / (time.perf_counter() - begun)


def _ours(count: int, per_tick: int) -> _Run:
    options = {
        "port": _free_port(),
        "per_tick": per_tick,
        "ticks": _TICKS[per_tick],
        "event": EVENT,
    }
    command = [sys.executable, "-c", OURS, json.dumps(options)]
    return _measure([command] * count, options)


def _go(program: Path, per_tick: int) -> _Run:
    options = {
        "port": _free_port(),
        "clients": CLIENTS,
        "per_tick": per_tick,
        "ticks": _GO_TICKS[per_tick],
        "event": EVENT,
    }
    return _measure([[str(program), ""]], options)


def main() -> None:
    """Print the rows."""
    compiler = shutil.which("go")
    if compiler is None:
        print("  fan-out beside a Go hub: not measured, there is no go on PATH")
        return
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "go_hub"
        source = Path(__file__).parent / "go_hub"
        subprocess.run(
            [compiler, "build", "-o", str(program), "."], cwd=source, check=True, timeout=300
        )
        for per_tick in (1, 8):
            runs: dict[int, list[_Run]] = {0: [], 1: [], 2: []}
            for _ in range(ROUNDS):
                runs[0].append(_go(program, per_tick))
                for count in (1, 2):
                    runs[count].append(_ours(count, per_tick))
            rate = statistics.median(run.rate for run in runs[0])
            print(f"  Go, {per_tick} a tick: {rate:,.0f} messages/s")
            for count in (1, 2):
                processes = "one process" if count == 1 else "two processes"
                name = f"fan-out, {per_tick} a tick, {processes} / Go hub"
                pairs = list(zip(runs[count], runs[0], strict=True))
                row(name, [own.rate / go.rate for own, go in pairs], _GOALS[per_tick, count])
                row(
                    f"{name}, messages for the same CPU",
                    [go.cpu_us / own.cpu_us for own, go in pairs],
                )


if __name__ == "__main__":
    main()
