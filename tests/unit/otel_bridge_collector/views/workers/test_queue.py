"""One queue: what waits in it, how its depth went, and who takes from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers.queue import compute, merge
from otel_bridge_collector.wire.views.params import QueueParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold, root


def ms(seconds: float) -> int:
    return microseconds(at(seconds)) // 1000


def queued(seconds: float, name: str, task: str = "t", **fields: Any) -> MonitoringEvent:
    ids = {"task_id": name, "parent_task_id": task, "queue": "q", "project_id": f"p-{task}"}
    return event(seconds, "task_enqueued", **ids, task_type="fetch", **fields)


STORY = [
    root("t", 0, "task_started", project_id="p-t", meta={"title": "Schools"}),
    event(
        0,
        "worker_heartbeat",
        worker_id=3,
        incarnation="a" * 16,
        meta={"host": "h", "pid": 1, "queues": ["q"]},
    ),
    event(1, "queue_depth_update", counts={"q": 3}),
    event(12, "queue_depth_update", counts={"q": 2}),
    queued(2, "first", span_id="1" * 16),
    queued(3, "second"),
    queued(4, "late", meta={"countdown": 60}),
    queued(5, "other", task="u"),
    queued(1, "started", span_id="2" * 16),
    event(6, "task_started", task_id="started", parent_task_id="t", queue="q", span_id="3" * 16),
]


def shown(scope: Scope = None, **fields: Any) -> Window:
    state = ViewState(fold(STORY))
    state.refresh(microseconds(at(20)))
    params = QueueParams(**{"queue": "q", **fields})
    return merge([compute(state, params, scope)], params)


def test_its_head() -> None:
    """What the list says of it, with the depths of the last ten minutes and its workers' ids."""
    assert shown().head == {
        "k": "q",
        "depth": 2,
        "at": ms(12),
        "waiting": 4,
        "priorities": None,
        "oldest": ms(2),
        "workers": 1,
        "running": 1,
        "stuck": None,
        "trend": ((ms(1), 3), (ms(12), 2)),
        "names": (3,),
    }


def test_what_waits() -> None:
    """The oldest first, with the time before which a delayed one is not due."""
    rows = [json.loads(row) for row in shown().rows.values()]
    assert [row["job"] for row in rows] == ["first", "second", "late", "other"]
    assert rows[0] == {
        "k": f"t {'1' * 16}",
        "task": "t",
        "title": "Schools",
        "node": "1" * 16,
        "job": "first",
        "type": "fetch",
        "start": ms(2),
        "not_before": None,
    }
    assert rows[2]["not_before"] == ms(64)
    assert [json.loads(row)["job"] for row in shown(project="p-u").rows.values()] == ["other"]


def test_two_hundred_at_most() -> None:
    """Of several processes too."""
    state = ViewState(fold([queued(number, f"j{number:03}") for number in range(250)]))
    state.refresh(microseconds(at(300)))
    params = QueueParams(queue="q")
    part = compute(state, params, None)
    found = merge([part], params)
    assert (len(found.rows), found.head["waiting"], found.head["depth"]) == (200, 250, None)
    assert json.loads(next(iter(found.rows.values())))["job"] == "j000"


def test_who_may_not_see_it() -> None:
    """A limited reader learns nothing of queues, as of one that is not known."""
    for scope, name in ((frozenset({"p-t"}), "q"), (None, "nothing")):
        with pytest.raises(GoneError):
            shown(scope, queue=name)
