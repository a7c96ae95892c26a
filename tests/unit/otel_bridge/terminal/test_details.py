"""The details of jobs, failures, workers and queues as lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from otel_bridge.terminal import details
from otel_bridge.terminal.layout import Line
from otel_bridge.terminal.nodes import SpanText
from otel_bridge.terminal.window import ShownWindow, next_window

FIXTURES = Path(__file__).parents[3] / "fixtures" / "views"
NOW = 1795521690000.0
STACK = SpanText(stack="ValueError: no table\n  shop.py:7 parse", attributes={"model": "small"})


def last_window(name: str) -> ShownWindow:
    fixture = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    shown = next_window(None, fixture["full"])
    for step in fixture["then"]:
        message = step.get("full") or step["change"]
        shown = next_window(shown, message) if message else shown
    assert shown is not None
    return shown


def text_of(lines: list[Line]) -> str:
    assert all(line.text.cell_len <= 78 for line in lines)
    return "\n".join(line.text.plain.rstrip() for line in lines)


def test_a_job_with_its_stack_and_attempts() -> None:
    """Status, path, times, stack, attributes and each attempt are there."""
    shown = last_window("job")
    chosen = details.chosen_attempt(shown.rows, "")
    assert chosen is shown.rows[-1]
    text = text_of(details.job_lines(shown, chosen, STACK, [], now=NOW, width=78))
    for part in ("Private schools GA > search", "stack", "shop.py:7 parse", "attempts", "try 1"):
        assert part in text
    assert "model  small" in text


def test_an_attempt_is_chosen_by_its_key() -> None:
    """Else the newest is shown; without attempts there is none."""
    rows = [{"k": "a", "run": 1, "attempt": 0}, {"k": "b", "run": 1, "attempt": 1}]
    assert details.chosen_attempt(rows, "a") is rows[0]
    assert details.chosen_attempt(rows, "gone") is rows[1]
    assert details.chosen_attempt([], "a") is None
    assert details.attempt_label({"run": 2, "attempt": 1}, 2) == "run 2, try 2"


def test_an_error_is_not_said_twice() -> None:
    """A stack that starts with its error stands alone; without a stack the reason is given."""
    row = {"status": "failed", "kind": "phase", "error": "ValueError: no table"}
    text = text_of(details.row_lines(row, STACK, [], now=NOW, width=78))
    assert text.count("ValueError: no table") == 1
    none = SpanText(note="It has left.", log="gone")
    text = text_of(details.row_lines(row, none, [], now=NOW, width=78))
    assert "ValueError: no table" in text
    assert "It has left." in text
    assert "They are no longer in the log." in text


def test_lines_that_are_missing_are_counted() -> None:
    """A gap in the numbers of the log lines is shown where it is."""
    rows = [
        {"k": "1", "n": 1, "at": 0, "level": "INFO", "logger": "shop", "text": "start"},
        {"k": "9", "n": 9, "at": 0, "level": "ERROR", "logger": "shop", "text": "end\nof it"},
    ]
    shown = ShownWindow(1, 0, {"total": 9}, tuple(rows))
    text = text_of(details.log_lines(shown, "", NOW, 78))
    assert "log lines (2 of 9)" in text
    assert "-- 7 lines are missing here --" in text
    assert text_of(details.log_lines(None, "rights=lines is needed", NOW, 78)).endswith("needed")
    assert details.log_lines(None, "", NOW, 78) == []


def test_facts_of_groups() -> None:
    """A lost worker, a stuck queue and a failure say it in words; unknown is a dash."""
    worker = {"status": "offline", "host": None, "queues": None, "open": 1}
    assert "! lost: its heartbeats ended" in text_of(details.worker_facts(worker, NOW, 78))
    queue: dict[str, Any] = {"depth": 9, "stuck": "not_taken", "trend": [[0, 1], [1, 9]]}
    text = text_of(details.queue_facts(queue, NOW, 78))
    assert "! stuck: its workers take nothing from it" in text
    assert "1 ▁█ 9" in text
    failure = {"count": 29, "error": "x", "why": "time_limit", "types": ["parse"], "first": 0}
    text = text_of(details.failure_facts(failure, None, NOW, 78))
    assert "29 jobs" in text
    assert "over its time limit" in text
    assert details.jobs_heading(78).text.plain.startswith("status")
