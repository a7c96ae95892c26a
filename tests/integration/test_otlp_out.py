"""The other way out: spans and metrics by OTLP, and what a bad backend does to live events."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.otlp_sink import OtlpSink
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


@pytest.fixture
def sink() -> Iterator[OtlpSink]:
    with OtlpSink() as found:
        yield found


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://out-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


def run(site: AppServer, app: str = APP, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", app],
        cwd=ROOT,
        env={**os.environ, "MONITORING_BUS_URL": site.url, **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout


def is_complete(site: AppServer) -> bool:
    found = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return [card["status"] for card in found] == ["completed"]


def test_spans_and_metrics_arrive(site: AppServer, sink: OtlpSink) -> None:
    """One endpoint for both, as the specification says; spans whole, metrics by semconv names."""
    assert run(site, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url) == "live\ndone\n"
    names = sorted(span.name for span in sink.spans())
    assert names == ["enqueue add", "job add", "research_task task"]
    assert sink.metrics() >= {
        "messaging.client.sent.messages",
        "messaging.client.consumed.messages",
        "messaging.process.duration",
        "otel_bridge.jobs.running",
        "otel_bridge.workers",
        "otel_bridge.queue.depth",
        "otel_bridge.events.dropped",
    }
    wait_until(lambda: is_complete(site), "the live view")


def test_only_what_is_asked_for(site: AppServer, sink: OtlpSink) -> None:
    """``OTEL_METRICS_EXPORTER=none`` for a backend that takes spans only."""
    run(site, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_METRICS_EXPORTER="none")
    assert set(sink.bodies) == {"/v1/traces"}


@pytest.mark.parametrize(
    ("environ", "paths"),
    [
        ({}, set()),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{}/v1/traces"}, {"/v1/traces"}),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "{}/v1/metrics"}, {"/v1/metrics"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{}", "OTEL_TRACES_EXPORTER": "none"}, {"/v1/metrics"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "{}", "OTEL_SDK_DISABLED": "true"}, set()),
    ],
)
def test_each_signal_as_its_variables_say(
    site: AppServer, sink: OtlpSink, environ: dict[str, str], paths: set[str]
) -> None:
    """Nothing unless asked for; an endpoint of one signal is no endpoint of the other."""
    run(site, **{name: value.format(sink.url) for name, value in environ.items()})
    assert set(sink.bodies) == paths


def test_by_grpc(site: AppServer, make_settings: Callable[..., BridgeSettings]) -> None:
    """``OTEL_EXPORTER_OTLP_PROTOCOL=grpc``: the spans arrive at an OTLP server."""
    settings = make_settings(bus_url=f"memory://out-{next(_names)}")
    with AppServer(settings, otlp_grpc_port=0, stats_interval_sec=3600) as backend:
        endpoint = f"http://127.0.0.1:{backend.app.state.otlp_grpc_port}"
        grpc = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_METRICS_EXPORTER": "none"}
        run(site, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **grpc)
        wait_until(lambda: is_complete(backend), "the spans at the backend")
        wait_until(lambda: is_complete(site), "the live view")


def test_a_provider_of_ones_own_gets_no_exporter(site: AppServer, sink: OtlpSink) -> None:
    """Who has a provider has its exporters: ours adds its one processor and nothing else."""
    own = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
"""
    run(site, own + APP, OTEL_EXPORTER_OTLP_ENDPOINT=sink.url, OTEL_METRICS_EXPORTER="none")
    assert sink.bodies == {}
    wait_until(lambda: is_complete(site), "the live view")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
    ],
)
def test_a_value_that_is_refused_stops_no_program(
    site: AppServer, sink: OtlpSink, name: str, value: str
) -> None:
    """``configure()`` warns and the live view is complete; ``strict`` makes it an error."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, name: value}
    logged = "import logging, sys\nlogging.basicConfig(stream=sys.stdout)\n"
    assert run(site, logged + APP, **environ).count("WARNING") == 1
    wait_until(lambda: is_complete(site), "the live view")
    with pytest.raises(subprocess.CalledProcessError):
        run(site, APP.replace("configure(", "configure(strict=True, "), **environ)


@pytest.mark.parametrize("kind", ["silent", "closed"])
def test_a_bad_backend_touches_nothing(site: AppServer, sink: OtlpSink, kind: str) -> None:
    """Silent or not there at all: every live event comes, and the process ends."""
    sink.is_silent.set()
    url = sink.url if kind == "silent" else "http://127.0.0.1:1"
    output = run(site, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="2")
    assert output == "live\ndone\n"
    wait_until(lambda: is_complete(site), "the live view")
