"""What the views share: the jobs that run, counted once, and times as they travel."""

from __future__ import annotations

from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.state import ViewState, ms

from tests.support.folding import at, event, fold


def test_times_travel_in_milliseconds() -> None:
    """What is unknown stays unknown and never becomes 1970."""
    assert ms(1_500_999) == 1500
    assert ms(None) is None
    assert ms(0) is None


def test_running_jobs_are_counted_for_a_reader() -> None:
    """By type, of one project or of a scope; a job of a task of several projects only for all."""
    story = []
    for number, (project, kind) in enumerate([("p", "a"), ("p", "b"), ("q", "a"), (None, "a")]):
        fields = {"project_id": project, "task_type": kind, "parent_task_id": f"t{number}"}
        story.append(event(0, "task_started", task_id=f"j{number}", **fields))
    mixed = {"parent_task_id": "t0", "project_id": "q", "task_type": "c"}
    story.append(event(0, "task_started", task_id="m", **mixed))
    state = ViewState(fold(story))
    state.refresh(microseconds(at(1)))
    assert state.running_by_type(None, None) == {"a": 3, "b": 1, "c": 1}
    assert state.running_by_type(None, "q") == {"a": 1}
    assert state.running_by_type(frozenset({"p"}), None) == {"b": 1}
    assert state.running_by_type(frozenset({"p"}), "q") == {}
    assert state.now == microseconds(at(1))


def test_a_refresh_counts_again() -> None:
    """What ended since is no longer counted."""
    fields = {"task_id": "j", "parent_task_id": "t"}
    model = fold([event(0, "task_started", **fields)])
    state = ViewState(model)
    state.refresh(microseconds(at(1)))
    assert state.running_by_type(None, None).total() == 1
    ended = fold([event(0, "task_started", **fields), event(1, "task_completed", **fields)])
    state = ViewState(ended)
    state.refresh(microseconds(at(2)))
    assert state.running_by_type(None, None).total() == 0


class Counted:
    """What a view keeps: it counts refreshes."""

    def __init__(self, model: Fold) -> None:
        self.model = model
        self.refreshes = 0

    def refresh(self) -> None:
        self.refreshes += 1


def test_what_a_view_keeps_is_made_once_and_refreshed() -> None:
    """From the model, the first time that it is asked for."""
    state = ViewState(fold([]))
    kept = state.keep(Counted)
    assert kept.model is state.model
    state.refresh(microseconds(at(1)))
    state.refresh(microseconds(at(2)))
    assert state.keep(Counted) is kept
    assert kept.refreshes == 2


def test_workers_are_looked_at_once_a_refresh() -> None:
    """All views of a moment share the list; the next refresh makes it again."""
    model = fold([event(0, "worker_heartbeat", worker_id="w")])
    state = ViewState(model)
    state.refresh(microseconds(at(1)))
    shown = state.processes()
    assert [(worker.id, status) for worker, _, status in shown] == [("w", "online")]
    assert state.processes() is shown
    state.refresh(microseconds(at(100)))
    assert [status for _, _, status in state.processes()] == ["offline"]
