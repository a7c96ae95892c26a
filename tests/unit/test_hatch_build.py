"""The packaging hook: when it builds, what it says when it cannot, what the wheel holds."""

from __future__ import annotations

import email
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


def load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load_hook()


@pytest.fixture(autouse=True)
def _no_skipping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hook.SKIP_VARIABLE, raising=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone's dashboard in miniature, built and stamped."""
    source = tmp_path / "collector" / "dashboard"
    (source / "src").mkdir(parents=True)
    (source / "package.json").write_text("{}")
    (source / "src" / "main.tsx").write_text("1")
    stamp(tmp_path)
    return tmp_path


def stamp(root: Path) -> None:
    built = root / hook.BUILT
    built.mkdir(parents=True, exist_ok=True)
    (built / "index.html").write_text("<p>built</p>")
    (built / ".digest").write_text(hook.digest(root))


def test_nothing_is_built_twice(tree: Path) -> None:
    """Built files whose stamp matches the sources are taken as they are."""
    assert not hook.is_build_needed(tree)


@pytest.mark.parametrize("change", ["src/main.tsx", "package.json", "src/new.css"])
def test_a_changed_source_is_built(tree: Path, change: str) -> None:
    """Any changed or added source asks for a build."""
    (tree / "collector" / "dashboard" / change).write_text("changed")
    assert hook.is_build_needed(tree)


@pytest.mark.parametrize("change", ["src/main.test.ts", "node_modules/x/index.js", ".vite/x"])
def test_tests_and_packages_are_no_sources(tree: Path, change: str) -> None:
    """Tests and installed packages do not ask for a build."""
    path = tree / "collector" / "dashboard" / change
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("changed")
    assert not hook.is_build_needed(tree)


def test_a_clone_without_built_files_is_built(tree: Path) -> None:
    """Missing built files ask for a build."""
    shutil.rmtree(tree / hook.BUILT)
    assert hook.is_build_needed(tree)


def test_the_skip_variable_leaves_the_dashboard_out(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the skip variable nothing is built, and ``0`` does not count as set."""
    shutil.rmtree(tree / hook.BUILT)
    monkeypatch.setenv(hook.SKIP_VARIABLE, "1")
    assert not hook.is_build_needed(tree)
    monkeypatch.setenv(hook.SKIP_VARIABLE, "0")
    assert hook.is_build_needed(tree)


def test_node_is_asked_for_only_when_needed(tree: Path) -> None:
    """Pip downloads Node for a build, not for an installation of built files."""
    build_hook = hook.CustomBuildHook(str(tree), {}, None, None, str(tree), "wheel")
    assert build_hook.dependencies() == []
    shutil.rmtree(tree / hook.BUILT)
    assert build_hook.dependencies() == [hook.NODE_REQUIREMENT]


def test_an_unreachable_registry_is_told_in_one_line(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without npm's registry one line says so and names the way out; the old files stay."""
    shutil.copy(ROOT / "collector" / "dashboard" / "package.json", tree / "collector" / "dashboard")
    shutil.copy(
        ROOT / "collector" / "dashboard" / "package-lock.json", tree / "collector" / "dashboard"
    )
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tree / "npm-cache"))
    with pytest.raises(hook.DashboardError) as caught:
        hook.build(tree, say=lambda _: None)
    line = str(caught.value)
    assert "\n" not in line
    assert "ECONNREFUSED" in line
    assert hook.SKIP_VARIABLE in line
    assert (tree / hook.BUILT / "index.html").is_file()


def test_links_are_absolute_on_an_index_page() -> None:
    """Relative links lead into the repository; addresses and headings stay as they are."""
    text = "![a](docs/a.png) [b](B.md) [c](docs/c.md#d) [e](https://e/f) [g](#h) [i](mailto:j@k)"
    assert hook.absolute_links(text, "https://h/r") == (
        "![a](https://h/r/raw/main/docs/a.png) [b](https://h/r/blob/main/B.md)"
        " [c](https://h/r/blob/main/docs/c.md#d) [e](https://e/f) [g](#h) [i](mailto:j@k)"
    )


class Packages(NamedTuple):
    """What was built from a clone."""

    in_wheel: list[str]
    in_sdist: list[str]
    under_version_control: list[str]
    description: str
    """The README as an index page shows it."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Wheel and sdist of a clone that also holds what must not travel."""
    clone = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]
    for name in names:
        source, target = ROOT / name, clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    stamp(clone)
    (clone / hook.BUILT / "assets").mkdir()
    (clone / hook.BUILT / "assets" / "index.js").write_text("built")
    for unwanted in ("v/bin/python", "collector/dashboard/node_modules/x/index.js"):
        (clone / unwanted).parent.mkdir(parents=True)
        (clone / unwanted).write_text("unwanted")
    out = clone / "dist"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=clone,
        capture_output=True,
        check=True,
    )
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        in_wheel = wheel.namelist()
        (metadata,) = (name for name in in_wheel if name.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(wheel.read(metadata))
    with tarfile.open(next(out.glob("*.tar.gz"))) as sdist:
        in_sdist = [name.partition("/")[2] for name in sdist.getnames()]
    assert message["Description-Content-Type"] == "text/markdown"
    return Packages(in_wheel, in_sdist, names, str(message.get_payload()))


STATIC = "collector/otel_bridge_collector/static"


@pytest.mark.parametrize(
    "name",
    [
        f"{STATIC}/index.html",
        f"{STATIC}/assets/index.js",
        "collector/otel_bridge_collector/py.typed",
        "otel_bridge/py.typed",
        "otel_bridge/publish/transports/append.lua",
        "otel_bridge/publish/transports/fence.lua",
        "otel_bridge/orchestration/queue/lua/claim.lua",
    ],
)
def test_both_packages_hold_what_runs(packages: Packages, name: str) -> None:
    """Built files, scripts and type markers are in the wheel and in the sdist."""
    assert name.removeprefix("collector/") in packages.in_wheel
    assert name in packages.in_sdist


def test_the_sdist_is_the_repository(packages: Packages) -> None:
    """Every file under version control is in the sdist: documents, examples and tests too."""
    assert set(packages.under_version_control) - set(packages.in_sdist) == set()


def test_the_readme_has_no_relative_link(packages: Packages) -> None:
    """On an index page each link and the picture lead to the repository."""
    links = re.findall(r"\]\(([^)]+)\)", packages.description)
    assert "https://github.com/otel-bridge/otel-bridge/raw/main/docs/dashboard.png" in links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_neither_package_ships_pages_of_the_corpus(
    packages: Packages,
) -> None:
    """The corpus is generated: both packages hold its code and not one text file beside it."""
    for names in (packages.in_wheel, packages.in_sdist):
        assert "otel_bridge/orchestration/research/corpus.py" in names
        assert [n for n in names if n.startswith("otel_bridge/") and n.endswith(".txt")] == []


def test_the_wheel_holds_no_sources_of_the_dashboard(
    packages: Packages,
) -> None:
    """What is installed has no TypeScript, no tests and nothing that lay about in the clone."""
    in_wheel = packages.in_wheel
    assert [n for n in in_wheel if n.startswith(("collector/", "dashboard", "tests", "v/"))] == []


def test_the_sdist_holds_sources_and_stamp(packages: Packages) -> None:
    """A wheel can be made from the sdist without Node: built files, stamp and sources agree."""
    in_sdist = packages.in_sdist
    assert f"{STATIC}/.digest" in in_sdist
    assert "collector/dashboard/src/main.tsx" in in_sdist
    assert [n for n in in_sdist if "node_modules" in n or n.startswith("v/")] == []
