"""What the state lends to spans of a trace: whose it is, to whom, and when not."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.old import lending
from otel_bridge_collector.model.old.lending import TraceIndex, lend
from otel_bridge_collector.model.old.state import LiveState, StateLimits

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.mapping.inheritance import InheritedContext, Key
from tests.support.folding import event, fold

TRACE = "ab" * 16
PARENT = "00000000000000aa"
KEY = int(TRACE, 16)
WHOLE = InheritedContext("t", "alpha", None, is_correlated=True)


def told(kind: str = "task_started", task: str = "t", **fields: Any) -> MonitoringEvent:
    given = {"parent_task_id": task, "task_id": task, "project_id": "alpha", "trace_id": TRACE}
    return event(0, kind, **given | fields)


def lent(
    *events: MonitoringEvent, projects: str = "*", parents: str = ""
) -> dict[Key, InheritedContext]:
    return ask(fold(events)[0], projects, parents)


def ask(state: LiveState, projects: str = "*", parents: str = "") -> dict[Key, InheritedContext]:
    wanted = {TRACE: set(parents.split()), "cd" * 16: {PARENT}}
    may = projects.split(",")
    return lend(state.traces, state.tasks, wanted, lambda name: "*" in may or name in may)


def test_a_traces_task_is_lent() -> None:
    """The research task and its project, to spans of its trace whatever their parent."""
    assert lent(told()) == {(KEY, 0): WHOLE}


def test_the_parents_phase_is_lent() -> None:
    """Inside a job that the state knows, a span is in that job's phase."""
    job = told(task_id="j", phase="search", span_id=PARENT)
    assert lent(told(), job, parents=f"{PARENT} 00000000000000bb") == {
        (KEY, 0): WHOLE,
        (KEY, int(PARENT, 16)): WHOLE._replace(phase="search"),
    }


def test_a_job_is_taken_by_the_name_that_it_was_put_in_by() -> None:
    """A consumer in another language inherits the name of the job that one of ours enqueued."""
    put = told("task_enqueued", task_id="j", phase="search", span_id=PARENT)
    found = lent(told(), put, parents=PARENT)[KEY, int(PARENT, 16)]
    assert (found.role, found.task_id, found.phase) == ("enqueue", "j", "search")


@pytest.mark.parametrize("projects", ["beta", "", "alpha2"])
def test_nobody_else_is_lent_it(projects: str) -> None:
    """Whoever may not use the task's project gets nothing, not of the parent either."""
    job = told(task_id="j", phase="search", span_id=PARENT)
    assert lent(told(), job, projects=projects, parents=PARENT) == {}
    assert lent(told(), job, projects="beta,alpha", parents=PARENT) != {}


def test_a_task_of_no_project_is_lent_to_the_unlimited() -> None:
    """A token that is limited to projects may not use none."""
    nobodys = told(project_id=None)
    assert lent(nobodys, projects="alpha") == {}
    assert lent(nobodys) == {(KEY, 0): WHOLE._replace(project_id=None)}


def test_a_mixed_task_is_not_lent() -> None:
    """A task that two projects name is hidden from the limited, and takes in nothing."""
    assert lent(told(), told(task_id="j", project_id="beta")) == {}


def test_of_two_tasks_the_parents() -> None:
    """A trace of two tasks is nobody's, except inside a span that one of them is known to have."""
    both = (told(), told(task="u"), told(task="u", task_id="j", span_id=PARENT))
    assert lent(*both) == {}
    assert lent(*both, parents=PARENT) == {
        (KEY, int(PARENT, 16)): WHOLE._replace(parent_task_id="u")
    }


def test_a_span_id_of_another_trace_is_no_parent() -> None:
    """A task's jobs may have traces of their own."""
    job = told(task_id="j", phase="search", span_id=PARENT, trace_id="cd" * 16)
    found = lent(told(), job, parents=PARENT)
    assert found == {
        (KEY, 0): WHOLE,
        (int("cd" * 16, 16), 0): WHOLE,
        (int("cd" * 16, 16), int(PARENT, 16)): WHOLE._replace(phase="search"),
    }


@pytest.mark.parametrize(("project", "is_lent"), [("alpha", False), (None, False), ("beta", True)])
def test_a_card_beside_the_task_goes_on(project: str | None, is_lent: bool) -> None:
    """What began on the trace's own card stays there; another project's card changes nothing."""
    beside = told(task=TRACE, project_id=project)
    assert bool(lent(told(), beside)) is is_lent


def test_a_task_that_was_forgotten_lends_nothing() -> None:
    """The index may remember a task longer than the state does."""
    state, _ = fold(
        [told(), *(told(task=f"n{number}", trace_id=None) for number in range(4))],
        StateLimits(tasks=2),
    )
    assert "t" not in state.tasks
    assert ask(state) == {}


def test_the_index_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace heard of longest ago leaves; of one trace, so many tasks and no more."""
    monkeypatch.setattr(lending, "_MAX_TRACES", 2)
    index = TraceIndex()
    for trace in ("a", "b", "a", "c"):
        index.note(trace, "t")
    assert index.known_of(["a", "b", "c"]) == {"a", "c"}
    for number in range(20):
        index.note("a", f"t{number}")
    assert index.tasks_of("a") == ("t", *(f"t{number}" for number in range(7)))


def test_a_trace_that_is_its_own_task_is_not_remembered() -> None:
    """Work of no research task is its trace's already; workers' events name no trace."""
    index = TraceIndex()
    index.note(TRACE, TRACE)
    index.note(None, "t")
    assert index.known_of([TRACE]) == set()
