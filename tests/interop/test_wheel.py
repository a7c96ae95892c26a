"""The built wheel in a fresh virtual environment: the zero-code path as a new user takes it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]

APP = """
import sys
from opentelemetry import trace
start = trace.get_tracer("app").start_as_current_span
with start("plan a trip"):
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps"}
    with start("execute_tool maps", attributes=tool):
        sys.stdin.readline()
"""


def test_zero_code_from_the_wheel(
    tmp_path: Path, make_settings: Callable[..., BridgeSettings]
) -> None:
    """``pip install`` of the wheel, then ``opentelemetry-instrument``: live, then completed."""
    pins = {name: str(ROOT / "requirements" / "build.txt") for name in _PIN_NAMES}
    run = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(run, env={**os.environ, **pins}, check=True, timeout=600)
    (wheel,) = tmp_path.glob("otel_bridge-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin_dir = tmp_path / "venv" / "bin"
    install = [f"{bin_dir}/pip", "install", "-q", str(wheel), "opentelemetry-distro"]
    subprocess.run(install, check=True, timeout=600)
    app = tmp_path / "app.py"
    app.write_text(APP, encoding="utf-8")
    with AppServer(make_settings(bus_url="memory://wheel"), stats_interval_sec=3600) as site:
        environ = {"MONITORING_BUS_URL": site.url}
        for signal in ("TRACES", "METRICS", "LOGS"):
            environ[f"OTEL_{signal}_EXPORTER"] = "none"
        process = subprocess.Popen(
            [f"{bin_dir}/opentelemetry-instrument", f"{bin_dir}/python", str(app)],
            cwd=tmp_path,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            text=True,
        )

        def cards() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
            return found

        try:
            wait_until(cards, "the run while it runs", timeout_sec=60)
            (card,) = cards()
            assert (card["title"], card["status"]) == ("plan a trip", "processing")
        finally:
            process.communicate("\n", timeout=60)
        assert process.returncode == 0
        wait_until(lambda: cards()[0]["status"] == "completed", "its end")
        assert fetch(f"{site.url}/").status == 200


_PIN_NAMES = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")
