"""
Real backends, built with Go: an OpenTelemetry Collector and Jaeger, by ``deploy/``'s own files.

A research task is exported to the Collector, which sends it to Jaeger and tees it to us.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.app_server import fetch
from tests.support.dashboard_site import DashboardSite
from tests.support.go_tools import build
from tests.support.node_tools import node_environment, run_npm
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.redis, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        self._processes = [self._start(program, name, logs) for name, program in programs.items()]
        wait_until(lambda: self._is_up(self.jaeger + "/"), "Jaeger", timeout_sec=60)
        wait_until(lambda: self._is_up(self.http + "/"), "the Collector", timeout_sec=60)

    def _start(self, program: Path, name: str, logs: Path) -> subprocess.Popen[bytes]:
        with (logs / f"{name}.log").open("wb") as log:
            command = [str(program), "--config", str(DEPLOY / name)]
            return subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)

    def _is_up(self, url: str) -> bool:
        try:
            return fetch(url).status > 0
        except OSError:
            return False

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # Jaeger waits for connections that are kept alive.
                process.kill()
                process.wait()

    def export(self, protocol: str) -> None:
        """Run the research task; it exports by one of the two protocols."""
        endpoint = f"http://{self.grpc}" if protocol == "grpc" else self.http
        environ = {
            **self.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRICS_EXPORTER": "none",
        }
        command = [sys.executable, "-m", "tests.support.interop_task"]
        subprocess.run(command, cwd=ROOT, env=environ, check=True, timeout=60)

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


def test_compose_reads_its_file() -> None:
    """Docker Compose's own ``config`` passes ``deploy/compose.yaml`` with every set of profiles."""
    package = "github.com/docker/compose/v2/cmd"
    compose = build(package, "docker-compose", Path(__file__).parent / "compose")
    for profiles in ([], ["traces"], ["metrics"], ["traces", "metrics"]):
        options = [word for profile in profiles for word in ("--profile", profile)]
        command = [str(compose), "-f", str(DEPLOY / "compose.yaml"), *options, "config", "-q"]
        subprocess.run(command, check=True, timeout=60)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_one_tree_in_jaeger_and_a_card_here(backends: Backends, protocol: str) -> None:
    """One trace, every parent in it, names, statuses and attributes; teed, the dashboard has it."""
    before = set(backends.traces("researcher"))
    backends.export(protocol)
    wait_until(lambda: set(backends.traces("researcher")) - before, "the trace", timeout_sec=30)
    (trace_id,) = set(backends.traces("researcher")) - before
    wait_until(lambda: len(backends.trace(trace_id)) == 13, "13 spans", timeout_sec=30)
    spans = {span["spanID"]: span for span in backends.trace(trace_id)}
    tags = {key: {t["key"]: t["value"] for t in span["tags"]} for key, span in spans.items()}
    parents = {
        key: [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
        for key, span in spans.items()
    }
    roots = [key for key, found in parents.items() if not found]
    assert [spans[key]["operationName"] for key in roots] == ["research_task task"]
    by_kind: dict[str, list[str]] = {}
    for key, found in tags.items():
        by_kind.setdefault(str(found["nexus.span.kind"]), []).append(key)
    counts = {kind: len(keys) for kind, keys in by_kind.items()}
    assert counts == {"research_task": 1, "phase": 2, "enqueue": 4, "job": 6}
    for kind, parent_kind in (("phase", "research_task"), ("enqueue", "phase"), ("job", "enqueue")):
        for key in by_kind[kind]:
            (parent,) = parents[key]
            assert tags[parent]["nexus.span.kind"] == parent_kind
    outcomes = sorted(str(tags[key]["nexus.outcome"]) for key in by_kind["job"])
    assert outcomes == ["completed"] * 2 + ["failed"] * 2 + ["retrying"] * 2
    failed = [tags[key] for key in by_kind["job"] if tags[key]["nexus.outcome"] == "failed"]
    assert {(tag["otel.status_code"], tag["otel.status_description"]) for tag in failed} == {
        ("ERROR", "no such school")
    }
    assert {tag["span.kind"] for tag in failed} == {"consumer"}
    assert {str(found["nexus.project.id"]) for found in tags.values()} == {"alpha"}
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
