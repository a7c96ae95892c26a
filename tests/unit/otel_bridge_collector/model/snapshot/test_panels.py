"""Workers, queues and failures of a snapshot, and nothing of another project."""

from __future__ import annotations

from otel_bridge_collector.model.snapshot.cards import (
    task_cards,
)
from otel_bridge_collector.model.snapshot.panels import (
    failure_groups,
    queue_depths,
    worker_states,
)
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.folding import event, fold, job, looked_at, root

LIMITED = EventFilter(projects=frozenset({"p"}))


def worker(seconds: float, worker_id: int | str, kind: str = "worker_heartbeat") -> MonitoringEvent:
    return event(seconds, kind, worker_id=worker_id, meta={"host": "secret-host", "pid": 1})


def test_workers_are_sorted_by_number_then_by_name() -> None:
    """Worker 10 comes after worker 9, and names after numbers."""
    seen = looked_at(1, [worker(0, name) for name in ("b", 10, "a", 9)])
    assert [state.worker_id for state in worker_states(seen)] == [9, 10, "a", "b"]


def test_a_worker_gone_for_an_hour_is_no_longer_shown() -> None:
    """A dead worker is shown for an hour."""
    story = [worker(0, "w"), worker(0, "s", "worker_started"), worker(1, "s", "worker_stopped")]
    assert [state.status for state in worker_states(looked_at(3600, story))] == [
        "stopped",
        "offline",
    ]
    assert worker_states(looked_at(3601, story)) == []


def test_a_workers_newest_job_is_its_current_one() -> None:
    """Of several jobs of a worker the one begun last is shown; a worker that is gone runs none."""
    story = [
        worker(0, "w"),
        job("t", 2, "task_started", "late", worker_id="w", task_type="x"),
        job("t", 1, "task_started", "early", worker_id="w"),
    ]
    (online,) = worker_states(looked_at(3, story))
    assert (online.current_task_id, online.current_parent_task_id) == ("late", "t")
    (offline,) = worker_states(looked_at(100, story))
    assert (offline.status, offline.current_task_id) == ("offline", None)


def test_another_projects_job_is_shown_without_its_ids() -> None:
    """Who filters by project sees that a worker is busy with another's, and not with what."""
    story = [
        worker(0, "w"),
        job("t", 1, "task_started", worker_id="w", task_type="x", project_id="q"),
    ]
    (found,) = worker_states(looked_at(2, story), EventFilter(project_id="p"))
    assert (found.current_task_type, found.current_task_id, found.current_parent_task_id) == (
        "x",
        None,
        None,
    )


def test_a_limited_reader_sees_its_own_projects_only() -> None:
    """A token of project p gets no worker, no other's card or failure, and nothing mixed."""
    story = [
        worker(0, "w"),
        root("own", 0, "task_started", project_id="p"),
        root("foreign", 0, "task_started", project_id="q"),
        root("nobody's", 0, "task_started"),
        root("mixed", 0, "task_started", project_id="p"),
        job("mixed", 1, "task_failed", project_id="q", error="q's secret"),
        job("own", 1, "task_failed", project_id="p", error="own"),
        job("nobody's", 1, "task_failed", error="nobody's"),
    ]
    seen = looked_at(2, story)
    assert worker_states(seen, LIMITED) == []
    assert [card.task_id for card in task_cards(seen, LIMITED)] == ["own"]
    assert [group.error for group in failure_groups(seen, LIMITED)] == ["own"]
    assert len(task_cards(seen, ALL_EVENTS)) == 4


def test_the_coordinators_queues_come_first_by_priority() -> None:
    """The three priorities are in claiming order, other queues follow by name."""
    names = [
        "zeta",
        DEFAULT_KEYS.queue("low"),
        "alpha",
        DEFAULT_KEYS.queue("high"),
        DEFAULT_KEYS.queue("normal"),
    ]
    model = fold([event(0, "queue_depth_update", counts=dict.fromkeys(names, 1))])
    assert [queue.queue for queue in queue_depths(model)] == [*DEFAULT_KEYS.queues, "alpha", "zeta"]


def test_the_latest_failure_is_first_and_its_newest_job_too() -> None:
    """Failures are sorted by their last time, and the jobs of each by theirs."""
    story = [
        job("t", 1, "task_failed", "a", error="old"),
        job("t", 2, "task_failed", "b", error="new"),
        job("u", 3, "task_failed", "c", error="new"),
    ]
    seen = looked_at(4, story)
    found = failure_groups(seen)
    assert [(group.error, group.task_ids) for group in found] == [
        ("new", ["c", "b"]),
        ("old", ["a"]),
    ]
    wanted = failure_groups(seen, EventFilter(task_id="u"))
    assert [group.error for group in wanted] == ["new"]


def test_a_worker_names_its_latest_incarnation() -> None:
    """Of two lives of a worker the later is shown; an old publisher's worker has none."""
    story = [
        event(0, "worker_started", worker_id="w", incarnation="b" * 16),
        event(9, "worker_started", worker_id="w", incarnation="a" * 16),
        worker(0, "old"),
    ]
    found = {state.worker_id: state.incarnation for state in worker_states(looked_at(10, story))}
    assert found == {"w": "a" * 16, "old": None}


def test_a_limited_reader_sees_no_jobs_of_no_task() -> None:
    """Jobs that name neither task nor trace share one record, whose project is that of some."""
    story = [
        event(0, "task_failed", task_id="own", project_id="p", error="p's"),
        event(1, "task_failed", task_id="other", error="of none"),
    ]
    seen = looked_at(2, story)
    assert failure_groups(seen, LIMITED) == []
    assert len(failure_groups(seen, ALL_EVENTS)) == 2
