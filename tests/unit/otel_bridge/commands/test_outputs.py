"""Where events are printed: lines, JSON, or columns and bars on a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from otel_bridge.commands.outputs import (
    ClosedOutputError,
    Lines,
    TerminalOutput,
    open_output,
)
from otel_bridge.errors import OtelBridgeError

DONE = {
    "event_type": "task_completed",
    "ts": "2026-11-24T00:04:05.123456Z",
    "status": "completed",
    "phase": "search",
    "task_type": "search",
    "task_id": "j1",
    "worker_id": "w-1",
    "duration_ms": 41,
}
FAILED = {**DONE, "event_type": "task_failed", "status": "failed", "error": "[red]no[/red]"}


class FakeTerminal(io.StringIO):
    """Text that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(*events: dict[str, Any], width: int = 120, **options: Any) -> str:
    """What a terminal gets for one message."""
    file = FakeTerminal()
    options = {"force_terminal": True, "color_system": "standard", "highlight": False, **options}
    with TerminalOutput(Console(file=file, width=width, **options)) as output:
        output.print(events)
    return file.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_file_gets_plain_lines(tmp_path: Path) -> None:
    """What is no terminal gets one line per event and no colours."""
    path = tmp_path / "out"
    with (
        path.open("w", encoding="utf-8") as file,
        open_output(file, is_json=False, is_colourless=False) as output,
    ):
        output.print([DONE, FAILED])
        assert path.read_text(encoding="utf-8").splitlines() == [
            "00:04:05.123  ✓ task_completed      search  search j1  worker w-1  41 ms",
            "00:04:05.123  ✕ task_failed         search  search j1  worker w-1  41 ms  "
            "[red]no[/red]",
        ]


def test_json_is_one_object_per_line_on_a_terminal_too() -> None:
    """JSON is ASCII without control characters, and has the whole event."""
    file = FakeTerminal()
    event = {**DONE, "message": "\x1b[2J é"}
    open_output(file, is_json=True, is_colourless=False).print([event, DONE])
    assert [json.loads(line) for line in file.getvalue().splitlines()] == [event, DONE]
    assert file.getvalue().isascii()
    assert "\x1b" not in file.getvalue()


class Latin1Terminal(io.TextIOWrapper):
    """A terminal of an older locale."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [io.TextIOWrapper, Latin1Terminal])
def test_characters_that_the_encoding_lacks_are_question_marks(
    kind: type[io.TextIOWrapper],
) -> None:
    """On a file or terminal that is not UTF-8 an event is printed, without what it cannot show."""
    file = kind(io.BytesIO(), encoding="iso-8859-1", errors="strict")
    with open_output(file, is_json=False, is_colourless=True) as output:
        output.print([{**DONE, "message": "é ☃"}])
    file.seek(0)
    text = plain(file.read())
    assert "? task_completed" in text
    assert "é ?" in text


def test_the_error_handler_of_the_user_stays() -> None:
    """What ``PYTHONIOENCODING`` sets for characters that an encoding lacks holds for events too."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    open_output(file, is_json=False, is_colourless=True).print([{**DONE, "message": "é"}])
    file.seek(0)
    assert r"\xe9" in file.read()


def test_a_terminal_gets_columns() -> None:
    """Each part starts at the same place in every row, and rich's markup is text."""
    first, second = (line for line in plain(drawn(DONE, FAILED)).splitlines() if line.strip())
    assert first.split() == [
        "00:04:05.123",
        "✓",
        "task_completed",
        "search",
        "w-1",
        "41",
        "ms",
        "search",
        "j1",
    ]
    assert first.index("w-1") == second.index("w-1")
    assert second.rstrip().endswith("[red]no[/red]")


def test_a_narrow_terminal_shows_less() -> None:
    """Below 110 columns the time has no milliseconds, and phase and worker are left out."""
    (line,) = (line for line in plain(drawn(DONE, width=80)).splitlines() if line.strip())
    assert line.split() == ["00:04:05", "✓", "task_completed", "41", "ms", "search", "j1"]


def test_the_status_is_coloured() -> None:
    """Completed is green and failed red."""
    assert "\x1b[32m✓ task_completed" in drawn(DONE)
    assert "\x1b[31m✕ task_failed" in drawn(FAILED)


def test_without_colours() -> None:
    """With ``NO_COLOR`` no code of a colour is written."""
    assert not re.search(r"\x1b\[(3|4|9)\d", drawn(DONE, FAILED, no_color=True))


def test_an_open_phase_has_a_bar() -> None:
    """The bar below the events says how many jobs of the phase ended, and how many failed."""
    fields = {"parent_task_id": "t1", "phase": "extraction"}
    counts = {"total": 9, "completed": 4, "failed": 1}
    snapshot = {"event_type": "stats_snapshot", **fields, "counts": counts}
    text = plain(drawn(snapshot))
    assert re.search(r"t1  extraction  ━+╸━+  5/9\s+1 failed", text), text


def test_a_closed_output_is_an_error() -> None:
    """Python has no file object for a descriptor that was closed before the start."""
    with pytest.raises(OtelBridgeError, match="standard output is closed"):
        open_output(None, is_json=False, is_colourless=False)


def test_without_rich_a_terminal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(OtelBridgeError, match=r"pip install 'otel-bridge\[cli\]', or use --json"):
        open_output(FakeTerminal(), is_json=False, is_colourless=False)


@pytest.fixture
def standard_output() -> Iterator[None]:
    """Standard output as it was, whatever a test does to the descriptor."""
    kept = os.dup(1)
    yield
    os.dup2(kept, 1)
    os.close(kept)


def test_a_full_disk_ends_it() -> None:
    """The first line that cannot be written is an error with the system's own reason."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        with pytest.raises(OtelBridgeError, match="cannot print: No space left on device") as e:
            Lines(full).print([DONE])
        assert not isinstance(e.value, ClosedOutputError)
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_reader_that_is_gone_ends_it(
    standard_output: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``| head`` has ended nothing is left for the interpreter to flush into the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        with pytest.raises(ClosedOutputError):
            Lines(pipe).print([DONE])
        pipe.flush()
