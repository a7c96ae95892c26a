"""
Real backends, built with Go: an OpenTelemetry Collector, Jaeger, Tempo, by ``deploy/``'s own files.

A research task is exported to the Collector, which sends it to Jaeger or Tempo and tees it to us.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, expect

from tests.support.app_server import fetch
from tests.support.dashboard_site import DashboardSite
from tests.support.go_tools import build
from tests.support.node_tools import node_environment, run_npm
from tests.support.ports import free_port
from tests.support.seen_spans import check_research_task, from_jaeger, from_tempo
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.redis, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def is_up(url: str) -> bool:
    try:
        return fetch(url).status > 0
    except OSError:
        return False


@contextmanager
def running(log: Path, environ: dict[str, str], *command: Path | str) -> Iterator[None]:
    """A backend, until the block ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environ, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            # Jaeger waits for connections that are kept alive.
            process.kill()
            process.wait()


def export(endpoint: str, protocol: str, environ: dict[str, str]) -> None:
    """Run the research task; it exports by one of the two protocols."""
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_METRICS_EXPORTER": "none",
    }
    command = [sys.executable, "-m", "tests.support.interop_task"]
    subprocess.run(command, cwd=ROOT, env=environ | otlp, check=True, timeout=60)


class Backends:
    """Jaeger and the Collector on loopback; the site beside them is the tee's other end."""

    def __init__(self, site: DashboardSite, logs: Path) -> None:
        self.site = site
        ports = [free_port() for _ in range(5)]
        self.grpc = f"127.0.0.1:{ports[0]}"
        self.http = f"http://127.0.0.1:{ports[1]}"
        self.jaeger = f"http://127.0.0.1:{ports[3]}"
        self.environ = {
            **os.environ,
            "OTLP_GRPC_ENDPOINT": self.grpc,
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports[1]}",
            "TRACES_ENDPOINT": f"127.0.0.1:{ports[2]}",
            "OTEL_BRIDGE_URL": site.url,
            "JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{ports[2]}",
            "JAEGER_HTTP_ENDPOINT": f"127.0.0.1:{ports[3]}",
            "JAEGER_GRPC_ENDPOINT": f"127.0.0.1:{ports[4]}",
        }
        programs = {
            "jaeger.yaml": build("github.com/jaegertracing/jaeger/cmd/jaeger", "jaeger"),
            "otel-collector.yaml": build("./otelcol", "otelcol"),
        }
        self._running = ExitStack()
        for name, program in programs.items():
            command = (program, "--config", DEPLOY / name)
            self._running.enter_context(running(logs / f"{name}.log", self.environ, *command))
        wait_until(lambda: is_up(self.jaeger + "/"), "Jaeger", timeout_sec=60)
        wait_until(lambda: is_up(self.http + "/"), "the Collector", timeout_sec=60)

    def close(self) -> None:
        self._running.close()

    def export(self, protocol: str) -> None:
        endpoint = f"http://{self.grpc}" if protocol == "grpc" else self.http
        export(endpoint, protocol, self.environ)

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """A trace's spans as Jaeger has them."""
        answer = fetch(f"{self.jaeger}/api/traces/{trace_id}")
        if answer.status != 200:
            return []
        found: list[dict[str, Any]] = answer.json()["data"][0]["spans"]
        return found

    def traces(self, service: str) -> list[str]:
        answer = fetch(f"{self.jaeger}/api/traces?service={service}&limit=20")
        return [found["traceID"] for found in (answer.json()["data"] or [])]


@pytest.fixture(scope="module")
def backends(
    browser: Browser, redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backends]:
    url = f"redis://127.0.0.1:{redis_server.port}/900"
    with DashboardSite(browser, url) as site:
        found = Backends(site, tmp_path_factory.mktemp("logs"))
        try:
            yield found
        finally:
            found.close()


def test_the_configuration_is_valid() -> None:
    """The Collector's own ``validate`` passes ``deploy/otel-collector.yaml`` as it is."""
    command = [str(build("./otelcol", "otelcol")), "validate", "--config"]
    subprocess.run([*command, str(DEPLOY / "otel-collector.yaml")], check=True, timeout=60)


