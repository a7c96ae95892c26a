"""The lines around a page."""

from __future__ import annotations

from otel_bridge.terminal.feed import Connection
from otel_bridge.terminal.layout import Page
from otel_bridge.terminal.screen import frame

HEAD = {"tasks": {"processing": 1}, "jobs_running": 2, "workers_online": 3, "workers_lost": 0}


def test_the_header_says_of_what_time_it_is() -> None:
    """Live, paused and lost are words; without any window there is no time."""
    live, lost = Connection("live"), Connection("lost", "refused")
    shown = [
        frame.top_line(HEAD, "a", live, 0, 80, is_held=False).plain,
        frame.top_line(HEAD, "a", live, 0, 80, is_held=True).plain,
        frame.top_line(HEAD, "a", lost, 0, 80, is_held=False).plain,
        frame.top_line(None, "http://a", lost, 0, 80, is_held=False).plain,
        frame.top_line(None, "http://a", Connection("connecting"), 0, 80, is_held=False).plain,
    ]
    assert [len(line) for line in shown] == [80] * 5
    assert " live " in shown[0]
    assert "PAUSED, as of " in shown[1]
    assert " as of " in shown[2]
    assert shown[3].endswith("not connected")
    assert shown[4].startswith("http://a")


def test_where_one_is() -> None:
    """The list is marked without colour, and the path fits."""
    page = Page(total=5000, first=200)
    line = frame.where_line(["failures", "x" * 90], "fees", page, 3, 80)
    assert "[2 failures]" in line.plain
    assert line.plain.endswith("“fees”  204/5,000")
    assert line.cell_len == 80
    assert frame.notice_line("a\nb", 80).plain == "a\N{REPLACEMENT CHARACTER}b"


def test_keys_fit_in_80_columns() -> None:
    """No key is cut off at 80 columns, and the help names each of them."""
    for kind in ("tree", "job", ""):
        assert "…" not in frame.key_line(kind, 80, can_filter=True).plain
    assert all(line.text.cell_len <= 78 for line in frame.help_page().lines)
    assert frame.LISTS == ("tasks", "failures", "workers", "queues")
