"""All views: nothing of other projects, the same in any order, changes that add up."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import CATALOG, Query, QueryError, Views, parse_query
from otel_bridge_collector.views.changes import change_message, full_message
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.event_matcher import BACKGROUND_EVENT_TYPES
from otel_bridge_collector.wire.views.events import EventRow, EventsHead
from otel_bridge_collector.wire.views.rows import (
    FailureRow,
    ListHead,
    OverviewHead,
    QueueRow,
    TaskRow,
    TasksHead,
    WorkerRow,
)
from otel_bridge_collector.wire.views.tree import TreeHead, TreeRow
from pydantic import BaseModel

from tests.support.histories import append_to, fold, history, moment
from tests.support.view_client import ShownView

HEADS: dict[str, type[BaseModel]] = {
    "events": EventsHead,
    "overview": OverviewHead,
    "tasks": TasksHead,
    "tree": TreeHead,
}
ROWS: dict[str, type[BaseModel]] = {
    "events": EventRow,
    "failures": FailureRow,
    "queues": QueueRow,
    "tasks": TaskRow,
    "tree": TreeRow,
    "workers": WorkerRow,
}
OF_A_TASK = ("tree",)
ALL = {name: parse_query(name, {}) for name in CATALOG if name not in OF_A_TASK}


def queries_of(model: Fold) -> dict[str, tuple[str, Query]]:
    """Each view by a label; those of one task for each task of the model."""
    found = {name: (name, query) for name, query in ALL.items()}
    for name in OF_A_TASK:
        for task_id in sorted(model.tasks.by_id):
            found[f"{name} {task_id}"] = name, parse_query(name, {"task": task_id})
    return found


def state_of(model: Fold, seconds: float, ring: ReplayRing | None) -> ViewState:
    state = ViewState(model, ring=ring)
    state.refresh(moment(seconds))
    return state


def parsed(shown: Window) -> tuple[Any, list[Any]]:
    """A window without rates and counters, which depend on when events came."""
    head = {name: value for name, value in shown.head.items() if name not in TIMED}
    rows = [json.loads(row) for row in shown.rows.values()]
    assert [row["k"] for row in rows] == list(shown.rows)
    for row in rows:
        row.pop("eta_sec", None)
        for phase in row.get("phases", ()):
            phase.pop("rate")
    return head, rows


TIMED = {
    "events",
    "events_per_sec",
    "jobs_ended_per_sec",
    "jobs_ended_by_second",
    "error_rate_1m",
    "error_rate_5m",
    "events_dropped",
}


def all_views(
    model: Fold, seconds: float, scope: Scope = None, ring: ReplayRing | None = None
) -> dict[str, Any]:
    """Every view; that of events, whose order is the log's, is empty without a ring."""
    views = Views(state_of(model, seconds, ring))
    shown = {}
    for label, (name, query) in queries_of(model).items():
        try:
            found = views.window(query, scope)
        except GoneError:
            continue
        HEADS.get(name, ListHead).model_validate(found.head)
        for row in found.rows.values():
            ROWS[name].model_validate_json(row)
        shown[label] = parsed(found)
    return shown


@given(seed=st.integers(0, 2**32), seconds=st.sampled_from((20, 100, 400, 2000)))
@settings(max_examples=60)
def test_views_do_not_depend_on_order(seed: int, seconds: float) -> None:
    """A random history, shuffled and half repeated, gives the same views."""
    events = history(seed)
    expected = all_views(fold(events, seconds), seconds)
    chooser = random.Random(seed)
    order = [*events, *chooser.sample(events, len(events) // 2)]
    chooser.shuffle(order)
    assert all_views(fold(order, seconds), seconds) == expected


def log(events: Sequence[Event]) -> ReplayRing:
    return append_to(ReplayRing("e:0", 10_000), events)


def in_project(events: Sequence[Event], project: str, prefix: str) -> list[Event]:
    """
    The same history in one project, with ids, workers and queues that no other history has.

    Workers and queues are shared by projects: one that another project keeps alive or empties
    rightly changes what is seen of its jobs, so here they have none in common.
    """
    found: list[Event] = []
    for event in events:
        fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
        fields["event_id"] = project + fields["event_id"]
        is_shared = event.event_type.startswith(("worker_", "queue_"))
        fields["project_id"] = None if is_shared else project
        for name in ("span_id", "parent_span_id"):
            fields[name] = fields[name] and prefix + fields[name][2:]
        fields["spans"] = fields["spans"] and [prefix + span[2:] for span in fields["spans"]]
        for name in ("worker_id", "incarnation", "trace_id", "parent_task_id", "queue", "counts"):
            fields[name] = renamed(fields[name], project, prefix)
        found.append(Event(**fields))
    return found


def renamed(value: Any, project: str, prefix: str) -> Any:
    """The name of a worker, a trace, a task or a queue, as another project has it."""
    if value is None:
        return None
    if isinstance(value, dict):
        is_depths = any(name.startswith("q") for name in value)
        return {f"{project}-{name}" if is_depths else name: n for name, n in value.items()}
    text = str(value)
    return prefix + text[2:] if len(text) == 32 else f"{project}-{text}"


@given(seeds=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)))
@settings(max_examples=60)
def test_a_scope_sees_what_it_would_see_alone(seeds: tuple[int, int]) -> None:
    """view(all events, scope) equals view(that scope's events), for every view."""
    mine = in_project(history(seeds[0]), "mine", "aa")
    others = in_project(history(seeds[1]), "other", "bb")
    mixed = [*mine, *others]
    random.Random(seeds[0]).shuffle(mixed)
    scope = frozenset({"mine"})
    limited = all_views(fold(mixed, 100), 100, scope, log(mixed))
    in_order = [one for one in mixed if one.event_id.startswith("mine")]
    alone = all_views(fold(mine, 100), 100, scope, log(in_order))
    assert limited == alone
    own = [one for one in mine if one.project_id and one.event_type not in BACKGROUND_EVENT_TYPES]
    assert bool(limited["events"][1]) == bool(own)
    assert limited["workers"][1] == limited["queues"][1] == []


