"""Programs built with Go from the modules pinned in ``tests/interop``, once for each set."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

__all__ = ["GO_MODULE", "build"]

GO_MODULE: Final = Path(__file__).parents[1] / "interop"
_BUILD_TIMEOUT_SEC: Final = 1500


def build(package: str, name: str, module: Path = GO_MODULE, linker_options: str = "") -> Path:
    """
    The program of a package, built when it is not there yet; five minutes on 2 cores.

    Without Go the test skips with one loud line: ``.ci/run`` asks for it only where Go is.

    Args:
        package: As ``go build`` takes it.
        name: Of the program.
        module: The directory of the ``go.mod`` that pins it.
        linker_options: ``-checklinkname=0`` for one older than Go 1.23, which began to check what
            is taken from the runtime.
    """
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"NOT PROVED: no go on PATH to build {name} with")
    pins = hashlib.sha256()
    nested = {path.parent for path in module.rglob("go.mod")} - {module}
    sources = [path for path in module.rglob("*.go") if not nested & set(path.parents)]
    for path in [*sorted(sources), module / "go.mod", module / "go.sum"]:
        pins.update(path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    program = cache / "otel-bridge-interop" / pins.hexdigest()[:16] / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        partial = program.with_suffix(".partial")
        out = ["-o", str(partial)]
        subprocess.run(
            [go, "build", "-trimpath", "-ldflags", f"-s -w {linker_options}", *out, package],
            cwd=module,
            check=True,
            timeout=_BUILD_TIMEOUT_SEC,
        )
        partial.rename(program)
    return program
