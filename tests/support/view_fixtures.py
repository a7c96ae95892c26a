"""
Recorded views: a log, what a view of it shows, and how it changes; shared with vitest.

``python -m tests.support.view_fixtures --write`` computes ``tests/fixtures/views/*.json`` anew, and
``--check`` fails if they differ. Python proves that the collector sends these messages, vitest that
the page shows what they say. A view that is not in the catalog yet is left out.

A file has ``log`` (beside the folder), ``view``, ``params``, ``events`` (lines of the log that are
read before the first message) and ``at`` (when, ms since the Unix epoch), ``full``, and ``then``:
for each step its ``events``, ``at`` and ``change`` (None: nothing to send); the last step also has
``full``, which the changes must have led to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.views.catalog import CATALOG, parse_query
from otel_bridge_collector.views.changes import change_message, full_message
from otel_bridge_collector.views.listing import Window

from otel_bridge.lines.line import encode_line
from otel_bridge.publish.transports.base import LogEntry
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock
from tests.support.model_snapshot import FIXTURES

__all__ = ["CASES", "FOLDER", "Case", "computed_cases", "main", "render"]

FOLDER: Final = FIXTURES / "views"


class Case(NamedTuple):
    """
    One recorded view.

    Attributes:
        name: Of its file, without ``.json``.
        view: Its name in the catalog.
        log: A recorded log, without ``.jsonl``.
        steps: How many lines of it are read before each message; a step with as many as the one
            before comes two minutes later instead.
        params: The view's parameters.
    """

    name: str
    view: str
    log: str
    steps: tuple[int, ...]
    params: dict[str, Any]


_RUNNING: Final = (14, 17, 18, 22, 25, 25)
"""A task is in its second phase; jobs end, one retries, one fails; then nothing comes."""
_ENDINGS: Final = (6, 11, 17, 26)
"""Tasks end, with and without their roots; a worker dies."""

_WINDOW: Final = {
    "task": "task-1",
    "at": {"key": "000000000000000b"},
    "count": 3,
    "except": ["0000000000000002"],
}
"""Three rows from the second search on, below a folded phase: the head has the rows above."""

_NODE: Final = "000000000000000b"
"""A job whose log lines are shown: one for each event that was read, but 5 to 7, which are dropped.
"""
_FAILURE: Final = "p: 00ff00ff00ff00ff"

CASES: Final = (
    Case("events", "events", "running_task", _RUNNING, {"count": 5}),
    Case("failure", "failure", "failing_jobs", (5, 6, 7), {"failure": _FAILURE}),
    Case("failures", "failures", "endings", _ENDINGS, {}),
    Case("job", "job", "running_task", _RUNNING, {"task": "task-1", "job": "j-s1"}),
    Case("lines", "lines", "running_task", _RUNNING, {"task": "task-1", "node": _NODE, "count": 9}),
    Case("overview", "overview", "running_task", _RUNNING, {}),
    Case("queue", "queue", "running_task", _RUNNING, {"queue": "nexus:tasks:normal_priority"}),
    Case("queues", "queues", "running_task", _RUNNING, {}),
    Case("search", "search", "running_task", _RUNNING, {"text": "J-S"}),
    Case("strip", "strip", "running_task", _RUNNING, {"task": "task-1", "buckets": 20}),
    Case("tasks", "tasks", "endings", _ENDINGS, {"count": 3}),
    Case("tasks_newest", "tasks", "running_task", _RUNNING, {"sort": "newest"}),
    Case("tree", "tree", "running_task", _RUNNING, {"task": "task-1"}),
    Case("tree_failed", "tree", "running_task", _RUNNING, {"task": "task-1", "status": ["failed"]}),
    Case("tree_window", "tree", "running_task", _RUNNING, _WINDOW),
    Case("worker", "worker", "endings", _ENDINGS, {"worker": "w-dead@"}),
    Case("workers", "workers", "endings", _ENDINGS, {}),
)


def computed_cases() -> list[Case]:
    """The cases of views that the catalog has."""
    return [case for case in CASES if case.view in CATALOG]


_PAUSE_NS: Final = 120 * 1_000_000_000


class _Reader:
    """A collector that has read a part of a recorded log, without its background tasks."""

    def __init__(self, log: str) -> None:
        self._lines = (FIXTURES / f"{log}.jsonl").read_bytes().splitlines()
        self._clock = FakeClock(0)
        settings = BridgeSettings(bus_url="memory://view-fixtures")
        self._collector = Collector(CollectorSettings(), settings, clock=self._clock)
        self.read = 0

    def read_to(self, count: int) -> None:
        """Read the log to a line, as it was written; or let two minutes pass."""
        if count == self.read:
            self._move_to(self._clock.now_ns + _PAUSE_NS)
        for line in self._lines[self.read : count]:
            event = decode_event(line)
            self._move_to(max(microseconds(event.ts) * 1000, self._clock.now_ns))
            entry = LogEntry(event.position or "", line)
            self._collector.feed._fold([entry], self._clock.now_ns // 1000)
        self.read = count

    def _move_to(self, time_ns: int) -> None:
        self._clock.seconds += (time_ns - self._clock.now_ns) / 1e9
        self._clock.now_ns = time_ns

    @property
    def at_ms(self) -> int:
        return self._clock.now_ns // 1_000_000

    def window(self, case: Case) -> Window:
        """What the view shows to a reader of all projects."""
        self._collector.answers.refresh()
        if case.view == "lines":
            table = self._collector.lines.table
            table.fill(table.watch(case.params["node"]), _log_lines(self.read))
        return self._collector.answers.window(parse_query(case.view, case.params), None)

    def close(self) -> None:
        self._collector.bus.shutdown(1)


def _log_lines(count: int) -> list[bytes]:
    """Stored log lines, with each level in turn; some were dropped."""
    return [
        encode_line(1_000 * n, 10 + n % 5 * 10, "app.fetch", f"fetched page {n}", n)
        for n in range(1, count + 1)
        if n not in (5, 6, 7)
    ]


def render(case: Case) -> str:
    """The text of a case's file, computed anew."""
    reader = _Reader(case.log)
    try:
        made = _record(case, reader)
    finally:
        reader.close()
    return json.dumps(made, indent=2) + "\n"


def _record(case: Case, reader: _Reader) -> dict[str, Any]:
    first, *others = case.steps
    reader.read_to(first)
    shown, version = reader.window(case), 1
    made: dict[str, Any] = {
        "log": f"{case.log}.jsonl",
        "view": case.view,
        "params": case.params,
        "events": first,
        "at": reader.at_ms,
        "full": json.loads(full_message(1, version, reader.at_ms, shown)),
        "then": [],
    }
    for count in others:
        reader.read_to(count)
        old, shown = shown, reader.window(case)
        message = change_message(1, version + 1, reader.at_ms, old, shown)
        version += message is not None
        change = None if message is None else json.loads(message)
        made["then"].append({"events": count, "at": reader.at_ms, "change": change})
    made["then"][-1]["full"] = json.loads(full_message(1, version, reader.at_ms, shown))
    return made


def _files() -> Iterator[tuple[Path, str]]:
    for case in computed_cases():
        yield FOLDER / f"{case.name}.json", render(case)


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name those that differ."""
    if arguments not in (["--write"], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = [
        (path, text)
        for path, text in _files()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        print(f"{path.relative_to(FIXTURES)} {'differs' if '--check' in arguments else 'written'}")
        if arguments == ["--write"]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int(arguments == ["--check"] and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
