"""The view ``tree``: its windows equal a plain list, whatever happens and whatever is folded."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import STATUS_NAMES
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.tree.view import compute
from otel_bridge_collector.wire.views.params import TreeParams
from otel_bridge_collector.wire.views.tree import TreeHead, TreeRow

from tests.support.faults import FakeClock
from tests.support.flat_tree import flat_rows, folded
from tests.support.histories import history, moment


def shown(state: ViewState, task: Task, **params: Any) -> tuple[TreeHead, list[dict[str, Any]]]:
    found = compute(state, TreeParams.model_validate({"task": task.id, **params}), None)
    rows = [json.loads(row) for row in found.rows.values()]
    for row in rows:
        TreeRow.model_validate(row)
    assert [row["k"] for row in rows] == list(found.rows)
    return TreeHead.model_validate(found.head), rows


def check(state: ViewState, task: Task, chooser: random.Random) -> None:
    """A window of a random place and choice of folds equals that of the plain list."""
    flat = flat_rows(state.model, task)
    keys = [row["k"] for row in flat]
    default = chooser.choice(("open", "folded"))
    exceptions = chooser.sample(keys, chooser.randrange(min(len(keys), 6) + 1))
    listed = folded(flat, default, exceptions)
    listed_keys = [row["k"] for row in listed]
    count = chooser.choice((1, 7, 200))
    kind = chooser.randrange(3)
    first = chooser.randrange(len(keys) + 3)
    at: Any = {"row": first}
    if kind == 1:
        at, first = "end", len(listed)
    elif kind == 2:
        index = chooser.randrange(len(keys))
        above = chooser.randrange(4)
        at = {"key": keys[index], "above": above}
        depth = flat[index]["depth"]
        while keys[index] not in listed_keys:
            index = max(i for i in range(index) if flat[i]["depth"] < depth)
            depth = flat[index]["depth"]
        first = listed_keys.index(keys[index]) - above
    first = max(0, min(first, len(listed) - count))
    head, rows = shown(state, task, default=default, **{"except": exceptions}, at=at, count=count)
    check_path(head, rows, flat)
    expected = listed[first : first + count]
    for row, expected_row in zip(rows, expected, strict=True):
        assert {name: row[name] for name in expected_row} == expected_row
    assert (head.first, head.total) == (first, len(listed))
    assert head.failed == sum(row.get("status") == "failed" for row in flat)
    assert head.status == flat[0]["status"]
    assert flat[0]["depth"] == 0
    assert flat[0]["kind"] == "task"


def check_path(
    head: TreeHead, rows: Sequence[dict[str, Any]], flat: Sequence[dict[str, Any]]
) -> None:
    """A head has the rows above the first one, as they are when they are shown themselves."""
    above: list[dict[str, Any]] = []
    if rows:
        for row in flat:
            above[row["depth"] :] = [row]
            if row["k"] == rows[0]["k"]:
                break
    path = [row.model_dump() for row in head.path]
    for shown_row, expected_row in zip(path, above[:-1], strict=True):
        assert {name: shown_row[name] for name in expected_row} == expected_row


def check_filter(state: ViewState, task: Task, chooser: random.Random) -> None:
    """A filtered window has the rows that pass, and those above them."""
    flat = flat_rows(state.model, task)
    params: dict[str, Any] = {}
    if chooser.random() < 0.5:
        params["status"] = chooser.sample(STATUS_NAMES, chooser.choice((1, 2)))
    if chooser.random() < 0.3:
        row = chooser.choice(flat)
        params["type"] = row.get("type") or row.get("name") or "search"
    if chooser.random() < 0.3:
        params["text"] = chooser.choice(("J", "act", "w0", "gpt", "e", "half"))
    if not params or chooser.random() < 0.3:
        start = moment(chooser.choice((-5, 0, 5, 20, 500))) // 1000
        params["zoom"] = (start, start + chooser.choice((0, 1000, 20_000)))
    passing = [row for row in flat if passes(row, **params)]
    listed: set[str] = set()
    path: list[str] = []
    for row in flat:
        path[row["depth"] :] = [row["k"]]
        if row in passing:
            listed.update(path)
    head, rows = shown(state, task, count=200, **params)
    assert [row["k"] for row in rows] == [row["k"] for row in flat if row["k"] in listed][:200]
    assert (head.total, head.matches) == (len(listed), len(passing))
    if rows:
        key = chooser.choice(rows)["k"]
        held, some = shown(state, task, count=5, at={"key": key, "above": 2}, **params)
        assert some == rows[held.first : held.first + 5]
        check_path(held, some, flat)
        assert key in [row["k"] for row in some]


def passes(
    row: dict[str, Any],
    status: Sequence[str] | None = None,
    type: str | None = None,
    text: str = "",
    zoom: tuple[int, int] | None = None,
) -> bool:
    if row["k"].startswith("more:") or (status is not None and row["status"] not in status):
        return False
    if type is not None and row["name" if row["kind"] == "phase" else "type"] != type:
        return False
    texts = [row[name] for name in ("name", "job", "type", "worker", "error")]
    if not any(text.casefold() in str(one).casefold() for one in texts if one is not None):
        return False
    if zoom is None:
        return True
    start = row["queued"] if row["kind"] == "enqueue" else row["start"]
    is_before_end = row["end"] is None or row["end"] >= zoom[0]
    return start is not None and start <= zoom[1] and is_before_end


def check_all(state: ViewState, chooser: random.Random) -> None:
    for task in list(state.model.tasks.by_id.values()):
        if state.model.tasks.is_shown(task):
            check(state, task, chooser)
            check_filter(state, task, chooser)


@given(seed=st.integers(0, 2**32), limit=st.sampled_from((None, None, 12)))
@settings(max_examples=60)
def test_windows_equal_a_plain_list(seed: int, limit: int | None) -> None:
    """After any events in any order, evictions, and time that passes."""
    chooser = random.Random(seed)
    events = history(seed)
    if chooser.random() < 0.5:
        chooser.shuffle(events)
    limits = Limits() if limit is None else Limits(nodes_per_task=limit)
    model = Fold(limits)
    clock = FakeClock()
    state = ViewState(model, clock=clock)
    seconds = 0.0
    at = 0
    while at < len(events):
        step = chooser.choice((1, 5, 20, 60))
        for event in events[at : at + step]:
            model.apply(event, moment(seconds))
        at += step
        seconds += chooser.choice((0.2, 3, 40))
        clock.advance(11)  # lists of filtered rows may be made again
        state.refresh(moment(seconds))
        check_all(state, chooser)
    for pause in (70, 400, 1000):
        seconds += pause
        clock.advance(11)  # lists of filtered rows may be made again
        state.refresh(moment(seconds))
        check_all(state, chooser)
