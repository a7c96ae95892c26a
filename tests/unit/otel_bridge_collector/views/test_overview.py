"""The header's numbers: for everybody, for one project, for a limited reader."""

from __future__ import annotations

from typing import Any

from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.listing import Listing, Scope
from otel_bridge_collector.views.overview import compute, merge
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import OverviewParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold


def story() -> list[MonitoringEvent]:
    """Two projects, four jobs, a worker that lives and one that was lost, a queue."""
    found = []
    for project, status in (("p", "task_completed"), ("p", "task_failed"), ("q", "task_failed")):
        name = f"{project}{status}"
        fields = {"task_id": name, "parent_task_id": f"t-{project}", "project_id": project}
        found += [event(50, "task_started", **fields), event(51, status, **fields)]
    found.append(event(51, "task_failed", parent_task_id="t-q", task_id="t-q", project_id="q"))
    running = {"task_id": "r", "parent_task_id": "t-p", "project_id": "p", "task_type": "fetch"}
    found.append(event(52, "task_started", **running))
    found.append(event(52, "task_started", parent_task_id="t-p", task_id="t-p", project_id="p"))
    found.append(event(0, "worker_heartbeat", worker_id="lost", meta={"host": "h", "pid": 1}))
    found.append(event(55, "worker_heartbeat", worker_id="here", meta={"host": "h", "pid": 2}))
    found.append(event(55, "queue_depth_update", counts={"waiting": 7}))
    found.append(event(40, "task_enqueued", parent_task_id="t-p", task_id="e", queue="unreported"))
    return found


def part(model: Fold, seconds: float, scope: Scope = None, **params: Any) -> Listing:
    state = ViewState(model)
    state.refresh(microseconds(at(seconds)))
    return compute(state, OverviewParams(**params), scope)


def head(seconds: float = 56, scope: Scope = None, **params: Any) -> dict[str, Any]:
    return dict(merge([part(fold(story()), seconds, scope, **params)], OverviewParams()).head)


def test_everything() -> None:
    """Tasks by status, jobs that run and their types, rates, workers, queues."""
    found = head()
    assert found["tasks"] == {"failed": 1, "processing": 1}
    assert (found["jobs_running"], found["jobs_running_by_type"]) == (1, {"fetch": 1})
    assert (found["error_rate_1m"], found["error_rate_5m"]) == (0.6667, 0.6667)
    assert (found["workers_online"], found["workers_lost"]) == (1, 1)
    assert found["queued"] == {"waiting": 7}
    assert found["events"] == len(story())


def test_a_worker_without_heartbeats_is_not_lost() -> None:
    """It has promised none, so it is unknown whether it lives once its jobs are over."""
    story = [
        event(0, "task_started", task_id="j", parent_task_id="t", worker_id="w"),
        event(1, "task_completed", task_id="j", parent_task_id="t", worker_id="w"),
    ]
    found = dict(merge([part(fold(story), 100)], OverviewParams()).head)
    assert (found["workers_online"], found["workers_lost"], found["attention"]) == (0, 0, ())


def test_what_waits_where_no_depth_is_reported() -> None:
    """It is not 0: the jobs that are known to wait are said apart."""
    assert head()["waiting"] == {"unreported": 1}


def test_attention() -> None:
    """What needs attention of tasks and of workers, with keys that lead there."""
    failing, lost = head()["attention"]
    assert failing == {
        "kind": "task_failing",
        "name": "t-p",
        "count": 1,
        "since": None,
        "key": "t-p",
        "task": "t-p",
    }
    assert (lost["kind"], lost["name"], lost["count"]) == ("worker_lost", "lost", 0)
    assert (lost["key"], lost["since"]) == ("lost@h:1@?", microseconds(at(0)) // 1000)
    # Seen so long ago that nothing is known of the project's task: it is silent.
    kinds = [one["kind"] for one in head(seconds=2000, project="p")["attention"]]
    assert kinds[0] == "task_stalled"
    assert "task_failing" not in kinds


def test_one_project() -> None:
    """Its own jobs; workers and queues are shared and shown to whoever may see all."""
    found = head(project="q")
    assert (found["tasks"], found["jobs_running"], found["error_rate_1m"]) == ({"failed": 1}, 0, 1)
    assert found["workers_online"] == 1


def test_a_limited_reader_learns_nothing_of_others() -> None:
    """What is shared is unknown to it, not 0; another project is empty."""
    found = head(scope=frozenset({"q"}))
    assert (found["tasks"], found["error_rate_1m"]) == ({"failed": 1}, 1)
    shared = ("events", "events_dropped", "workers_online", "workers_lost", "queued", "waiting")
    assert [found[name] for name in shared] == [None] * 6
    assert found["attention"] == ()
    own = head(scope=frozenset({"p"}))
    assert [one["kind"] for one in own["attention"]] == ["task_failing"]
    hidden = head(scope=frozenset({"q"}), project="p")
    assert (hidden["tasks"], hidden["jobs_running"]) == ({}, 0)


def test_unknown_rates_are_unknown() -> None:
    """Without an ended job in the window there is no error rate."""
    assert head(seconds=2000)["error_rate_5m"] is None


def test_parts_add_up() -> None:
    """Several processes, each with tasks of its own, and workers that all of them know."""
    whole = story()
    mine = [e for e in whole if e.project_id != "q"]
    others = [e for e in whole if e.project_id in ("q", None) and e.task_id != "e"]
    parts = [part(fold(events), 56) for events in (mine, others)]
    merged = dict(merge(parts, OverviewParams()).head)
    expected = head()
    same = ("tasks", "jobs_running", "error_rate_1m", "workers_online", "queued")
    for name in (*same, "waiting", "attention"):
        assert merged[name] == expected[name], name
