"""The index of one task: what is put elsewhere, what leaves, and the keys that lead there."""

from __future__ import annotations

import json
from typing import Any

from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.tree.index import TreeIndex

from tests.support.histories import event, moment, span

TRACE = "ab" * 16


class Watched:
    """A model, and the index of the task ``t`` of it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.model = Fold(limits)
        self.apply(
            event(0, "task_started", **ids("t"), span_id=span(1)),
        )
        self.index = TreeIndex(self.model, self.model.tasks.by_id["t"])

    def apply(self, *events: Event) -> None:
        for one in events:
            self.model.apply(one, moment(0))

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as of now."""
        self.model.sweep(moment(10))
        self.index.refresh()
        shown = self.index.folds("open", ()).window(0, 1000)
        return [json.loads(self.index.rows.row(item, depth)) for item, depth in shown]

    def tree(self) -> list[tuple[int, str]]:
        return [(row["depth"], row["k"].lstrip("0")) for row in self.rows()]


def ids(task_id: str) -> dict[str, str]:
    return {"parent_task_id": "t", "trace_id": TRACE, "task_id": task_id}


def job(seconds: float, kind: str, number: int, parent: int | None, **fields: Any) -> Event:
    above = None if parent is None else span(parent)
    given = {**ids(f"j{number}"), "span_id": span(number), "parent_span_id": above, **fields}
    return event(seconds, kind, **given)


def test_a_row_whose_parent_comes_late_moves_below_it() -> None:
    """With all that is below it; two that change places come below each other the right way."""
    watched = Watched()
    watched.apply(job(1, "task_started", 4, 3), job(2, "task_started", 5, 4))
    assert watched.tree() == [(0, "1"), (1, "4"), (2, "5")]
    watched.apply(job(0.5, "task_started", 3, 1))
    assert watched.tree() == [(0, "1"), (1, "3"), (2, "4"), (3, "5")]
    assert [row["n"] for row in watched.rows()] == [3, 2, 1, 0]
    watched.apply(job(1, "task_progress", 4, 1), job(0.5, "task_progress", 3, 2))
    assert watched.tree() == [(0, "1"), (1, "3"), (1, "4"), (2, "5")]


def test_a_corrected_start_puts_a_row_elsewhere() -> None:
    """Siblings are sorted by start."""
    watched = Watched()
    watched.apply(*(job(number, "task_started", number, 1) for number in (2, 3, 4)))
    assert watched.tree() == [(0, "1"), (1, "2"), (1, "3"), (1, "4")]
    watched.apply(job(5, "task_completed", 4, 1, duration_ms=4900.0))
    assert watched.tree() == [(0, "1"), (1, "4"), (1, "2"), (1, "3")]


def test_an_attempt_replaces_its_enqueue() -> None:
    """It hangs where the enqueue did, shows when that was, and the enqueue's key leads to it."""
    watched = Watched()
    watched.apply(event(1, "task_enqueued", **ids("j"), span_id=span(2), parent_span_id=span(1)))
    (_, waiting) = watched.rows()
    assert (waiting["kind"], waiting["status"], waiting["start"]) == ("enqueue", "pending", None)
    watched.apply(event(3, "task_started", **ids("j"), span_id=span(3), parent_span_id=span(2)))
    (_, running) = watched.rows()
    assert (running["k"], running["depth"], running["kind"]) == (span(3), 1, "job")
    assert (running["queued"], running["start"]) == (moment(1) // 1000, moment(3) // 1000)
    assert watched.index.nearest(span(2)).node is watched.model.tree.nodes[3]


def test_what_leaves_memory_is_counted_where_it_was() -> None:
    """A row says how many are not in memory; the key of one that was shown leads above it."""
    watched = Watched(Limits(nodes_per_task=20))
    watched.apply(
        event(1, "phase_started", **ids("t"), phase="p", span_id=span(2), parent_span_id=span(1))
    )
    for number in range(3, 12):
        watched.apply(job(number, "task_started", number, 2))
        watched.apply(job(number, "task_completed", number, 2))
    assert len(watched.rows()) == 11
    for number in range(12, 30):
        watched.apply(job(number, "task_started", number, 2))
    rows = watched.rows()
    task, phase, more = rows[:3]
    gone = watched.model.tasks.by_id["t"].not_held
    assert gone > 3
    assert (more["kind"], more["k"], more["kids"], more["depth"]) == (
        "more",
        f"more:{span(2)}",
        gone,
        2,
    )
    assert (phase["kids"], phase["done"]) == (27, 9)
    assert len(rows) == 3 + 27 - gone
    assert task["n"] == len(rows) - 1
    assert watched.index.nearest(span(3)).node is watched.model.tree.nodes[2]
    assert watched.index.item_of(f"more:{span(2)}") is not None
    assert watched.index.nearest("no such key") is watched.index.root


def test_without_spans_what_leaves_memory_is_counted_in_its_phase() -> None:
    """And in the task, for what is in no phase."""
    watched = Watched(Limits(nodes_per_task=20))
    for number in range(40):
        fields = {
            "parent_task_id": "t",
            "task_id": f"j{number}",
            "phase": "p" if number % 2 else None,
        }
        watched.apply(
            event(number, "task_started", **fields), event(number, "task_completed", **fields)
        )
    more = [row for row in watched.rows() if row["kind"] == "more"]
    assert [row["k"] for row in more] == [f"more:{span(1)}", "more:phase:t/p"]
    assert sum(row["kids"] for row in more) == watched.model.tasks.by_id["t"].not_held > 0


def test_a_root_that_comes_late_takes_the_place_of_the_made_up_one() -> None:
    """Depth 0 is always the task."""
    model = Fold()
    named = {"parent_task_id": "t", "trace_id": TRACE}
    model.apply(
        event(1, "task_started", **named, task_id="j", span_id=span(2), parent_span_id=span(1)),
        moment(0),
    )
    model.sweep(moment(5))
    index = TreeIndex(model, model.tasks.by_id["t"])
    assert index.rows.key(index.root) == "task:t"
    model.apply(event(0, "task_started", **named, task_id="t", span_id=span(1)), moment(0))
    model.sweep(moment(6))
    index.refresh()
    assert index.rows.key(index.root) == span(1)
    assert [depth for _, depth in index.folds("open", ()).window(0, 9)] == [0, 1]
    assert index.nearest("task:t") is index.root


def test_rows_that_stay_keep_their_bytes() -> None:
    """An event changes the row of its node and those above it, and no other."""
    watched = Watched()
    watched.apply(*(job(number, "task_started", number, 1) for number in (2, 3)))
    watched.rows()
    before = {key: watched.index.items[watched.model.tree.nodes[key]].row for key in (2, 3)}
    root = watched.index.root.row
    watched.apply(job(4, "task_completed", 3, 1))
    watched.rows()
    after = {key: watched.index.items[watched.model.tree.nodes[key]].row for key in (2, 3)}
    assert after[2] is before[2]
    assert after[3] != before[3]
    assert watched.index.root.row != root


def test_a_closed_index_lets_everything_go() -> None:
    """Items have no garbage collection: their links are removed."""
    watched = Watched()
    watched.apply(job(1, "task_started", 2, 1))
    watched.rows()
    items = [watched.index.root, *watched.index.items.values()]
    watched.index.close()
    links = [(item.node, item.parent, item.block, item.kids) for item in items]
    assert links == [(None,) * 4] * len(items)
    assert watched.model.tasks.by_id["t"].changes is None
