"""``cluster.parts``: a view of many states is the view of one state that has all tasks."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.cluster.parts import (
    EDGE_VIEWS,
    GonePart,
    NotCoveredError,
    PartError,
    around_text,
    compute_part,
    decode_part,
    encode_part,
    join_parts,
    merge_parts,
    read_around,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.panels import merged_failures
from otel_bridge_collector.views.catalog import CATALOG, Query, parse_query
from otel_bridge_collector.views.listing import GoneError, Scope
from otel_bridge_collector.views.parts import Item

from tests.support.cluster_views import (
    ask,
    histories,
    one_state,
    partition_states,
    seen_by_one,
    shown,
)
from tests.support.histories import event, moment

HISTORIES = int(os.environ.get("MODEL_HISTORIES", "12"))
"""More of them for a long run: 500 take about a minute of one core."""
SCOPES: tuple[Scope, ...] = (None, None, frozenset({"p"}), frozenset({"q"}), frozenset({"p", "q"}))
PROJECTS = (None, None, "p", "q", "none")
TEXTS = ("t1", "j", "e", "w0", "p", "nothing of that")


class Asker:
    """Random queries of all views, of what a model has and of what it has not."""

    def __init__(self, seed: int, model: Fold) -> None:
        self._random = random.Random(seed)
        self._tasks = [*sorted(task for task in model.tasks.by_id if task), "gone"]
        self._workers = [*sorted(model.workers.by_id), "gone"]
        self._queues = [*sorted(model.queues.by_name), "gone"]
        self._causes = [*sorted({one.key for one in merged_failures(model)}), "gone"]
        self._jobs = sorted(
            (task.id, job) for task in model.tasks.by_id.values() for job in task.jobs if task.id
        )
        self._nodes = sorted((node.own.task.id, key) for key, node in model.tree.nodes.items())

    def _one(self, *options: Any) -> Any:
        return self._random.choice(options)

    def _maybe(self, **params: Any) -> dict[str, Any]:
        return {name: value for name, value in params.items() if self._random.random() < 0.3}

    def _at(self, keys: list[str]) -> Any:
        row = {"row": self._random.randrange(7)}
        key = {"key": self._one(*keys), "above": self._random.randrange(4)}
        return self._one({"row": 0}, "end", row, key, key)

    def _window(self, keys: list[str]) -> dict[str, Any]:
        return {"at": self._at(keys), "count": self._one(1, 2, 3, 5, 60)}

    def _statuses(self) -> list[str]:
        every = ("pending", "processing", "completed", "failed", "retrying", "stalled")
        return self._random.sample(every, self._random.randrange(1, 4))

    def queries(self) -> Iterator[Query]:
        """Each view, some several times."""
        for _ in range(3):
            yield from map(self.query, sorted(CATALOG))
        yield from map(self.query, ["tasks"] * 6 + ["failures"] * 3 + ["workers"] * 3)

    def query(self, view: str) -> Query:
        """One of a view."""
        return parse_query(view, getattr(self, f"_{view}_params")())

    def _tasks_params(self) -> dict[str, Any]:
        params = self._maybe(
            project=self._one(*PROJECTS),
            status=self._statuses(),
            type=self._one("act", "chat", "research", "nothing"),
            text=self._one(*TEXTS),
            pins=self._random.sample(self._tasks, min(2, len(self._tasks))),
            keys=self._random.sample(self._tasks, min(3, len(self._tasks))),
        )
        sort = self._one("attention", "newest", "slowest")
        group = self._one(None, "project", "status")
        return {**params, "sort": sort, "group": group, **self._window(self._tasks)}

    def _failures_params(self) -> dict[str, Any]:
        params = self._maybe(
            project=self._one(*PROJECTS),
            task=self._one(*self._tasks),
            type=self._one("act", "chat gpt", "chat"),
            text=self._one(*TEXTS),
        )
        return {**params, **self._window(self._causes)}

    def _workers_params(self) -> dict[str, Any]:
        keys = [f"{one}@" for one in self._workers] + ["w0@w0-0", "w1@w1-1", "0@h:1@?"]
        return {**self._maybe(project=self._one(*PROJECTS)), **self._window(keys)}

    def _queues_params(self) -> dict[str, Any]:
        return self._window(self._queues)

    def _of_a_project(self) -> dict[str, Any]:
        return self._maybe(project=self._one(*PROJECTS))

    def _overview_params(self) -> dict[str, Any]:
        return {}

    def _failure_params(self) -> dict[str, Any]:
        params = self._maybe(project=self._one(*PROJECTS), count=self._one(1, 2))
        return {"failure": self._one(*self._causes), **params}

    def _worker_params(self) -> dict[str, Any]:
        return {"worker": f"{self._one(*self._workers)}@", **self._of_a_project()}

    def _queue_params(self) -> dict[str, Any]:
        return {"queue": self._one(*self._queues), **self._of_a_project()}

    def _events_params(self) -> dict[str, Any]:
        return self._maybe(project=self._one(*PROJECTS), text=self._one(*TEXTS), all=True)

    def _search_params(self) -> dict[str, Any]:
        params = self._maybe(project=self._one(*PROJECTS), among="tasks", count=self._one(1, 3))
        return {"text": self._one(*TEXTS), **params}

    def _strip_params(self) -> dict[str, Any]:
        return {"task": self._one(*self._tasks), "buckets": 9}

    def _tree_params(self) -> dict[str, Any]:
        return {"task": self._one(*self._tasks), "count": self._one(3, 80)}

    def _job_params(self) -> dict[str, Any]:
        task, job = self._one(*self._jobs, ("gone", "gone"))
        return {"task": task, "job": job}

    def _lines_params(self) -> dict[str, Any]:
        task, key = self._one(*self._nodes, ("gone", 1))
        return {"task": task, "node": f"{key:016x}"}


@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
    seconds=st.sampled_from((20, 100, 400, 2000)),
    members=st.sampled_from((2, 3, 24)),
    is_joined=st.booleans(),
)
@settings(max_examples=HISTORIES)
def test_a_view_of_many_states_is_the_view_of_one(
    seeds: list[int], seconds: int, members: int, is_joined: bool
) -> None:
    """Every view, by every window, filter and order, for readers of all and of some projects."""
    events = histories(*seeds)
    now = moment(seconds)
    alone, many = one_state(events, now), partition_states(events, now)
    asker = Asker(seeds[0], alone.model)
    for number, query in enumerate(asker.queries()):
        scope = SCOPES[number % len(SCOPES)]
        try:
            found = shown(ask(many, query, scope, members, is_joined=is_joined))
        except GoneError as gone:
            found = gone.why
        assert found == seen_by_one(alone, query, scope), (query, scope)


def test_no_state_has_what_a_view_shows() -> None:
    """Gone from all; ``evicted`` if one knows that it had it. One that has it outweighs all."""
    query = parse_query("strip", {"task": "t"})
    state = one_state([event(0, "task_started", parent_task_id="t", task_id="j")], moment(1))
    unknown, evicted, has = GonePart(), GonePart("evicted"), compute_part(state, query, None)
    for parts, why in (([], "unknown"), ([unknown], "unknown"), ([unknown, evicted], "evicted")):
        sent = [decode_part(query, encode_part(query, part)) for part in parts]
        assert sent == parts
        for each in (sent, [decode_part(query, encode_part(query, join_parts(query, sent)))]):
            with pytest.raises(GoneError) as gone:
                merge_parts(query, each)
            assert gone.value.why == why
    parts = [decode_part(query, encode_part(query, one)) for one in (evicted, has, unknown)]
    assert merge_parts(query, parts).head["ended"] == 0
    missing = compute_part(state, parse_query("strip", {"task": "u"}), None)
    assert missing == GonePart()


@pytest.mark.parametrize("view", sorted(CATALOG))
def test_what_is_no_part_is_refused(view: str) -> None:
    """Bytes of another view or release are an error that names the view, never another one."""
    params = {
        **dict.fromkeys(CATALOG[view].params.model_fields, "a"),
        "among": "nodes",
    }
    needed = [
        name for name, field in CATALOG[view].params.model_fields.items() if field.is_required()
    ]
    query = parse_query(view, {name: params[name] for name in needed})
    for data in (b"", b"p", b"x", b"pno part", encode_part(query, GonePart())[1:]):
        with pytest.raises(PartError, match=view):
            decode_part(query, data)


def test_later_releases_may_add_fields() -> None:
    """A record is an array: what a newer member adds at its end is left out."""
    query = parse_query("search", {"text": "j"})
    state = one_state([event(0, "task_started", parent_task_id="t", task_id="j")], moment(1))
    data = encode_part(query, compute_part(state, query, None))
    longer = b"p\x93" + data[2:] + b"\xc0"
    assert data[1:2] == b"\x92"
    assert decode_part(query, longer) == decode_part(query, data)


@pytest.mark.parametrize(
    "item", [None, (7, "k"), ((0, (False, "p"), -3), "k"), ((True, "w", 0), "w@"), ((), '"')]
)
def test_what_is_asked_around_is_a_text(item: Item | None) -> None:
    """It compares after reading as before writing; another text is an error."""
    assert read_around(around_text(item)) == item
    with pytest.raises(PartError):
        read_around("[1,2,3]")


def test_a_window_at_a_key_is_asked_for_twice() -> None:
    """Only the owner of a row knows where it is; with that the others send what is around it."""
    events = [
        event(second, "task_started", parent_task_id=f"t{second:03}", task_id="j")
        for second in range(300)
    ]
    states = partition_states(events, moment(301))
    query = parse_query("tasks", {"at": {"key": "t150", "above": 2}, "count": 5, "sort": "newest"})
    owners = [one.view_state for one in states.held.values()]
    sizes, around = [], None
    for expected in (False, True):
        data = [encode_part(query, compute_part(one, query, None), around) for one in owners]
        parts = [decode_part(query, one) for one in data]
        sizes.append(sum(map(len, data)))
        try:
            window = merge_parts(query, parts, around)
        except NotCoveredError as error:
            assert not expected
            around = around_text(error.around)
        else:
            assert expected
    assert list(window.rows) == ["t152", "t151", "t150", "t149", "t148"]
    assert (window.head["first"], window.head["total"]) == (147, 300)
    assert max(sizes) < 24 * 14 * 600
    assert "tasks" not in EDGE_VIEWS
