"""Search finds tasks and nodes by what people see of them, the newest first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.views.listing import Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task.search import compute, merge
from otel_bridge_collector.wire.views.params import SearchParams

from tests.support.faults import FakeClock
from tests.support.folding import apply, at, event, fold, job, root

TRACE = "0" * 31 + "1"


def span(number: int, parent: int | None = None) -> dict[str, Any]:
    ids: dict[str, Any] = {"trace_id": TRACE, "span_id": f"{number:016x}"}
    return ids if parent is None else {**ids, "parent_span_id": f"{parent:016x}"}


STORY = [
    root("t", 0, "task_started", **span(1), meta={"title": "A Study"}, project_id="p"),
    event(1, "phase_started", parent_task_id="t", phase="Crawl", **span(2, 1)),
    job("t", 2, "task_enqueued", "page-1", **span(3, 2)),
    job("t", 3, "task_started", "page-1", **span(4, 3), task_type="fetch"),
    job("t", 4, "task_failed", "page-1", **span(4, 3), task_type="fetch", error="Timeout " * 60),
    job("t", 5, "task_enqueued", "page-2", **span(5, 2)),
    event(6, "span_started", parent_task_id="t", name="GET /page", **span(6, 4)),
    root("u", 7, "task_started", task_type="survey", project_id="q"),
    job("u", 8, "task_started", "page-9", phase="crawl again"),
]


def state_of(model: Fold, clock: FakeClock | None = None) -> ViewState:
    state = ViewState(model, clock=clock or FakeClock())
    state.refresh(microseconds(at(9)))
    return state


def search(
    state: ViewState, text: str, scope: Scope = None, **params: Any
) -> tuple[Any, list[Any]]:
    query = SearchParams(text=text, **params)
    window = merge([compute(state, query, scope)], query)
    rows = [json.loads(row) for row in window.rows.values()]
    assert [row["k"] for row in rows] == list(window.rows)
    return window.head, rows


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("PAGE", ["page-9", "GET /page", "page-2", "page-1"]),
        ("timeout", ["page-1"]),
        ("fetch", ["page-1"]),
        ("crawl", ["Crawl", "crawl again"]),
        ("study", ["A Study"]),
        ("nothing", []),
    ],
)
def test_nodes_are_found_by_names_ids_and_errors(text: str, names: list[str]) -> None:
    """In any case, the newest start first; the enqueue of a job that has started is no row."""
    head, rows = search(state_of(fold(STORY)), text)
    assert [row["name"] for row in rows] == names
    assert head == {"total": len(names), "exact": True, "as_of": microseconds(at(9)) // 1000}


def test_a_row_says_where_it_is_and_how_it_stands() -> None:
    """Its key in the tree of its task, the rows above it, its status and its error."""
    rows = {row["name"]: row for row in search(state_of(fold(STORY)), "page")[1]}
    failed = rows["page-1"]
    assert failed.pop("error") == ("Timeout " * 60)[:299] + "…"
    assert failed == {
        "k": "t 0000000000000004",
        "task": "t",
        "node": "0000000000000004",
        "kind": "job",
        "name": "page-1",
        "job": "page-1",
        "path": ["A Study", "Crawl"],
        "status": "failed",
        "start": microseconds(at(3)) // 1000,
    }
    waits = rows["page-2"]
    assert (waits["kind"], waits["status"], waits["start"]) == ("enqueue", "pending", None)
    assert (rows["GET /page"]["kind"], rows["GET /page"]["path"][-1]) == ("span", "page-1")
    spanless = rows["page-9"]
    assert (spanless["k"], spanless["path"]) == ("u job:u/page-9#0", ["u", "crawl again"])
    (phase,) = search(state_of(fold(STORY)), "crawl again")[1]
    assert (phase["node"], phase["status"], phase["path"]) == (
        "phase:u/crawl again",
        "processing",
        ["u"],
    )


@pytest.mark.parametrize(
    ("text", "found"), [("STUDY", ["t"]), ("surv", ["u"]), ("Q", ["u"]), ("t", ["t"]), ("x", [])]
)
def test_tasks_are_found_by_title_id_type_and_project(text: str, found: list[str]) -> None:
    """Each is a row of its own, without a node."""
    _, rows = search(state_of(fold(STORY)), text, among="tasks")
    assert [(row["k"], row["node"], row["kind"], row["path"]) for row in rows] == [
        (task, None, "task", []) for task in found
    ]


def test_a_reader_finds_only_what_it_may_see() -> None:
    """By its scope, and by the project that it asks for; totals are of that alone."""
    state = state_of(fold(STORY))
    head, rows = search(state, "page", frozenset({"q"}))
    assert (head["total"], [row["name"] for row in rows]) == (1, ["page-9"])
    assert search(state, "page", frozenset({"q"}), project="p")[0]["total"] == 0
    assert search(state, "page", project="p")[0]["total"] == 3
    assert search(state, "survey", frozenset({"p"}), among="tasks")[0]["total"] == 0


def test_what_a_reader_may_no_longer_see_leaves_at_once() -> None:
    """Also where the list is kept: a task that turns out to be of two projects is hidden."""
    clock, model = FakeClock(), fold(STORY)
    state = state_of(model, clock)
    assert len(search(state, "page-9", frozenset({"q"}))[1]) == 1
    apply(model, job("u", 9, "task_started", "k", project_id="p"))
    state.refresh(microseconds(at(9.1)))
    assert search(state, "page-9", frozenset({"q"}))[1] == []


def test_rows_of_a_kept_list_are_of_now() -> None:
    """The list is made again when the budget allows; until then its rows change without it."""
    clock, model = FakeClock(), fold(STORY)
    state = state_of(model, clock)
    assert search(state, "page-2")[1][0]["status"] == "pending"
    apply(model, job("t", 10, "task_started", "page-3", **span(7)))
    apply(model, job("u", 10, "task_completed", "page-9", phase="crawl again"))
    state.refresh(microseconds(at(10)))
    head, rows = search(state, "page")
    assert head["total"] == 5
    apply(model, job("t", 11, "task_failed", "page-3", **span(7), error="no"))
    apply(model, job("t", 11, "task_started", "page-4", **span(8)))
    state.refresh(microseconds(at(11)))
    head, rows = search(state, "page")
    assert (head["total"], rows[0]["status"], rows[0]["error"]) == (5, "failed", "no")
    clock.advance(0.2)
    assert search(state, "page")[0]["total"] == 6


def test_the_newest_of_many_are_listed_and_all_are_counted() -> None:
    """``count`` rows, 200 at most; of equal starts the same ones whatever the order of events."""
    story = [job("t", n // 50, "task_completed", f"page-{n}") for n in range(500)]
    head, rows = search(state_of(fold(story)), "page", count=200)
    assert (head["total"], len(rows)) == (500, 200)
    assert {row["name"] for row in rows} == {f"page-{n}" for n in range(300, 500)}
    assert search(state_of(fold(reversed(story))), "page", count=200) == (head, rows)
    assert len(search(state_of(fold(story)), "page")[1]) == 20


def test_what_is_no_longer_in_memory_is_said_to_be_left_out() -> None:
    """Jobs that were evicted from a task; their rows leave a list that is kept at once."""
    story = [job("t", n, "task_completed", f"page-{n}", **span(n)) for n in range(1, 6)]
    model = fold(story, Limits(nodes_per_task=10))
    state = state_of(model)
    head, rows = search(state, "page")
    assert (head["exact"], len(rows)) == (True, 5)
    for n in range(6, 20):
        apply(model, job("t", n, "task_completed", f"other-{n}", **span(n)))
    state.refresh(microseconds(at(30)))
    head, rows = search(state, "page")
    assert (head["total"], [row["name"] for row in rows]) == (5, ["page-1"])  # shows for the trace
    assert search(state, "other")[0]["exact"] is False
    assert search(state, "other", frozenset({"p"}))[0]["exact"] is True


def test_what_the_text_names_comes_first() -> None:
    """The job whose id was typed is not lost among 300 newer ones that begin like it."""
    jobs = [
        job("t", 3 + n, "task_started", f"t:page-{n}")
        for n in (4, *range(400, 700), *range(40, 50))
    ]
    state = state_of(fold([root("t", 0, "task_started"), *jobs]))
    _, rows = search(state, "Page-4", count=3)
    assert [row["job"] for row in rows] == ["t:page-4", "t:page-499", "t:page-498"]
    assert search(state, "e-4", count=1)[1][0]["job"] != "t:page-4"
