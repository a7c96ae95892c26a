"""``submit --follow``: its lines."""

from __future__ import annotations

from otel_bridge.terminal import follow

PHASE = {"name": "search", "status": "processing", "done": 9, "failed": 3, "total": 48, "start": 0}


def test_a_phase_as_bar_and_as_line() -> None:
    """Both say how many of how many, and how many failed; an unknown total is a dash."""
    bar = follow.phase_line(PHASE, 80, 61_000).plain
    assert "◐ running search" in bar
    assert "12/48 ✕3       1m 01s" in bar
    assert len(bar) == 80
    assert follow.phase_text(PHASE) == "search: running, 9 of 48 done, 3 failed"
    unknown = {"name": "a\nb", "status": "pending", "done": 0, "failed": 0, "total": None}
    assert follow.phase_text(unknown) == "a\N{REPLACEMENT CHARACTER}b: queued, 0 of – done"  # noqa: RUF001
    assert "━" not in follow.phase_line(unknown, 80, 0).plain


def test_the_outcome_is_one_line() -> None:
    """Status, time, jobs and the error; a stalled task says why."""
    row = {"status": "failed", "start": 0, "end": 12_400, "done": 4, "failed": 1, "error": "no\nx"}
    assert follow.outcome_line(row, 0) == "✕ failed after 12.4 s, 4 jobs done, 1 failed: no"
    stalled = {"status": "stalled", "why": "worker_lost", "start": None, "end": None, "done": 0}
    line = follow.outcome_line(stalled, 0)
    assert line.startswith("! stalled (its worker is lost) after –, 0 jobs done")  # noqa: RUF001