@given(seed=st.integers(0, 2**32), windows=st.integers(1, 3))
@settings(max_examples=60)
def test_a_full_and_changes_equal_a_later_full(seed: int, windows: int) -> None:
    """Whatever happens between two ticks, applying the change shows the new window."""
    events = history(seed)
    model = Fold()
    ring = ReplayRing("e:0", 30)
    state = ViewState(model, ring=ring)
    views = Views(state)
    tasks = sorted({one.parent_task_id or one.trace_id or "" for one in events})
    queries = [
        *ALL.values(),
        parse_query("events", {"count": windows, "all": True}),
        parse_query("events", {"text": "t1", "status": ["processing", "failed"]}),
        *(parse_query("tree", {"task": task, "count": 20}) for task in tasks),
        parse_query("tasks", {"count": windows, "sort": "slowest"}),
        parse_query("tasks", {"text": "t", "status": ["processing", "failed"]}),
        parse_query("tasks", {"status": ["retrying"]}),
        parse_query("tasks", {"type": "act"}),
        parse_query("failures", {"task": "t1", "text": "o"}),
    ]
    shown: dict[int, tuple[Window, ShownView]] = {}
    for start in range(0, len(events), 20):
        for event in events[start : start + 20]:
            model.apply(event, moment(start / 4))
        append_to(ring, events[start : start + 20])
        state.refresh(moment(start / 4 + 1))
        for number, query in enumerate(queries):
            try:
                new = views.window(query, None)
            except GoneError:
                continue
            full = json.loads(full_message(number, start, 0, new))
            if number not in shown:
                client = ShownView()
                client.apply(full)
            else:
                old, client = shown[number]
                message = change_message(number, client.version + 1, 0, old, new)
                if message is not None:
                    client.apply(json.loads(message))
            shown[number] = new, client
            assert client.shown == (full["head"], full["rows"])


@pytest.mark.parametrize(
    ("view", "params", "message"),
    [
        ("tree of life", {}, "view: 'tree of life' is none of events, failures"),
        ("tasks", {"count": 201}, "count: Input should be less than or equal to 200"),
        ("tasks", {"count": 0}, "count: "),
        ("tasks", {"text": "x" * 201}, "text: String should have at most 200"),
        ("tasks", {"statuses": ["failed"]}, "statuses: Extra inputs are not permitted"),
        ("tasks", {"status": ["lost"]}, "status.0: "),
        ("overview", {"count": 3}, "count: Extra inputs"),
        ("workers", {"at": {"row": -1}}, "at"),
    ],
)
def test_what_a_view_does_not_take_is_named(view: str, params: Any, message: str) -> None:
    """The error names the parameter and what is wrong with it, and nothing else of pydantic."""
    with pytest.raises(QueryError) as refused:
        parse_query(view, params)
    assert message in str(refused.value)
    assert "http" not in str(refused.value)


def test_equal_queries_are_one() -> None:
    """Defaults are filled in, so that a query compares equal however it is written."""
    spelled_out = parse_query("tasks", {"count": 40, "at": {"row": 0}, "sort": "attention"})
    assert spelled_out == parse_query("tasks", {})
    assert len({spelled_out, parse_query("tasks", {}), Query("tasks", spelled_out.params)}) == 1
