"""
The copy of the tree in which mutants live; the checkout itself is never changed.

Two things differ from the checkout. Both packages lie side by side, because mutmut takes a module's
name from its path. And decorators of functions are written out (``f = property(f)`` after the plain
``def f``, which means the same), because mutmut leaves every decorated function alone: properties
and context managers would never be tried.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Final

import libcst
import libcst.matchers as m

from tests.support.mutants.targets import ROOT, Target

__all__ = ["make_copy", "write_out_decorators", "write_settings"]

_COPIED: Final = {
    "docs": "docs",
    "otel_bridge": "otel_bridge",
    "collector/otel_bridge_collector": "otel_bridge_collector",
    "tests/support": "tests/support",
    "tests/fixtures": "tests/fixtures",
    "tests/unit": "tests/unit",
}
_SKIPPED: Final = shutil.ignore_patterns("__pycache__", "static", "mutants")

_PROFILE: Final = """
hypothesis.settings.register_profile(
    "mutants",
    parent=hypothesis.settings.get_profile("any-machine"),
    database=None,
    derandomize=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("mutants")
"""
"""The same examples in each run, or a mutant would survive one run and not the next. The first that
fails is enough: to look for a smaller one takes ten times as long."""


_RELOAD: Final = """
_imported_in = 0


@pytest.fixture(autouse=True)
def _import_again():
    import importlib
    import os

    global _imported_in
    if os.environ["MUTANT_UNDER_TEST"] == "stats" or _imported_in != os.getpid():
        _imported_in = os.getpid()
        importlib.reload(importlib.import_module("{module}"))
"""
"""Once in the process of each mutant; before each test in the first run, in which mutmut finds out
which tests call which functions."""


def make_copy(into: Path, target: Target) -> None:
    """Copy what the unit tests need; the module under mutation gets its decorators written out."""
    for source, destination in _COPIED.items():
        shutil.copytree(ROOT / source, into / destination, ignore=_SKIPPED)
    conftest = (ROOT / "tests/conftest.py").read_text("utf-8")
    reload = _RELOAD.format(module=target.module) if target.is_reloaded else ""
    (into / "tests/conftest.py").write_text(conftest + _PROFILE + reload, "utf-8")
    path = into / target.path
    path.write_text(write_out_decorators(path.read_text("utf-8")), "utf-8")


def write_settings(into: Path, target: Target) -> None:
    """The project's pytest settings, and mutmut's for this one module."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    pytest_table = project[project.index("[tool.pytest.ini_options]") :]
    pytest_table = pytest_table[: pytest_table.index("\n[", 1)]
    tests = [f"tests/unit/{test}" for test in target.tests]
    mine, other = (
        ("otel_bridge", "otel_bridge_collector")
        if target.path.startswith("otel_bridge/")
        else ("otel_bridge_collector", "otel_bridge")
    )
    text = f"""{pytest_table}

[tool.mutmut]
source_paths = ["{mine}"]
also_copy = ["{other}", "docs"]
only_mutate = ["{target.path}"]
do_not_mutate_patterns = ['^\\s*logger\\.']
pytest_add_cli_args = ["-n", "0", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests!r}
timeout_constant = 2.0
timeout_multiplier = 5.0
use_git_change_detection = false
track_dependencies = false
"""
    tomllib.loads(text)
    (into / "pyproject.toml").write_text(text, "utf-8")


def write_out_decorators(source: str) -> str:
    """``@d`` above ``def f`` -> ``f = d(f)`` below it; the same program."""
    return libcst.parse_module(source).visit(_DecoratorWriter()).code


_KEPT: Final = (
    m.Decorator(m.Name("staticmethod"))  # mutmut knows these two
    | m.Decorator(m.Name("classmethod"))
    | m.Decorator(m.Name("overload"))
    | m.Decorator(m.Attribute(attr=m.Name("setter")))
)


class _DecoratorWriter(libcst.CSTTransformer):
    def leave_FunctionDef(  # noqa: N802 - libcst's name
        self, original_node: libcst.FunctionDef, updated_node: libcst.FunctionDef
    ) -> libcst.FunctionDef | libcst.FlattenSentinel[libcst.BaseStatement]:
        decorators = updated_node.decorators
        if not decorators or any(m.matches(decorator, _KEPT) for decorator in decorators):
            return updated_node
        decorated: libcst.BaseExpression = updated_node.name
        for decorator in reversed(decorators):
            decorated = libcst.Call(decorator.decorator, [libcst.Arg(decorated)])
        assignment = libcst.Assign([libcst.AssignTarget(updated_node.name)], decorated)
        return libcst.FlattenSentinel(
            [
                updated_node.with_changes(decorators=[]),
                libcst.SimpleStatementLine([assignment]),
            ]
        )
