"""Events get the project of their task when it becomes known after them."""

from __future__ import annotations

from otel_bridge_collector.log.late_projects import LateProjects
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.reading.projects import project_of
from otel_bridge_collector.stream.ring import Entry, ReplayRing

from tests.support.histories import TRACE, event, moment


class Reader:
    """A model and a ring, filled as the reader of the log does it."""

    def __init__(self) -> None:
        self.model, self.ring = Fold(), ReplayRing("e:0", 1000)
        self.late = LateProjects(self.ring, self.model.tasks)

    def read(self, **fields: object) -> Entry:
        one = event(1, "task_started", **fields)
        self.model.apply(one, moment(1))
        project = one.project_id or project_of(self.model.task)
        entry = Entry(f"e:{self.ring.last_index + 1}", b"{}", one.event_type, project)
        self.ring.append(entry)
        self.late.note(entry, self.model.task, one.trace_id)
        return entry


def test_earlier_events_get_the_project_of_their_task() -> None:
    """Events that knew only the trace get it too, once the trace names the task."""
    reader = Reader()
    entries = [
        reader.read(trace_id=TRACE, task_id="a"),
        reader.read(trace_id=TRACE, parent_task_id="t", task_id="b"),
    ]
    assert [entry.project_id for entry in entries] == [None, None]
    reader.read(parent_task_id="t", task_id="c", project_id="p")
    assert [entry.project_id for entry in entries] == ["p", "p"]
    assert len(reader.late.waiting) == 0


def test_what_waits_is_bounded() -> None:
    """Past 200 tasks all are given up; of one task the first 200 events wait."""
    reader = Reader()
    many = [reader.read(parent_task_id="t", task_id=f"j{number}") for number in range(210)]
    reader.read(parent_task_id="t", task_id="j", project_id="p")
    assert [entry.project_id for entry in many] == ["p"] * 200 + [None] * 10
    for number in range(201):
        reader.read(parent_task_id=f"t{number}", task_id="j")
    assert len(reader.late.waiting) == 1
