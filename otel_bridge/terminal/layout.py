"""
Lines of text in columns: what a page of the terminal consists of; pure.

Nothing here is drawn: ``app.py`` does that. Widths are columns of the terminal, in which a Chinese
character or an emoji takes two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from otel_bridge.terminal.printable import one_line

__all__ = [
    "Cell",
    "Line",
    "Page",
    "Target",
    "bar",
    "columns",
    "fit",
    "heading",
    "paragraph",
    "share_bar",
]

_GAP: Final = 1
_BAR: Final = "━"
_REST: Final = "─"


@dataclass(frozen=True, slots=True)
class Target:
    """
    What a line leads to when Enter is pressed on it; an immutable record.

    Attributes:
        kind: ``task``, ``job``, ``row`` (of a tree), ``failure``, ``worker``, ``queue``, or
            ``attempt`` (of the job that is shown).
        key: Its key in its view; of a job its id.
        task: The id of its research task; empty: it has none, as ``worker`` and ``queue``.
        name: What people call it.
        node: Of a job: the key of one attempt in the view ``tree``; empty: the newest.
    """

    kind: Literal["task", "job", "row", "failure", "worker", "queue", "attempt"]
    key: str
    task: str = ""
    name: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """
    One line of a page; a record.

    Attributes:
        text: As it is drawn.
        key: The same for the same thing in the next page: the cursor stays on it. Empty: none.
        target: Where Enter leads; None: nowhere.
    """

    text: Text
    key: str = ""
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """
    What is shown at one moment; a record.

    Attributes:
        heading: Lines that stay above the others, such as the names of columns.
        lines: All that can be scrolled through; more of them than fit.
        first: The number of the first of ``lines`` among ``total``, from 0.
        total: Rows that there are; None: ``lines`` are all.
        note: What to say if there are no lines.
    """

    heading: Sequence[Text] = ()
    lines: Sequence[Line] = field(default=())
    first: int = 0
    total: int | None = None
    note: str = ""


class Cell(NamedTuple):
    """
    One column of one line; an immutable record.

    Attributes:
        text: Of any length; control characters are replaced.
        width: Columns; 0: what is left, of which there is one in a line.
        style: Of ``rich``; empty: none.
        is_right: Whether it ends at its right edge.
    """

    text: str
    width: int = 0
    style: str = ""
    is_right: bool = False


def fit(text: str, width: int) -> str:
    """
    Return a text that takes at most ``width`` columns, its middle replaced by ``…``.

    The end stays visible, for the names of siblings differ there. Never raises.

    Args:
        text: Printable text of any length.
        width: Columns, 0 or more.
    """
    if cell_len(text) <= width:
        return text
    if width < 2:
        return "…"[:width]
    tail = min(7, (width - 1) // 2)
    end = text[-tail:] if tail else ""
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(text, width - 1 - cell_len(end)).rstrip() + "…" + end


def columns(width: int, cells: Iterable[Cell]) -> Text:
    """
    Return one line with these columns and a space between them; never raises.

    Args:
        width: Columns of the whole line. If there are too few, the last cells do not fit.
        cells: One of them has the width 0 and takes what the others leave.
    """
    shown = list(cells)
    fixed = sum(cell.width for cell in shown) + _GAP * (len(shown) - 1)
    line = Text(no_wrap=True, end="")
    for number, cell in enumerate(shown):
        size = cell.width or max(0, width - fixed)
        text = fit(one_line(cell.text), size)
        blank = " " * (size - cell_len(text))
        # The style covers the text alone: an underlined or reversed blank would be seen.
        line.append(blank if cell.is_right else "")
        line.append(text, cell.style)
        line.append("" if cell.is_right else blank)
        line.append(" " * _GAP if number < len(shown) - 1 else "")
    line.truncate(max(0, width))
    return line


def heading(width: int, cells: Iterable[Cell]) -> Text:
    """Return the names of columns as a line, of the same cells as the lines below. Never raises."""
    line = columns(width, cells)
    line.stylize("dim underline")
    return line


def paragraph(text: str, width: int, style: str = "", indent: int = 0) -> list[Line]:
    """
    Return a text as lines that fit, broken at its own line breaks and at words; never raises.

    Args:
        text: Of any length; other control characters are replaced.
        width: Columns of a line, the indent included.
        style: Of ``rich``; empty: none.
        indent: Columns before each line.
    """
    lines: list[Line] = []
    for part in text.expandtabs(4).splitlines():
        clean = one_line(part)
        for shown in _wrapped(clean, max(10, width - indent)):
            lines.append(Line(Text(" " * indent + shown, style, no_wrap=True, end="")))
    return lines


def _wrapped(text: str, width: int) -> Iterable[str]:
    # ``textwrap`` counts characters and drops the indent of the lines of a stack after a break.
    indent = " " * min(len(text) - len(text.lstrip(" ")), width // 2)
    while cell_len(text) > width:
        piece = set_cell_size(text, width).rstrip(" ")
        end = piece.rfind(" ", width // 2)
        if end > len(indent) and text[len(piece) : len(piece) + 1] != " ":
            piece = piece[:end]
        yield piece
        text = indent + text[len(piece) :].lstrip(" ")
        if len(text) <= len(indent):
            return
    yield text


def bar(width: int, start: float, end: float) -> str:
    """
    Return a bar of ``width`` columns that is drawn from ``start`` to ``end``; never raises.

    What is shorter than a column takes one, so that everything is seen.

    Args:
        width: Columns.
        start: From 0, the left edge, to 1, the right one; outside it is drawn at the edge.
        end: The same.
    """
    first = min(width - 1, max(0, int(start * width)))
    last = min(width, max(first + 1, round(end * width)))
    return " " * first + _BAR * (last - first) + " " * (width - last)


def share_bar(width: int, share: float | None) -> str:
    """Return a bar that is full to a share from 0 to 1; empty if that is unknown. Never raises."""
    full = 0 if share is None else round(min(1.0, max(0.0, share)) * width)
    # All done must look different from nearly done.
    full = min(full, width - 1) if share is not None and share < 1 else full
    return _BAR * full + _REST * (width - full)
