"""The list of queues: depths as reported, and nothing made up."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.overview import compute as compute_overview
from otel_bridge_collector.views.overview import merge as merge_overview
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.workers import queue
from otel_bridge_collector.views.workers.queues import compute, merge
from otel_bridge_collector.wire.views.params import ListParams, OverviewParams, QueueParams

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


STEPS = st.lists(
    st.tuples(
        st.integers(0, 120),
        st.sampled_from(("task_enqueued", "task_started", "task_completed", "depth", "worker")),
        st.sampled_from(("t", "u", "v")),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=25,
)


def step(seconds: float, kind: str, task: str, number: int) -> MonitoringEvent:
    if kind == "depth":
        return event(seconds, "queue_depth_update", counts={f"q{number % 2}": number + 1})
    beat = {"worker_id": task, "incarnation": task * 16}
    if kind == "worker":
        meta = {"host": task, "pid": 1, "queues": [f"q{number % 2}"]}
        return event(seconds, "worker_heartbeat", **beat, meta=meta)
    ids = {"parent_task_id": task, "task_id": f"j{number}", "queue": f"q{number % 2}"}
    return event(seconds, kind, **ids, **({} if kind == "task_enqueued" else beat))


@given(steps=STEPS)
@settings(max_examples=40)
def test_owners_say_together_what_one_says(steps: list[tuple[int, str, str, int]]) -> None:
    """Queues of processes that each hold some tasks equal those of one that holds all."""
    # Each worker says what it takes from: one without heartbeats lives where its jobs are held.
    events = [step(100, "worker", task, 0) for task in "tuv"]
    events += [step(*one) for one in steps]
    states = []
    for tasks in ("tuv", "t", "uv"):
        own = [one for one in events if one.parent_task_id is None or one.parent_task_id in tasks]
        states.append(ViewState(fold(own)))
        states[-1].refresh(microseconds(at(121)))

    def shown(*parts: ViewState) -> Any:
        one, name = ListParams(), QueueParams(queue="q0")
        heads = merge_overview(
            [compute_overview(part, OverviewParams(), None) for part in parts], OverviewParams()
        ).head
        found = [merge([compute(part, one, None) for part in parts], one)]
        if all("q0" in part.queue_facts() and part.queue_facts()["q0"].is_listed for part in parts):
            found.append(queue.merge([queue.compute(part, name, None) for part in parts], name))
        stuck = [each for each in heads["attention"] if each["kind"] == "queue_stuck"]
        return [(window.head, dict(window.rows)) for window in found], heads["waiting"], stuck

    together, alone = shown(*states[1:]), shown(states[0])
    assert together[1:] == alone[1:]
    assert together[0] == alone[0][: len(together[0])]
