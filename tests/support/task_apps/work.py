"""What the jobs of every application do; the frameworks differ in how they are told to retry."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["bus_url", "is_first_time", "wait_for"]


def bus_url() -> str:
    """The Redis of the test, which is the frameworks' broker as well."""
    return os.environ["REDIS_URL"]


def is_first_time(marker: str) -> bool:
    """Whether this is the first call with this file name."""
    path = Path(marker)
    if path.exists():
        return False
    path.touch()
    return True


def wait_for(gate: str) -> None:
    """Work until the test creates this file."""
    deadline = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
