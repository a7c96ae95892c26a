"""Programs of other languages, built once for each run; what cannot be built says so."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.node_tools import node_environment, run_npm

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).parent
EMITTERS = ROOT / "deploy" / "emitters"
_BUILD_TIMEOUT_SEC = 600
OLD_JAVASCRIPT = {
    "@opentelemetry/core": "1.30.1",
    "@opentelemetry/exporter-trace-otlp-proto": "0.57.2",
    "@opentelemetry/resources": "1.30.1",
    "@opentelemetry/sdk-trace-node": "1.30.1",
}
OLD_GO = [
    f"go.opentelemetry.io/otel{part}@v1.24.0"
    for part in ("", "/sdk", "/trace", "/exporters/otlp/otlptrace/otlptracehttp")
]
"""An open span of theirs ends in the year 2339."""


def tool(name: str, language: str) -> str:
    """A program on PATH; the test skips with one loud line where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT PROVED: the emitter for {language}, there is no {name} on PATH")
    return found


def javascript(build: Path, *, is_old: bool = False) -> list[str]:
    shutil.copytree(SOURCES / "javascript", build, dirs_exist_ok=True)
    if is_old:
        package = json.loads((build / "package.json").read_text(encoding="utf-8"))
        package["dependencies"] |= OLD_JAVASCRIPT
        (build / "package.json").write_text(json.dumps(package), encoding="utf-8")
    shutil.copy(EMITTERS / "javascript" / "live-span-processor.js", build)
    run_npm("install", "--no-audit", "--no-fund", "--no-package-lock", cwd=build)
    node = shutil.which("node", path=node_environment()["PATH"])
    assert node is not None
    return [node, str(build / "app.js")]


def go(build: Path, *, is_old: bool = False) -> list[str]:
    program = tool("go", "Go")
    shutil.copytree(SOURCES / "go", build, dirs_exist_ok=True)
    (build / "livespans").mkdir()
    shutil.copy(EMITTERS / "go" / "livespans.go", build / "livespans")
    others = [["get", *OLD_GO], ["mod", "tidy"]] if is_old else []
    for command in (*others, ["vet", "./..."], ["build", "-o", "app", "."]):
        subprocess.run([program, *command], cwd=build, check=True, timeout=_BUILD_TIMEOUT_SEC)
    return [str(build / "app")]


def java(build: Path) -> list[str]:
    program, maven = tool("java", "Java"), tool("mvn", "Java")
    sources = build / "src" / "main" / "java"
    sources.mkdir(parents=True)
    shutil.copy(SOURCES / "java" / "pom.xml", build)
    shutil.copy(SOURCES / "java" / "App.java", sources)
    shutil.copy(EMITTERS / "java" / "LiveSpanProcessor.java", sources)
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath.txt"]
    command = [maven, "-q", "-B", *goals]
    subprocess.run(command, cwd=build, check=True, timeout=_BUILD_TIMEOUT_SEC)
    libraries = (build / "classpath.txt").read_text(encoding="utf-8").strip()
    return [program, "-cp", f"{build / 'target' / 'classes'}:{libraries}", "App"]


def dotnet(build: Path) -> list[str]:
    """It was compiled with stand-ins for the SDK's types only."""
    del build
    pytest.skip("NOT PROVED: the emitter for .NET, which was never built with its SDK")


BUILDS: dict[str, Callable[[Path], list[str]]] = {
    "javascript": javascript,
    "javascript-1.30": partial(javascript, is_old=True),
    "go": go,
    "go-1.24": partial(go, is_old=True),
    "java": java,
    "dotnet": dotnet,
}


@pytest.fixture(scope="module", params=BUILDS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a program with our emitter, of each language."""
    build = tmp_path_factory.mktemp(request.param)
    return BUILDS[request.param](build)
