"""Each file of ``deploy/`` is read by the program it is for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from otel_bridge_collector.metrics import MetricsPage
from otel_bridge_collector.runtime import START_TIMEOUT_SEC, Collector
from otel_bridge_collector.settings import CollectorSettings

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


def test_prometheus_reads_its_files() -> None:
    """``promtool`` passes the configuration and the alerts."""
    promtool = program("promtool")
    run(promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    run(promtool, "check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"))


def test_grafana_and_alerts_name_real_metrics() -> None:
    """Every metric of ours in the dashboard and the alerts is one that ``/metrics`` has."""
    settings = BridgeSettings(bus_url="memory://deploy")
    text = MetricsPage(Collector(CollectorSettings(), settings)).render()[0].decode()
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
