"""
Where ``tail`` prints events: plain lines for pipes and files, columns and progress on a terminal.

``rich`` draws on terminals only, so that lines in a pipe or file stay the same on every machine.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self

from otel_bridge.commands.event_lines import format_event, read_event
from otel_bridge.commands.phase_progress import OpenPhases
from otel_bridge.errors import OtelBridgeError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["ClosedOutputError", "Lines", "Output", "TerminalOutput", "open_output"]

Event = Mapping[str, Any]

_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "retrying": "yellow",
    "processing": "blue",
    "pending": "bright_black",
}
_MAX_BARS: Final = 6
_WIDE_COLUMNS: Final = 110
"""A terminal of fewer columns shows the time without milliseconds, and neither phase nor worker."""


class ClosedOutputError(OtelBridgeError):
    """Raised when the reader of standard output is gone, as in ``tail | head``."""


class Output(Protocol):
    """
    What ``tail`` prints events with: a context manager, for ``with`` only, from ``open_output``.

    Call ``print`` inside the block, from one thread, as often as needed; it raises
    ``OtelBridgeError`` if nothing can be printed. Leaving the block restores the terminal and never
    raises. It does not close the file.
    """

    def print(self, events: Sequence[Event]) -> None:
        """
        Print events in their order and flush; blocks while the file accepts no text.

        There is no time limit and no limit on the events.

        Args:
            events: Events decoded from JSON; none is allowed.

        Raises:
            ClosedOutputError: The reader is gone, as in ``tail | head``.
            OtelBridgeError: The output cannot be written: the disk is full.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_output(file: IO[str] | None, *, is_json: bool, is_colourless: bool) -> Output:
    """
    Choose how events are printed: as lines, or on a terminal as columns with progress bars.

    Writes nothing yet.

    Args:
        file: Standard output; None if the process was started with it closed (``>&-``). Characters
            that its encoding lacks are printed as ``?`` from now on, unless another error handler
            than ``strict`` was set, e.g. by ``PYTHONIOENCODING``.
        is_json: One JSON object per line, on a terminal too.
        is_colourless: No colours on a terminal, as if ``NO_COLOR`` were set.

    Returns:
        A ``TerminalOutput`` if ``file`` is a terminal and ``is_json`` is False, else ``Lines``.

    Raises:
        OtelBridgeError: ``file`` is None, or it is a terminal and ``rich`` is not installed.
    """
    if file is None:
        raise OtelBridgeError("standard output is closed; otel-bridge tail has nowhere to print")
    if isinstance(file, io.TextIOWrapper) and file.errors == "strict":
        # An event may have any character; ISO-8859-1 lacks even the symbols of the statuses.
        file.reconfigure(errors="replace")
    if is_json or not file.isatty():
        return Lines(file, is_json=is_json)
    return TerminalOutput(_make_console(file, is_colourless))


