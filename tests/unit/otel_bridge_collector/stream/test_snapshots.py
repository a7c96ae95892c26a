"""The snapshot of one collector: cached for a moment, and never with others' work."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.stream.snapshots import Snapshots
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from tests.support.faults import FakeClock
from tests.support.folding import apply, event, judged

LIMITED = EventFilter(projects=frozenset({"p"}))


class Stage:
    """A model, a ring, and the snapshots of both."""

    def __init__(self) -> None:
        self.model = Fold()
        self.ring = ReplayRing("e:0", 1000)
        self.clock = FakeClock()
        self.snapshots = Snapshots(
            lambda: judged(self.model, 60), self.ring, queues=("high", "low"), clock=self.clock
        )

    def add(self, count: int = 1, size: int = 0, **fields: Any) -> None:
        """Append events to the ring, as the reader does, and fold them."""
        for _ in range(count):
            number = self.ring.last_index + 1
            one = event(1, "task_started", task_id=f"j{number}", parent_task_id="t", **fields)
            apply(self.model, one)
            data = json.dumps({"n": number, "pad": "x" * size}).encode()
            project = fields.get("project_id")
            self.ring.append(Entry(f"e:{number}", data, "task_started", project_id=project))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_snapshot_is_valid_at_the_newest_entry(stage: Stage) -> None:
    """It has the state, the newest events, and the position after which the stream goes on."""
    stage.add(3)
    snapshot = stage.snapshots.message()
    assert (snapshot.position, len(snapshot.tasks)) == (stage.ring.last_position, 1)
    assert [found["n"] for found in snapshot.events] == [
        index for index in range(stage.ring.last_index - 2, stage.ring.last_index + 1)
    ]


def test_its_events_are_bounded(stage: Stage) -> None:
    """The newest 200, and at most 512 KiB of them."""
    stage.add(250)
    assert len(stage.snapshots.message().events) == 200
    stage.add(20, size=100_000)
    assert len(stage.snapshots.message().events) == 5


def test_equal_filters_share_one_for_half_a_second(stage: Stage) -> None:
    """The same bytes, until the next event or the next half second."""
    stage.add()
    first = stage.snapshots.json(ALL_EVENTS)
    assert stage.snapshots.json(EventFilter()) is first
    stage.clock.advance(0.5)
    second = stage.snapshots.json(ALL_EVENTS)
    assert second is not first
    stage.add()
    assert stage.snapshots.json(ALL_EVENTS) is not second


def test_a_limited_reader_gets_its_projects(stage: Stage) -> None:
    """No queue, no worker, no event of others."""
    stage.add(2, project_id="q")
    apply(stage.model, event(2, "queue_depth_update", counts={"low": 1, "high": 2}))
    everything = stage.snapshots.message()
    assert [queue.queue for queue in everything.queues] == ["high", "low"]
    limited = stage.snapshots.message(LIMITED)
    assert (limited.tasks, limited.queues, limited.events) == ([], [], [])


def test_research_tasks_come_with_their_number(stage: Stage) -> None:
    """At most as many as asked for, what runs first, and how many there are in all."""
    for number in range(3):
        name = f"t{number}"
        kind = "task_completed" if number == 2 else "task_started"
        apply(stage.model, event(number, "task_started", task_id=name, parent_task_id=name))
        apply(stage.model, event(number + 1, kind, task_id=name, parent_task_id=name))
    rows, total = stage.snapshots.research_tasks(ALL_EVENTS, 2)
    assert ([row["task_id"] for row in rows], total) == (["t1", "t0"], 3)
    assert stage.snapshots.research_tasks(LIMITED, 2) == ([], 0)
