"""The list of queues: depths as reported, and nothing made up."""

from __future__ import annotations

import json
from typing import Any

from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers.queues import compute, merge
from otel_bridge_collector.wire.views.params import ListParams

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import at, event, fold


def rows(scope: Scope = None, **fields: Any) -> list[dict[str, Any]]:
    story = [
        event(0, "queue_depth_update", counts={"mail": 3, "app:low": 0, "app:high": 2}),
        event(5, "queue_depth_update", counts={"mail": 9}),
        event(6, "task_enqueued", task_id="j", parent_task_id="t", queue="unreported"),
    ]
    state = ViewState(fold(story), queues=("app:high", "app:low"))
    state.refresh(microseconds(at(7)))
    params = ListParams(**fields)
    part = compute(state, params, scope)
    return [json.loads(row) for row in merge([part], params).rows.values()]


def test_the_coordinators_queues_come_first() -> None:
    """In the order in which they are served; the others follow by name."""
    assert [row["k"] for row in rows()] == ["app:high", "app:low", "mail", "unreported"]


def test_a_depth_is_the_last_report() -> None:
    """With the time of that report; a depth that was not reported is unknown, and not 0."""
    by_name = {row["k"]: row for row in rows()}
    assert (by_name["mail"]["depth"], by_name["mail"]["at"]) == (9, microseconds(at(5)) // 1000)
    assert by_name["app:low"]["depth"] == 0
    unreported = by_name["unreported"]
    assert (unreported["depth"], unreported["at"], unreported["waiting"]) == (None, None, 1)


def test_the_state_of_a_queue() -> None:
    """Its depth by priority, what has waited for longest, who takes from it, and what runs."""

    def worker(seconds: float, name: str, *queues: str) -> MonitoringEvent:
        meta = {"host": name, "pid": 1, "queues": list(queues)}
        return event(seconds, "worker_heartbeat", worker_id=name, incarnation=name, meta=meta)

    def job(seconds: float, kind: str, name: str, queue: str, **fields: Any) -> MonitoringEvent:
        ids = {"task_id": name, "parent_task_id": "t", "queue": queue}
        return event(seconds, kind, **ids, **fields)

    story = [
        event(
            0,
            "queue_depth_update",
            counts={"mail": 3, "slow": 0},
            meta={"priorities": {"mail": {"0": 2, "9": 1}, "slow": "none"}},
        ),
        worker(0, "a", "mail", "other"),
        worker(1, "b", "mail"),
        job(1, "task_enqueued", "late", "mail", meta={"countdown": 100}),
        job(2, "task_enqueued", "j", "mail"),
        job(3, "task_enqueued", "k", "mail"),
        job(4, "task_started", "r", "mail", span_id="1" * 16),
    ]

    def shown(*events: MonitoringEvent, seconds: float = 5) -> list[dict[str, Any]]:
        state = ViewState(fold([*story, *events]))
        state.refresh(microseconds(at(seconds)))
        found = merge([compute(state, ListParams(), None)], ListParams())
        return [json.loads(row) for row in found.rows.values()]

    mail, slow = shown()
    assert mail["priorities"] == {"0": 2, "9": 1}
    assert (mail["oldest"], mail["workers"], mail["running"]) == (ms(2), 2, 1)
    assert (slow["priorities"], slow["oldest"], slow["workers"], slow["running"]) == (
        None,
        None,
        0,
        0,
    )
    mail, _ = shown(job(4, "task_started", "j", "mail", span_id="2" * 16))
    assert (mail["oldest"], mail["running"]) == (ms(3), 2)
    # Both workers are silent for too long; what was delayed waits now.
    started = [
        job(4, "task_started", name, "mail", span_id=number * 16) for name, number in ("j2", "k3")
    ]
    mail, _ = shown(*started, seconds=200)
    assert (mail["oldest"], mail["workers"]) == (ms(101), 0)


def ms(seconds: float) -> int:
    return microseconds(at(seconds)) // 1000


def test_a_limited_reader_gets_no_queues() -> None:
    """Queues are shared by all projects."""
    assert rows(frozenset({"p"})) == []
    assert [row["k"] for row in rows(count=1, at="end")] == ["unreported"]
