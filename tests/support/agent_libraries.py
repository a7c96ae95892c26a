"""
Real programs of agent libraries with models that need no network: ``make agents``.

``python -m tests.support.agent_libraries [ARGUMENT ...]`` installs an environment for each library,
because their instrumentations are found by what is installed, and runs the tests with the marker
``agents``; arguments go to pytest. ``--lock`` resolves the locked requirements again instead.
Without the network the tests of what is not installed are skipped; with ``CI=true`` they fail.

CrewAI is not in the table: with it come ChromaDB, LanceDB, ONNX and PyArrow, 1 GB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.support.locked_environments import ROOT, LockedEnvironment

__all__ = ["ENVIRONMENTS", "environment_of"]

_AT_A_TIME: Final = 3
_METADATA: Final = "Metadata-Version: 2.1\nName: otel-bridge\nVersion: 0\n"
_DISTRO: Final = "opentelemetry-distro>=0.59b0"

ENVIRONMENTS: Final = {
    name: LockedEnvironment("agents", name, (*requirements, _DISTRO))
    for name, requirements in {
        "pydantic-ai": ("pydantic-ai-slim>=1",),
        # Both instrumentations are used, one after the other and together.
        "openai-agents": (
            "openai-agents>=0.8",
            "openinference-instrumentation-openai-agents>=1",
            "opentelemetry-instrumentation-openai-agents>=0.50",
        ),
        "langchain": (
            *("langchain>=1", "langgraph>=1"),
            "openinference-instrumentation-langchain>=0.1.50",
        ),
        "llama-index": (
            "llama-index-core>=0.14",
            "openinference-instrumentation-llama-index>=4.3",
        ),
        "smolagents": ("smolagents>=1.20", "openinference-instrumentation-smolagents>=0.1.15"),
        "services": (
            *("celery[redis]>=5.6", "kombu[redis]>=5.6", "fastapi>=0.121", "httpx>=0.28"),
            *("uvicorn>=0.38", "opentelemetry-instrumentation-celery>=0.59b0"),
            "opentelemetry-instrumentation-fastapi>=0.59b0",
            "opentelemetry-instrumentation-httpx>=0.59b0",
        ),
        # Products that make tracer providers of their own; FastAPI with its own telemetry.
        "providers": (
            *("agentops>=0.4.21", "arize-phoenix-otel>=0.13", "ddtrace>=3", "langfuse>=3"),
            *("logfire>=4.14", "pydantic-ai-slim>=1", "fastapi>=0.143", "httpx>=0.28"),
        ),
    }.items()
}
"""By name; each has otel-bridge's own base requirements as well."""


def environment_of(name: str) -> LockedEnvironment:
    """The environment of a library, with this checkout in it as its users have the package."""
    found = ENVIRONMENTS[name]
    if found.is_installed:
        _add_package(found)
    return found


def _add_package(environment: LockedEnvironment) -> None:
    # What `pip install -e` leaves there; pip would build the dashboard first, once for each.
    paths = {"base": str(environment.environment), "platbase": str(environment.environment)}
    site = sysconfig.get_path("purelib", vars=paths)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    files = {
        "otel_bridge.pth": f"{ROOT}\n",
        "otel_bridge-0.dist-info/METADATA": _METADATA,
        "otel_bridge-0.dist-info/entry_points.txt": "\n\n".join(sections) + "\n",
    }
    for name, text in files.items():
        path = ROOT.joinpath(site, name)
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Lock, or install and test; the exit code."""
    environments = list(ENVIRONMENTS.values())
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        if "--lock" in arguments:
            list(pool.map(LockedEnvironment.lock, environments))
            return 0
        if not all(each.is_installed for each in environments):
            print("otel-bridge: installing the agent libraries: 100 seconds", flush=True)
        wrong = list(pool.map(LockedEnvironment.install, environments))
    for each, reason in zip(environments, wrong, strict=True):
        if reason is not None:
            print(f"NOT PROVED: {each.name} is not installed: {reason}", flush=True)
    # Both ways of a library are in one group, and so in one process, which compares them.
    processes = ["-n", "2", "--dist", "loadgroup"]
    command = [sys.executable, "-m", "pytest", *processes, "-m", "agents", "-rs", "tests/agents"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, check=False)
    is_failed = "CI" in os.environ and any(wrong)
    return done.returncode or int(is_failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
