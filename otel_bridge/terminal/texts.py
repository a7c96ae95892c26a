"""
Text for numbers, times and statuses, as the page writes them; pure.

All times are milliseconds since the Unix epoch. What is unknown (None) is a dash, never 0.
"""

from __future__ import annotations

import time
from typing import Final

from otel_bridge.terminal.printable import one_line

__all__ = [
    "UNKNOWN",
    "ago",
    "clock_time",
    "count",
    "duration",
    "elapsed",
    "marked_status",
    "moment",
    "queue_label",
    "reason",
    "short_job",
    "status_mark",
    "status_style",
    "task_name",
]

UNKNOWN: Final = "–"  # noqa: RUF001 - the page's dash

_MARKS: Final = {
    "pending": "○",
    "processing": "◐",
    "completed": "✓",
    "retrying": "↻",
    "failed": "✕",
    "stalled": "!",
}
_WORDS: Final = {
    "pending": "queued",
    "processing": "running",
    "completed": "done",
    "retrying": "retry",
    "failed": "failed",
    "stalled": "stalled",
}
_STYLES: Final = {
    "pending": "dim",
    "processing": "cyan",
    "completed": "green",
    "retrying": "yellow",
    "failed": "bold red",
    "stalled": "bold magenta",
}
_REASONS: Final = {
    "worker_lost": "its worker is lost",
    "heartbeat_lost": "its heartbeats ended",
    "queue_emptied": "its jobs are in no queue",
    "silent": "nothing was heard of it",
    "parent_ended": "the work above it has ended",
    "card_ended": "its task has ended",
    "time_limit": "over its time limit",
    "killed": "its process was killed",
    "revoked": "cancelled",
    "expired": "expired before it ran",
    "refused": "refused",
    "failed": "failed",
    "jobs_failed": "jobs failed",
    "jobs_stalled": "jobs stalled",
    "jobs_slow": "far slower than its siblings",
    "no_workers": "no worker takes from it",
    "not_taken": "its workers take nothing from it",
}


def status_mark(status: str) -> str:
    """Return one character for a status of the wire; ``·`` for an unknown one. Never raises."""
    return _MARKS.get(status, "·")


def marked_status(status: str) -> str:
    """Return mark and word, ``✕ failed``; an unknown status is its own word. Never raises."""
    return f"{status_mark(status)} {_WORDS.get(status, one_line(status))}"


def status_style(status: str) -> str:
    """Return the colour of a status as a style of ``rich``; none for an unknown one."""
    return _STYLES.get(status, "")


def reason(why: str) -> str:
    """Return why something is stalled or failed, in words; another program's reason as it is."""
    return _REASONS.get(why) or one_line(why.replace("_", " "))


def duration(ms: float | None) -> str:
    """Return ``41 ms``, ``12.4 s``, ``3m 05s``, ``2h 10m``: at most seven characters."""
    if ms is None:
        return UNKNOWN
    if ms < 1000:
        return f"{max(0, round(ms))} ms"
    sec = ms / 1000
    if sec < 60:
        return f"{sec:.2f} s" if sec < 10 else f"{min(sec, 59.9):.1f} s"
    minutes = int(sec // 60)
    if minutes < 60:
        return f"{minutes}m {int(sec % 60):02}s"
    hours = minutes // 60
    if hours < 48:
        return f"{hours}h {minutes % 60:02}m"
    return f"{hours // 24}d {hours % 24}h"


def elapsed(since: float | None, now: float) -> str:
    """Return how long something has lasted, in whole seconds: it changes once a second."""
    if since is None:
        return UNKNOWN
    sec = max(0, int((now - since) // 1000))
    return f"{sec}s" if sec < 60 else duration(sec * 1000)


def ago(then: float | None, now: float) -> str:
    """Return ``just now``, ``14 s ago``, ``3 h ago``."""
    if then is None:
        return UNKNOWN
    sec = max(0, int((now - then) // 1000))
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if sec < limit:
            return "just now" if sec < 2 else f"{sec // size} {unit} ago"
    return f"{sec // 86_400} d ago"


def clock_time(ms: float) -> str:
    """Return the local time of day, ``12:04:05``."""
    return time.strftime("%H:%M:%S", time.localtime(ms / 1000))


def moment(ms: float | None, now: float) -> str:
    """Return the local time of day; with the date if that is not today's."""
    if ms is None:
        return UNKNOWN
    then, today = time.localtime(ms / 1000), time.localtime(now / 1000)
    is_today = (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", then)


def count(number: float | None) -> str:
    """Return ``7``, ``1,234``, ``12.3k``, ``4.9M``."""
    if number is None:
        return UNKNOWN
    if number < 10_000:
        return f"{round(number):,}"
    for size, unit in ((1_000, "k"), (1_000_000, "M")):
        if number < 999_950 * (size // 1000) or unit == "M":
            return f"{number / size:.1f}".removesuffix(".0") + unit
    raise AssertionError("every number has a unit")


def short_job(job: str, task: str | None) -> str:
    """Return a job's id without that of its task: ``search:42`` for ``6ba529d4:search:42``."""
    rest = job[len(task) :].lstrip(":_-/.") if task and job.startswith(task) else ""
    return one_line(rest or job)


def task_name(title: str | None, kind: str | None, key: str) -> str:
    """Return a task's title, else its type with spaces, else the start of its id."""
    if title:
        return one_line(title)
    if kind:
        return one_line(kind if "." in kind else kind.replace("_", " "))
    return one_line(key[:8] if len(key) > 10 else key)


def queue_label(name: str) -> str:
    """Return a queue's name without what all queues of the reference coordinator share."""
    head, separator, last = name.rpartition(":tasks:")
    if separator and last.endswith("_priority") and head:
        return one_line(last.removesuffix("_priority"))
    return one_line(name)
