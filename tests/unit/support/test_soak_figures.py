"""``tests.soak.figures``: what must hold of a run of the soak test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.soak.figures import Figures, Sample


def figures(**last: Any) -> Figures:
    """Six samples that are equal but for the last one, of a run with nothing else to object to."""
    fields: dict[str, Any] = {
        "rss_mib": 100.0,
        "events": 1,
        "open_tasks": 16,
        "redis_mib": 1.0,
        "heap_mib": 10.0,
        "dom_nodes": 1000,
        "event_rows": 5000,
    }
    samples = [Sample(minute=minute, **fields) for minute in range(1, 6)]
    return Figures(samples=[*samples, Sample(minute=6, **(fields | last))], kills=1, restarts=1)


@pytest.mark.parametrize(
    ("last", "named"),
    [
        ({"rss_mib": 110.1}, "RSS"),
        ({"heap_mib": 11.1}, "heap"),
        ({"dom_nodes": 1101}, "DOM nodes"),
    ],
)
def test_growth_over_a_tenth_fails(last: dict[str, Any], named: str) -> None:
    """The collector's memory, the page's heap and its DOM may each grow by 10 %, and no more."""
    (failure,) = figures(**last).failures()
    assert named in failure
    assert "at minute 1.0" in failure


def test_the_page_is_compared_with_when_its_table_was_full() -> None:
    """What the heap grows before the table of events is full is no failure; never full is one."""
    run = figures()
    run.samples[0] = replace(run.samples[0], heap_mib=5.0, event_rows=4000)
    assert run.failures() == []
    run.samples[1:-1] = [replace(one, event_rows=4000) for one in run.samples[1:-1]]
    (failure,) = run.failures()
    assert "not full" in failure


def test_a_run_that_grew_by_a_tenth_passes() -> None:
    """Values at the limit are no failure; an error of the page is one."""
    run = figures(rss_mib=110.0, heap_mib=11.0, dom_nodes=1100)
    assert run.failures() == []
    run.page_errors.append("Error: x")
    assert len(run.failures()) == 1
