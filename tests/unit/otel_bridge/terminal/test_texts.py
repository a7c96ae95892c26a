"""Numbers, times and statuses as text."""

from __future__ import annotations

import pytest

from otel_bridge.terminal import texts


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "–"),  # noqa: RUF001
        (0, "0 ms"),
        (41.4, "41 ms"),
        (1500, "1.50 s"),
        (59_990, "59.9 s"),
        (185_000, "3m 05s"),
        (7_800_000, "2h 10m"),
        (200_000_000, "2d 7h"),
    ],
)
def test_durations(ms: float | None, text: str) -> None:
    """A duration has at most seven characters, and an unknown one is a dash, not 0."""
    assert texts.duration(ms) == text
    assert len(text) <= 7


def test_counts() -> None:
    """Great numbers are short; unknown is no number."""
    shown = [texts.count(n) for n in (None, 0, 1234, 12_345, 999_940, 4_900_000)]
    assert shown == [texts.UNKNOWN, "0", "1,234", "12.3k", "999.9k", "4.9M"]


def test_how_long_ago() -> None:
    """Seconds, minutes, hours, days; a moment of the future is now."""
    now = 1_000_000_000.0
    shown = [texts.ago(now - sec * 1000, now) for sec in (-5, 0, 14, 130, 7300, 200_000)]
    assert shown == ["just now", "just now", "14 s ago", "2 min ago", "2 h ago", "2 d ago"]
    assert texts.ago(None, now) == texts.elapsed(None, now) == texts.UNKNOWN
    assert texts.elapsed(now - 61_000, now) == "1m 01s"


def test_every_status_has_a_mark_and_a_word() -> None:
    """No two statuses look alike without their colour; an unknown one is its own word."""
    known = ("pending", "processing", "completed", "retrying", "failed", "stalled")
    assert len({texts.status_mark(status) for status in known}) == 6
    assert texts.marked_status("failed") == "✕ failed"
    assert texts.marked_status("new\x1b") == "· new\N{REPLACEMENT CHARACTER}"
    assert texts.status_style("new") == ""
    assert texts.reason("worker_lost") == "its worker is lost"
    assert texts.reason("out_of_memory") == "out of memory"


def test_names() -> None:
    """A job is named without its task, a task by its title, a queue without the shared prefix."""
    assert texts.short_job("t1:search:42", "t1") == "search:42"
    assert texts.short_job("t1", "t1") == "t1"
    assert texts.task_name(None, "data_aggregation", "x") == "data aggregation"
    assert texts.task_name(None, None, "0123456789abcdef") == "01234567"
    assert texts.queue_label("nexus:tasks:high_priority") == "high"
    assert texts.queue_label("emails") == "emails"


def test_a_moment_of_another_day_has_its_date() -> None:
    """The time of day alone is for today."""
    assert len(texts.moment(1_000_000_000_000, 1_000_000_000_500)) == 8
    assert texts.moment(1_000_000_000_000, 1_100_000_000_000).startswith("2001-09-")
