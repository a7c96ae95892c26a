"""``read_progress``: how far a job is, as it says so itself in ``job.meta["progress"]``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["read_progress"]


def read_progress(value: Any) -> tuple[int, int | None] | None:
    """
    Read the progress that a job has put into its meta.

    Args:
        value: A whole number or a float from 0 to 100 is a percentage; a float from 0 to 1, both
            included, is a share. A mapping has ``done`` or ``current``, and perhaps ``total``.

    Returns:
        What is done and of how much, whole numbers; the latter None if a mapping does not say it.
        None if ``value`` is anything else. Never raises.
    """
    try:
        if isinstance(value, Mapping):
            done = _number(value.get("done", value.get("current")))
            total = _number(value.get("total"))
            return None if done is None else (int(done), None if total is None else int(total))
        number = _number(value)
    except Exception:
        return None  # a mapping of the user's own may raise anything
    if number is None or number > 100:
        return None
    if isinstance(value, float) and number <= 1:
        number *= 100
    return int(number + 1e-9), 100  # 0.29 * 100 is 28.999999999999996


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None
