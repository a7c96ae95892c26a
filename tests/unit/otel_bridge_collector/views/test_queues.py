"""The list of queues: depths as reported, and nothing made up."""

from __future__ import annotations

import json
from typing import Any

from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.queues import compute, merge
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import ListParams

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
    assert merge([part, part], params) == merge([part], params)
    return [json.loads(row) for row in merge([part], params).rows.values()]


def test_the_coordinators_queues_come_first() -> None:
    """In the order in which they are served; the others follow by name."""
    assert [row["k"] for row in rows()] == ["app:high", "app:low", "mail"]


def test_a_depth_is_the_last_report() -> None:
    """With the time of that report; a queue whose depth nobody reports is not shown as 0."""
    by_name = {row["k"]: row for row in rows()}
    assert (by_name["mail"]["depth"], by_name["mail"]["at"]) == (9, microseconds(at(5)) // 1000)
    assert by_name["app:low"]["depth"] == 0
    assert "unreported" not in by_name


def test_a_limited_reader_gets_no_queues() -> None:
    """Queues are shared by all projects."""
    assert rows(frozenset({"p"})) == []
    assert [row["k"] for row in rows(count=1, at="end")] == ["mail"]
