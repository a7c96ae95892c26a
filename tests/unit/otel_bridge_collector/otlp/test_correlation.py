"""Task correlation: which spans of a trace inherit its task, and when they do not."""

from __future__ import annotations

from typing import Any

import pytest
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.otlp.correlation import correlate

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.mapping.inheritance import InheritedContext, Key
from tests.support.folding import event, fold

TRACE = "ab" * 16
PARENT = "00000000000000aa"
KEY = int(TRACE, 16)
WHOLE = InheritedContext("t", "alpha", None, is_correlated=True)


def named(kind: str = "task_started", task: str = "t", **fields: Any) -> MonitoringEvent:
    """An event that names the task of its trace."""
    given = {"parent_task_id": task, "task_id": task, "project_id": "alpha", "trace_id": TRACE}
    given["span_id"] = f"{hash((task, fields.get('task_id'))) & (2**64 - 1):016x}"
    return event(0, kind, **given | fields)


def inherited(
    *events: MonitoringEvent, projects: str = "*", parents: str = ""
) -> dict[Key, InheritedContext]:
    return ask(fold(events), projects, parents)


def ask(model: Fold, projects: str = "*", parents: str = "") -> dict[Key, InheritedContext]:
    asked = {TRACE: set(parents.split()), "cd" * 16: {PARENT}}
    may = projects.split(",")
    return correlate(model, asked, lambda name: "*" in may or name in may)


def test_a_traces_task_is_inherited() -> None:
    """The research task and its project, to spans of its trace whatever their parent."""
    assert inherited(named()) == {(KEY, 0): WHOLE}


def test_the_parents_phase_is_inherited() -> None:
    """Inside a job that the model knows, a span is in that job's phase."""
    job = named(task_id="j", phase="search", span_id=PARENT)
    assert inherited(named(), job, parents=f"{PARENT} 00000000000000bb") == {
        (KEY, 0): WHOLE,
        (KEY, int(PARENT, 16)): WHOLE._replace(phase="search"),
    }


def test_a_consumer_span_inherits_the_job_of_the_enqueue() -> None:
    """A consumer in another language inherits the name of the job that one of ours enqueued."""
    enqueue = named("task_enqueued", task_id="j", phase="search", span_id=PARENT)
    found = inherited(named(), enqueue, parents=PARENT)[KEY, int(PARENT, 16)]
    assert (found.role, found.task_id, found.phase) == ("enqueue", "j", "search")


@pytest.mark.parametrize("projects", ["beta", "", "alpha2"])
def test_other_projects_inherit_nothing(projects: str) -> None:
    """A sender that may not use the task's project gets nothing, not of the parent either."""
    job = named(task_id="j", phase="search", span_id=PARENT)
    assert inherited(named(), job, projects=projects, parents=PARENT) == {}
    assert inherited(named(), job, projects="beta,alpha", parents=PARENT) != {}


def test_a_task_of_no_project_is_for_the_unlimited() -> None:
    """A token that is limited to projects may not use none."""
    without = named(project_id=None)
    assert inherited(without, projects="alpha") == {}
    assert inherited(without) == {(KEY, 0): WHOLE._replace(project_id=None)}


def test_a_mixed_task_is_not_inherited() -> None:
    """A task that two projects name is hidden from the limited, and takes in nothing."""
    assert inherited(named(), named(task_id="j", project_id="beta")) == {}


def test_of_two_tasks_the_parents() -> None:
    """A trace of two tasks is of neither, except inside a span that is known to be of one."""
    both = (named(), named(task="u"), named(task="u", task_id="j", span_id=PARENT))
    assert inherited(*both) == {}
    assert inherited(*both, parents=PARENT) == {
        (KEY, int(PARENT, 16)): WHOLE._replace(parent_task_id="u")
    }


@pytest.mark.parametrize(
    ("project", "is_inherited"), [("alpha", False), (None, False), ("beta", True)]
)
def test_a_card_beside_the_task_goes_on(project: str | None, is_inherited: bool) -> None:
    """What started on the trace's own card stays there; another project's card changes nothing."""
    beside = named(task=TRACE, project_id=project)
    assert bool(inherited(named(), beside)) is is_inherited


def test_an_evicted_task_is_not_inherited() -> None:
    """Once the model has let a task go, spans of its trace go to the trace's own card."""
    events = [
        named("task_completed"),
        *(named("task_completed", f"n{n}", trace_id=None) for n in range(9)),
    ]
    model = fold(events, Limits(tasks=2))
    assert "t" not in model.tasks.by_id
    assert ask(model) == {}


def test_a_trace_that_is_its_own_task_is_not_inherited() -> None:
    """Work of no research task is its trace's already."""
    assert inherited(named(task=TRACE)) == {}
