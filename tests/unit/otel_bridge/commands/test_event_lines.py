"""The texts of an event: what they say, and nothing in them that a terminal would obey."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.commands.event_lines import EventLine, format_event, one_line, read_event

EVENT = {
    "event_type": "task_completed",
    "ts": "2026-11-24T00:04:05.123456Z",
    "status": "completed",
    "phase": "search",
    "task_type": "data_aggregation_search",
    "task_id": "6ba5_search_42",
    "worker_id": 3,
    "duration_ms": 41.2,
}


def test_an_event_is_one_readable_line() -> None:
    """Time, status, type, phase, job, worker and duration are on one line."""
    expected = (
        "00:04:05.123  ✓ task_completed      search  data_aggregation_search 6ba5_search_42"
        "  worker 3  41 ms"
    )
    assert expected == format_event(EVENT)


def test_the_parts_of_a_retry() -> None:
    """The retry and its reason are the text; what is missing is empty."""
    event = {"event_type": "task_retry", "status": "retrying", "retry_count": 2, "error": "a\nb"}
    assert read_event(event) == EventLine(
        clock="",
        status="retrying",
        symbol="↻",
        event_type="task_retry",
        phase="",
        job="",
        worker="",
        duration="",
        text="retry 2  a\N{REPLACEMENT CHARACTER}b",
    )


def test_statistics_show_their_values() -> None:
    """A ``stats_snapshot`` shows its numbers and the depth of each queue; a project is named."""
    meta = {
        "workers_online": 4,
        "open_tasks": 1,
        "in_progress": 3,
        "throughput_per_sec": 29.273,
        "events_per_sec": 87.0,
        "error_rate_1m": 0.0143,
        "events_dropped": 0,
        "queue_depth": {"celery": 7, "slow": 0},
        "in_progress_by_type": {"a": 3},
    }
    event = {"event_type": "stats_snapshot", "meta": meta}
    numbers = (
        "workers=4 tasks=1 running=3 jobs/s=29.3 events/s=87 dropped=0 errors=1.4% celery=7 slow=0"
    )
    assert read_event(event).text == numbers
    assert read_event({**event, "project_id": "shop"}).text == f"project=shop {numbers}"
    assert read_event({**event, "queue": meta["queue_depth"]}).text == numbers


@pytest.mark.parametrize(("sign", "shown"), [(1, "inf"), (-1, "-inf")])
def test_a_number_that_is_no_float_is_infinite(sign: int, shown: str) -> None:
    """A publisher's number of more than 308 digits is one value of the line, and no error."""
    number = sign * 10**400
    meta = {"open_tasks": number, "error_rate_1m": number}
    line = read_event({"event_type": "stats_snapshot", "duration_ms": number, "meta": meta})
    assert (line.duration, line.text) == (f"{shown} ms", f"tasks={shown} errors={shown}%")


def test_the_counts_of_a_phase_are_shown() -> None:
    """A ``stats_snapshot`` of a phase shows its counts."""
    event = {"event_type": "stats_snapshot", "phase": "search", "counts": {"total": 9, "failed": 1}}
    assert read_event(event).text == "total=9 failed=1"


@pytest.mark.parametrize("field", ["counts", "queue"])
def test_queue_depths_show_their_values(field: str) -> None:
    """A ``queue_depth_update`` shows the depths, in whichever of two fields they came."""
    event = {"event_type": "queue_depth_update", field: {"celery": 7, "slow": 0}}
    assert read_event(event).text == "celery=7 slow=0"


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x9b31m",
        "a\r\nb",
        "\x07",
        "\u202etxt.exe",
        "\u2066x",
        "\u200b",
        "\x7f",
        "\ud800",
    ],
)
def test_control_characters_become_marks(text: str) -> None:
    """What a terminal would obey is replaced by a visible mark."""
    shown = one_line(text)
    assert "\N{REPLACEMENT CHARACTER}" in shown
    assert [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs")] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*EVENT, "message", "error", "counts", "queue", "retry_count"]), json_values
    )
)
def test_any_event_is_one_line_without_controls(event: dict[str, Any]) -> None:
    """Whatever an event holds, its line is one line without a control character."""
    line = format_event(event)
    assert [c for c in line if unicodedata.category(c) == "Cc"] == []


@given(
    st.dictionaries(
        st.sampled_from(["workers_online", "events_per_sec", "error_rate_1m", "queue_depth"]),
        json_values,
    )
    | json_values
)
def test_any_statistics_are_one_line_without_controls(meta: Any) -> None:
    """Whatever the statistics of an untrusted publisher hold, they are one printable line."""
    line = format_event({"event_type": "stats_snapshot", "meta": meta})
    assert [c for c in line if unicodedata.category(c) == "Cc"] == []
