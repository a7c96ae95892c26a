"""The floors of ARCHITECTURE.md hold, as import-linter sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_floors() -> None:
    """No module imports a higher floor, and the library never imports the service."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_too_long() -> None:
    """No module is over about 400 lines, so that each can be read in one sitting."""
    long = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for package in ("otel_bridge", "collector")
        for path in (ROOT / package).rglob("*.py")
        if "node_modules" not in path.parts
    }
    assert {path: lines for path, lines in long.items() if lines > 440} == {}
