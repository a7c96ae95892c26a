"""The house rules about modules hold: layers, the tree in ARCHITECTURE.md, sizes, unit tests."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.architecture import (
    PACKAGES,
    ROOT,
    chapters_of,
    draw,
    modules_in,
    sentence_of,
    shown,
)

MAX_MODULES = 12
MAX_LINES = 410
"""About 400: a module is read in one sitting."""


def all_modules() -> list[Path]:
    """Every module of both packages, whatever sub-package it is in."""
    return sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def run_python(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- layers --------------------------------------------------------------------------------------


def test_layers() -> None:
    """No module imports a higher layer, no chapter has a cycle, the library knows no service."""
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = run_python("-c", command, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def imported_names(path: Path) -> Iterator[str]:
    """What a module imports by an import statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_service_has_one_name() -> None:
    """Nothing imports ``collector.otel_bridge_collector``, which would be a second copy of it."""
    sources = [*all_modules(), *(ROOT / "tests").rglob("*.py")]
    twice = [
        str(path.relative_to(ROOT))
        for path in sources
        # Reading is quick, parsing a thousand modules takes 3 s.
        if re.search(r"^\s*(from|import)\b.*\bcollector\b", path.read_text("utf-8"), re.MULTILINE)
        and any(name.split(".")[0] == "collector" for name in imported_names(path))
    ]
    assert twice == []


def test_the_library_reaches_the_service_nowhere() -> None:
    """No text in the library names the service's package, so no import by name can escape."""
    reaching = [
        str(path.relative_to(ROOT))
        for path in PACKAGES[0].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "otel_bridge_collector" in node.value
    ]
    assert reaching == []


