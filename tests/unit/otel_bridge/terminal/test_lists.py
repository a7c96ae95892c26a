"""Rows of the lists, from the collector's own fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.terminal import lists

FIXTURES = Path(__file__).parents[3] / "fixtures" / "views"
NOW = 1795521690000.0


def rows(name: str) -> list[dict[str, Any]]:
    fixture = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    shown = [fixture["full"], *(step.get("full") or step["change"] for step in fixture["then"])]
    return [row for message in shown if message for row in message.get("rows", [])]


LINES = {
    "tasks": lists.task_line,
    "failures": lists.failure_line,
    "workers": lists.worker_line,
    "queues": lists.queue_line,
}


@pytest.mark.parametrize("name", sorted(LINES))
@pytest.mark.parametrize("width", [78, 140])
def test_each_row_is_one_line_that_leads_somewhere(name: str, width: int) -> None:
    """Every row that the collector sends fits its line, under the names of its columns."""
    assert rows(name)
    for row in rows(name):
        line = LINES[name](row, width, NOW)
        assert line.text.cell_len == width == lists.list_heading(name, width).cell_len
        assert line.key == row["k"]
        assert line.target is not None


def test_a_row_of_a_tree() -> None:
    """A row has its fold, status, bar, time and worker or jobs; a job leads to its details."""
    for row in rows("tree"):
        line = lists.tree_line(row, 78, NOW, (0, NOW), task="task-1", is_open=True)
        assert line.text.cell_len == 78
        assert line.target is not None
        assert line.target.kind == ("job" if row["job"] else "row")


def test_a_task_with_failed_jobs_is_not_green() -> None:
    """What is done with failures has a mark, a number and no green."""
    row = {"k": "t", "status": "completed", "done": 5, "failed": 2, "start": 0, "end": 9}
    text = lists.task_line(row, 78, NOW).text
    assert "7/7 ✕2" in text.plain
    assert all("green" not in str(span.style) for span in text.spans)


def test_unknown_is_no_number() -> None:
    """A queue of which only the depth is known shows dashes; one that is stuck says why."""
    line = lists.queue_line({"k": "emails", "depth": 3, "workers": None}, 78, NOW).text.plain
    assert line.split() == ["emails", "3", "–", "–", "–"]  # noqa: RUF001
    stuck = lists.queue_line({"k": "q", "depth": 3, "workers": 0}, 78, NOW)
    assert "! no worker takes from it" in stuck.text.plain


def test_a_lost_worker_says_so() -> None:
    """The word is there without a colour."""
    assert lists.worker_state({"status": "offline"})[0] == "! lost"
    assert lists.worker_state({"status": "online", "job": "j"})[0] == "◐ busy"


def test_the_next_failure_is_the_lowest() -> None:
    """A failed row above a failed one is passed over, in both directions."""
    tree = [{"k": key, "depth": depth} for key, depth in (("a", 0), ("b", 1), ("c", 2), ("d", 1))]
    found = [lists.failure_from(tree, key, 1) for key in ("", "c", "d")]
    assert [row and row["k"] for row in found] == ["c", "d", None]
    found = [lists.failure_from(tree, key, -1) for key in ("", "d", "c")]
    assert [row and row["k"] for row in found] == ["d", "c", None]


def test_the_header_names_trouble_first() -> None:
    """Stalled and failed tasks come before those that run; hidden workers are left out."""
    head = {"tasks": {"processing": 2, "stalled": 1}, "jobs_running": 3, "workers_online": None}
    assert lists.overview_sentence(head) == "tasks: 1 stalled, 2 running · 3 jobs run"
    head = {"tasks": {}, "jobs_running": 0, "workers_online": 1, "workers_lost": 2}
    assert lists.overview_sentence(head) == "tasks: none · 0 jobs run · workers: 1, 2 lost"
    waiting = {"k": "t n", "task": "t", "job": "t:7", "node": "n", "start": None}
    assert lists.held_line(waiting, 78, NOW).text.plain.startswith("○ queued  7 ")
