"""``EventMatcher``: which events pass, decided by fields and bytes, and what a query may say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.stream.ring import Entry
from otel_bridge_collector.wire.event_matcher import BACKGROUND_EVENT_TYPES, EventMatcher
from otel_bridge_collector.wire.filters import EventFilter, FilterError

from otel_bridge.events.model import MonitoringEventType

TRACE = "ab" * 16


def entry(event_type: str = "task_started", **fields: Any) -> Entry:
    data = json.dumps({"event_type": event_type, **fields}).encode()
    project, task, job = map(fields.get, ("project_id", "parent_task_id", "task_id"))
    return Entry("e:1", data, event_type, project, task, job)


def passes(sent: Entry, projects: frozenset[str] | None = None, **query: str) -> bool:
    return EventMatcher.parse(query, projects).matches(sent)


def test_without_a_condition_everything_passes() -> None:
    """Background events too, unless ``all`` is false; work always does."""
    kinds = list(MonitoringEventType)
    assert all(passes(entry(kind)) for kind in kinds)
    hidden = {kind for kind in kinds if not passes(entry(kind), all="false")}
    assert hidden == BACKGROUND_EVENT_TYPES
    assert not any(kind.startswith(("task_", "phase_")) for kind in hidden)


@pytest.mark.parametrize(
    ("sent", "is_passed"),
    [
        (entry(parent_task_id=TRACE), True),
        (entry(trace_id=TRACE), True),
        (entry(task_id=TRACE), True),
        (entry(parent_task_id="t", trace_id=TRACE), False),
        (entry(trace_id="cd" * 16), False),
        (entry(message=TRACE), False),
    ],
)
def test_a_trace_stands_for_its_work_without_a_task(sent: Entry, is_passed: bool) -> None:
    """Events that name no task belong to the card of their trace, and no others."""
    assert passes(sent, task_id=TRACE) is is_passed


def test_a_job_is_found_by_its_own_id() -> None:
    """Not by the task's."""
    assert passes(entry(task_id="j", parent_task_id="t"), job="j")
    assert not passes(entry(task_id="k", parent_task_id="j"), job="j")


def test_a_type_is_a_job_type_or_a_phase() -> None:
    """Exactly, also where the JSON spells it with escapes."""
    assert passes(entry(task_type="fetch"), type="fetch")
    assert passes(entry(phase="fetch"), type="fetch")
    assert passes(entry(phase="façade"), type="façade")  # json.dumps escapes it
    assert not passes(entry(phase="fetching", message="fetch"), type="fetch")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (entry("task_enqueued"), "pending"),
        (entry("task_started", status="failed"), "processing"),
        (entry("task_retry"), "retrying"),
        (entry("task_completed"), "completed"),
        (entry("task_failed"), "failed"),
        (entry("task_stalled"), "stalled"),
        (entry("phase_started"), "processing"),
        (entry("phase_completed"), "completed"),
        (entry("phase_completed", status="failed"), "failed"),
        (entry("span_ended", status="failed"), "failed"),
        (entry("task_progress", status="processing"), "processing"),
        (entry("task_progress"), None),
        (entry("worker_started"), None),
    ],
)
def test_an_event_has_the_status_that_its_type_says(sent: Entry, status: str | None) -> None:
    """Of ends the one that is reported; an event without a status passes no filter by it."""
    known = ("pending", "processing", "retrying", "completed", "failed", "stalled")
    assert [one for one in known if passes(sent, status=one)] == ([status] if status else [])
    assert passes(sent, status=",".join(known)) is (status is not None)


def test_an_empty_set_of_statuses_passes_none() -> None:
    """As an empty list in the view's parameters."""
    assert not EventMatcher(EventFilter(), statuses=frozenset()).matches(entry("task_failed"))


@pytest.mark.parametrize(
    "fields",
    [
        {"task_id": "Needle"},
        {"parent_task_id": "a needle"},
        {"task_type": "NEEDLE"},
        {"worker_id": "needle-1"},
        {"message": "ß needle"},
        {"error": "line\nneedle"},
        {"queue": "q:needle"},
        {"meta": {"title": "The Needle"}},
        {"name": "needle"},
        {"phase": "needle", "meta": None},
        {"project_id": "needle"},
    ],
)
def test_a_text_is_found_in_texts_and_ids(fields: dict[str, Any]) -> None:
    """In any case, with and without escapes in the JSON."""
    assert passes(entry(**fields), text="nEEdle")


@pytest.mark.parametrize(
    "sent",
    [
        entry(meta={"needle": "needle"}),
        entry(queue={"needle": 1}),
        entry(needle="needle"),
        Entry("e:1", b"not JSON, needle \\", "task_started"),
    ],
)
def test_a_text_is_not_found_elsewhere(sent: Entry) -> None:
    """Names of fields, other values of ``meta`` and what is no JSON are not searched."""
    assert not passes(sent, text="needle")
    assert not passes(entry(), text="data_type")


_TEXTS = st.text(alphabet='abAB"\\ßK é\n1', max_size=4)


@given(message=_TEXTS, phase=_TEXTS, text=_TEXTS.filter(bool))
@settings(max_examples=60)
def test_the_bytes_decide_as_the_texts_do(message: str, phase: str, text: str) -> None:
    """What the bytes rule out has the text in none of its fields, whatever the spelling."""
    fields = {"message": message, "phase": phase}
    expected = any(text.casefold() in value.casefold() for value in ("q", *fields.values()))
    for is_ascii in (True, False):
        data = json.dumps({"event_type": "q", **fields}, ensure_ascii=is_ascii).encode()
        assert passes(Entry("e:1", data, "q"), text=text) is expected
        assert passes(Entry("e:1", data, "q"), type=text) is (text == phase)


def test_a_reader_sees_its_projects() -> None:
    """Whatever the query asks for, an event without a project is shown to no limited reader."""
    scope = frozenset({"p"})
    sent = [entry(project_id="p"), entry(project_id="q"), entry(), entry("worker_started")]
    assert [passes(one, scope) for one in sent] == [True, False, False, False]
    assert [passes(one, scope, project_id="q") for one in sent] == [False] * 4
    assert [passes(one, project_id="p") for one in sent] == [True, False, True, True]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"status": "failed,lost"}, "status: unknown lost; known: pending,"),
        ({"job": "x" * 513}, "job: longer than 512 characters"),
        ({"type": "x" * 201}, "type: longer than 200 characters"),
        ({"text": "x" * 201}, "text: longer than 200 characters"),
        ({"all": "perhaps"}, "all: 'perhaps' is neither true nor false"),
        ({"types": "nonsense"}, "types: unknown event type nonsense"),
    ],
)
def test_a_wrong_parameter_is_named(query: dict[str, str], message: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(FilterError, match=message):
        EventMatcher.parse(query, None)


def test_equal_queries_are_equal() -> None:
    """So that they share what is kept for them."""
    one = EventMatcher.parse({"status": "failed, stalled", "text": "A"}, None)
    other = EventMatcher.parse({"status": "stalled,failed", "text": "a", "job": ""}, None)
    assert len({one, other}) == 1
