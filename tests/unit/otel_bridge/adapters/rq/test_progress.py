"""``job.meta["progress"]`` in each form that users of RQ give it."""

from __future__ import annotations

from typing import Any

import pytest

from otel_bridge.adapters.rq.progress import read_progress


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0, (0, 100)),
        (1, (1, 100)),
        (100, (100, 100)),
        (55.7, (55, 100)),
        (0.0, (0, 100)),
        (0.29, (29, 100)),
        (1.0, (100, 100)),
        ({"done": 3, "total": 7}, (3, 7)),
        ({"current": 3, "total": 7.0}, (3, 7)),
        ({"done": 3}, (3, None)),
    ],
)
def test_what_is_progress(value: Any, found: tuple[int, int | None]) -> None:
    """Percentages, shares, and counts with or without a total."""
    assert read_progress(value) == found


@pytest.mark.parametrize(
    "value",
    [
        None,
        "half",
        "50",
        True,
        -1,
        101,
        float("nan"),
        float("inf"),
        [],
        {},
        {"total": 3},
        {"done": "x"},
    ],
)
def test_what_is_none(value: Any) -> None:
    """Anything else that a user keeps under that name is left alone."""
    assert read_progress(value) is None
