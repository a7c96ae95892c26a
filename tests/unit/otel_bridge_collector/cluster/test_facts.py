"""Facts that cross partitions: read from states, added up, sent to other members."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.cluster.facts import (
    Facts,
    add_facts,
    facts_of,
    facts_to_bytes,
    read_facts,
)
from otel_bridge_collector.views.state import ViewState

from tests.support.histories import event, fold, moment


def state_of(*events: dict[str, Any]) -> ViewState:
    state = ViewState(fold([event(1, **fields) for fields in events], 5))
    state.refresh(moment(5))
    return state


RUNS = {"event_type": "task_started", "worker_id": 3, "queue": "q", "task_id": "j"}
ENDS = RUNS | {"event_type": "task_completed"}


def test_facts_say_what_is_busy() -> None:
    """A queue is in use while a job of it runs, or a worker that has run its jobs runs another."""
    busy = facts_of([state_of(RUNS | {"parent_task_id": "t"})])
    assert (busy.running, set(busy.busy), busy.takers) == ({"q": 1}, {"3"}, {})
    idle = facts_of([state_of(ENDS | {"parent_task_id": "u"})])
    assert (idle.running, sorted(idle.busy)) == ({}, [])
    assert {name: set(ids) for name, ids in idle.takers.items()} == {"q": {"3"}}
    other = facts_of([state_of(RUNS | {"parent_task_id": "v", "queue": "other"})])
    used = [one.queues_in_use() for one in (busy, idle, add_facts([idle, other]))]
    assert used == [{"q"}, set(), {"q", "other"}]


def test_workers_are_heard_of_anywhere() -> None:
    """When a worker was last heard by its jobs is the latest that any state knows."""
    states = [
        state_of(RUNS | {"parent_task_id": "t"}),
        state_of({"event_type": "worker_heartbeat", "worker_id": "beats"}),
    ]
    one = facts_of(states)
    assert one.heard == {"3": moment(1)}
    later = Facts(heard={"3": moment(2)})
    assert add_facts([later, one]).heard == {"3": moment(2)}


def test_what_decides_whether_a_queue_is_stuck_adds_up() -> None:
    """Jobs that wait are added, the oldest of all is the oldest."""
    waits = {"event_type": "task_enqueued", "queue": "q", "task_id": "j"}
    states = [state_of(waits | {"parent_task_id": name}) for name in "tuv"]
    assert facts_of(states).queues["q"].waiting == 3
    assert add_facts(facts_of([state]) for state in states) == facts_of(states)


def test_facts_travel() -> None:
    """What another member sends is read as it was; what is none is refused with ValueError."""
    facts = facts_of([state_of(ENDS | {"parent_task_id": "u"}, RUNS | {"queue": "ü"})])
    assert read_facts(facts_to_bytes(facts)) == facts
    for data in (b"", b"[]", b'{"running":{"q":"x"}}'):
        with pytest.raises(ValueError, match=r".+"):
            read_facts(data)
