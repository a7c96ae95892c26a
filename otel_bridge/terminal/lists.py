"""
The rows of the lists: tasks, failures, workers, queues, and the rows of a task's tree; pure.

Each function takes a row of a view as ``/ws/views`` sends it and returns its cells. Fields of a
newer or older collector may be missing; what is unknown is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from otel_bridge.terminal import texts
from otel_bridge.terminal.layout import Cell, Line, Target, bar, columns, heading, share_bar
from otel_bridge.terminal.window import Row

__all__ = [
    "CURSOR_WIDTH",
    "WIDE",
    "failure_from",
    "failure_line",
    "held_line",
    "job_line",
    "list_heading",
    "overview_sentence",
    "queue_line",
    "task_line",
    "tree_line",
    "worker_line",
    "worker_state",
]

CURSOR_WIDTH: Final = 2
"""Columns before each line, for the mark of the cursor."""
WIDE: Final = 110
"""From so many columns on a list shows more columns."""

_HEADINGS: Final = {
    "tasks": ("status", "task", "now", "ended", "time"),
    "failures": ("jobs", "error", "type", "last"),
    "workers": ("worker", "status", "runs", "for", "done", "seen"),
    "queues": ("queue", "waiting", "oldest", "running", "workers", ""),
    "tree": ("what", "status", "", "time", "jobs"),
    "jobs": ("status", "job", "task", "since"),
}


def list_heading(kind: str, width: int) -> Text:
    """Return the names of the columns of a list; never raises."""
    widths = _WIDTHS[kind](width)
    cells = [
        Cell(name, size, "", is_right)
        for name, (size, is_right) in zip(_HEADINGS[kind], widths, strict=True)
    ]
    return heading(width, cells)


def _bar_width(width: int) -> int:
    return 16 if width < WIDE else 40


_Widths = tuple[tuple[int, bool], ...]


def _tasks(width: int) -> _Widths:
    return (9, False), (0, False), (18 if width < WIDE else 36, False), (13, True), (8, True)


def _failures(width: int) -> _Widths:
    return (5, True), (0, False), (18 if width < WIDE else 30, False), (10, True)


def _workers(width: int) -> _Widths:
    return (20, False), (8, False), (0, False), (7, True), (14, True), (9, True)


def _queues(width: int) -> _Widths:
    return (17, False), (8, True), (7, True), (8, True), (8, True), (0, False)


def _tree(width: int) -> _Widths:
    return (0, False), (9, False), (_bar_width(width), False), (8, True), (13, False)


def _jobs(width: int) -> _Widths:
    return (9, False), (0, False), (24 if width < WIDE else 40, False), (9, True)


_WIDTHS: Final = {
    "tasks": _tasks,
    "failures": _failures,
    "workers": _workers,
    "queues": _queues,
    "tree": _tree,
    "jobs": _jobs,
}


def _line(kind: str, width: int, shown: list[tuple[str, str]], key: str, target: Target) -> Line:
    cells = [
        Cell(text, size, style, is_right)
        for (text, style), (size, is_right) in zip(shown, _WIDTHS[kind](width), strict=True)
    ]
    return Line(columns(width, cells), key, target)


def _status(row: Row) -> tuple[str, str]:
    status = str(row.get("status"))
    # What is done with failures is never green.
    is_mixed = status == "completed" and bool(row.get("failed"))
    return texts.marked_status(status), "" if is_mixed else texts.status_style(status)


def _ended(row: Row) -> str:
    """How many jobs ended of how many, and how many of them failed: ``41/48 ✕3``."""
    ended = row.get("done", 0) + row.get("failed", 0)
    # A task counts the running and stalled ones among the pending, a row of the tree does not.
    waiting = row.get("pending", 0)
    if "kind" in row:
        waiting += row.get("running", 0) + row.get("stalled", 0)
    if not ended + waiting:
        return ""
    failed = f" ✕{texts.count(row['failed'])}" if row.get("failed") else ""
    return f"{texts.count(ended)}/{texts.count(ended + waiting)}{failed}"


def _time(row: Row, now: float) -> str:
    start, end = row.get("start"), row.get("end")
    if start is None:
        return texts.UNKNOWN
    return texts.elapsed(start, now) if end is None else texts.duration(end - start)


def task_line(row: Row, width: int, now: float) -> Line:
    """Return a row of the view ``tasks``: status, title, phase or reason, jobs, time."""
    name = texts.task_name(row.get("title"), row.get("type"), row["k"])
    why = row.get("why")
    doing = texts.reason(why) if why and why != "failed" else row.get("phase") or ""
    if width >= WIDE:
        ended, waiting = row.get("done", 0) + row.get("failed", 0), row.get("pending", 0)
        share = ended / (ended + waiting) if ended + waiting else None
        doing = f"{share_bar(12, share)} {doing}"
    shown = [
        _status(row),
        (name, "bold" if row.get("end") is None else ""),
        (doing, "bold" if why else ""),
        (_ended(row), "red" if row.get("failed") else ""),
        (_time(row, now), ""),
    ]
    return _line("tasks", width, shown, row["k"], Target("task", row["k"], row["k"], name))


def failure_line(row: Row, width: int, now: float) -> Line:
    """Return a row of the view ``failures``: how many, the error, type, when the last came."""
    kind = row.get("type") or row.get("phase") or texts.UNKNOWN
    error = str(row.get("error") or "").strip()
    shown = [
        (f"×{texts.count(row.get('count'))}", "bold red"),  # noqa: RUF001 - the page's sign
        (error.splitlines()[0] if error else texts.UNKNOWN, ""),
        (str(kind).replace("_", " "), ""),
        (texts.ago(row.get("last"), now), ""),
    ]
    return _line("failures", width, shown, row["k"], Target("failure", row["k"], name=error))


def worker_state(row: Row) -> tuple[str, str]:
    """Return how a worker is, in words, and the style of it."""
    status = str(row.get("status"))
    if status == "online":
        is_busy = bool(row.get("job_type") or row.get("job") or row.get("open"))
        return ("◐ busy", "cyan") if is_busy else ("○ idle", "green")
    if status == "unknown":
        return "not heard", "dim"  # it sends no heartbeats that could have ended
    return ("! lost", "bold magenta") if status == "offline" else ("stopped", "dim")


def worker_line(row: Row, width: int, now: float) -> Line:
    """Return a row of the view ``workers``: name, state, job, for how long, counts, when seen."""
    job = row.get("job")
    runs = texts.short_job(job, row.get("job_task")) if job else str(row.get("job_type") or "")
    failed = f" ✕{texts.count(row['failed'])}" if row.get("failed") else ""
    shown = [
        (str(row.get("id")), "bold"),
        worker_state(row),
        (runs or texts.UNKNOWN, ""),
        (texts.elapsed(row.get("job_start"), now) if runs else "", ""),
        (f"{texts.count(row.get('done'))} done{failed}", "red" if row.get("failed") else ""),
        (texts.ago(row.get("seen"), now), ""),
    ]
    return _line("workers", width, shown, row["k"], Target("worker", row["k"], name=str(row["id"])))


def queue_line(row: Row, width: int, now: float) -> Line:
    """Return a row of the view ``queues``: name, depth, age of the oldest, running, workers."""
    name, workers = texts.queue_label(row["k"]), row.get("workers")
    note = ""
    if row.get("stuck"):
        note = texts.reason(str(row["stuck"]))
    elif workers == 0:
        note = texts.reason("no_workers")
    shown = [
        (name, "bold"),
        (texts.count(row.get("depth")), ""),
        (texts.elapsed(row.get("oldest"), now), ""),
        (texts.count(row.get("running")), ""),
        (texts.count(workers), ""),
        (f"! {note}" if note else "", "bold red"),
    ]
    return _line("queues", width, shown, row["k"], Target("queue", row["k"], name=name))


def held_line(row: Row, width: int, now: float) -> Line:
    """Return a job that a worker holds, or that waits in a queue: status, job, task, since when."""
    return job_line({"status": "pending", **row, "at": row.get("start")}, width, now)


def job_line(row: Row, width: int, now: float) -> Line:
    """Return a job of a list of jobs: status, id, task, how long ago."""
    name = texts.short_job(str(row.get("job") or row.get("node")), row["task"])
    shown = [
        _status(row),
        (name, "bold"),
        (str(row.get("title") or row["task"]), ""),
        (texts.ago(row.get("at"), now), ""),
    ]
    target = Target("job", str(row.get("job")), row["task"], name, str(row.get("node") or ""))
    return _line("jobs", width, shown, str(row["k"]), target)


def tree_line(
    row: Row, width: int, now: float, span: tuple[float, float], *, task: str, is_open: bool
) -> Line:
    """
    Return a row of the view ``tree``: name, status, its bar in time, how long, jobs below it.

    Args:
        row: The row.
        width: Columns of the line.
        now: The collector's time, ms.
        span: From when to when the bars are drawn, ms.
        task: The id of the task.
        is_open: Whether the rows below it are listed.
    """
    fold = " " if not row.get("kids") else "▾" if is_open else "▸"
    depth = min(int(row.get("depth", 0)), 12)
    if row["kind"] == "more":
        name = f"{texts.count(row.get('kids'))} earlier ones, no longer in memory"
    elif row.get("job"):
        name = texts.short_job(row["job"], task)
    else:
        name = str(row.get("name"))
    attempt = f" try {row['attempt'] + 1}" if row.get("attempt") else ""
    status = str(row.get("status"))
    start, end = row.get("start") or row.get("queued"), row.get("end")
    length = max(1.0, span[1] - span[0])
    drawn = ""
    if start is not None and row["kind"] != "more":
        until = now if end is None else end
        drawn = bar(_bar_width(width), (start - span[0]) / length, (until - span[0]) / length)
    notes = _ended(row) if row.get("kids") else str(row.get("worker") or "")
    if row.get("slow"):
        notes = f"{row['slow']:.0f}x as long"
    is_bold = row["kind"] in ("task", "phase")
    shown = [
        (" " * depth + f"{fold} {name}{attempt}", "bold" if is_bold else ""),
        _status(row) if row["kind"] != "more" else ("", ""),
        (drawn, texts.status_style(status).replace("bold ", "")),
        (_time(row, now), ""),
        (notes, "red" if row.get("kids") and row.get("failed") else ""),
    ]
    target = Target("row", row["k"], task, name, row["k"])
    if row.get("job") and row["kind"] in ("job", "enqueue"):
        target = Target("job", row["job"], task, name, row["k"])
    return _line("tree", width, shown, row["k"], target)


def overview_sentence(head: Row) -> str:
    """Return the header's sentence from the head of ``overview``: ``3 running, 1 stalled``."""
    tasks = head.get("tasks") or {}
    parts = [
        f"{texts.count(tasks[status])} {word}"
        for status, word in (
            ("stalled", "stalled"),
            ("failed", "failed"),
            ("processing", "running"),
            ("retrying", "retrying"),
            ("pending", "queued"),
            ("completed", "done"),
        )
        if tasks.get(status)
    ]
    sentence = "tasks: " + (", ".join(parts) or "none")
    jobs = f"{texts.count(head.get('jobs_running'))} jobs run"
    workers, lost = head.get("workers_online"), head.get("workers_lost")
    if workers is None:
        return f"{sentence} · {jobs}"
    gone = f", {texts.count(lost)} lost" if lost else ""
    return f"{sentence} · {jobs} · workers: {texts.count(workers)}{gone}"


def failure_from(rows: Sequence[Row], key: str, step: int) -> Row | None:
    """
    Return the failure after (``step`` 1) or before (-1) a row of a tree; None: there is none.

    A failed row with a failed one below it is passed over: the lower one is the cause. This is the
    page's rule.

    Args:
        rows: A window of the view ``tree`` with the status ``failed`` as its filter.
        key: Where to start; one that is not listed counts as the window's edge.
        step: 1 or -1.
    """
    depths = [row.get("depth", 0) for row in rows] + [0]
    causes = [row for n, row in enumerate(rows) if depths[n + 1] <= depths[n]]
    places = {row["k"]: n for n, row in enumerate(rows)}
    found = places.get(key)
    if step == 1:
        return next((row for row in causes if found is None or places[row["k"]] > found), None)
    before = [row for row in causes if found is None or places[row["k"]] < found]
    return before[-1] if before else None
