"""All views: nothing of other projects, the same in any order, changes that add up."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.panels import merged_failures
from otel_bridge_collector.stream.ring import ReplayRing
from otel_bridge_collector.views.catalog import CATALOG, Query, QueryError, Views, parse_query
from otel_bridge_collector.views.changes import change_message, full_message
from otel_bridge_collector.views.listing import GoneError, Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.event_matcher import BACKGROUND_EVENT_TYPES
from otel_bridge_collector.wire.typescript import VIEWS

from tests.support.faults import FakeClock
from tests.support.histories import append_to, fold, history, moment
from tests.support.view_client import ShownView

OF_A_SUBJECT = {
    *("failure", "job", "lines", "queue", "search", "strip", "tree", "worker"),
}
ALL = [
    *(parse_query(name, {}) for name in sorted(CATALOG.keys() - OF_A_SUBJECT)),
    parse_query("queue", {"queue": "q0"}),
    parse_query("queue", {"queue": "mine-q1", "project": "mine"}),
    parse_query("search", {"text": "J"}),
    parse_query("search", {"text": "e", "project": "p", "count": 5}),
    parse_query("search", {"text": "t", "among": "tasks"}),
]


def queries_of_tasks(*models: Fold) -> Iterator[Query]:
    """The views of each task, of some of its jobs, of each worker and of each cause of failures."""
    found = {task.id: sorted(task.jobs) for model in models for task in model.tasks.by_id.values()}
    for worker_id in sorted({str(one) for model in models for one in model.workers.by_id}):
        yield parse_query("worker", {"worker": f"{worker_id}@"})
    for key in sorted({one.key for model in models for one in merged_failures(model)}):
        yield parse_query("failure", {"failure": key})
    for task_id, jobs in sorted(found.items()):
        yield parse_query("strip", {"task": task_id, "buckets": 7})
        yield parse_query("tree", {"task": task_id, "count": 20})
        yield parse_query("tree", {"task": task_id, "status": ["stalled"], "text": "J"})
        for job_id in jobs[:3]:
            yield parse_query("job", {"task": task_id, "job": job_id})
    nodes = {key: node.own.task.id for model in models for key, node in model.tree.nodes.items()}
    for node_id, task_id in sorted(nodes.items())[::20]:
        yield parse_query("lines", {"task": task_id, "node": f"{node_id:016x}"})


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
    "as_of",
    "events",
    "events_per_sec",
    "jobs_ended_per_sec",
    "jobs_ended_by_second",
    "error_rate_1m",
    "error_rate_5m",
    "events_dropped",
}


def all_views(
    model: Fold,
    seconds: float,
    scope: Scope = None,
    queries: Sequence[Query] = (),
    ring: ReplayRing | None = None,
) -> dict[Query, Any]:
    """
    Every view of a model, those of its tasks included; ``queries`` are those of other tasks.

    That of events, whose order is the log's, is empty without a ring.
    """
    return shown_by(
        Views(state_of(model, seconds, ring)), [*ALL, *queries, *queries_of_tasks(model)], scope
    )


def shown_by(views: Views, queries: Sequence[Query], scope: Scope = None) -> dict[Query, Any]:
    found: dict[Query, Any] = {}
    for query in queries:
        try:
            window = views.window(query, scope)
        except GoneError as gone:
            found[query] = gone.why
            continue
        _, head, row_model = VIEWS[query.view]
        head.model_validate(window.head)
        for row in window.rows.values():
            assert row_model is not None
            row_model.model_validate_json(row)
        found[query] = parsed(window)
    return found


@given(seed=st.integers(0, 2**32), seconds=st.sampled_from((20, 100, 400, 2000)))
@settings(max_examples=25)
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
    The same history in one project, with ids, workers, hosts and queues that no other one has.

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
        meta = bytes(event.meta).replace(b'"h"', f'"{project}"'.encode())
        for number in b"01":
            meta = meta.replace(b'"q%c"' % number, f'"{project}-q{number:c}"'.encode())
        fields["meta"] = msgspec.Raw(meta)
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
@example(seeds=(19825865, 1))  # exactly as many events as a window has
@settings(max_examples=25)
def test_a_scope_sees_what_it_would_see_alone(seeds: tuple[int, int]) -> None:
    """view(all events, scope) equals view(that scope's events), for every view."""
    mine = in_project(history(seeds[0]), "mine", "aa")
    others = in_project(history(seeds[1]), "other", "bb")
    mixed = [*mine, *others]
    random.Random(seeds[0]).shuffle(mixed)
    scope = frozenset({"mine"})
    all_events, only_mine = fold(mixed, 100), fold(mine, 100)
    queries = list(queries_of_tasks(all_events, only_mine))
    in_order = [one for one in mixed if one.event_id.startswith("mine")]
    limited = all_views(all_events, 100, scope, queries, log(mixed))
    alone = all_views(only_mine, 100, scope, queries, log(in_order))
    assert limited == alone
    own = [one for one in mine if one.project_id and one.event_type not in BACKGROUND_EVENT_TYPES]
    assert bool(limited[parse_query("events", {})][1]) == bool(own)
    for name in ("workers", "queues"):
        assert limited[parse_query(name, {})][1] == []


@given(seed=st.integers(0, 2**32), windows=st.integers(1, 3))
@example(seed=4400, windows=1)  # all spans of a card turn out to belong to another one
@settings(max_examples=25)
def test_a_full_and_changes_equal_a_later_full(seed: int, windows: int) -> None:
    """Whatever happens between two ticks, applying the change shows the new window."""
    events = history(seed)
    model, clock = Fold(), FakeClock()
    ring = ReplayRing("e:0", 30)
    state = ViewState(model, ring=ring, clock=clock)
    views = Views(state)
    queries = [
        *ALL,
        *list(queries_of_tasks(fold(events)))[:6],
        parse_query("events", {"count": windows, "all": True}),
        parse_query("events", {"text": "t1", "status": ["processing", "failed"]}),
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
        clock.advance(0.15)
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
    # What was kept over the ticks is what a state that has kept nothing computes; of events more is
    # kept than the ring still has.
    clock.advance(10)
    state.refresh(state.now)
    of_model = [query for query in queries if query.view != "events"]
    kept = shown_by(views, of_model)
    model.dirty.update(model.tasks.by_id.values())
    fresh = ViewState(model)
    fresh.refresh(state.now)
    assert kept == shown_by(Views(fresh), of_model)


@pytest.mark.parametrize(
    ("view", "params", "message"),
    [
        ("tree of life", {}, "view: 'tree of life' is none of events, failure, failures, job"),
        ("tasks", {"count": 201}, "count: Input should be less than or equal to 200"),
        ("tasks", {"count": 0}, "count: "),
        ("tasks", {"text": "x" * 201}, "text: String should have at most 200"),
        ("tasks", {"statuses": ["failed"]}, "statuses: Extra inputs are not permitted"),
        ("tasks", {"status": ["lost"]}, "status.0: "),
        ("overview", {"count": 3}, "count: Extra inputs"),
        ("strip", {"task": "t", "buckets": 241}, "buckets: Input should be less than or equal"),
        ("job", {"task": "t"}, "job: Field required"),
        ("search", {"text": ""}, "text: String should have at least 1 character"),
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
