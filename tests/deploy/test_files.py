"""Each file of ``deploy/`` is read by the program it is for."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.metrics import MetricsPage
from otel_bridge_collector.runtime import START_TIMEOUT_SEC, Collector
from otel_bridge_collector.settings import CollectorSettings

import otel_bridge
from otel_bridge.settings import COLLECTOR_NAMES, BridgeSettings

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VERSIONS = ("1.30", "1.34")


def program(name: str) -> str:
    """Path of a program; without it the test skips, or fails when ``CI`` is set."""
    found = shutil.which(name)
    if found is None:
        line = f"NOT PROVED: no {name} on PATH"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    return found


def run(*command: str, **environ: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents() -> list[dict[str, Any]]:
    """Every Kubernetes object that the kustomization names."""
    base = DEPLOY / "kubernetes"
    names = yaml.safe_load((base / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in base.glob("*.yaml")} == {*names, "kustomization.yaml"}
    return [
        document
        for name in names
        for document in yaml.safe_load_all((base / name).read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_objects_are_valid(version: str) -> None:
    """Against the API's own schemas, unknown fields refused."""
    for document in documents():
        kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_selects_what_it_means() -> None:
    """Services, budgets and policies select the pods; two replicas; nothing runs as root."""
    found = documents()
    pods = {
        d["metadata"]["name"]: d["spec"]["template"]
        for d in found
        if d["kind"] in ("Deployment", "StatefulSet")
    }
    labels = [pod["metadata"]["labels"] for pod in pods.values()]
    for document in found:
        spec = document.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if document["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            wanted = selector.get("matchLabels", selector)
            assert wanted in labels, document["metadata"]["name"]
    (deployment,) = (d for d in found if d["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 2
    for pod in pods.values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_kubernetes_waits_for_the_logs_past() -> None:
    """No probe kills a collector that still reads the log before it listens."""
    (deployment,) = (d for d in documents() if d["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 1.5 * START_TIMEOUT_SEC


def test_every_setting_named_exists() -> None:
    """No file of ``deploy/`` sets a variable that nobody reads."""
    known = {str(field.validation_alias) for field in BridgeSettings.model_fields.values()}
    known |= COLLECTOR_NAMES
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".json":
            named = re.findall(r"\b((?:NEXUS_)?MONITORING_[A-Z_]+)", path.read_text("utf-8"))
            assert set(named) <= known, path


def test_kubernetes_pods_get_no_service_links() -> None:
    """A Service called "monitoring" sets no ``MONITORING_PORT`` in a pod of ours."""
    pods = [d["spec"]["template"]["spec"] for d in documents() if "template" in d.get("spec", {})]
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]


def test_no_image_is_the_latest() -> None:
    """Images have a version; ours, which is not published, has that of this package."""
    names = [
        *(service["image"] for service in compose()["services"].values()),
        *re.findall(r"image: (\S+)", (DEPLOY / "kubernetes/valkey.yaml").read_text("utf-8")),
    ]
    assert [name for name in names if ":" not in name or name.endswith(":latest")] == []
    base = DEPLOY / "kubernetes" / "kustomization.yaml"
    (image,) = yaml.safe_load(base.read_text(encoding="utf-8"))["images"]
    assert image["newTag"] == otel_bridge.__version__


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def env_file(name: str) -> dict[str, str]:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["traces.env", "metrics.env"])
def test_an_env_file_starts_what_it_names(name: str) -> None:
    """Traces go to a service that its profile starts, and a trace link leads to one."""
    variables = env_file(name)
    services = {
        service: fields
        for service, fields in compose()["services"].items()
        if "profiles" not in fields or variables["COMPOSE_PROFILES"] in fields["profiles"]
    }
    assert "otel-collector" in services
    assert variables["TRACES_ENDPOINT"].partition(":")[0] in services
    template = variables.get("MONITORING_TRACE_URL_TEMPLATE", "")
    ports = [port for fields in services.values() for port in fields.get("ports", [])]
    if template:
        address = urlsplit(CollectorSettings.load(trace_url_template=template).trace_url_template)
        assert f"127.0.0.1:{address.port}:{address.port}" in ports
    for fields in services.values():
        needed = fields.get("depends_on", {})
        required = (
            needed
            if isinstance(needed, list)
            else [each for each, how in needed.items() if how.get("required", True)]
        )
        assert set(required) <= set(services)


def test_compose_links_to_no_trace_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a variable the collector has its defaults: no tokens and no trace link."""
    environment = compose()["services"]["collector"]["environment"]
    for name in COLLECTOR_NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value))
    found = CollectorSettings.load()
    assert (found.trace_url_template, found.has_tokens, found.otlp_grpc_port) == ("", False, 4317)


def test_compose_gives_the_scraper_its_token(tmp_path: Path) -> None:
    """Prometheus' start writes the token, or nothing, where its configuration reads it."""
    service = compose()["services"]["prometheus"]
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    path = job["authorization"]["credentials_file"]
    assert str(Path(path).parent) in service["tmpfs"]
    assert service["environment"] == {"MONITORING_TOKEN": "${MONITORING_TOKEN:-}"}
    started = tmp_path / "prometheus"
    started.write_text('#!/bin/sh\nprintf "%s " "$@"\n')
    started.chmod(0o755)
    replaced = {"$$": "$", path: str(tmp_path / "token"), "/bin/prometheus": str(started)}
    for token in ("t0ken with $(date) 'signs\"", ""):
        command = list(service["entrypoint"])
        for text, other in replaced.items():
            command[2] = command[2].replace(text, other)
        shown = run(*command, *service["command"], MONITORING_TOKEN=token)
        assert shown.split() == service["command"]
        assert (tmp_path / "token").read_text() == token
    otel = compose()["services"]["otel-collector"]["environment"]["OTEL_BRIDGE_AUTHORIZATION"]
    assert otel == "${MONITORING_TOKEN:+Bearer ${MONITORING_TOKEN}}"
    assert "authorization: ${env:OTEL_BRIDGE_AUTHORIZATION:-}" in (
        DEPLOY / "otel-collector.yaml"
    ).read_text(encoding="utf-8")


def test_prometheus_reads_its_files(tmp_path: Path) -> None:
    """``promtool`` passes the configuration, with a token file, and the alerts."""
    promtool = program("promtool")
    token = tmp_path / "token"
    token.touch()
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/tmp/otel-bridge-token", str(token)), encoding="utf-8")
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    run(promtool, "check", "config", str(config))
    run(promtool, "check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"))


def test_prometheus_takes_the_page() -> None:
    """``promtool check metrics`` reads what the collector renders; naming advice is no error."""
    settings = BridgeSettings(bus_url="memory://deploy-promtool")
    page = MetricsPage(Collector(CollectorSettings(), settings)).render()[0]
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=page, capture_output=True, timeout=60
    )
    assert b"error while linting" not in done.stderr, done.stderr
    assert done.returncode in (0, 3), done.stderr


def test_grafana_and_alerts_name_real_metrics() -> None:
    """Every metric of ours in the dashboard and the alerts is one that ``/metrics`` has."""
    settings = BridgeSettings(bus_url="memory://deploy")
    text = MetricsPage(Collector(CollectorSettings(), settings)).render()[0].decode()
    group = LocalGroup("/nowhere", "deploy", 2, 0)
    shared = BridgeSettings(bus_url="redis://127.0.0.1:1/0")
    member = Collector(CollectorSettings(), shared, group=group)
    text += asyncio.run(MetricsPage(member).render_all())[0].decode()
    have = set(re.findall(r"^# TYPE (\w+)", text, flags=re.MULTILINE))
    board = json.loads((DEPLOY / "grafana/dashboards/otel-bridge.json").read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked.append((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))
    named = {name for expr in asked for name in re.findall(r"\botel_bridge_\w+", expr)}
    assert named
    assert named <= have
    sources = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/datasources.yaml").read_text("utf-8")
    )
    uids = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in board["panels"]} <= uids


