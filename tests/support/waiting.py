"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]


def wait_until(
    condition: Callable[[], object], what: str, timeout_sec: float = 20.0, every_sec: float = 0.005
) -> None:
    """Return as soon as the condition holds; fail with ``what`` when it does not in time."""
    deadline = time.monotonic() + timeout_sec
    while not condition():
        assert time.monotonic() < deadline, f"not in {timeout_sec:g} s: {what}"
        time.sleep(every_sec)
