"""A redis-server's own clock, which a test sets: ``server_clock.c`` is preloaded into it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Self

import pytest

__all__ = ["ServerClock"]

_SOURCE: Final = Path(__file__).with_name("server_clock.c")


class ServerClock:
    """
    The time of day of a process that is started with ``env``, for ``with``; Linux with ``cc``.

    Elsewhere the test skips, or fails when ``CI`` is set. Its monotonic clock is this machine's.

    Args:
        offset_sec: How far it is ahead of this machine's clock; negative: behind.
    """

    def __init__(self, offset_sec: float = 0.0) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="otel-bridge-clock-")
        self._file = Path(self._directory.name) / "offset"
        self._library = Path(self._directory.name) / "server_clock.so"
        self.set(offset_sec)

    def set(self, offset_sec: float) -> None:
        """Set the clock; the process sees it at once, as when an NTP daemon steps it."""
        with open(self._file, "r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("=q", round(offset_sec * 1e6)))

    def __enter__(self) -> Self:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if sys.platform != "linux" or compiler is None:
            reason = "NOT PROVED: no C compiler on Linux, so no server with a clock of its own"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE], check=True
        )
        return self

    @property
    def env(self) -> dict[str, str]:
        """The environment of the process."""
        clock = {"LD_PRELOAD": str(self._library), "SERVER_CLOCK_FILE": str(self._file)}
        return {**os.environ, **clock}

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()