def test_caddy_reads_its_file() -> None:
    """``caddy validate``, with the name and the collectors of its own defaults."""
    caddyfile = str(DEPLOY / "caddy" / "Caddyfile")
    assert "Valid configuration" in run(
        program("caddy"), "validate", "--adapter", "caddyfile", "--config", caddyfile
    )


def test_systemd_reads_its_unit(tmp_path: Path) -> None:
    """``systemd-analyze verify``; and its sandbox is rated by ``systemd-analyze security``."""
    analyze = program("systemd-analyze")
    unit = (DEPLOY / "systemd" / "otel-bridge.service").read_text(encoding="utf-8")
    real = tmp_path / "otel-bridge.service"
    real.write_text(unit.replace("/opt/otel-bridge/bin/otel-bridge", sys.executable), "utf-8")
    assert "otel-bridge.service" not in run(analyze, "verify", str(real))
    done = run(analyze, "security", "--offline=true", "--threshold=20", str(real))
    assert "otel-bridge.service" in done


def test_tempo_and_datasources_are_yaml() -> None:
    """Tempo itself reads its file in ``make interop``; its ports meet those that use them."""
    tempo = yaml.safe_load((DEPLOY / "tempo.yaml").read_text(encoding="utf-8"))
    assert tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(
        ":4317"
    )
    text = (DEPLOY / "grafana/provisioning/datasources/datasources.yaml").read_text("utf-8")
    assert f"http://tempo:{tempo['server']['http_listen_port']}" in text


def test_the_image_can_be_built(tmp_path: Path) -> None:
    """The Dockerfile's steps in order in a scratch directory, each ``COPY`` and ``RUN`` of it."""
    scratch = {"/opt/otel-bridge": str(tmp_path / "opt"), "/src": str(tmp_path / "src")}
    (tmp_path / "src").mkdir()
    ignored = shutil.ignore_patterns("node_modules", "static", "__pycache__")
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    ran: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] not in ("COPY", "RUN"):
            continue
        if words[0] == "COPY":
            if words[1].startswith("--from"):
                assert words[2] in scratch
                continue
            *sources, target = words[1:]
            for source in sources:
                place = tmp_path / "src" / target
                if source.endswith("/"):
                    shutil.copytree(ROOT / source, place, ignore=ignored, dirs_exist_ok=True)
                else:
                    place.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, place)
            continue
        command = line.removeprefix("RUN ").strip()
        for path, real in scratch.items():
            command = command.replace(path, real)
        if "-m venv" in command:
            command = command.replace("python ", f"{sys.executable} ")
        subprocess.run(command, shell=True, check=True, cwd=tmp_path / "src", timeout=500)
        ran.append(command)
    assert len(ran) == 4
    show = "import otel_bridge_collector.app as a; print(a.STATIC_DIR)"
    found = run(str(tmp_path / "opt/bin/python"), "-c", show)
    assert (Path(found.strip()) / "index.html").is_file()
    assert "pytest" not in run(str(tmp_path / "opt/bin/pip"), "list")
