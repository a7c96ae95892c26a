"""The lines of the details of a job, a row of a tree, a failure, a worker and a queue; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from otel_bridge.terminal import texts
from otel_bridge.terminal.layout import Cell, Line, Target, columns, paragraph
from otel_bridge.terminal.lists import list_heading, worker_state
from otel_bridge.terminal.nodes import SpanText
from otel_bridge.terminal.printable import one_line
from otel_bridge.terminal.window import Row, ShownWindow

__all__ = [
    "attempt_label",
    "chosen_attempt",
    "fact",
    "failure_facts",
    "job_lines",
    "jobs_heading",
    "log_lines",
    "queue_facts",
    "row_lines",
    "title",
    "trend",
    "worker_facts",
]

_NAME_WIDTH: Final = 12
_ENDED_BY: Final = {
    "other": "another process of its framework",
    "rule": "a rule of the collector, not the program itself",
    "snapshot": "a snapshot, which is not its final word",
}
_LEVELS: Final = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red", "DEBUG": "dim"}


def fact(name: str, text: str, width: int, style: str = "", target: Target | None = None) -> Line:
    """Return one line ``name  text``; the text is truncated in its middle. Never raises."""
    cells = [Cell(name, _NAME_WIDTH, "dim"), Cell(text, 0, style)]
    return Line(columns(width, cells), f"fact:{name}", target)


def title(text: str) -> list[Line]:
    """Return a blank line and the name of a part of the details; never raises."""
    return [Line(Text("")), Line(Text(text, "bold underline"), f"title:{text}")]


def attempt_label(row: Row, runs: int) -> str:
    """Return ``try 2``; ``run 3, try 2`` where the job was enqueued again. Never raises."""
    attempt = "queued" if row.get("kind") == "enqueue" else f"try {row.get('attempt', 0) + 1}"
    return f"run {row.get('run')}, {attempt}" if runs > 1 else attempt


def chosen_attempt(rows: Sequence[Row], key: str) -> Row | None:
    """Return the attempt with this key, else the newest of all; None without attempts."""
    found = next((row for row in rows if row["k"] == key), None)
    newest = max(rows, key=lambda row: (row.get("run") or 0, row.get("attempt") or 0), default=None)
    return found or newest


def _status_line(row: Row, width: int) -> list[Line]:
    why = f": {texts.reason(row['why'])}" if row.get("why") else ""
    text = texts.marked_status(str(row.get("status"))) + why
    lines = [fact("status", text, width, texts.status_style(str(row.get("status"))))]
    if row.get("slow"):
        lines.append(fact("slow", f"{row['slow']:.1f} times as long as its siblings", width))
    progress = row.get("progress")
    if progress:
        of = "" if progress.get("total") is None else f" of {texts.count(progress['total'])}"
        lines.append(fact("progress", f"{texts.count(progress.get('done'))}{of}", width))
    return lines


def _time_lines(row: Row, now: float, width: int) -> list[Line]:
    queued, start, end = row.get("queued"), row.get("start"), row.get("end")
    is_stalled = row.get("status") == "stalled"
    lines = []
    if queued is not None and (start is None or start >= queued):
        until = start if start is not None else end
        waited = texts.elapsed(queued, now) if until is None else texts.duration(until - queued)
        lines.append(
            fact(
                "waiting for" if until is None else "waited",
                f"{waited}   (queued {texts.moment(queued, now)})",
                width,
            )
        )
    if start is not None:
        name = "running for" if end is None else "last heard" if is_stalled else "ran"
        ran = texts.elapsed(start, now) if end is None else texts.duration(end - start)
        when = f"   ({texts.moment(start, now)}"
        when += ")" if end is None else f" to {texts.moment(end, now)})"
        after = " after the start" if is_stalled and end is not None else ""
        lines.append(fact(name, f"{ran}{after}{when}", width))
    if row.get("ended_by") in _ENDED_BY:
        lines.append(fact("end said by", _ENDED_BY[row["ended_by"]], width))
    return lines


def _worker_line(row: Row, width: int) -> list[Line]:
    if row.get("worker") is None:
        return []
    host = f" on {row['host']}" if row.get("host") else ""
    return [fact("worker", f"{row['worker']}{host}", width)]


def _error_lines(row: Row, span: SpanText | None, width: int) -> list[Line]:
    lines: list[Line] = []
    # A stack starts with its error, which is not said twice.
    is_in_stack = span is not None and span.stack.startswith(str(row.get("error")).strip()[:60])
    if row.get("error") and not is_in_stack:
        lines += [*title("error"), *paragraph(str(row["error"]), width, "red", 2)]
    if span is not None and (span.stack or span.note):
        lines += title("stack")
        if span.is_of_another:
            lines += paragraph("Of another job with the same failure:", width, "dim", 2)
        # Where it broke stands last in a stack, and is what one looks for first.
        lines += paragraph(span.stack or span.note, width, "" if span.stack else "dim", 2)
    return lines


def _span_lines(span: SpanText | None, width: int) -> list[Line]:
    if span is None:
        return []
    lines: list[Line] = []
    if span.attributes:
        lines += title("attributes")
        size = min(30, max(len(name) for name in span.attributes) + 1)
        for name, value in sorted(span.attributes.items()):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            cells = [Cell("", 1), Cell(name, size, "dim"), Cell(text)]
            lines.append(Line(columns(width, cells), f"attribute:{name}"))
    elif span.log == "gone":
        lines += [
            *title("attributes"),
            *paragraph("They are no longer in the log.", width, "dim", 2),
        ]
    for link in span.links:
        text = f"{link.get('trace')} {link.get('span')}"
        lines.append(fact("linked to", text, width))
    return lines


def job_lines(
    window: ShownWindow,
    chosen: Row | None,
    span: SpanText | None,
    log: Sequence[Line],
    *,
    now: float,
    width: int,
) -> list[Line]:
    """
    Return the details of a job: facts, error, stack, attempts, attributes, log lines.

    Args:
        window: Of the view ``job``.
        chosen: Its attempt that is shown; None: it has none.
        span: What is stored about that attempt; None: nothing is known yet.
        log: The lines of ``log_lines``.
        now: The collector's time, ms.
        width: Columns of a line.
    """
    head = window.head
    row = chosen or head
    lines = _status_line({**row, "why": row.get("why") or head.get("why")}, width)
    kind = " · ".join(str(head[name]) for name in ("type", "phase") if head.get(name))
    lines.append(fact("job", str(head.get("job")), width))
    lines.append(fact("type", kind.replace("_", " ") or texts.UNKNOWN, width))
    lines.append(fact("in", " > ".join(one_line(name) for name in head.get("path", ())), width))
    lines += _time_lines(row, now, width)
    lines += _worker_line(row, width)
    if head.get("queue"):
        lines.append(fact("queue", texts.queue_label(head["queue"]), width))
    if head.get("project"):
        lines.append(fact("project", head["project"], width))
    if row.get("trace"):
        lines.append(fact("trace", row["trace"], width))
    lines += _error_lines(row, span, width)
    if len(window.rows) > 1:
        lines += title("attempts")
        lines += [
            _attempt_line(each, each is chosen, int(head.get("runs") or 1), now, width)
            for each in window.rows
        ]
    return [*lines, *_span_lines(span, width), *log]


def _attempt_line(row: Row, is_chosen: bool, runs: int, now: float, width: int) -> Line:
    start, end = row.get("start"), row.get("end")
    ran = texts.UNKNOWN
    if start is not None:
        ran = texts.elapsed(start, now) if end is None else texts.duration(end - start)
    error = str(row.get("error") or "").strip()
    cells = [
        Cell("•" if is_chosen else "", 1),
        Cell(attempt_label(row, runs), 14, "bold" if is_chosen else ""),
        Cell(
            texts.marked_status(str(row.get("status"))),
            9,
            texts.status_style(str(row.get("status"))),
        ),
        Cell(texts.moment(start if start is not None else row.get("queued"), now), 8),
        Cell(ran, 8, "", True),
        Cell(str(row.get("worker") or texts.UNKNOWN), 12),
        Cell(error.splitlines()[0] if error else "", 0, "red"),
    ]
    return Line(columns(width, cells), row["k"], Target("attempt", row["k"]))


def row_lines(
    row: Row, span: SpanText | None, log: Sequence[Line], *, now: float, width: int
) -> list[Line]:
    """Return the details of a row of a tree that is no job; as ``job_lines``. Never raises."""
    lines = _status_line(row, width)
    kind = str(row.get("kind")) + (f" · {row['type']}" if row.get("type") else "")
    lines.append(fact("what", kind, width))
    lines += _time_lines(row, now, width)
    lines += _worker_line(row, width)
    counts = [
        f"{texts.count(row[name])} {word}"
        for name, word in (
            ("failed", "failed"),
            ("stalled", "stalled"),
            ("running", "running"),
            ("pending", "queued"),
            ("done", "done"),
        )
        if row.get(name)
    ]
    if counts:
        lines.append(fact("jobs", ", ".join(counts), width))
    return [*lines, *_error_lines(row, span, width), *_span_lines(span, width), *log]


def log_lines(window: ShownWindow | None, refusal: str, now: float, width: int) -> list[Line]:
    """
    Return what the program logged inside a span, from the view ``lines``; never raises.

    Lines that were dropped, for there were too many, are counted where they are missing.

    Args:
        window: Of the view ``lines``; None: it has not come, or is refused.
        refusal: The collector's sentence why there is none; empty: there is one, or none yet.
        now: The collector's time, ms.
        width: Columns of a line.
    """
    if refusal:
        return [*title("log lines"), *paragraph(refusal, width, "dim", 2)]
    if window is None or not (window.rows or window.head.get("total")):
        return []
    head = window.head
    total = texts.count(head.get("total"))
    lines = title(f"log lines ({texts.count(len(window.rows))} of {total})")
    last: int | None = None
    for row in window.rows:
        number = int(row.get("n") or 0)
        if last is not None and number > last + 1:
            gap = f"  -- {texts.count(number - last - 1)} lines are missing here --"
            lines.append(Line(Text(gap, "dim")))
        last = number
        level = str(row.get("level"))
        start = f"  {texts.clock_time(row['at'])} {level:<8} "
        first, *more = paragraph(f"{row.get('logger')}: {row.get('text')}", width - len(start)) or [
            Line(Text(""))
        ]
        style = _LEVELS.get(level, "")
        lines.append(Line(Text(start, style) + first.text, f"line:{number}"))
        lines += [Line(Text(" " * len(start)) + each.text) for each in more]
    return lines


def _when(at: float | None, now: float) -> str:
    return f"{texts.ago(at, now)}, {texts.moment(at, now)}"


def failure_facts(row: Row, span: SpanText | None, now: float, width: int) -> list[Line]:
    """Return what all failures of a group have in common, with the stack. Never raises."""
    lines = [
        fact("failed", f"{texts.count(row.get('count'))} jobs", width, "bold red"),
        fact("last", _when(row.get("last"), now), width),
        fact("first", texts.moment(row.get("first"), now), width),
    ]
    kinds = ", ".join(row.get("types") or ()) or row.get("type")
    if kinds:
        lines.append(fact("types", str(kinds).replace("_", " "), width))
    if row.get("phase"):
        lines.append(fact("phase", row["phase"], width))
    if row.get("why"):
        lines.append(fact("why", texts.reason(row["why"]), width))
    if row.get("project"):
        lines.append(fact("project", row["project"], width))
    return [*lines, *_error_lines(row, span, width)]


def worker_facts(head: Row, now: float, width: int) -> list[Line]:
    """Return how a worker is, from the head of the view ``worker``; never raises."""
    state, style = worker_state(head)
    if head.get("status") == "offline":
        state += ": its heartbeats ended"
    host = str(head.get("host") or texts.UNKNOWN)
    pid = texts.UNKNOWN if head.get("pid") is None else str(head["pid"])
    counts = f"{texts.count(head.get('done'))} done, {texts.count(head.get('failed'))} failed"
    queues = head.get("queues")
    takes = texts.UNKNOWN if queues is None else ", ".join(map(texts.queue_label, queues)) or "none"
    return [
        fact("status", state, width, style),
        fact("host", f"{host}, process {pid}", width),
        fact("takes from", takes, width),
        fact("started", texts.moment(head.get("start"), now), width),
        fact("last heard", _when(head.get("seen"), now), width),
        fact("jobs", counts, width),
        fact("dropped", f"{texts.count(head.get('dropped'))} events", width),
        *title(
            f"jobs that it {'held' if head.get('status') == 'offline' else 'runs'}: "
            f"{texts.count(head.get('open'))}"
        ),
    ]


def queue_facts(head: Row, now: float, width: int) -> list[Line]:
    """Return how a queue is, from the head of the view ``queue``; never raises."""
    depth = f"{texts.count(head.get('depth'))} jobs"
    lines = [
        fact("waiting", f"{depth}, measured {texts.ago(head.get('at'), now)}", width),
        fact("oldest", f"waits {texts.elapsed(head.get('oldest'), now)}", width),
        fact("running", texts.count(head.get("running")), width),
    ]
    names = head.get("names")
    takers = ", ".join(map(str, names)) if names else texts.count(head.get("workers"))
    lines.insert(2, fact("workers", takers, width))
    if head.get("stuck") or head.get("workers") == 0:
        why = texts.reason(str(head.get("stuck") or "no_workers"))
        lines.insert(0, fact("status", f"! stuck: {why}", width, "bold red"))
    if head.get("trend"):
        lines.append(fact("trend", trend(head["trend"], max(10, width - _NAME_WIDTH - 1)), width))
    for name, depth in sorted((head.get("priorities") or {}).items()):
        lines.append(fact(f"priority {name}", texts.count(depth), width))
    return lines


def trend(points: Sequence[Sequence[Any]], width: int) -> str:
    """
    Return depths as columns of eight heights, with the first and last number; never raises.

    Args:
        points: ``[ms, depth]``, the oldest first.
        width: Columns of the text.
    """
    depths = [float(point[1]) for point in points]
    first, last = texts.count(depths[0]), texts.count(depths[-1])
    depths = depths[-max(1, width - len(first) - len(last) - 2) :]
    highest = max(depths) or 1.0
    marks = "".join("▁▂▃▄▅▆▇█"[min(7, int(depth / highest * 7.99))] for depth in depths)
    return f"{first} {marks} {last}"


def jobs_heading(width: int) -> Line:
    """Return the names of the columns of a list of jobs as a line; never raises."""
    return Line(list_heading("jobs", width), "heading")
