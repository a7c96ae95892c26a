"""The view of events: the newest that pass, kept by difference, without a hole."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.stream.ring import Entry, ReplayRing
from otel_bridge_collector.views import events
from otel_bridge_collector.views.events import compute, matcher_of, merge
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import EventsParams

from tests.support.folding import at


class Stage:
    """A ring, and the state of the views over it."""

    def __init__(self, max_events: int = 1000) -> None:
        self.ring = ReplayRing("e:0", max_events)
        self.state = ViewState(Fold(), ring=self.ring)
        self.held: list[Entry] = []
        """All events since the latest reset, evicted ones too."""

    def append(self, event_type: str = "task_started", **fields: Any) -> Entry:
        position = f"e:{self.ring.last_index + 1}-0"
        data = json.dumps({"event_type": event_type, "position": position, **fields}).encode()
        project, task, job = map(fields.get, ("project_id", "parent_task_id", "task_id"))
        entry = Entry(position, data, event_type, project, task, job)
        self.ring.append(entry)
        self.held.append(entry)
        return entry

    def window(self, scope: Scope = None, **fields: Any) -> Window:
        params = EventsParams(**fields)
        return merge([compute(self.state, params, scope)], params)


def numbers(shown: Window) -> list[int]:
    return [int(key[2:-2]) for key in shown.rows]


def test_the_newest_come_oldest_first() -> None:
    """At most ``count``; the head says how many passed, and that there are older ones."""
    stage = Stage()
    for _ in range(5):
        stage.append()
    shown = stage.window(count=3)
    assert (numbers(shown), shown.head) == ([3, 4, 5], {"passed": 3, "older": True})
    for _ in range(7):
        stage.append()
    shown = stage.window(count=3)
    assert (numbers(shown), shown.head) == ([10, 11, 12], {"passed": 10, "older": True})
    whole = stage.window(count=20)
    assert (len(whole.rows), whole.head) == (12, {"passed": 12, "older": False})


def test_a_row_is_the_event_as_it_travels() -> None:
    """Its bytes are those of the ring."""
    stage = Stage()
    entry = stage.append(message="hello", unknown={"kept": 1})
    shown = stage.window()
    assert shown.rows == {"e:1-0": b'{"k":"e:1-0","event":' + entry.data + b"}"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 7]),
        ({"all": True}, [1, 2, 3, 4, 5, 6, 7]),
        ({"project": "p"}, [1, 2, 7]),
        ({"task": "t"}, [1, 2]),
        ({"task": "ab" * 16}, [4]),
        ({"job": "j"}, [2]),
        ({"type": "fetch"}, [2, 5]),
        ({"status": ["failed", "stalled"]}, [3]),
        ({"status": []}, []),
        ({"text": "NO ANSWER"}, [3]),
        ({"text": ""}, [1, 2, 3, 4, 5, 7]),
    ],
)
def test_filters(params: dict[str, Any], expected: list[int]) -> None:
    """Each by itself, the same for events that were there and for those that come."""
    stage = Stage()
    stage.window(**params)
    stage.append(parent_task_id="t", task_id="t", project_id="p")
    stage.append(parent_task_id="t", task_id="j", project_id="p", task_type="fetch")
    stage.append("task_failed", parent_task_id="u", project_id="q", error="no answer")
    stage.append(trace_id="ab" * 16, project_id="q")
    stage.append("phase_started", parent_task_id="u", project_id="q", phase="fetch")
    stage.append("worker_heartbeat")
    stage.append("worker_started")
    assert numbers(stage.window(**params)) == expected
    assert numbers(stage.window(**params, count=50)) == expected


def test_a_limited_reader_gets_what_has_a_project_of_its_own() -> None:
    """No worker, no event whose project is unknown; and what is kept is never that of another."""
    stage = Stage()
    for project in ("p", "q", None):
        stage.append(project_id=project, parent_task_id="t")
    stage.append("worker_started")
    assert numbers(stage.window()) == [1, 2, 3, 4]
    assert numbers(stage.window(frozenset({"p"}))) == [1]
    assert numbers(stage.window(frozenset({"p", "q"}), project="q")) == [2]
    assert numbers(stage.window(frozenset({"p"}), project="q")) == []
    assert stage.window(frozenset()).head == {"passed": 0, "older": False}


def test_an_event_whose_project_becomes_known_takes_its_place() -> None:
    """Between the others, as it is in the log; no other one moves."""
    stage = Stage()
    scope = frozenset({"p"})
    entries = [stage.append(project_id=project, task_id="j") for project in ("p", None, "p")]
    assert numbers(stage.window(scope)) == [1, 3]
    stage.ring.set_project(entries[1], "p")
    shown = stage.window(scope)
    assert (numbers(shown), shown.head["passed"]) == ([1, 2, 3], 3)


def test_a_rare_event_stays_when_the_ring_has_lost_it() -> None:
    """A reader who saw it come keeps it; one who asks later is sent to the log."""
    stage = Stage(max_events=10)
    stage.window(status=["failed"])
    stage.append("task_failed")
    for _ in range(5):
        for _ in range(6):
            stage.append()
        stage.window(status=["failed"])
    shown = stage.window(status=["failed"])
    assert (numbers(shown), shown.head) == ([1], {"passed": 1, "older": False})
    later = stage.window(status=["failed"], count=50)
    assert (numbers(later), later.head) == ([], {"passed": 0, "older": True})


def test_a_tick_looks_at_new_events_alone() -> None:
    """The ring is not scanned again."""
    stage = Stage()
    for _ in range(100):
        stage.append()
    stage.window(count=1)
    for entry in stage.ring.newest():
        entry.event_type = "worker_heartbeat"  # would no longer pass
    stage.append()
    assert numbers(stage.window(count=1)) == [101]
    assert stage.window(count=1).head["passed"] == 2


def test_what_nobody_asks_for_is_forgotten() -> None:
    """After a minute; what is asked for stays."""
    stage = Stage()
    for seconds in range(0, 130, 10):
        stage.state.refresh(microseconds(at(seconds)))
        stage.append()
        stage.window(count=2)
        if seconds == 0:
            stage.window(text="once")
    assert len(stage.state.kept_events) == 1
    assert stage.window(count=2).head["passed"] == 13


def test_events_of_several_processes_are_one_list() -> None:
    """The newest of all by their place in the log, whose numbers grow in length."""
    params = EventsParams(count=3)
    stages = Stage(), Stage()
    for number in range(12):
        stages[number % 2].ring.append(Entry(f"e:5-{number}", b"{}", "task_started"))
    found = merge([compute(stage.state, params, None) for stage in stages], params)
    assert list(found.rows) == ["e:5-9", "e:5-10", "e:5-11"]
    assert found.head == {"passed": 6, "older": True}


def test_without_a_ring_there_are_no_events() -> None:
    """As in a state that is made for other views alone."""
    params = EventsParams()
    found = merge([compute(ViewState(Fold()), params, None)], params)
    assert (found.rows, found.head) == ({}, {"passed": 0, "older": False})


def test_one_tick_looks_back_at_a_part_of_the_ring() -> None:
    """A rare event comes with a later one; until then the head says that there may be older."""
    stage = Stage(max_events=20_000)
    stage.append("task_failed")
    for _ in range(11_000):
        stage.append()
    heads, rows = [], []
    for _ in range(4):
        shown = stage.window(status=["failed"])
        heads.append((shown.head["passed"], shown.head["older"]))
        rows.append(numbers(shown))
    assert rows == [[], [], [1], [1]]
    assert heads == [(0, True), (0, True), (1, False), (1, False)]


@given(
    seed=st.integers(0, 2**32),
    max_events=st.sampled_from((4, 12, 1000)),
    scanned=st.sampled_from((2, 5000)),
)
@settings(max_examples=60)
def test_the_rows_are_the_end_of_the_log(seed: int, max_events: int, scanned: int) -> None:
    """Whatever comes, leaves, is corrected or starts again: no hole, no double, none missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "_SCAN_EVENTS", scanned)
        check_rows(seed, max_events, is_all_scanned=scanned == 5000)


