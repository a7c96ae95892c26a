"""Open phases, as the bars below ``tail`` show them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.commands.phase_progress import OpenPhases, PhaseProgress


def event(
    kind: str, phase: str | None = "search", task: str = "t1", **fields: Any
) -> dict[str, Any]:
    return {"event_type": kind, "parent_task_id": task, "phase": phase, **fields}


STARTED = event("task_started", None, task_id="t1", meta={"title": "Schools"})


def test_a_phase_is_open_from_its_start_to_its_end() -> None:
    """Its bar names the title of the task, and is gone with ``phase_completed``."""
    phases = OpenPhases()
    phases.update([STARTED, event("phase_started", counts={"total": 3})])
    assert phases.newest(6) == [PhaseProgress("Schools  search", total=3)]
    phases.update([event("phase_completed")])
    assert phases.newest(6) == []


def test_ends_of_jobs_count_until_the_next_counts() -> None:
    """Each end moves the bar; counts replace what was counted."""
    phases = OpenPhases()
    phases.update(
        [
            event("stats_snapshot", counts={"total": 9, "completed": 4, "failed": 1}),
            event("task_completed", task_id="j1"),
            event("task_failed", task_id="j2"),
            event("task_retry", task_id="j3"),
        ]
    )
    assert phases.newest(6) == [PhaseProgress("t1  search", 5, 2, 9)]
    phases.update([event("stats_snapshot", counts={"completed": 7})])
    assert phases.newest(6) == [PhaseProgress("t1  search", 7, 2, 9)]


def test_the_end_of_a_task_closes_its_phases() -> None:
    """A phase whose own end was missed goes with its task, and no other task's does."""
    phases = OpenPhases()
    phases.update([event("phase_started"), event("phase_started", task="t2")])
    phases.update([event("task_failed", None, task_id="t1")])
    assert [phase.title for phase in phases.newest(6)] == ["t2  search"]


def test_the_newest_are_returned() -> None:
    """Of many phases those with the newest events are shown, and the oldest are forgotten."""
    phases = OpenPhases()
    phases.update([event("phase_started", f"p{number}") for number in range(300)])
    assert [phase.title for phase in phases.newest(2)] == ["t1  p298", "t1  p299"]
    assert len(phases.newest(1000)) == 200
    phases.update([event("stats_snapshot", "p250")])
    assert phases.newest(1)[0].title == "t1  p250"


json_values = st.none() | st.booleans() | st.integers() | st.text() | st.just({"total": "a"})


@given(
    st.lists(
        st.fixed_dictionaries(
            {"event_type": st.sampled_from(["task_started", "phase_started", "stats_snapshot"])},
            optional={
                name: json_values
                for name in ("parent_task_id", "task_id", "phase", "counts", "meta")
            },
        )
    )
)
def test_any_events_are_taken(events: list[dict[str, Any]]) -> None:
    """Fields of other types, or none, change nothing and break nothing."""
    phases = OpenPhases()
    phases.update(events)
    assert all(isinstance(phase, PhaseProgress) for phase in phases.newest(6))
