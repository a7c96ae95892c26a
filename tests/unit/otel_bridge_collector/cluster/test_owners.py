"""What belongs together: groups of tasks and traces, their keys and moves, and their projects."""

from __future__ import annotations

import itertools
from typing import Any

from otel_bridge_collector.cluster.known import Home
from otel_bridge_collector.cluster.owners import Owners
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


def home_of(owners: Owners, one: Event) -> Home:
    """Note an event, as the router does, and return whose it is."""
    base = owners.note(one)
    assert base is not None
    if base.group.is_shared:
        owners.note_span(one, base)
    return owners.home(base, one)


def test_projects_are_those_that_a_fold_knows() -> None:
    """A task's project is its trace's, unless the trace has another; of several it is mixed."""
    owners = Owners()
    owners.number = lambda: 1
    loose = event(0, "span_started", trace_id=TRACE, span_id="1" * 16)
    assert home_of(owners, loose) == Home(TRACE, None, False)
    named = event(1, "task_started", trace_id=TRACE, parent_task_id="t", project_id="p")
    assert home_of(owners, named) == Home("t", "p", False)
    assert home_of(owners, loose) == Home("t", "p", False)
    assert owners.is_only_task("t", TRACE)
    assert not owners.is_only_task("u", TRACE)
    assert owners.project_of_past(None, TRACE, None) == "p"
    assert owners.project_of_past("t", None, None) == "p"
    assert owners.project_of_past("unknown", None, None) is None
    without_span = event(2, "task_started", trace_id=TRACE, task_id="j")
    assert home_of(owners, without_span) == Home(TRACE, None, False)
    owners.note(event(2, "span_started", trace_id=TRACE, project_id="q"))
    assert home_of(owners, loose) == Home(TRACE, "q", False)
    owners.note(event(3, "task_started", parent_task_id="t", project_id="o"))
    assert home_of(owners, named) == Home("t", None, True)


def span_event(span: str, parent: str | None, task_id: str | None, project: str | None) -> Event:
    ids = {"span_id": span * 16, "parent_span_id": parent and parent * 16}
    named = {"trace_id": SHARED, "parent_task_id": task_id, "project_id": project}
    return event(0, "span_started", **ids, **named)


def test_in_a_trace_of_two_tasks_the_spans_above_tell() -> None:
    """A span below one that names a task is that task's; another one is of the trace alone."""
    owners = Owners()
    owners.number = lambda: 1
    first = span_event("1", None, "u", "p")
    for one in (first, span_event("2", None, "v", "q"), span_event("3", "1", None, None)):
        home_of(owners, one)
    home_of(owners, first)  # the router notes again what came before the second task
    assert home_of(owners, span_event("4", "3", None, None)) == Home("u", "p", False)
    assert home_of(owners, span_event("5", "2", None, None)) == Home("v", "q", False)
    assert home_of(owners, span_event("6", "9", None, None)) == Home(SHARED, None, False)
    assert owners.project_of_past(None, SHARED, "5" * 16) == "q"


def test_a_span_whose_parent_may_be_forgotten_is_nobodys() -> None:
    """Older events may be forgotten: only a parent that is known decides whose a span is."""
    owners = Owners()
    owners.number = lambda: 1
    home_of(owners, span_event("1", None, "u", "p"))
    home_of(owners, span_event("2", None, "v", "q"))
    owners.spans.complete_from = 2
    assert home_of(owners, span_event("4", "2", None, None)) == Home("v", "q", False)
    owners.note(span_event("5", None, None, "p"))
    assert home_of(owners, span_event("6", "9", None, None)) == Home(SHARED, None, True)
    assert owners.project_of_past(None, SHARED, "7" * 16) is None


def test_a_circle_of_parents_ends_at_the_smallest_id() -> None:
    """The top of a circle has no parent; a span below it in the circle may still have a task."""
    owners = Owners()
    owners.number = lambda: 1
    home_of(owners, span_event("a", None, "v", "q"))
    for span, parent, task_id in (("1", "3", None), ("2", "1", "u"), ("3", "2", None)):
        home_of(owners, span_event(span, parent, task_id, None))
    assert owners.project_of_past("u", SHARED, "1" * 16) is None
    assert home_of(owners, span_event("1", "3", None, None)).id == SHARED
    assert home_of(owners, span_event("3", "2", None, None)).id == "u"


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
