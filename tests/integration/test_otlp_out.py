"""The other way out: spans and metrics by OTLP, and what a bad backend does to live events."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
_names = itertools.count()

APP = """
import otel_bridge
bridge = otel_bridge.configure(service_name="worker")
with otel_bridge.worker("w1"), otel_bridge.research_task("r1", title="t"):
    with otel_bridge.enqueue(task_id="j1", task_type="add", queue="q") as carrier:
        pass
    with otel_bridge.job(task_id="j1", task_type="add", queue="q", carrier=carrier):
        otel_bridge.queue_depth({"q": 3})
assert bridge.flush(10)
print("live", flush=True)
bridge.shutdown(2)
print("done", flush=True)
"""


class Sink:
    """An OTLP/HTTP backend that keeps what it gets, or never answers."""

    def __init__(self) -> None:
        sink = self
        self.bodies: dict[str, list[bytes]] = {}
        self.is_silent = threading.Event()
        self._is_over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.is_silent.is_set():
                    sink._is_over.wait(60)
                    return
                sink.bodies.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    found = Sink()
    yield found
    found.close()


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://out-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


def run(site: AppServer, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", APP],
        cwd=ROOT,
        env={**os.environ, "MONITORING_BUS_URL": site.url, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_complete(site: AppServer) -> bool:
    found = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return [card["status"] for card in found] == ["completed"]


def test_spans_and_metrics_arrive(site: AppServer, sink: Sink) -> None:
    """One endpoint for both, as the specification says; spans whole, metrics by semconv names."""
    assert run(site, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) == "live\ndone\n"
    spans = [
        span.name
        for body in sink.bodies["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert sorted(spans) == ["enqueue add", "job add", "research_task task"]
    metrics = {
        metric.name
        for body in sink.bodies["/v1/metrics"]
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert metrics >= {
        "messaging.client.sent.messages",
        "messaging.client.consumed.messages",
        "messaging.process.duration",
        "otel_bridge.jobs.running",
        "otel_bridge.workers",
        "otel_bridge.queue.depth",
        "otel_bridge.events.dropped",
    }
    wait_until(lambda: is_complete(site), "the live view")


def test_only_what_is_asked_for(site: AppServer, sink: Sink) -> None:
    """``OTEL_METRICS_EXPORTER=none`` for a backend that takes spans only."""
    run(site, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_METRICS_EXPORTER="none")
    assert set(sink.bodies) == {"/v1/traces"}


@pytest.mark.parametrize("kind", ["silent", "closed"])
def test_a_bad_backend_touches_nothing(site: AppServer, sink: Sink, kind: str) -> None:
    """Silent or not there at all: every live event comes, and the process ends."""
    sink.is_silent.set()
    url = sink.url if kind == "silent" else "http://127.0.0.1:1"
    output = run(site, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="2")
    assert output == "live\ndone\n"
    wait_until(lambda: is_complete(site), "the live view")
