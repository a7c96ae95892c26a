"""``otel_bridge_collector.model.events``: what each type says, times, and texts held once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.model.events import (
    COMPLETED,
    END,
    ENQUEUE,
    FACTS,
    FAILED,
    JOB,
    KIND_NAMES,
    PENDING,
    PHASE,
    PROCESSING,
    RETRYING,
    SPAN,
    STALLED,
    START,
    STATUS_NAMES,
    TASK,
    WORD,
    microseconds,
    read_meta,
    short_error,
    short_id,
    short_name,
    shorten,
)

from otel_bridge.events.model import MonitoringEventType
from tests.support.histories import event

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_codes_are_named() -> None:
    """A status code and a kind code are indexes of their names on the wire."""
    statuses = (PENDING, PROCESSING, RETRYING, COMPLETED, FAILED, STALLED)
    assert [STATUS_NAMES[code] for code in statuses] == [
        "pending",
        "processing",
        "retrying",
        "completed",
        "failed",
        "stalled",
    ]
    kinds = (SPAN, ENQUEUE, JOB, PHASE, TASK)
    assert [KIND_NAMES[code] for code in kinds] == [
        "span",
        "enqueue",
        "job",
        "phase",
        "research_task",
    ]


@pytest.mark.parametrize(
    ("event_type", "fact"),
    [
        ("task_enqueued", (START, PENDING, ENQUEUE)),
        ("task_started", (START, PROCESSING, JOB)),
        ("task_progress", (WORD, PROCESSING, JOB)),
        ("task_retry", (END, RETRYING, JOB)),
        ("task_completed", (END, COMPLETED, JOB)),
        ("task_failed", (END, FAILED, JOB)),
        ("task_stalled", (END, STALLED, JOB)),
        ("phase_started", (START, PROCESSING, PHASE)),
        ("phase_completed", (END, COMPLETED, PHASE)),
        ("span_started", (START, PROCESSING, SPAN)),
        ("span_updated", (WORD, PROCESSING, SPAN)),
        ("span_ended", (END, COMPLETED, SPAN)),
    ],
)
def test_what_a_type_says(event_type: str, fact: tuple[int, int, int]) -> None:
    """Each type of work says one side of a node's life, the status after it and the kind."""
    found = FACTS[event_type]
    assert (found.side, found.status, found.kind) == fact


def test_types_that_are_about_no_node() -> None:
    """Of the library's types only those of workers, queues, totals and heartbeats say no fact."""
    rest = {str(member) for member in MonitoringEventType} - FACTS.keys()
    assert rest == {
        "worker_started",
        "worker_heartbeat",
        "worker_stopped",
        "queue_depth_update",
        "stats_snapshot",
        "span_beats",
    }
    assert FACTS.keys() <= {str(member) for member in MonitoringEventType}


@given(
    since=st.integers(0, 4_000_000_000_000_000),
    offset=st.integers(-23 * 60, 23 * 60),
)
def test_times_are_exact(since: int, offset: int) -> None:
    """A time until the year 2096, in any time zone, is its exact number of microseconds."""
    ts = (EPOCH + timedelta(microseconds=since)).astimezone(timezone(timedelta(minutes=offset)))
    assert microseconds(ts) == since


@pytest.mark.parametrize("meta", [None, [], {}, "", "text", 7, ["title"]])
def test_meta_that_is_no_object_is_empty(meta: object) -> None:
    """No meta, an empty one and one that is not an object have none of the keys."""
    found = read_meta(event(0, "task_started", meta=meta))
    assert (found.title, found.host, found.pid, found.eta) == (None, None, None, None)


def test_meta_null_is_empty() -> None:
    """A meta of JSON's null, as a publisher in another language may send it, is an empty one."""
    one = event(0, "task_started")
    one.meta = type(one.meta)(b"null")
    assert read_meta(one).title is None


def test_meta_has_the_keys_that_are_read() -> None:
    """Keys that the model reads come as sent, whatever their type; others are ignored."""
    sent = {"title": "A", "host": "h", "pid": "7", "delay": 3, "other": {"deep": [1]}}
    found = read_meta(event(0, "task_started", meta=sent))
    assert (found.title, found.host, found.pid, found.delay) == ("A", "h", "7", 3)
    assert found.countdown is None


@given(text=st.text(max_size=30), limit=st.integers(1, 20))
def test_shortened_text(text: str, limit: int) -> None:
    """A text within the limit stays as it is; a longer one is exactly at the limit and says so."""
    found = shorten(text, limit)
    if len(text) <= limit:
        assert found == text
    else:
        assert len(found) == limit
        assert found == text[: limit - 1] + "…"


def test_a_text_is_held_once() -> None:
    """Equal texts give one object, shortened; after more texts than are held an equal one."""
    first = short_error("x" * 600)
    assert short_error("x" * 600) is first
    assert {short_error(f"error {number}") for number in range(5000)} == {
        f"error {number}" for number in range(5000)
    }
    assert short_error("x" * 600) == first


@pytest.mark.parametrize(
    ("texts", "limit"), [(short_name, 100), (short_id, 512), (short_error, 500)]
)
def test_limits_of_texts(texts: Callable[[str], str], limit: int) -> None:
    """Names have 100 characters at most, ids 512 and error texts 500."""
    assert texts("x" * limit) == "x" * limit
    assert len(texts("x" * (limit + 1))) == limit
