"""What a person sees of a real program while it runs and after it: cards and trees as lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import pytest

from tests.support.agent_libraries import environment_of
from tests.support.app_server import AppServer, fetch
from tests.support.locked_environments import ROOT
from tests.support.waiting import wait_until

__all__ = [
    "RUNS",
    "STEPS",
    "Picture",
    "Program",
    "Seen",
    "Way",
    "all_events",
    "awaited",
    "pictures",
    "starting",
]

Way = Literal["bus", "otlp"]
"""Zero code over the bus, or what any OpenTelemetry program does: OTLP to the collector."""
RUNS: Final = ("done", "failed", "cancelled")
"""What each program does, one after the other."""
STEPS: Final = ("model", "tool")
"""Where each run waits: inside its first call of a model, and inside a tool."""
_PATIENCE_SEC: Final = 20.0
_IDS: Final = re.compile(r"\b[0-9a-f]{12,}\b")


@dataclass(frozen=True)
class Picture:
    """A card and its tree, as far as its reader knows what to expect: no times, no ids."""

    lines: tuple[str, ...]


@dataclass
class Seen:
    """All that was seen of a program, until after its end."""

    live: dict[str, Picture] = field(default_factory=dict)
    """By step, of the first run."""
    final: dict[str, Picture] = field(default_factory=dict)
    """By run, when it has ended."""
    events: list[dict[str, Any]] = field(default_factory=list)


def _view(site: AppServer, name: str, **params: object) -> dict[str, Any]:
    answer = fetch(f"{site.url}/monitor/views/{name}?params={quote(json.dumps(params))}")
    found: dict[str, Any] = answer.json()
    return found


def _status(row: dict[str, Any]) -> str:
    why = f" ({row['why']})" if row["why"] else ""
    return f"{row['status']}{why}"


def _line(row: dict[str, Any]) -> str:
    name = _IDS.sub("<id>", str(row["type"] if row["kind"] == "job" else row["name"]))
    line = f"{row['kind']} {name}: {_status(row)}"
    if row["error"]:
        line += ", " + _IDS.sub("<id>", row["error"])[:60].rstrip()
    return "  " * (int(row["depth"]) + 1) + line


def pictures(site: AppServer) -> list[Picture]:
    """All cards, in the order of their starts."""
    rows = sorted(_view(site, "tasks")["rows"], key=lambda row: row["start"])
    return [
        Picture(
            (
                f"{row['title']}: {_status(row)}, done {row['done']}, failed {row['failed']},"
                f" running {row['running']}",
                *(_line(each) for each in _view(site, "tree", task=row["k"])["rows"]),
            )
        )
        for row in rows
    ]


def all_events(site: AppServer) -> list[dict[str, Any]]:
    """Every event of the log."""
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/events?limit=1000").json()["events"]
    return found


class Program:
    """A program that runs; its steps wait for ``let_go``."""

    def __init__(self, process: subprocess.Popen[bytes], steps: Path, output: Path) -> None:
        self.process = process
        self._steps = steps
        self._output = output

    def wait_for(self, name: str) -> None:
        """Until it is at the step, or at the end of a run (``done-end``)."""

        def is_there() -> bool:
            if (self._steps / name).exists():
                return True
            assert self.process.poll() is None, self._output.read_text(errors="replace")[-3000:]
            return False

        wait_until(is_there, f"the step {name}", 120, every_sec=0.02)

    def let_go(self, name: str) -> None:
        (self._steps / f"{name}.go").touch()

    def cancel(self, name: str) -> None:
        (self._steps / f"{name}.cancel").touch()


def _python(name: str) -> Path:
    """The commands of a library's environment; the test skips where it is not installed."""
    environment = environment_of(name)
    if not environment.is_installed:
        line = f"NOT PROVED: {name} is not installed: make agents"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    return environment.environment / "bin"


def _variables(way: Way, site: AppServer, bus_url: str) -> dict[str, str]:
    if way == "bus":
        return {"MONITORING_BUS_URL": bus_url, "OTEL_TRACES_EXPORTER": "none"}
    return {
        "MONITORING_ENABLED": "false",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": site.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


@contextmanager
def starting(
    command: list[str],
    environment: str,
    folder: Path,
    site: AppServer,
    way: Way,
    bus_url: str,
    **variables: str,
) -> Iterator[Program]:
    """
    Start a command of an environment under ``opentelemetry-instrument``; kill it at the end.

    Args:
        command: Its first word is a program in the environment.
        environment: Name of the environment.
        folder: Takes the files of the steps and the output.
        site: The collector.
        way: How its spans travel.
        bus_url: The collector's Redis.
        **variables: Further environment variables.
    """
    commands = _python(environment)
    steps = folder / "steps"
    steps.mkdir(exist_ok=True)
    output = folder / f"{command[-1]}-{len(list(folder.iterdir()))}.log"
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "MONITORING_", "NEXUS_", "PYTHON"))
    }
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [commands / "opentelemetry-instrument", commands / command[0], *command[1:]],
            cwd=ROOT,
            env={
                **inherited,
                "STEPS": str(steps),
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
                "OTEL_SERVICE_NAME": "agents",
                "MONITORING_META_ATTRIBUTES": "*",
                **_variables(way, site, bus_url),
                **variables,
            },
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Program(process, steps, output)
        finally:
            process.kill()
            process.wait()


def awaited(site: AppServer, number: int, expected: Picture) -> Picture:
    """The card of a run as soon as it is as expected, else as it is when patience ends."""
    deadline = time.monotonic() + _PATIENCE_SEC
    while True:
        found = pictures(site)
        shown = found[number] if number < len(found) else Picture(("no card",))
        if shown == expected or time.monotonic() > deadline:
            return shown
        time.sleep(0.05)