def compose_config(*options: str, **variables: str) -> dict[str, Any]:
    """What Docker Compose's own ``config`` makes of ``deploy/compose.yaml``: its services."""
    package = "github.com/docker/compose/v2/cmd"
    compose = build(package, "docker-compose", Path(__file__).parent / "compose")
    command = [str(compose), "-f", str(DEPLOY / "compose.yaml"), *options, "config"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "COMPOSE_"))}
    done = subprocess.run(
        command, env={**kept, **variables}, check=True, capture_output=True, text=True, timeout=60
    )
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_compose_reads_its_file() -> None:
    """It passes with every set of profiles and with each env file, which starts what it needs."""
    for profiles in ([], ["traces"], ["metrics"], ["traces", "metrics"]):
        options = [word for profile in profiles for word in ("--profile", profile)]
        assert compose_config(*options).keys() >= {"valkey", "collector"}
    started = {
        "traces.env": {"otel-collector", "jaeger"},
        "metrics.env": {"otel-collector", "tempo", "prometheus", "grafana"},
    }
    for name, more in started.items():
        services = compose_config("--env-file", str(DEPLOY / name))
        assert services.keys() == {"valkey", "collector"} | more
        endpoint = services["otel-collector"]["environment"]["TRACES_ENDPOINT"]
        assert endpoint.partition(":")[0] in services
    link = "MONITORING_TRACE_URL_TEMPLATE"
    assert compose_config()["collector"]["environment"][link] == ""
    traces = compose_config("--env-file", str(DEPLOY / "traces.env"))
    assert traces["collector"]["environment"][link] == "http://localhost:16686/trace/{trace_id}"


def test_compose_passes_the_token_on() -> None:
    """With a token, the Collector sends it and Prometheus gets it; without one, neither does."""
    options = ("--env-file", str(DEPLOY / "metrics.env"))
    services = compose_config(*options, MONITORING_TOKEN="t0ken")
    sent = services["otel-collector"]["environment"]["OTEL_BRIDGE_AUTHORIZATION"]
    assert (sent, services["prometheus"]["environment"]["MONITORING_TOKEN"]) == (
        "Bearer t0ken",
        "t0ken",
    )
    services = compose_config(*options)
    assert services["otel-collector"]["environment"]["OTEL_BRIDGE_AUTHORIZATION"] == ""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_one_tree_in_jaeger_and_a_card_here(backends: Backends, protocol: str) -> None:
    """One trace, every parent in it, names, statuses and attributes; teed, the dashboard has it."""
    before = set(backends.traces("researcher"))
    backends.export(protocol)
    wait_until(lambda: set(backends.traces("researcher")) - before, "the trace", timeout_sec=30)
    (trace_id,) = set(backends.traces("researcher")) - before
    wait_until(lambda: len(backends.trace(trace_id)) == 13, "13 spans", timeout_sec=30)
    check_research_task(from_jaeger(backends.trace(trace_id)))
    page = backends.site.open("?tasks=all")
    card = page.locator("[data-task='r1']")
    expect(card).to_contain_text("Private schools GA")
    expect(card).to_contain_text("extraction")


def test_a_node_agent_appears(backends: Backends, tmp_path: Path) -> None:
    """A Node program with plain OpenTelemetry, through the Collector: a card with a failed tool."""
    app = tmp_path / "node"
    shutil.copytree(Path(__file__).parent / "node", app)
    options = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    run_npm("install", *options, cwd=app)
    environ = node_environment(OTEL_EXPORTER_OTLP_ENDPOINT=backends.http)
    subprocess.run(["node", "app.mjs"], cwd=app, env=environ, check=True, timeout=60)

    def card() -> dict[str, Any]:
        tasks = fetch(f"{backends.site.url}/monitor/snapshot").json()["tasks"]
        return next((t for t in tasks if t["title"] == "plan a trip in Node"), {})

    wait_until(lambda: card().get("status") == "completed", "the agent's run", timeout_sec=30)
    assert (card()["completed"], card()["failed"]) == (1, 1)
    assert [phase["name"] for phase in card()["phases"]] == ["planner"]
    trace_id = card()["trace_id"]
    wait_until(lambda: len(backends.trace(trace_id)) == 4, "its spans in Jaeger", timeout_sec=30)


def test_a_backend_never_gets_an_open_span(backends: Backends) -> None:
    """Snapshots through the Collector: live here, and Jaeger has the span that ended, alone."""
    trace_id, start = os.urandom(16).hex(), time.time_ns()

    def post(number: int, name: str, end: int, **attributes: bool) -> None:
        one = {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            "name": name,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(end),
            "attributes": [{"key": k, "value": {"boolValue": v}} for k, v in attributes.items()],
        }
        service = {"key": "service.name", "value": {"stringValue": "snapshots"}}
        resource = {"attributes": [service]}
        spans = {"resource": resource, "scopeSpans": [{"spans": [one]}]}
        body = json.dumps({"resourceSpans": [spans]}).encode()
        headers = {"Content-Type": "application/json"}
        url = f"{backends.http}/v1/traces"
        assert fetch(url, method="POST", body=body, headers=headers).status == 200

    def card() -> dict[str, Any]:
        tasks = fetch(f"{backends.site.url}/monitor/snapshot").json()["tasks"]
        return next((task for task in tasks if task["trace_id"] == trace_id), {})

    post(1, "open", 0)
    wait_until(lambda: card().get("status") == "processing", "the open span", timeout_sec=30)
    post(1, "renamed", start, **{"nexus.span.open": True})
    wait_until(lambda: card()["title"] == "renamed", "its new name", timeout_sec=30)
    post(1, "of AgentOps", start + 1_000_000_000, **{"agentops.in-flight": True})
    wait_until(lambda: card()["title"] == "of AgentOps", "its next name", timeout_sec=30)
    post(1, "ended", start + 5_000_000_000)
    wait_until(lambda: card()["status"] == "completed", "the end", timeout_sec=30)
    wait_until(lambda: backends.trace(trace_id), "the span in Jaeger", timeout_sec=30)
    (found,) = backends.trace(trace_id)
    assert (found["operationName"], found["duration"], found.get("warnings")) == (
        "ended",
        5_000_000,
        None,
    )
    assert "nexus.span.open" not in {tag["key"] for tag in found["tags"]}


