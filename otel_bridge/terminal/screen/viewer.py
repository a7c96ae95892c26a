"""``Viewer``: the lines of a page with a cursor, as a widget of Textual."""

from __future__ import annotations

from rich.text import Text
from textual.app import RenderResult
from textual.widget import Widget

from otel_bridge.terminal import lists
from otel_bridge.terminal.layout import Line, Page

__all__ = ["Viewer"]


class Viewer(Widget):
    """
    The lines of a page, with a cursor; it shows a page and knows nothing of what it means.

    Attributes:
        cursor: The number of the line at the cursor, among the lines of the page.
    """

    DEFAULT_CSS = "Viewer { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__(id="viewer")
        self.page = Page()
        self.cursor = 0
        self._top = 0

    @property
    def line(self) -> Line | None:
        """The line at the cursor; None if there are no lines."""
        lines = self.page.lines
        return lines[min(self.cursor, len(lines) - 1)] if lines else None

    @property
    def height(self) -> int:
        """Lines that fit below the heading."""
        return max(1, self.size.height - len(self.page.heading))

    def show(self, page: Page, *, is_other: bool = False) -> None:
        """Draw a page; the cursor stays on its line unless ``is_other``."""
        old = self.line
        self.page = page
        if is_other:
            self.cursor = self._top = 0
        elif old is not None and old.key:
            found = next((n for n, line in enumerate(page.lines) if line.key == old.key), None)
            if found is not None:
                # The line stays where it is on the screen, whatever came above it.
                self._top += found - self.cursor
                self.cursor = found
        self.move_to(self.cursor)

    def move_to(self, index: int) -> None:
        """Put the cursor on a line, or on the nearest one there is, and scroll to it."""
        self.cursor = min(max(0, index), max(0, len(self.page.lines) - 1))
        highest = max(0, len(self.page.lines) - self.height)
        self._top = min(max(self._top, self.cursor - self.height + 1, 0), self.cursor, highest)
        self.refresh()

    def line_at(self, y: int) -> int:
        """The number of the line that is drawn in a row of this widget."""
        return self._top + y - len(self.page.heading)

    def render(self) -> RenderResult:
        page, width = self.page, self.size.width
        if not page.lines:
            return Text(f"\n  {page.note}", "dim")
        indent = " " * lists.CURSOR_WIDTH
        drawn = [Text(indent) + each for each in page.heading]
        for number, line in enumerate(page.lines[self._top : self._top + self.height], self._top):
            is_here = number == self.cursor
            text = Text("> " if is_here else indent, "bold" if is_here else "") + line.text
            if is_here and line.target is not None:
                # Without its colours, which would be blocks when reversed.
                text = Text(text.plain + " " * max(0, width - text.cell_len), "reverse")
            drawn.append(text)
        return Text("\n", no_wrap=True, overflow="crop").join(drawn)
