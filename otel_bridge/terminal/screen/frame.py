"""The lines around the page: the header, where one is, the keys; and the help. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from otel_bridge.terminal import lists, texts
from otel_bridge.terminal.feed import Connection
from otel_bridge.terminal.layout import Line, Page, fit
from otel_bridge.terminal.printable import one_line
from otel_bridge.terminal.window import Row

__all__ = ["LISTS", "help_page", "key_line", "notice_line", "top_line", "where_line"]

LISTS: Final = ("tasks", "failures", "workers", "queues")
"""The four lists, by the keys 1 to 4."""

_HELP: Final = (
    ("1 2 3 4", "tasks, failures, workers, queues"),
    ("j k ↓ ↑", "next and previous line"),
    ("Enter", "open what the line is about"),
    ("Escape", "back; clears the search first"),
    ("n N", "next and previous failure"),
    ("/", "search"),
    ("← →", "fold and unfold a row; attempts of a job"),
    ("e w", "unfold and fold all rows of a tree"),
    ("+ - 0", "zoom the bars of a tree in, out, reset"),
    ("a d", "pan the zoomed bars"),
    ("g G", "first and last line"),
    ("space", "pause and resume"),
    ("c", "copy a link to the page for this"),
    ("? q", "this help; quit"),
)


def help_page() -> Page:
    """Return the keys and what they do; never raises."""
    lines = [Line(Text(f"{keys:<10} {meaning}")) for keys, meaning in _HELP]
    return Page([Text("keys", "bold underline")], lines)


def top_line(
    head: Row | None, address: str, connection: Connection, now: float, width: int, *, is_held: bool
) -> Text:
    """
    Return the header: what needs attention, and of what time everything is. Never raises.

    Args:
        head: Of the view ``overview``; None: it has not come yet.
        address: Of the collector, without a password.
        connection: How it is.
        now: The collector's time, ms, which stands still while it is not heard.
        width: Columns.
        is_held: Whether the user has paused everything.
    """
    clock = texts.clock_time(now)
    if is_held:
        right, style = f"PAUSED, as of {clock}", "bold"
    elif connection.kind == "live":
        right, style = f"live {clock}", "green"
    elif connection.kind == "connecting":
        right, style = "connecting", "bold"
    else:
        right, style = f"as of {clock}" if head is not None else "not connected", "bold reverse"
    left = lists.overview_sentence(head) if head is not None else address
    line = Text(fit(left, max(0, width - len(right) - 2)), "bold", no_wrap=True)
    line.pad_right(max(1, width - line.cell_len - len(right)))
    return line.append(right, style)


def notice_line(text: str, width: int, *, is_trouble: bool = False) -> Text:
    """Return a sentence that stands in for the line ``where``; never raises."""
    return Text(fit(one_line(text), width), "bold reverse" if is_trouble else "bold", no_wrap=True)


def where_line(names: Sequence[str], filtered: str, page: Page, cursor: int, width: int) -> Text:
    """
    Return where one is: the four lists, what was opened, and the number of the row.

    Args:
        names: Of the list, then of each place that was opened from it.
        filtered: The text that is searched for; empty: none.
        page: What is shown.
        cursor: The number of the line at the cursor among its lines.
        width: Columns.
    """
    line = Text(no_wrap=True)
    for number, view in enumerate(LISTS, 1):
        line.append(f"[{number} {view}] " if view == names[0] else f" {number} {view}  ")
    path = " > ".join(one_line(name) for name in names[1:])
    end = f"  “{filtered}”" if filtered else ""
    if page.total is not None and page.total > 1:
        end += f"  {page.first + cursor + 1:,}/{page.total:,}"
    room = max(0, width - line.cell_len - len(end))
    if cell_len(path) > room and len(names) > 2:
        path = f"… > {one_line(names[-1])}"  # where one is matters more than the way there
    line.append(fit(path, room) + (end if path else end.strip()), "bold")
    line.truncate(width)
    return line


def key_line(kind: str, width: int, *, can_filter: bool) -> Text:
    """
    Return the keys that matter most here; never raises.

    Args:
        kind: ``tree``, ``job`` or anything else.
        width: Columns.
        can_filter: Whether ``/`` searches here.
    """
    find = "/ search  " if can_filter else ""
    text = f"j k move  Enter open  {find}n N failure  Esc back  ? help  q quit"
    if kind == "tree":
        text = "Enter open  n N failure  ← → fold  e w all  / search  Esc back  ? help  q quit"
    elif kind == "job":
        text = "j k scroll  n N failure  ← → attempt  c copy link  Esc back  ? help  q quit"
    return Text(fit(text, width), "dim", no_wrap=True)