def check_rows(seed: int, max_events: int, *, is_all_scanned: bool) -> None:
    chooser = random.Random(seed)
    stage = Stage(max_events)
    scope = frozenset({"p"})
    queries: list[tuple[Scope, dict[str, Any]]] = [
        (None, {"count": 3}),
        (None, {"project": "p", "count": 2}),
        (scope, {"count": 4}),
        (scope, {"count": 2, "task": "t"}),
    ]
    passed = [0] * len(queries)
    for _ in range(40):
        for _ in range(chooser.choice((0, 1, 1, 3, 9))):
            project, task = chooser.choice("pq--"), chooser.choice("tu-")
            ids = {"project_id": project, "parent_task_id": task}
            stage.append(**{name: text for name, text in ids.items() if text != "-"})
        for entry in chooser.sample(stage.held, min(len(stage.held), 2)):
            if entry.project_id is None and chooser.random() < 0.3:
                stage.ring.set_project(entry, chooser.choice("pq"))
        if chooser.random() < 0.03:
            stage.ring.reset("e:0")
            stage.held.clear()
        for number, (limits, params) in enumerate(queries):
            if chooser.random() < 0.3:
                continue
            shown = stage.window(limits, **params)
            matcher = matcher_of(EventsParams(**params), limits)
            passing = [entry for entry in stage.held if matcher.matches(entry)]
            in_ring = [entry for entry in stage.ring.after_index(0) if matcher.matches(entry)]
            expected = [str(entry.position) for entry in passing]
            keys = list(shown.rows)
            assert keys == expected[len(expected) - len(keys) :]
            assert len(keys) <= params["count"]
            if is_all_scanned and stage.ring.changes == 0:
                assert len(keys) >= min(len(in_ring), params["count"])
            assert shown.head["older"] or len(keys) == len(expected)
            assert shown.head["passed"] >= passed[number]
            passed[number] = shown.head["passed"]
