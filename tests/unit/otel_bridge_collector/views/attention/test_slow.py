"""Which attempts take several times as long as the completed jobs of their type and task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.attention.slow import MIN_SLOW_US
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.job import compute, merge
from otel_bridge_collector.views.tree import view as tree
from otel_bridge_collector.wire.views.params import JobParams, TreeParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, fold, job, root


def ran(name: str, took: float, kind: str = "fetch") -> list[MonitoringEvent]:
    """A job that was started at 10 s and completed."""
    started = job("t", 10, "task_started", name, task_type=kind)
    return [started, job("t", 10 + took, "task_completed", name, task_type=kind)]


OTHERS = [one for number in range(5) for one in ran(f"o{number}", 2 + number)]
"""They took 2 to 6 s, so their median is 4."""
RUNNING = [job("t", 20, "task_started", "r", task_type="fetch")]


def slow(name: str, events: Sequence[MonitoringEvent], seconds: float) -> Any:
    """What the views ``job`` and ``tree`` say of one job; they must agree."""
    story = [root("t", 0, "task_started"), *events]
    state = ViewState(fold(story))
    state.refresh(microseconds(at(seconds)))
    scope: Scope = None
    rows = tree.compute(state, TreeParams(task="t", at="end"), scope).rows.values()
    (in_tree,) = (row for row in map(json.loads, rows) if row["job"] == name)
    params = JobParams(task="t", job=name)
    (row,) = merge([compute(state, params, scope)], params).rows.values()
    assert json.loads(row)["slow"] == in_tree["slow"]
    return in_tree["slow"]


@pytest.mark.parametrize(
    ("seconds", "factor"), [(31, None), (32, 3.0), (37, 4.0), (63, 10.0), (99, 10.0), (100, 20.0)]
)
def test_a_running_job_has_one_digit(seconds: float, factor: float | None) -> None:
    """3 times the median of 4 s is 12 s; the number changes seldom, so that the row does too."""
    assert slow("r", [*OTHERS, *RUNNING], seconds) == factor


def test_an_ended_job_is_compared_with_the_others() -> None:
    """It does not count for the median itself; of the five others that is 4 s."""
    assert slow("e", [*OTHERS, *ran("e", 13)], 90) == 3.2
    assert slow("o4", [*OTHERS, *ran("e", 13)], 90) is None
    failed = [*RUNNING, job("t", 60, "task_failed", "r", task_type="fetch", error="E")]
    assert slow("r", [*OTHERS, *failed], 90) == 10.0


def test_what_is_not_known_is_not_called_slow() -> None:
    """Fewer than five others, another type, no type, or what is short for people."""
    assert slow("r", [*OTHERS[2:], *RUNNING], 90) is None
    assert slow("e", [*OTHERS[2:], *ran("e", 80)], 95) is None
    assert slow("r", [*OTHERS, job("t", 20, "task_started", "r", task_type="other")], 90) is None
    assert slow("r", [*OTHERS, job("t", 20, "task_started", "r")], 90) is None
    quick = [one for number in range(9) for one in ran(f"q{number}", 0.001)]
    assert slow("e", [*quick, *ran("e", MIN_SLOW_US / 1e6 - 0.1)], 90) is None
    assert slow("e", [*quick, *ran("e", 10.0)], 90) == 10_000.0


def test_many_completed_jobs_are_looked_at_now_and_then() -> None:
    """Of a task with more than 64, the median is that of a sixteenth fewer at most."""
    many = [one for number in range(200) for one in ran(f"o{number}", 4)]
    assert slow("r", [*many, *RUNNING], 37) == 4.0
