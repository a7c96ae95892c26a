"""Filtered trees: the rows that pass with those above them, and how often they are found again."""

from __future__ import annotations

import json
from typing import Any

from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.tree.filtered import FilteredRows, is_filtered
from otel_bridge_collector.views.tree.index import TreeIndex
from otel_bridge_collector.views.tree.view import compute
from otel_bridge_collector.wire.views.params import TreeParams

from tests.support.faults import FakeClock
from tests.support.histories import event, moment, span

IDS = {"parent_task_id": "t", "trace_id": "ab" * 16}


class Site:
    """A model with one task, and its views."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.model = Fold(limits)
        self.clock = FakeClock()
        self.state = ViewState(self.model, clock=self.clock)
        self.seconds = 0.0
        self.apply("task_started", 1, None, task_id="t")
        self.apply("phase_started", 2, 1, phase="p")
        self.apply("phase_started", 3, 1, phase="q")

    def apply(self, kind: str, number: int, parent: int | None, **fields: Any) -> None:
        above = None if parent is None else span(parent)
        given = {**IDS, "span_id": span(number), "parent_span_id": above, **fields}
        self.model.apply(event(self.seconds, kind, **given), moment(self.seconds))

    def job(self, kind: str, number: int, parent: int, **fields: Any) -> None:
        self.apply(kind, number, parent, task_id=f"j{number}", **fields)

    def shown(self, **params: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Head and rows a second later."""
        self.seconds += 1
        self.clock.advance(1)
        self.state.refresh(moment(self.seconds))
        found = compute(self.state, TreeParams.model_validate({"task": "t", **params}), None)
        return dict(found.head), [json.loads(row) for row in found.rows.values()]

    def keys(self, **params: Any) -> list[int]:
        return [int(row["k"], 16) for row in self.shown(**params)[1]]


def site() -> Site:
    made = Site()
    made.job("task_started", 4, 2, worker_id="w-one", task_type="Chat")
    made.job("task_started", 5, 2)
    made.job("task_failed", 5, 2, error="Kaputt: 7")
    made.job("task_started", 6, 3)
    made.seconds = 5
    made.job("task_completed", 6, 3)
    return made


def test_rows_that_pass_are_listed_with_those_above_them() -> None:
    """By status, by text in any of its fields, by time, and by all of them together."""
    made = site()
    assert made.keys(status=["failed"]) == [1, 2, 5]
    assert made.keys(status=["failed", "completed"]) == [1, 2, 5, 3, 6]
    assert made.keys(text="CHAT") == made.keys(text="W-one") == [1, 2, 4]
    assert made.keys(text="kaputt") == made.keys(text="J5") == [1, 2, 5]
    assert made.keys(text="j", status=["completed"]) == [1, 3, 6]
    assert made.keys(zoom=[moment(6) // 1000, moment(7) // 1000]) == [1, 2, 4, 3]
    assert made.keys(zoom=[moment(4) // 1000, moment(4) // 1000]) == [1, 2, 4, 3, 6]
    assert made.keys(text="nothing like it") == []


def test_the_head_says_how_many_pass_and_when_they_were_found() -> None:
    """And folds do not count: what passes is listed."""
    head, _ = site().shown(status=["failed"], default="folded")
    assert (head["total"], head["matches"], head["failed"]) == (3, 1, 1)
    assert head["as_of"] == moment(6) // 1000
    head, rows = site().shown(text="nothing like it")
    assert (head["first"], head["total"], head["matches"], rows) == (0, 0, 0, [])
    head, _ = site().shown(text="")
    assert (head["matches"], head["as_of"]) == (None, None)


def test_rows_are_of_now_and_the_list_of_a_moment_ago() -> None:
    """What has ended since is listed until the list is made again, as what it is now."""
    made = site()
    assert made.keys(status=["processing"]) == [1, 2, 4, 3]
    made.job("task_completed", 4, 2)
    made.clock.advance(-0.9)  # the list is 0.1 s old at the next look
    head, rows = made.shown(status=["processing"])
    assert [int(row["k"], 16) for row in rows] == [1, 2, 4, 3]
    assert rows[2]["status"] == "completed"
    assert head["as_of"] == moment(6) // 1000
    assert made.keys(status=["processing"]) == [1, 2, 3]


def test_time_alone_makes_a_list_again() -> None:
    """An open row stalls without an event; a list of a task that is over stays as it is."""
    made = site()
    made.job("task_started", 7, 2)
    assert made.keys(status=["stalled"]) == []
    made.seconds += 2000
    made.clock.advance(10)
    assert 4 in made.keys(status=["stalled"])


def test_rows_that_left_memory_leave_the_list() -> None:
    """Before it is made again: no window has a row that is not there."""
    made = Site(Limits(nodes_per_task=30))
    for number in range(4, 28):
        made.job("task_started", number, 2)
        made.job("task_completed", number, 2)
    assert len(made.keys(text="j")) == 26
    for number in range(28, 36):
        made.job("task_started", number, 2)
    made.clock.advance(-0.9)
    head, rows = made.shown(text="j", at="end", count=20)
    assert head["total"] == 26 - made.model.tasks.by_id["t"].not_held < 26
    assert len(rows) == min(20, head["total"])


def test_a_window_holds_on_to_a_key() -> None:
    """One that does not pass counts as the row above it that is listed."""
    made = site()
    head, rows = made.shown(status=["completed"], at={"key": span(6), "above": 1}, count=2)
    assert (head["first"], [int(row["k"], 16) for row in rows]) == (1, [3, 6])
    assert made.shown(status=["failed"], at={"key": span(4)}, count=2)[0]["first"] == 1
    assert made.shown(status=["failed"], at={"key": "?"}, count=1)[0]["first"] == 0


def test_what_a_filter_is() -> None:
    """An empty text is none; an empty list of statuses passes nothing."""
    assert not is_filtered(TreeParams(task="t", text=""))
    assert is_filtered(TreeParams(task="t", status=()))
    assert is_filtered(TreeParams(task="t", zoom=(0, 1)))


def test_a_list_by_itself() -> None:
    """Rows in the tree's order; numbers of those that are not listed are those above."""
    made = site()
    made.state.refresh(moment(6))
    index = TreeIndex(made.model, made.model.tasks.by_id["t"])
    items = {node.key: item for node, item in index.items.items()}
    rows = FilteredRows(index.root, [items[6], items[5]])
    assert (rows.total, rows.matches) == (5, 2)
    assert [item for item, _ in rows.window(0, 9)] == [
        index.root,
        items[2],
        items[5],
        items[3],
        items[6],
    ]
    assert [rows.row_of(items[number]) for number in (4, 5, 6)] == [1, 2, 4]
    assert FilteredRows(index.root, []).row_of(items[4]) == 0
