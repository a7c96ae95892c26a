"""What belongs together: groups of tasks and traces, their keys and moves, and their projects."""

from __future__ import annotations

import itertools
from typing import Any

from otel_bridge_collector.cluster.owners import Home, Owners
from otel_bridge_collector.model.events import Event

from tests.support.histories import event

TRACE, SHARED, UNKNOWN = "a" * 32, "b" * 32, "c" * 32

KNOWN: list[dict[str, Any]] = [
    {"event_type": "task_started", "trace_id": TRACE, "parent_task_id": "t", "task_id": "t"},
    {"event_type": "task_started", "trace_id": SHARED, "parent_task_id": "v", "task_id": "j"},
    {"event_type": "task_enqueued", "trace_id": SHARED, "parent_task_id": "u", "task_id": "k"},
    {"event_type": "span_started", "trace_id": UNKNOWN, "parent_task_id": TRACE, "name": "n"},
]
"""One trace names a task, another one two, and a third continues the first."""


def key_of(owners: Owners, one: Event) -> str | None:
    group = owners.group_of(one)
    return None if group is None else group.key


def test_what_is_connected_has_one_key_in_any_order() -> None:
    """A trace has the key of its task, of two the smaller one, of a further trace that of both."""
    events = [event(0, **fields) for fields in KNOWN]
    for order in itertools.permutations(events):
        owners = Owners()
        for one in order:
            owners.note(one)
        assert [key_of(owners, one) for one in events] == ["t", "u", "u", "t"]


def test_what_names_no_task_and_no_trace_has_no_group() -> None:
    """Events of workers and of jobs alone belong to no group; a trace alone is one."""
    owners = Owners()
    assert owners.note(event(0, "worker_heartbeat", worker_id="w")) is None
    assert owners.note(event(0, "task_started", task_id="j")) is None
    loose = event(0, "span_started", trace_id=TRACE)
    assert (owners.note(loose), key_of(owners, loose)) != (None, None)
    assert key_of(owners, loose) == TRACE
    assert key_of(owners, event(0, "span_started", trace_id=SHARED)) is None


def test_a_task_learnt_late_moves_its_trace() -> None:
    """The move says what of which partition belongs elsewhere, and where its events begin."""
    owners = Owners()
    loose = event(0, "span_started", trace_id=TRACE, span_id="1" * 16)
    owners.number, owners.position = lambda: 7, "e:5"
    first = owners.note(loose)
    assert first is not None
    first.group.partition = 3
    owners.number, owners.position = lambda: 9, "e:8"
    owners.note(event(1, "task_started", trace_id=TRACE, parent_task_id="t", task_id="j"))
    (move,) = owners.moves
    assert move == (frozenset({TRACE}), 3, owners.group_of(loose), 7, "e:5")
    assert (move.group.key, move.group.first, move.group.position) == ("t", 7, "e:5")
    owners.note(event(2, "task_started", trace_id=TRACE, parent_task_id="t", task_id="k"))
    assert len(owners.moves) == 1


def test_what_was_not_named_for_longest_is_forgotten() -> None:
    """Past the limit ids leave that no event has named since the last look."""
    owners = Owners(max_ids=6)
    for digit in "12131415":
        ids = {"trace_id": digit * 32, "parent_task_id": f"t{digit}", "task_id": "j"}
        owners.note(event(0, "task_started", **ids))
    assert len(owners) == 6
    known = [owners.group_by_ids(f"t{digit}", None) is not None for digit in "12345"]
    assert known == [True, False, False, True, True]


def test_projects_are_those_that_a_fold_knows() -> None:
    """A task's project is its trace's, unless the trace has another; of several it is shared."""
    owners = Owners()
    loose = event(0, "span_started", trace_id=TRACE)
    base = owners.note(loose)
    assert base is not None
    assert owners.home(base, loose) == Home(TRACE, None, False)
    named = event(1, "task_started", trace_id=TRACE, parent_task_id="t", project_id="p")
    owners.note(named)
    assert owners.home(base, loose) == Home("t", "p", False)
    assert owners.is_only_task("t", TRACE)
    assert not owners.is_only_task("u", TRACE)
    assert owners.project_of_past(None, TRACE) == owners.project_of_past("t", None) == "p"
    assert owners.project_of_past("unknown", None) is None
    owners.note(event(2, "span_started", trace_id=TRACE, project_id="q"))
    assert owners.home(base, loose) == Home(TRACE, "q", False)
    owners.note(event(3, "task_started", parent_task_id="t", project_id="o"))
    other = owners.note(named)
    assert other is not None
    assert owners.home(other, named) == Home("t", None, True)


def test_what_another_member_knows_joins_tasks() -> None:
    """Two tasks of one trace are reported once; a member that joins them has the same keys."""
    owners, other = Owners(), Owners()
    events = [event(0, **fields) for fields in KNOWN]
    for one in events:
        owners.note(one)
    assert owners.joined == [("v", "u")]
    late = events[1]
    other.note(late)
    assert key_of(other, late) == "v"
    other.join("v", "u")
    assert key_of(other, late) == key_of(owners, late) == "u"