@pytest.mark.parametrize("is_live", [False, True], ids=["teed", "live as well"])
def test_a_python_agent_appears(backends: Backends, is_live: bool) -> None:
    """An agent with no code of ours, by the Collector: once, also if it is live besides."""
    title = "plan a trip to Oslo"

    def shown() -> list[dict[str, Any]]:
        tasks = fetch(f"{backends.site.url}/monitor/snapshot").json()["tasks"]
        return [task for task in tasks if task["title"] == title]

    before = {task["task_id"] for task in shown()}
    exporters = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none"}
    environ = {
        **backends.environ,
        **exporters,
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{backends.grpc}",
        "NEXUS_MONITORING_ENABLED": str(is_live).lower(),
        "MONITORING_BUS_URL": backends.site.url,
    }
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    command = [instrument, sys.executable, "-m", "tests.support.task_apps.plain_agent"]
    subprocess.run(command, cwd=ROOT, env=environ, input=b"\n", check=True, timeout=60)

    def card() -> dict[str, Any]:
        return next((task for task in shown() if task["task_id"] not in before), {})

    wait_until(lambda: card().get("status") == "completed", "the run", timeout_sec=30)
    trace_id = card()["trace_id"]
    wait_until(lambda: len(backends.trace(trace_id)) == 5, "its spans in Jaeger", timeout_sec=30)
    # The tee is a request of its own; whatever it brings twice is not counted twice.
    wait_until(lambda: (card()["completed"], card()["failed"]) == (2, 1), "its calls")
    assert [phase["name"] for phase in card()["phases"]] == ["travel planner"]
    assert len(shown()) == len(before) + 1


def test_one_tree_in_tempo(backends: Backends, tmp_path: Path) -> None:
    """Tempo reads ``deploy/tempo.yaml`` as it is; by it, a second Collector's trace is one tree."""
    tempo = build(".", "tempo", Path(__file__).parent / "tempo", "-checklinkname=0")
    file = DEPLOY / "tempo.yaml"
    subprocess.run([str(tempo), "-config.file", str(file), "-config.verify"], check=True)
    ports = [free_port() for _ in range(5)]
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    # The same file on free ports and in a directory of its own.
    config["server"] |= {"http_listen_port": ports[0], "grpc_listen_port": ports[1]}
    grpc = config["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]
    grpc["endpoint"] = f"127.0.0.1:{ports[2]}"
    config["storage"]["trace"]["wal"]["path"] = str(tmp_path / "wal")
    config["storage"]["trace"]["local"]["path"] = str(tmp_path / "blocks")
    moved = tmp_path / "tempo.yaml"
    moved.write_text(yaml.safe_dump(config), encoding="utf-8")
    environ = {
        **backends.environ,
        "TRACES_ENDPOINT": f"127.0.0.1:{ports[2]}",
        "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{ports[3]}",
        "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{ports[4]}",
    }
    api = f"http://127.0.0.1:{ports[0]}/api"
    collector = (build("./otelcol", "otelcol"), "--config", DEPLOY / "otel-collector.yaml")
    with (
        running(tmp_path / "tempo.log", backends.environ, tempo, "-config.file", moved),
        running(tmp_path / "otelcol.log", environ, *collector),
    ):
        wait_until(lambda: is_up(f"{api}/echo"), "Tempo", timeout_sec=60)
        wait_until(lambda: is_up(f"http://127.0.0.1:{ports[4]}/"), "the Collector", timeout_sec=60)
        export(f"http://127.0.0.1:{ports[3]}", "grpc", environ)

        def traces() -> list[dict[str, Any]]:
            answer = fetch(f"{api}/search?tags=service.name%3Dresearcher")
            return (answer.json().get("traces") or []) if answer.status == 200 else []

        wait_until(lambda: len(traces()) == 1, "the trace in Tempo", timeout_sec=60)
        (found,) = traces()
        assert found["rootTraceName"] == "research_task task"
        answer = fetch(f"{api}/traces/{found['traceID']}").json()
        check_research_task(from_tempo(answer["batches"]))
