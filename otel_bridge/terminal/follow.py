"""``submit --follow``: the phases of one task until its end, as bars or, in a pipe, as lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import IO, Final, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.terminal import texts
from otel_bridge.terminal.feed import Subscription, ViewFeed
from otel_bridge.terminal.layout import Cell, columns, share_bar
from otel_bridge.terminal.printable import one_line
from otel_bridge.terminal.window import Row

__all__ = ["follow", "outcome_line", "phase_line", "phase_text"]

_DRAW_SEC: Final = 0.25
_GIVE_UP_SEC: Final = 60.0
"""A task that is stalled or unknown for so long, while connected, will not end by itself."""


class _Shown(Protocol):
    def show(self, row: Row | None, trouble: str, now: float) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def phase_line(phase: Row, width: int, now: float) -> Text:
    """Return one phase with its bar in so many columns; never raises."""
    done, failed, total = phase.get("done", 0), phase.get("failed", 0), phase.get("total")
    share = (done + failed) / total if total else None
    start, end = phase.get("start"), phase.get("end")
    ran = _time(start, end, now)
    status = str(phase.get("status"))
    style = texts.status_style(status)
    cells = [
        Cell(texts.marked_status(status), 9, style),
        Cell(str(phase.get("name"))),
        Cell(share_bar(20, share) if share is not None else "", 20, style.replace("bold ", "")),
        Cell(f"{texts.count(done + failed)}/{texts.count(total)}", 11, "", True),
        Cell(f"✕{texts.count(failed)}" if failed else "", 6, "red"),
        Cell(ran, 8, "", True),
    ]
    return columns(width, cells)


def _time(start: float | None, end: float | None, now: float) -> str:
    if start is None or end is None:
        return texts.elapsed(start, now)
    return texts.duration(end - start)


def phase_text(phase: Row) -> str:
    """Return one phase for a pipe: ``search: running, 12 of 48 done, 3 failed``. Never raises."""
    status = texts.marked_status(str(phase.get("status"))).partition(" ")[2]
    failed = f", {texts.count(phase['failed'])} failed" if phase.get("failed") else ""
    done = f"{texts.count(phase.get('done'))} of {texts.count(phase.get('total'))} done"
    return f"{one_line(str(phase.get('name')))}: {status}, {done}{failed}"


def outcome_line(row: Row, now: float) -> str:
    """Return how a task ended, in one line: ``✓ done in 12.4 s: 48 jobs done``. Never raises."""
    start, end = row.get("start"), row.get("end")
    took = _time(start, end, now)
    jobs = f"{texts.count(row.get('done'))} jobs done"
    failed = f", {texts.count(row['failed'])} failed" if row.get("failed") else ""
    why = f" ({texts.reason(row['why'])})" if row.get("status") == "stalled" else ""
    error = f": {one_line(str(row['error']).splitlines()[0])}" if row.get("error") else ""
    status = texts.marked_status(str(row.get("status")))
    return f"{status}{why} after {took}, {jobs}{failed}{error}"


def follow(
    url: str, task: str, *, token: str, output: IO[str], is_colourless: bool = False
) -> bool:
    """
    Show the phases of a task until it has ended; return whether it completed.

    On a terminal they are bars that are drawn in place; else one line for each change of a phase,
    at most one a second for each. A lost connection is made again. Ctrl-C passes as
    ``KeyboardInterrupt``; the task goes on.

    Args:
        url: The collector's address, http or https, already checked.
        task: The id of the task.
        token: Bearer token; empty: none is sent.
        output: Where to print.
        is_colourless: No colours on a terminal; default False.

    Raises:
        ConfigurationError: The collector refuses the connection, as for a wrong token.
        OtelBridgeError: The task is stalled for 60 s, or the collector knows nothing of it for
            60 s, or no longer does.
    """
    shown: _Shown = (
        _Bars(output, is_colourless) if output.isatty() else _Lines(output, time.monotonic)
    )
    return asyncio.run(_follow(url, task, token, shown))


async def _follow(
    url: str, task: str, token: str, shown: _Shown, give_up_sec: float = _GIVE_UP_SEC
) -> bool:
    changed = asyncio.Event()
    feed = ViewFeed(url, token, changed.set)
    # ``keys`` names the task, so the list is this one row, whatever else runs.
    tasks = feed.subscribe("tasks", {"keys": [task], "count": 1})
    running = asyncio.create_task(feed.run())
    since: float | None = None
    was_seen = False
    try:
        with shown:
            while True:
                row = _row_of(tasks)
                was_seen = was_seen or row is not None
                shown.show(row, _trouble(feed), feed.now())
                if feed.connection.kind == "refused":
                    raise ConfigurationError(
                        f"the collector refused: {feed.connection.why}", "set MONITORING_TOKEN"
                    )
                if tasks.refusal:
                    raise OtelBridgeError(f"the collector refused: {tasks.refusal}")
                if row is not None and row.get("status") in ("completed", "failed"):
                    return bool(row["status"] == "completed")
                is_doubtful = row is None or row.get("status") == "stalled"
                if not is_doubtful or feed.connection.kind != "live" or tasks.is_awaited:
                    since = None
                else:
                    since = since or time.monotonic()
                    if time.monotonic() - since > give_up_sec:
                        raise OtelBridgeError(_given_up(row, task, was_seen))
                changed.clear()
                try:
                    async with asyncio.timeout(1.0):
                        await changed.wait()
                except TimeoutError:
                    continue  # what grows is drawn each second
                await asyncio.sleep(_DRAW_SEC)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _given_up(row: Row | None, task: str, was_seen: bool) -> str:
    if row is not None:
        why = texts.reason(str(row.get("why") or "silent"))
        return f"task {task} is stalled: {why}; it is no longer followed"
    if was_seen:
        return f"task {task} has left the collector's memory; it is no longer followed"
    return f"the collector knows nothing of task {task}; is a worker running?"


def _row_of(tasks: Subscription) -> Row | None:
    return tasks.shown.rows[0] if tasks.shown is not None and tasks.shown.rows else None


def _trouble(feed: ViewFeed) -> str:
    if feed.connection.kind in ("lost", "stale"):
        clock = texts.clock_time(feed.now())
        return f"as of {clock}: no connection to the collector ({feed.connection.why})"
    return ""


class _Bars:
    """Draws the phases in place, on a terminal."""

    def __init__(self, file: IO[str], is_colourless: bool) -> None:
        console = Console(file=file, highlight=False, no_color=is_colourless or None)
        self._console = console
        # Drawn when something came, and not by a thread of its own.
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, row: Row | None, trouble: str, now: float) -> None:
        width = self._console.width
        phases: Sequence[Row] = row.get("phases", ()) if row is not None else ()
        lines = [phase_line(phase, width, now) for phase in phases]
        last = "waiting for the task to start" if row is None else outcome_line(row, now)
        style = texts.status_style(str(row.get("status"))) if row is not None else "dim"
        lines.append(Text(last, style, no_wrap=True, overflow="ellipsis"))
        if trouble:
            lines.append(Text(trouble, "bold", no_wrap=True, overflow="ellipsis"))
        self._live.update(Text("\n").join(lines), refresh=True)


class _Lines:
    """Prints a line when a phase has changed, for pipes and files."""

    def __init__(self, file: IO[str], clock: Callable[[], float]) -> None:
        self._file, self._clock = file, clock
        self._printed: dict[str, tuple[str, str, float]] = {}
        self._trouble = ""
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def show(self, row: Row | None, trouble: str, now: float) -> None:
        if trouble != self._trouble and trouble:
            self._print(trouble)
        self._trouble = trouble
        if row is None:
            return
        for phase in row.get("phases", ()):
            text, status = phase_text(phase), str(phase.get("status"))
            old_text, old_status, at = self._printed.get(str(phase.get("name")), ("", "", 0.0))
            is_due = status != old_status or self._clock() - at >= 1
            if text != old_text and is_due:
                self._printed[str(phase.get("name"))] = (text, status, self._clock())
                self._print(text)
        if row.get("status") in ("completed", "failed") and not self._is_over:
            self._is_over = True
            self._print(outcome_line(row, now))

    def _print(self, text: str) -> None:
        try:
            self._file.write(text + "\n")
            self._file.flush()
        except OSError as error:
            raise OtelBridgeError(f"cannot print: {error.strerror}") from error
