"""
``SharedMemory``: what a work-horse leaves for its worker in memory that both share.

RQ's worker forks a work-horse for each job. If it is killed, or exits before RQ has decided what
becomes of the job, it cannot publish the end of the attempt; its worker does.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any, Final

__all__ = ["SharedMemory", "exit_reason"]

_SIZE: Final = 1024
_HEAD: Final = struct.Struct(">QH")
"""Span id and length of the text."""


class SharedMemory:
    """
    One worker's memory shared with its work-horses; create it in the worker's process.

    Not before: the workers of a pool are forked, and would share it. Not for several threads; no
    method waits or raises. It is freed with the object.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._job_id: str | None = None

    def begin(self, job_id: str) -> None:
        """Forget the former job, in the worker, before the fork for this one."""
        self._job_id = job_id
        self._memory[: _HEAD.size] = bytes(_HEAD.size)

    def end(self) -> None:
        """Forget the job, in the worker, after its work-horse has ended."""
        self._job_id = None

    def started(self, span_id: int) -> None:
        """Note the span of the attempt, in the work-horse; 0 for none."""
        self._memory[: _HEAD.size] = _HEAD.pack(span_id, 0)

    def failed(self, span_id: int, error: str) -> None:
        """Note why the attempt failed, for the worker to publish; at most about 1,000 bytes."""
        text = error.encode(errors="replace")[: _SIZE - _HEAD.size]
        self._memory[: _HEAD.size + len(text)] = _HEAD.pack(span_id, len(text)) + text

    def read(self, job_id: str) -> tuple[str | None, str]:
        """Return span id (16 hex digits, or None) and error (perhaps empty) of a job's attempt."""
        if job_id != self._job_id:
            return None, ""
        span_id, length = _HEAD.unpack(self._memory[: _HEAD.size])
        text = self._memory[_HEAD.size : _HEAD.size + length].decode(errors="replace")
        return f"{span_id:016x}" if span_id else None, text


def exit_reason(job: Any, wait_status: int | None) -> str:
    """
    Return the reason of ``MonitoringEvent.reason`` for which a work-horse ended without its job.

    Args:
        job: The job, with RQ's ``timeout``, ``started_at`` and ``ended_at``.
        wait_status: What ``os.wait4`` returned; None: the worker itself killed the work-horse, as
            it does 60 s after a time limit that the work-horse did not notice.
    """
    if wait_status is None:
        started, ended, limit = job.started_at, job.ended_at, job.timeout
        is_over = started and ended and limit and 0 < limit <= (ended - started).total_seconds()
        return "time_limit" if is_over else "killed"
    # The lower 7 bits are the signal, as in ``os.WIFSIGNALED``, which Windows has not.
    return "killed" if 0 < wait_status & 0x7F < 0x7F else "worker_lost"
