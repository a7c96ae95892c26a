"""``TopApp``: the Textual program of ``otel-bridge top``, its keys and its drawing."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from otel_bridge.terminal import lists
from otel_bridge.terminal.feed import ViewFeed
from otel_bridge.terminal.layout import Target
from otel_bridge.terminal.nodes import CollectorHttp
from otel_bridge.terminal.places.groups import FailurePlace, QueuePlace, WorkerPlace
from otel_bridge.terminal.places.job import JobPlace, RowPlace
from otel_bridge.terminal.places.listed import ListPlace
from otel_bridge.terminal.places.place import Place
from otel_bridge.terminal.places.tree import TreePlace
from otel_bridge.terminal.screen import frame
from otel_bridge.terminal.screen.viewer import Viewer
from otel_bridge.urls import redact_url

__all__ = ["TopApp"]

_DRAW_SEC: Final = 0.1
_NOTE_SEC: Final = 3.0


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
    AUTO_FOCUS = None
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("q", "quit", show=False),
        *(Binding(str(n), f"view('{view}')", show=False) for n, view in enumerate(frame.LISTS, 1)),
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
        self._places: list[Place] = []
        self._cursors: list[str] = []
        self._viewer = Viewer()
        self._note, self._note_until = "", 0.0

    def compose(self) -> ComposeResult:
        yield Static(id="top")
        yield Static(id="where")
        yield self._viewer
        yield Input(placeholder="search, then Enter", id="find", compact=True)
        yield Static(id="keys")

    def on_mount(self) -> None:
        self._overview = self._feed.subscribe("overview", {"project": self._project})
        self._enter([self._list("tasks")])
        self._receiving = asyncio.create_task(self._feed.run())
        self.set_interval(_DRAW_SEC, self._draw_changes)

    async def on_unmount(self) -> None:
        # Awaited, so that its socket is closed before the event loop is.
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)
        await self._http.aclose()

    # --- where one is ----------------------------------------------------------------------------

    @property
    def place(self) -> Place:
        """What is shown."""
        return self._places[-1]

    def _list(self, view: str) -> ListPlace:
        return ListPlace(
            self._feed, self._http, self._note_change, view=view, project=self._project
        )

    def _enter(self, stack: list[Place]) -> None:
        if self._places:
            self.place.leave()
        self._places = stack
        self.place.enter()
        self._show(is_other=True)

    def _place_of(self, target: Target) -> Place:
        parts = self._feed, self._http, self._note_change
        if target.kind == "task":
            return TreePlace(*parts, task=target.task, name=target.name)
        if target.kind in ("job", "row"):
            kind = JobPlace if target.kind == "job" else RowPlace
            return kind(*parts, target)
        group = {
            "failure": FailurePlace,
            "worker": WorkerPlace,
            "queue": QueuePlace,
        }[target.kind]
        return group(*parts, target=target, project=self._project)

    def action_view(self, view: str) -> None:
        """Show one of the four lists."""
        self._is_help = False
        self._cursors.clear()
        self._enter([self._list(view)])

    def action_open(self) -> None:
        """Open what the line at the cursor is about."""
        lines = self._viewer.page.lines[self._viewer.cursor :]
        # On a line that leads nowhere Enter opens the next one: a failure's newest job.
        line = next((line for line in lines if line.target is not None), None)
        if line is None or line.target is None or self._is_help:
            return
        if line.target.kind == "attempt" and isinstance(self.place, JobPlace):
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
        if isinstance(place, ListPlace | TreePlace):
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
        if isinstance(place, TreePlace) and line is not None:
            place.fold(line.key, folded=folded)
        elif isinstance(place, JobPlace):
            place.step_attempt(-1 if folded else 1)
        self._note_change()

    def action_fold_all(self, folded: bool) -> None:
        """Fold or unfold all rows of a tree."""
        if isinstance(self.place, TreePlace):
            self.place.fold_all(folded=folded)

    def action_zoom(self, factor: float, shift: float = 0.0) -> None:
        """Zoom or pan the bars of a tree."""
        if isinstance(self.place, TreePlace):
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
        if isinstance(place, TreePlace):
            query["task"] = place.task
        elif isinstance(place, JobPlace):
            query |= {"task": place.task, "job": place.job}
        elif isinstance(place, RowPlace):
            query |= {"task": place.task, "node": place.node, "open": "1"}
        elif isinstance(place, FailurePlace | WorkerPlace | QueuePlace):
            query[place.view] = place.key
        text = urlencode({name: value for name, value in query.items() if value})
        link = f"{redact_url(self._url).rstrip('/')}/{'?' if text else ''}{text}"
        self.copy_to_clipboard(link)
        self._say(f"copied {link}")

    async def action_failure(self, step: int) -> None:
        """Go to the next or previous failure: of the tree, after the job, or of the list."""
        place = self.place
        if not isinstance(place, TreePlace | JobPlace | RowPlace):
            self._step_list(step)
            return
        line = self._viewer.line
        is_tree = isinstance(place, TreePlace)
        here = line.key if is_tree and line is not None else getattr(place, "node", "")
        if isinstance(place, JobPlace) and not here:
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
            self._say("no further failure of this task" if step > 0 else "no failure before")
        elif is_tree:
            assert isinstance(place, TreePlace)
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

    def _say(self, text: str) -> None:
        """Show a sentence for a moment."""
        self._note, self._note_until = text, time.monotonic() + _NOTE_SEC
        self._draw_frame()

    def _draw_changes(self) -> None:
        if self._receiving.done() and self._feed.connection.kind != "refused":
            self._receiving.result()  # raises: a bug must not look like silence
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
        page = frame.help_page() if self._is_help else self.place.page(width)
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
        feed, place, width = self._feed, self.place, self.size.width
        address = redact_url(self._url)
        head = self._overview.shown.head if self._overview.shown else None
        self.query_one("#top", Static).update(
            frame.top_line(head, address, feed.connection, feed.now(), width, is_held=feed.is_held)
        )
        if feed.connection.kind in ("lost", "stale"):
            why = f"no connection to {address}: {feed.connection.why}; trying again"
            where = frame.notice_line(why, width, is_trouble=True)
        elif time.monotonic() < self._note_until:
            where = frame.notice_line(self._note, width)
        else:
            names = [each.name for each in self._places]
            viewer = self._viewer
            where = frame.where_line(names, place.text, viewer.page, viewer.cursor, width)
        self.query_one("#where", Static).update(where)
        kind = {TreePlace: "tree", JobPlace: "job"}.get(type(place), "")
        keys = frame.key_line(kind, width, can_filter=place.can_filter)
        self.query_one("#keys", Static).update(keys)
