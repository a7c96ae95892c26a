"""The house rules about modules hold: their floors, as import-linter sees them, length, tests."""

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


def test_the_oldest_is_not_looked_for() -> None:
    """
    No plain dict is asked again and again for its oldest key.

    CPython walks over the places of all that were deleted before it: with 200,000 event ids an
    event took 5 us to fold at first, and 350 us after 800,000. ``OrderedDict.popitem`` does not.
    """
    walking = [
        str(path.relative_to(ROOT))
        for package in ("otel_bridge", "collector")
        for path in (ROOT / package).rglob("*.py")
        if "node_modules" not in path.parts
        and "next(iter(self." in path.read_text(encoding="utf-8")
    ]
    assert walking == []


INSTRUMENTOR = "tests/contract/test_instrumentor.py"

UNITS_ELSEWHERE = {
    "otel_bridge/__init__.py": ("exports alone", "tests/test_exports.py"),
    "otel_bridge/__main__.py": ("is the command line", "tests/integration/test_main_job.py"),
    "otel_bridge/blocks.py": ("is instrument's", "tests/unit/otel_bridge/test_instrument.py"),
    "otel_bridge/coordinator_jobs.py": ("needs a coordinator on Redis", INSTRUMENTOR),
    "otel_bridge/coordinator_watch.py": ("reads a client's Redis commands", INSTRUMENTOR),
    "otel_bridge/demo.py": ("runs whole services", "tests/integration/test_main_job.py"),
    "otel_bridge/instrumentor.py": ("one suite over many coordinators", INSTRUMENTOR),
    "otel_bridge/knowledge_base.py": (
        "needs PostgreSQL",
        "tests/integration/test_knowledge_base.py",
    ),
    "collector/__init__.py": ("is empty", "tests/test_layers.py"),
    "collector/app.py": ("puts the parts together", "tests/integration/test_collector.py"),
    "collector/otlp_grpc.py": ("needs a client and a server", "tests/integration/test_otlp_in.py"),
    "collector/runtime.py": ("starts the parts", "tests/integration/test_collector.py"),
}
"""Modules without a unit test file of their own: why, and which file proves them."""


def test_every_module_has_its_unit_tests() -> None:
    """Each module has a unit test file named after it, or says why not and where it is tested."""
    modules = {
        f"{package}/{path.name}": ROOT / "tests" / "unit" / package / f"test_{path.name}"
        for package in ("otel_bridge", "collector")
        for path in (ROOT / package).glob("*.py")
    }
    untested = {name for name, test in modules.items() if not test.is_file()}
    assert untested == set(UNITS_ELSEWHERE)


def test_exceptions_name_files_that_are_there() -> None:
    """What an exception says is tested elsewhere is tested in a file that exists."""
    for name, (reason, elsewhere) in UNITS_ELSEWHERE.items():
        assert reason, name
        assert (ROOT / elsewhere).is_file(), name