class Lines:
    """
    Prints one line per event, for pipes and files; an ``Output``, made by ``open_output``.

    Neither the number nor the length of lines is limited. ``print`` raises ``OtelBridgeError`` if
    the file cannot be written; creating this object never raises.

    Args:
        file: Where to print; stays open.
        is_json: One JSON object per event, with all its fields, instead of a readable line; default
            False.
    """

    def __init__(self, file: IO[str], *, is_json: bool = False) -> None:
        self._file = file
        # json.dumps escapes control characters and all non-ASCII text, so this form is safe.
        self._format = json.dumps if is_json else format_event

    def print(self, events: Sequence[Event]) -> None:
        """
        Print each event as one line, in their order, and flush; blocks while a pipe is full.

        Nothing is limited. After an error nothing more can be printed to standard output.

        Args:
            events: Events decoded from JSON; none is allowed.

        Raises:
            ClosedOutputError: The reader of the pipe is gone.
            OtelBridgeError: The file cannot be written: the disk is full.
            UnicodeEncodeError: The file's encoding lacks a character, and its error handler is
                ``strict``; not with ``is_json``. ``open_output`` sets another one.
        """
        try:
            self._file.write("".join([self._format(event) + "\n" for event in events]))
            self._file.flush()
        except OSError as error:
            self._drop_what_is_left()
            if error.errno == errno.EPIPE:
                raise ClosedOutputError("the reader of the output is gone") from error
            raise OtelBridgeError(f"cannot print: {error.strerror}") from error

    def _drop_what_is_left(self) -> None:
        # The interpreter flushes again at exit and would print an error about the same file.
        if self._file is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class TerminalOutput:
    """
    Prints events on a terminal, as coloured columns above progress bars; made by ``open_output``.

    An ``Output``: feed it with ``print(events)`` inside its ``with`` block, from one thread, which
    draws the bars and removes them at its end. There is a bar for each of the newest open phases,
    at most 6. A terminal of fewer than 110 columns shows no phase and no worker. ``print`` raises
    ``OtelBridgeError`` if the terminal cannot be written to.

    Args:
        console: The ``rich`` console of the terminal.

    Raises:
        ImportError: ``rich`` is not installed; ``open_output`` checks that before.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._phases = OpenPhases()
        # Drawn when events came, and not by a thread of its own: nothing changes in between.
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def print(self, events: Sequence[Event]) -> None:
        """
        Print each event as one row, in their order, and redraw the progress bars below.

        Blocks while the terminal accepts no text. No limit on the events; at most 6 bars.

        Args:
            events: Events decoded from JSON; none is allowed.

        Raises:
            OtelBridgeError: The terminal cannot be written to.
        """
        self._phases.update(events)
        try:
            self._live.update(self._bars(), refresh=not events)
            if events:
                self._console.print(self._columns(events))  # draws the bars below again
        except OSError as error:
            raise OtelBridgeError(f"cannot print: {error.strerror}") from error

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            self._live.stop()

    def _columns(self, events: Sequence[Event]) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        is_wide = self._console.width >= _WIDE_COLUMNS
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=12 if is_wide else 8, no_wrap=True, style="bright_black")
        table.add_column(width=20, no_wrap=True)
        if is_wide:
            table.add_column(width=12, no_wrap=True)
            table.add_column(width=14, no_wrap=True, style="bright_black")
        table.add_column(width=9, no_wrap=True, justify="right")
        table.add_column(ratio=1, overflow="fold")
        for event in events:
            line = read_event(event)
            style = _STYLES.get(line.status, "bright_black")
            # As ``Text``: rich would read [brackets] in plain text as its own markup.
            table.add_row(
                Text(line.clock if is_wide else line.clock[:8]),
                Text(f"{line.symbol} {line.event_type}", style=style),
                *([Text(line.phase), Text(line.worker.removeprefix("worker "))] if is_wide else []),
                Text(line.duration),
                Text.assemble(
                    line.job,
                    "  " if line.job and line.text else "",
                    (line.text, "red" if line.status == "failed" else ""),
                ),
            )
        return table

    def _bars(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for phase in self._phases.newest(_MAX_BARS):
            done = phase.completed + phase.failed
            total = "?" if phase.total is None else str(phase.total)
            failed = f"{phase.failed} failed" if phase.failed else ""
            table.add_row(
                Text(phase.title, overflow="ellipsis", no_wrap=True),
                ProgressBar(
                    total=max(phase.total or 0, 1),
                    completed=done,
                    width=30,
                    complete_style="blue",
                    finished_style="green",
                ),
                Text(f"{done}/{total}"),
                Text(failed, style="red"),
            )
        return table


def _make_console(file: IO[str], is_colourless: bool) -> Console:
    try:
        from rich.console import Console
    except ImportError as error:
        raise OtelBridgeError(
            "otel-bridge tail needs the rich package on a terminal: "
            "pip install 'otel-bridge[cli]', or use --json"
        ) from error
    return Console(file=file, highlight=False, no_color=is_colourless or None)
