"""
What ``TaskQueue`` gives back: a ``Claim`` is one attempt at a job; the others say what was done.

All are immutable records of values that came from Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pydantic import ValidationError

from otel_bridge.orchestration.queue.task_types import QueuedJob

__all__ = [
    "Claim",
    "DeadLetter",
    "JobUnreadableError",
    "Maintenance",
    "Ownership",
    "Progress",
    "Submission",
]


class JobUnreadableError(ValueError):
    """Raised when an entry of a queue is not a readable job; the message says why."""


class Ownership(IntEnum):
    """Whether a claim still held its job when a script compared worker and fencing token."""

    OWNED = 1
    ENDED = 0
    """The job had ended already; nothing was changed."""
    SUPERSEDED = -1
    """The lease expired and another attempt started; nothing was changed."""


class Submission(NamedTuple):
    """What ``TaskQueue.submit`` did: whether it queued the job, and the id that the job has."""

    job_id: str
    """Id of the queued job, or of the earlier job with the same id or dedupe key."""
    is_new: bool
    """Whether the job was queued by this call."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt at a job, from ``TaskQueue.claim``; its worker holds it while its lease lasts."""

    job_id: str
    worker_id: str
    attempt: int
    """The fencing token; grows with every claim of the job."""
    queue: str
    data: str
    """The job as JSON; empty when its producer stored none."""
    retries: int
    """Earlier attempts in which the handler failed."""
    crashes: int
    """Earlier attempts in which the worker stopped answering."""

    @property
    def retry_count(self) -> int:
        """Earlier attempts that failed or crashed; released attempts do not count."""
        return self.retries + self.crashes

    def job(self) -> QueuedJob:
        """
        Return the job, decoded from ``data``, with this attempt's ``retry_count``.

        Raises:
            JobUnreadableError: ``data`` is empty, no JSON, lacks a field or has one out of bounds.
        """
        if not self.data:
            raise JobUnreadableError(f"job {self.job_id} has no data")
        try:
            job = QueuedJob.model_validate_json(self.data)
        except (ValidationError, RecursionError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            where = ".".join(str(p) for p in first["loc"]) if first else ""
            what = first["msg"] if first else "nested too deeply"
            raise JobUnreadableError(f"not a job: {where + ': ' if where else ''}{what}") from None
        return job.model_copy(update={"id": self.job_id, "retry_count": self.retry_count})


class DeadLetter(NamedTuple):
    """A job that failed because too many workers stopped answering while running it."""

    claim: Claim
    error: str


class Maintenance(NamedTuple):
    """What one round of ``TaskQueue.maintain`` moved."""

    promoted: int
    """Jobs whose delay was over and that are in a queue again."""
    requeued: tuple[str, ...]
    """Ids of jobs whose lease had expired and that will be delivered again."""
    dead_letters: tuple[DeadLetter, ...]
    """Jobs whose lease had expired once too often and that went to the dead-letter queue."""
    next_due_ms: int | None
    """Milliseconds until the next delayed retry is due; None when there is none."""


class Progress(NamedTuple):
    """Counts of a research task's jobs by their state, from ``TaskQueue.progress``."""

    completed: int = 0
    failed: int = 0
    pending: int = 0
    """Jobs that have not ended: waiting, running or between two attempts."""

    @property
    def is_done(self) -> bool:
        """Whether all jobs have ended."""
        return self.pending == 0
