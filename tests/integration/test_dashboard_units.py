"""The dashboard's own tests and types, run with Node from its PyPI wheel."""

from __future__ import annotations

from tests.support.node_tools import DASHBOARD, node_modules, run_node


def test_dashboard_units() -> None:
    """The page's views, socket, address and geometry pass their own tests."""
    vitest = node_modules() / "vitest" / "vitest.mjs"
    done = run_node(str(vitest), "run", "--reporter=dot")
    assert done.returncode == 0, done.stdout


def test_dashboard_types() -> None:
    """The sources are strict TypeScript."""
    tsc = node_modules() / "typescript" / "bin" / "tsc"
    done = run_node(str(tsc), "--noEmit")
    assert done.returncode == 0, done.stdout


def test_dashboard_lint() -> None:
    """The sources pass Biome's rules and have its format."""
    biome = node_modules() / "@biomejs" / "biome" / "bin" / "biome"
    done = run_node(str(biome), "check", "--error-on-warnings")
    assert done.returncode == 0, done.stdout


def test_lock_names_no_download_address() -> None:
    """The lock file fits any registry: hashes, no addresses."""
    lock = (DASHBOARD / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert "integrity" in lock
