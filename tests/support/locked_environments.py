"""
Virtual environments of a lock file each, for programs that cannot share the development one.

``make frameworks`` and ``make agents`` use them. An environment is made once, and again when its
lock file or the Python changes. Only the programs run in it; pytest itself does not.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "LockedEnvironment"]

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class LockedEnvironment:
    """
    One environment and its lock file.

    Attributes:
        folder: Folder of the lock file below ``requirements/``, and suffix of the folder of the
            environment beside the development one: ``agents`` is in ``.venv-agents``.
        name: Of both.
        requirements: What pip installs, beside otel-bridge's own base requirements.
    """

    folder: str
    name: str
    requirements: tuple[str, ...]

    @property
    def lock_file(self) -> Path:
        """Every package with its hashes."""
        return ROOT / "requirements" / self.folder / f"{self.name}.txt"

    @property
    def environment(self) -> Path:
        """Where it is installed."""
        return Path(f"{sys.prefix}-{self.folder}") / self.name

    def lock(self) -> None:
        """Resolve the requirements and write the lock file; needs ``uv``."""
        self.lock_file.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *("uv", "pip", "compile", "-q", "--universal", "--python-version", "3.11"),
                *("--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate"),
                *("-o", str(self.lock_file), "pyproject.toml", "-"),
            ],
            cwd=ROOT,
            input="\n".join(self.requirements),
            text=True,
            check=True,
        )

    @property
    def is_installed(self) -> bool:
        """Whether the environment is complete, and is what the lock file says."""
        stamp = self.environment / ".installed"
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == self._digest()

    def _digest(self) -> str:
        return hashlib.sha256(self.lock_file.read_bytes() + sys.version.encode()).hexdigest()

    def install(self) -> str | None:
        """
        Make the environment, if it is not there yet.

        Returns:
            What went wrong, in one line; None if it is installed.
        """
        if self.is_installed:
            return None
        shutil.rmtree(self.environment, ignore_errors=True)
        pip = [str(self.environment / "bin" / "python"), "-m", "pip"]
        for command in (
            [sys.executable, "-m", "venv", str(self.environment)],
            [*pip, "install", "-q", "--require-hashes", "-r", str(self.lock_file)],
        ):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                lines = (done.stdout + done.stderr).strip().splitlines()
                return lines[-1] if lines else f"{command[0]} ended with {done.returncode}"
        (self.environment / ".installed").write_text(self._digest(), encoding="utf-8")
        return None
