"""``TopApp``: the Textual program of ``otel-bridge top``, its keys and its drawing."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult, RenderResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from otel_bridge.terminal import lists, places, texts
from otel_bridge.terminal.feed import ViewFeed
from otel_bridge.terminal.layout import Line, Page, Target, fit
from otel_bridge.terminal.nodes import CollectorHttp
from otel_bridge.urls import redact_url

__all__ = ["TopApp"]

_DRAW_SEC: Final = 0.1
_VIEWS: Final = ("tasks", "failures", "workers", "queues")
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
                text.pad_right(max(0, width - text.cell_len))
                text.stylize("reverse")
            drawn.append(text)
        return Text("\n", no_wrap=True, overflow="crop").join(drawn)


class TopApp(App[None]):
    """
    The views of a collector in a terminal.

    Args:
        url: The collector's address, http or https, already checked.
        token: Bearer token; empty: none is sent.
        project: Only what is of this project; None: of all.

    Attributes:
        refusal: Why the collector refused the connection for good; empty: it did not.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #top, #where, #keys { height: 1; }
    #find { display: none; border: none; height: 1; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("q", "quit", show=False),
        *(Binding(str(n), f"view('{view}')", show=False) for n, view in enumerate(_VIEWS, 1)),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("pagedown,ctrl+f", "move_page(1)", show=False),
        Binding("pageup,ctrl+b", "move_page(-1)", show=False),
        Binding("g,home", "edge(0)", show=False),
        Binding("G,end", "edge(1)", show=False),
        Binding("enter", "open", show=False),
        Binding("escape,backspace", "back", show=False),
        Binding("n", "failure(1)", show=False),
        Binding("N", "failure(-1)", show=False),
        Binding("slash", "find", show=False),
        Binding("left", "fold(True)", show=False),
        Binding("right", "fold(False)", show=False),
        Binding("e", "fold_all(False)", show=False),
        Binding("w", "fold_all(True)", show=False),
        Binding("plus,equals_sign", "zoom(0.5)", show=False),
        Binding("minus", "zoom(2.0)", show=False),
        Binding("0", "zoom(0.0)", show=False),
        Binding("a", "zoom(1.0, -0.5)", show=False),
        Binding("d", "zoom(1.0, 0.5)", show=False),
        Binding("space", "pause", show=False),
        Binding("c", "copy_link", show=False),
        Binding("question_mark", "help", show=False),
    ]

    def __init__(self, url: str, *, token: str, project: str | None) -> None:
        # The terminal's own sixteen colours, on its own background: readable in every theme.
        super().__init__(ansi_color=True)
        self.refusal = ""
        self._url, self._project = url, project
        self._is_changed = True
        self._is_help = False
        self._second = 0
        self._feed = ViewFeed(url, token, self._note_change)
        self._http = CollectorHttp(url, token)
        self._places: list[places.Place] = []
        self._cursors: list[str] = []
        self._viewer = Viewer()
        self._note = ""

    def compose(self) -> ComposeResult:
        yield Static(id="top")
        yield Static(id="where")
        yield self._viewer
        yield Input(placeholder="search, then Enter", id="find", compact=True)
        yield Static(id="keys")

    def on_mount(self) -> None:
        self._overview = self._feed.subscribe("overview", {"project": self._project})
        self._enter([self._list("tasks")])
        self.run_worker(self._feed.run(), exit_on_error=True)
        self.set_interval(_DRAW_SEC, self._draw_changes)

    async def on_unmount(self) -> None:
        await self._http.aclose()

    # --- where one is ----------------------------------------------------------------------------

    @property
    def place(self) -> places.Place:
        """What is shown."""
        return self._places[-1]

    def _list(self, view: str) -> places.ListPlace:
        return places.ListPlace(
            self._feed, self._http, self._note_change, view=view, project=self._project
        )

    def _enter(self, stack: list[places.Place]) -> None:
        if self._places:
            self.place.leave()
        self._places = stack
        self.place.enter()
        self._show(is_other=True)

    def _place_of(self, target: Target) -> places.Place:
        parts = self._feed, self._http, self._note_change
        if target.kind == "task":
            return places.TreePlace(*parts, task=target.task, name=target.name)
        if target.kind in ("job", "row"):
            kind = places.JobPlace if target.kind == "job" else places.RowPlace
            return kind(*parts, target)
        group = {
            "failure": places.FailurePlace,
            "worker": places.WorkerPlace,
            "queue": places.QueuePlace,
        }[target.kind]
        return group(*parts, target=target, project=self._project)

    def action_view(self, view: str) -> None:
        """Show one of the four lists."""
        self._is_help = False
        self._cursors.clear()
        self._enter([self._list(view)])

    def action_open(self) -> None:
        """Open what the line at the cursor is about."""
        line = self._viewer.line
        if line is None or line.target is None or self._is_help:
            return
        if line.target.kind == "attempt" and isinstance(self.place, places.JobPlace):
            self.place.node = line.target.key
            self._show(is_other=True)
            return
        self._cursors.append(line.key)
        self._enter([*self._places, self._place_of(line.target)])

    async def action_back(self) -> None:
        """Clear the search, else go back to where this was opened from."""
        if self._is_help:
            self._is_help = False
            self._show(is_other=True)
        elif self.place.text:
            self.place.filter_by("")
            self._note_change()
        elif len(self._places) > 1:
            key = self._cursors.pop()
            self._enter(self._places[:-1])
            self._come_to(key)

    def _come_to(self, key: str) -> None:
        """Put the cursor on a line as soon as it is there."""
        self._awaited = key
        self._note_change()

    _awaited = ""

    # --- keys ------------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        """Move the cursor by lines."""
        self._awaited = ""
        self._viewer.move_to(self._viewer.cursor + step)
        line = self._viewer.line
        if line is not None and not self._is_help:
            self.place.move(line.key, self._viewer.cursor)
        self._draw_frame()

    def action_move_page(self, step: int) -> None:
        """Move the cursor by a screen."""
        self.action_move(step * (self._viewer.height - 1))

    def action_edge(self, end: int) -> None:
        """Move to the first or last line that there is, loaded or not."""
        place = self.place
        if isinstance(place, places.ListPlace | places.TreePlace):
            place.at = "end" if end else {"row": 0}
            place.enter()
            self._edge = end
        self.action_move(10**6 if end else -(10**6))

    _edge: int | None = None

    def action_find(self) -> None:
        """Ask for a text to search for."""
        if self.place.can_filter and not self._is_help:
            field = self.query_one("#find", Input)
            field.value = self.place.text
            field.display = True
            field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search for the text that was typed."""
        self._close_input()
        self.place.filter_by(event.value.strip())
        self._note_change()

    def _close_input(self) -> None:
        field = self.query_one("#find", Input)
        field.display = False
        self.set_focus(None)

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the search as it was."""
        if event.key == "escape" and self.query_one("#find", Input).display:
            self._close_input()
            event.stop()
            event.prevent_default()

    def action_fold(self, folded: bool) -> None:
        """Fold or unfold the row at the cursor; of a job show the attempt before or after."""
        line, place = self._viewer.line, self.place
        if isinstance(place, places.TreePlace) and line is not None:
            place.fold(line.key, folded=folded)
        elif isinstance(place, places.JobPlace):
            place.step_attempt(-1 if folded else 1)
        self._note_change()

    def action_fold_all(self, folded: bool) -> None:
        """Fold or unfold all rows of a tree."""
        if isinstance(self.place, places.TreePlace):
            self.place.fold_all(folded=folded)

    def action_zoom(self, factor: float, shift: float = 0.0) -> None:
        """Zoom or pan the bars of a tree."""
        if isinstance(self.place, places.TreePlace):
            self.place.zoom_by(factor, shift)
            self._note_change()

    def action_pause(self) -> None:
        """Pause or resume what comes from the collector."""
        self._feed.hold(on=not self._feed.is_held)

    def action_help(self) -> None:
        """Show or hide the keys."""
        self._is_help = not self._is_help
        self._show(is_other=True)

    def action_copy_link(self) -> None:
        """Copy a link to the page for what is shown, through the terminal."""
        place = self.place
        query: dict[str, str] = {"project": self._project or ""}
        if isinstance(place, places.TreePlace):
            query["task"] = place.task
        elif isinstance(place, places.JobPlace):
            query |= {"task": place.task, "job": place.job}
        elif isinstance(place, places.RowPlace):
            query |= {"task": place.task, "node": place.node, "open": "1"}
        elif isinstance(place, places.FailurePlace | places.WorkerPlace | places.QueuePlace):
            query[place.view] = place.key
        text = urlencode({name: value for name, value in query.items() if value})
        link = f"{redact_url(self._url).rstrip('/')}/{'?' if text else ''}{text}"
        self.copy_to_clipboard(link)
        self._note = f"copied {link}"
        self._draw_frame()

    async def action_failure(self, step: int) -> None:
        """Go to the next or previous failure: of the tree, after the job, or of the list."""
        place = self.place
        if not isinstance(place, places.TreePlace | places.JobPlace | places.RowPlace):
            self._step_list(step)
            return
        line = self._viewer.line
        is_tree = isinstance(place, places.TreePlace)
        here = line.key if is_tree and line is not None else getattr(place, "node", "")
        if isinstance(place, places.JobPlace) and not here:
            shown = place.subs["job"].shown
            here = str(shown.rows[-1]["k"]) if shown and shown.rows else ""
        params: dict[str, Any] = {"task": place.task, "status": ["failed"], "count": 200}
        if here:
            params["at"] = {"key": here, "above": 100}
        rows = await self._http.rows("tree", params)
        found = lists.failure_from(rows, here, step)
        if self.place is not place:
            return
        if found is None:
            self._note = "no further failure of this task" if step > 0 else "no failure before"
            self._draw_frame()
        elif is_tree:
            assert isinstance(place, places.TreePlace)
            if all(each.key != found["k"] for each in self._viewer.page.lines):
                place.go_to(found["k"])
            self._come_to(found["k"])
        else:
            made = lists.tree_line(found, 80, 0, (0, 1), task=place.task, is_open=True)
            assert made.target is not None
            self._enter([*self._places[:-1], self._place_of(made.target)])

    def _step_list(self, step: int) -> None:
        lines, marks = self._viewer.page.lines, ("✕ failed", "! stalled", "! lost")
        number = self._viewer.cursor + step
        while 0 <= number < len(lines):
            if any(mark in lines[number].text.plain for mark in marks):
                self.action_move(number - self._viewer.cursor)
                return
            number += step

    # --- mouse, size -----------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Choose the line that was clicked on; open the one that is chosen."""
        if event.widget is self._viewer:
            number = self._viewer.line_at(event.y)
            if 0 <= number < len(self._viewer.page.lines):
                is_chosen = number == self._viewer.cursor
                self.action_move(number - self._viewer.cursor)
                if is_chosen:
                    self.action_open()

    def on_mouse_scroll_down(self) -> None:
        """Move on by three lines."""
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        """Move back by three lines."""
        self.action_move(-3)

    def on_resize(self) -> None:
        """Draw again for the new size."""
        self._note_change()

    # --- drawing ---------------------------------------------------------------------------------

    def _note_change(self) -> None:
        self._is_changed = True

    def _draw_changes(self) -> None:
        second = int(self._feed.now() // 1000)
        if self._feed.connection.kind == "refused":
            self.refusal = self._feed.connection.why
            self.exit()
        elif self._is_changed or second != self._second:
            self._second = second
            self._is_changed = False
            self._show()

    def _show(self, *, is_other: bool = False) -> None:
        width = max(20, self._viewer.size.width - lists.CURSOR_WIDTH)
        if self._is_help:
            lines = [Line(Text(f"{keys:<10} {meaning}")) for keys, meaning in _HELP]
            page = Page([Text("keys", "bold underline")], lines)
        else:
            page = self.place.page(width)
        self._viewer.show(page, is_other=is_other)
        if self._edge is not None and not self._is_help:
            awaited = [sub.is_awaited for sub in self.place.subs.values()]
            if not any(awaited):
                self._viewer.move_to(10**6 if self._edge else 0)
                self._edge = None
        if self._awaited:
            for number, line in enumerate(page.lines):
                if line.key == self._awaited:
                    self._viewer.move_to(number)
                    self._awaited = ""
                    break
        self._draw_frame()

    def _draw_frame(self) -> None:
        width = self.size.width
        self.query_one("#top", Static).update(self._top_line(width))
        self.query_one("#where", Static).update(self._where_line(width))
        self.query_one("#keys", Static).update(Text(fit(self._key_line(), width), "dim"))

    def _top_line(self, width: int) -> Text:
        feed = self._feed
        clock = texts.clock_time(feed.now())
        if feed.is_held:
            right, style = f"PAUSED, as of {clock}", "bold"
        elif feed.connection.kind == "live":
            right, style = f"live {clock}", "green"
        elif feed.connection.kind == "connecting":
            right, style = "connecting", "bold"
        else:
            right, style = f"as of {clock}", "bold reverse"
        shown = self._overview.shown
        left = lists.overview_sentence(shown.head) if shown else redact_url(self._url)
        line = Text(fit(left, max(0, width - len(right) - 2)), "bold", no_wrap=True)
        line.pad_right(max(1, width - line.cell_len - len(right)))
        return line.append(right, style)

    def _where_line(self, width: int) -> Text:
        connection = self._feed.connection
        if connection.kind in ("lost", "stale"):
            why = f"no connection to {redact_url(self._url)}: {connection.why}; trying again"
            return Text(fit(why, width), "bold reverse", no_wrap=True)
        if self._note:
            note, self._note = self._note, ""
            return Text(fit(note, width), "bold", no_wrap=True)
        line = Text(no_wrap=True)
        root = self._places[0].name
        for number, view in enumerate(_VIEWS, 1):
            is_here = view == root
            line.append(f"[{number} {view}] " if is_here else f" {number} {view}  ")
        names = "".join(f" > {place.name}" for place in self._places[1:])
        page = self._viewer.page
        if self.place.text:
            names += f"  with “{self.place.text}”"
        if page.total is not None and page.total > 1:
            names += f"  {texts.count(page.first + self._viewer.cursor + 1)}/{page.total:,}"
        line.append(fit(names.strip(" >"), max(0, width - line.cell_len)), "bold")
        return line

    def _key_line(self) -> str:
        if isinstance(self.place, places.TreePlace):
            return (
                "Enter open  n N failure  ← → fold  e w all  / search  Esc back  ? keys  q quit"
            )
        if isinstance(self.place, places.JobPlace):
            return "j k scroll  n N failure  ← → attempt  c copy link  Esc back  ? keys  q quit"
        find = "/ search  " if self.place.can_filter else ""
        return f"j k move  Enter open  {find}n N failure  space pause  Esc back  ? keys  q quit"