def imports_a_module_by_name(path: Path) -> bool:
    return "import_module" in path.read_text(encoding="utf-8") and any(
        isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_imports_by_name_reach_only_optional_packages() -> None:
    """``import_module`` hides an import from import-linter: each use is a package that may lack."""
    using = [str(p.relative_to(ROOT)) for p in all_modules() if imports_a_module_by_name(p)]
    assert using == [
        "otel_bridge/commands/startup.py",  # fakeredis
        "otel_bridge/projects/postgres.py",  # asyncpg
    ]


def test_a_users_own_collector_module_disturbs_nothing(tmp_path: Path) -> None:
    """A ``collector.py`` in the working directory and on PYTHONPATH is never imported."""
    (tmp_path / "collector.py").write_text("raise RuntimeError('the user\\'s own module')\n")
    import_all = "import otel_bridge_collector.app, otel_bridge, otel_bridge.instrumentor"
    done = run_python("-W", "error", "-c", import_all, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    done = run_python("-m", "otel_bridge_collector", "serve", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


# --- the tree ------------------------------------------------------------------------------------


def test_architecture_shows_the_tree_that_is_there() -> None:
    """ARCHITECTURE.md has each package, its sentence and its modules; ``make tree`` writes it."""
    assert draw() == shown()


def test_each_package_says_in_one_sentence_what_it_is() -> None:
    """The docstring of each ``__init__`` begins with one sentence."""
    for package in PACKAGES:
        for folder in chapters_of(package):
            sentence = sentence_of(folder)
            assert sentence.endswith("."), folder
            assert ". " not in sentence, folder


# --- sizes ---------------------------------------------------------------------------------------


def test_no_folder_has_too_many_modules() -> None:
    """A chapter has at most twelve modules, so that its list is read at a glance."""
    sizes = {
        folder: sum(not name.startswith("__") for name in modules_in(folder))
        for each in PACKAGES
        for folder in chapters_of(each)
    }
    assert {str(folder): size for folder, size in sizes.items() if size > MAX_MODULES} == {}


def test_no_folder_of_the_dashboard_has_too_many_modules() -> None:
    """The same for the dashboard's sources; tests beside them do not count."""
    source = ROOT / "collector" / "dashboard" / "src"
    folders = [source, *(path for path in source.iterdir() if path.is_dir())]
    sizes = {
        folder.name: sum(
            path.suffix in (".ts", ".tsx", ".css") and ".test." not in path.name
            for path in folder.iterdir()
        )
        for folder in folders
        if folder.name != "old"
    }
    assert {name: size for name, size in sizes.items() if size > MAX_MODULES} == {}


def test_no_module_is_too_long() -> None:
    """No module is over about 400 lines, so that each can be read in one sitting."""
    long = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in all_modules()
    }
    assert {path: lines for path, lines in long.items() if lines > MAX_LINES} == {}


def test_the_oldest_is_not_looked_for() -> None:
    """
    No plain dict is asked again and again for its oldest key.

    CPython walks over the places of all that were deleted before it: with 200,000 event ids an
    event took 5 us to fold at first, and 350 us after 800,000. ``OrderedDict.popitem`` does not.
    """
    walking = [
        str(path.relative_to(ROOT))
        for path in all_modules()
        if "next(iter(self." in path.read_text(encoding="utf-8")
    ]
    assert walking == []


# --- unit tests ----------------------------------------------------------------------------------

ADAPTERS = ("wraps the real workers of a framework", "tests/contract/test_adapters.py")
RQ = ("wraps the real workers of RQ", "tests/contract/frameworks/test_rq.py")
TOP = ("draws views of a real collector", "tests/integration/test_top.py")

TESTED_ELSEWHERE = {
    "otel_bridge/__main__": ("is the command line", "tests/integration/test_main_job.py"),
    "otel_bridge/adapters/arq/adapter": (ADAPTERS[0], "tests/contract/frameworks/test_arq.py"),
    "otel_bridge/adapters/celery/adapter": ADAPTERS,
    "otel_bridge/adapters/rq/adapter": RQ,
    "otel_bridge/adapters/rq/endings": RQ,
    "otel_bridge/adapters/rq/enqueueing": RQ,
    "otel_bridge/adapters/rq/job_metrics": ("counts the jobs of real workers", ADAPTERS[1]),
    "otel_bridge/adapters/rq/running": RQ,
    "otel_bridge/adapters/rq/spawned": RQ,
    "otel_bridge/adapters/taskiq/sending": (
        "wraps the real senders of Taskiq",
        "tests/contract/frameworks/test_taskiq.py",
    ),
    "otel_bridge/terminal/places/groups": TOP,
    "otel_bridge/terminal/places/job": TOP,
    "otel_bridge/terminal/places/listed": TOP,
    "otel_bridge/terminal/places/tree": TOP,
    "otel_bridge/terminal/screen/app": TOP,
    "otel_bridge/terminal/screen/viewer": TOP,
    "otel_bridge_collector/errors": (
        "is one base class without code",
        "tests/unit/otel_bridge_collector/wire/test_filters.py",
    ),
}
"""Modules without a unit test file of their own: why, and which file proves them."""


def unit_test_of(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return ROOT / "tests" / "unit" / folder / f"test_{name}.py"


def module_names() -> set[str]:
    """``otel_bridge/spans/scope`` for each module; packages without code are no modules."""
    return {
        path.relative_to(package.parent).with_suffix("").as_posix()
        for package in PACKAGES
        for path in package.rglob("*.py")
        if path.stem != "__init__"
    }


def test_every_module_has_its_unit_tests() -> None:
    """Each module has a unit test file of its path and name, or says where else it is tested."""
    assert {name for name in module_names() if not unit_test_of(name).is_file()} == set(
        TESTED_ELSEWHERE
    )


@pytest.mark.parametrize("name", sorted(module_names() - TESTED_ELSEWHERE.keys()))
def test_a_unit_test_file_is_about_its_module(name: str) -> None:
    """A unit test file imports or names the module that it is named after, and holds a test."""
    path = unit_test_of(name)
    if not path.is_file():
        pytest.skip("no such file: the test above says so")
    module = name.replace("/", ".")
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    parent, _, stem = module.rpartition(".")
    from_parent = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == parent
        for alias in node.names
    }
    assert module in text or stem in from_parent, f"{path.name} does not name {module}"
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]
    assert tests, f"{path.name} holds no test"


def test_exceptions_name_files_that_are_there() -> None:
    """What an exception says is tested elsewhere is tested in a file that names the module."""
    for name, (reason, elsewhere) in TESTED_ELSEWHERE.items():
        assert reason, name
        assert (ROOT / elsewhere).is_file(), name
