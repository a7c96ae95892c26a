"""``tail``: readable lines, and nothing in them that a terminal would obey."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.commands.tail import TailOptions, format_event, one_line, socket_url
from otel_bridge.errors import ConfigurationError

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
    """Time, status, type, phase, job, worker and duration stand on one line."""
    expected = (
        "00:04:05.123  ✓ task_completed      search  data_aggregation_search  6ba5_search_42"
        "  worker 3  41 ms"
    )
    assert expected == format_event(EVENT)


def test_colour_wraps_only_our_own_words() -> None:
    """With colour the status is wrapped in SGR codes and nothing else changes."""
    plain, coloured = format_event(EVENT), format_event(EVENT, is_coloured=True)
    assert plain == coloured.replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert coloured.count("\x1b") == 2


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
        st.sampled_from([*EVENT, "message", "error", "counts", "retry_count"]), json_values
    )
)
def test_any_event_is_one_line_without_controls(event: dict[str, Any]) -> None:
    """Whatever an event holds, its line is one line without a control character."""
    line = format_event(event)
    assert [c for c in line if unicodedata.category(c) == "Cc"] == []


def test_filters_reach_the_address() -> None:
    """The filters become the WebSocket's own parameters."""
    options = TailOptions("http://localhost:12000", project_id="p 1", types="task_failed")
    assert (
        socket_url(options, "e:1-0") == "ws://localhost:12000/ws/monitor"
        "?project_id=p+1&types=task_failed&batch_ms=50&since=e%3A1-0"
    )


@pytest.mark.parametrize(
    "url", ["ftp://x", "127.0.0.1:12000", "http://", "http://x:99999", "http://x:y", "http://[::1"]
)
def test_a_wrong_address_names_the_cure(url: str) -> None:
    """A URL that is no collector's is refused with an example."""
    with pytest.raises(ConfigurationError, match="is not a collector's address; use http://127"):
        socket_url(TailOptions(url), None)
