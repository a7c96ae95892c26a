"""
``Record``: what we keep with an RQ job, in two fields of the job's hash in Redis.

Not in ``job.meta``, which belongs to the user. ``otel_bridge`` holds the carrier (the dict that
carries trace context with a job) and the number of the next attempt; ``otel_bridge_started`` holds
the attempt that started last, so that another worker can report its end. Both travel in commands
that RQ sends anyway. Releases before 1.0 kept the carrier in ``meta``, from where it is still read.

Source: rq 3.0 and 2.6.1 (``Job.to_dict``, ``Job.restore``, ``Job.prepare_for_execution``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from otel_bridge.adapters.base import MESSAGE_KEY, safely
from otel_bridge.adapters.runs import attempts_before, read_carrier
from otel_bridge.events import semconv

__all__ = [
    "FIELD",
    "STARTED_FIELD",
    "Record",
    "Started",
    "copy_key",
    "read_copy",
    "read_fields",
    "record_of",
    "type_of",
]

FIELD: Final = "otel_bridge"
STARTED_FIELD: Final = "otel_bridge_started"
_OLD_ATTEMPT: Final = "otel_bridge_attempt"
_ATTRIBUTE: Final = "_otel_bridge"


@dataclass
class Started:
    """
    The attempt at a job that started last; checks nothing.

    Attributes:
        run: Id of its run; empty if the job has none, because it was enqueued without the adapter.
        attempt: Attempts before it.
        span: Its span id, 16 hex digits.
        worker: Id of the worker that runs it, as in our events.
        carrier: If its worker publishes its events and not its work-horse: the carrier for what
            the job itself enqueues; else None.
        is_ended: Whether its end was published, although RQ still takes it to be running.
    """

    run: str
    attempt: int
    span: str
    worker: str
    carrier: dict[str, str] | None = None
    is_ended: bool = False

    def to_text(self) -> str:
        """Return the text of the hash's field."""
        ids = [self.run, self.attempt, self.span, self.worker]
        return json.dumps([*ids, self.carrier, self.is_ended])


@dataclass
class Record:
    """
    What we know of an RQ job; one for each ``Job`` object, changed by the adapter alone.

    Attributes:
        carrier: The dict that carries trace context with the job; empty: it was enqueued without
            the adapter.
        attempt: Attempts before the next one.
        started: The attempt that started last; None: none has, or it is not known.
        is_retry: Whether this object is about to be put into its queue as a retry; not stored.
    """

    carrier: dict[str, str] = field(default_factory=dict)
    attempt: int = 0
    started: Started | None = None
    is_retry: bool = False

    @property
    def run_id(self) -> str:
        """Id of the job's current run: one enqueue with its retries; empty if it has none."""
        return self.carrier.get(semconv.CARRIER_RUN_ID, "")

    @property
    def has_started(self) -> bool:
        """Whether an attempt of the current run is known to have started."""
        return self.started is not None and self.started.run == self.run_id

    def next_attempt(self) -> int:
        """
        Return the number of the attempt that starts now.

        Greater than the stored one if that has started already: RQ gave the job to a second worker
        where no adapter could count, as in a dashboard that cleans the registries.
        """
        if self.started is not None and self.has_started:
            return max(self.attempt, self.started.attempt + 1)
        return self.attempt

    def last_attempt(self) -> int:
        """Return the number of the attempt that started last, or will start first."""
        if self.started is not None and self.has_started:
            return self.started.attempt
        return self.attempt

    def to_text(self, **more: str) -> str:
        """Return the text of the hash's field; ``more`` is added to it."""
        return json.dumps({"carrier": self.carrier, "attempt": self.attempt, **more})


def record_of(job: Any) -> Record:
    """
    Return the record of a ``Job`` object; a new one is made of what a former release left in meta.

    Never raises. The same object at each call.
    """
    record = getattr(job, _ATTRIBUTE, None)
    if not isinstance(record, Record):
        record = Record()
        _take_from_meta(job, record)
        setattr(job, _ATTRIBUTE, record)
    return record


@safely
def read_fields(job: Any, raw: Any) -> None:
    """
    Read a job's record from its hash, after RQ has restored the job from it; never raises.

    Takes the keys of a former release out of ``job.meta``, so that the user does not see them.

    Args:
        job: The ``Job``.
        raw: The hash, with keys of bytes or text; anything in our fields is accepted.
    """
    record = Record()
    value = _loads(_get(raw, FIELD))
    if isinstance(value, dict):
        record.carrier = read_carrier(value.get("carrier"))
        record.attempt = attempts_before(value.get("attempt"))
    started = _loads(_get(raw, STARTED_FIELD))
    if isinstance(started, list) and len(started) == 6:
        run, attempt, span, worker, carrier, is_ended = started
        record.started = Started(str(run), attempts_before(attempt), str(span), str(worker))
        record.started.carrier = None if carrier is None else read_carrier(carrier)
        record.started.is_ended = bool(is_ended)
    _take_from_meta(job, record)
    setattr(job, _ATTRIBUTE, record)


def _take_from_meta(job: Any, record: Record) -> None:
    meta = job.meta
    if not isinstance(meta, dict):
        return
    carrier, attempt = meta.pop(MESSAGE_KEY, None), meta.pop(_OLD_ATTEMPT, None)
    if not record.carrier and carrier is not None:
        # Not empty, even if it cannot be read: this job was enqueued by an adapter.
        record.carrier = read_carrier(carrier) or {semconv.CARRIER_RUN_ID: ""}
        record.attempt = attempts_before(attempt)


def _get(raw: Any, name: str) -> Any:
    return raw.get(name.encode(), raw.get(name))


def _loads(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str | bytes) else None
    except (ValueError, RecursionError):
        return None  # another program's, or nested too deep


def copy_key(job: Any) -> str:
    """The key that outlives a job with a time to live, so that its expiry can be reported."""
    return f"{job.key}:{FIELD}"


def read_copy(value: Any) -> tuple[Record, str]:
    """
    Read what was stored under ``copy_key``: the record, and the type of the job; never raises.

    Args:
        value: The key's value; anything else than our text gives an empty record.
    """
    found = _loads(value)
    if not isinstance(found, dict):
        return Record(), "job"
    carrier, attempt = read_carrier(found.get("carrier")), attempts_before(found.get("attempt"))
    return Record(carrier, attempt), str(found.get("type") or "job")


def type_of(job: Any) -> str:
    """Return the full name of a job's function; ``job`` if its data cannot be read."""
    try:
        return str(job.func_name)
    except Exception:  # RQ raises several types for a job whose data it cannot read
        return "job"
