"""Whose an event is: the table of owners, which a process that only routes asks by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from otel_bridge_collector.model.reading.owners import TraceTable, owner_key

from tests.support.histories import event

TRACE = "a" * 32
SHARED = "b" * 32
UNKNOWN = "c" * 32

KNOWN: list[dict[str, Any]] = [
    {"event_type": "task_started", "trace_id": TRACE, "parent_task_id": "t", "task_id": "t"},
    {"event_type": "task_started", "trace_id": SHARED, "parent_task_id": "u", "task_id": "j"},
    {"event_type": "task_enqueued", "trace_id": SHARED, "parent_task_id": "v", "task_id": "k"},
]
"""Of one trace a task is known, of another two."""


def table(facts: Iterable[dict[str, Any]]) -> TraceTable:
    traces = TraceTable()
    for fields in facts:
        traces.note(event(0, **fields))
    return traces


OWNERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "the task that it names": ({"parent_task_id": "x", "trace_id": TRACE}, "x"),
    "the task that it names, without trace": ({"parent_task_id": "x", "task_id": "j"}, "x"),
    "its trace's task": ({"trace_id": TRACE, "span_id": "1" * 16}, "t"),
    "its trace's task, the trace as its card": ({"parent_task_id": TRACE, "trace_id": TRACE}, "t"),
    "its trace's task, the card alone": ({"parent_task_id": TRACE, "task_id": "j"}, "t"),
    "its trace, of two tasks": ({"parent_task_id": SHARED, "trace_id": SHARED}, SHARED),
    "its trace, of no task": ({"trace_id": UNKNOWN, "span_id": "1" * 16}, UNKNOWN),
    "its job": ({"task_id": "j"}, "j"),
    "none, of a worker": ({"event_type": "worker_heartbeat", "worker_id": "w"}, None),
    "none, of a queue": ({"event_type": "queue_depth_update", "counts": {"q": 1}}, None),
    "none, of the leader": ({"event_type": "stats_snapshot"}, None),
    "none, of heartbeats of spans": ({"event_type": "span_beats", "spans": ["1" * 16]}, None),
}


@pytest.mark.parametrize("case", OWNERS)
def test_owner_of_an_event(case: str) -> None:
    """Each kind of event has one owner, in whatever order the tasks of the traces became known."""
    fields, owner = OWNERS[case]
    one = event(1, **{"event_type": "span_started", **fields})
    found = {owner_key(one, table(facts)) for facts in itertools.permutations(KNOWN)}
    assert found == {owner}


def test_a_task_learnt_late_moves_its_trace() -> None:
    """The table says which trace has another owner now: once for its task, once for a second."""
    traces = TraceTable()
    loose = event(0, "span_started", trace_id=TRACE, span_id="1" * 16)
    owners, moved = [owner_key(loose, traces)], []
    for task in ("t", "t", "u", "v"):
        named = event(1, "task_started", trace_id=TRACE, parent_task_id=task, task_id="j")
        moved.append(traces.note(named))
        owners.append(owner_key(loose, traces))
    assert owners == [TRACE, "t", "t", TRACE, TRACE]
    assert moved == [TRACE, None, TRACE, None]
    assert traces.note(loose) is None


def test_the_table_is_bounded() -> None:
    """Past the limit the trace of which a task was named longest ago is forgotten."""
    traces = TraceTable(max_traces=2)
    for digit in ("1", "2", "1", "3"):
        named = {"trace_id": digit * 32, "parent_task_id": f"t{digit}", "task_id": "j"}
        traces.note(event(0, "task_started", **named))
    assert [traces.task_of(digit * 32) for digit in "123"] == ["t1", None, "t3"]


def test_a_trace_that_continues_another_has_its_owner() -> None:
    """A chain of links leads to the task of the last trace; a circle to its smallest id."""
    links = {TRACE: SHARED, SHARED: UNKNOWN}
    own = {"trace_id": UNKNOWN, "parent_task_id": "t", "task_id": "j"}
    steps = [{"trace_id": at, "parent_task_id": to, "name": "n"} for at, to in links.items()]
    events = [event(0, "span_started", **fields) for fields in steps]
    for facts in itertools.permutations([*events, event(0, "task_started", **own)]):
        traces = TraceTable()
        for one in facts:
            traces.note(one)
        assert [owner_key(one, traces) for one in events] == ["t", "t"]
    circle = TraceTable()
    back = event(0, "span_started", trace_id=UNKNOWN, parent_task_id=TRACE, name="n")
    for one in (*events, back):
        circle.note(one)
    assert [owner_key(one, circle) for one in (*events, back)] == [TRACE] * 3
