"""What is kept with an RQ job: written, read back, and read from what others have left there."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from rq.job import Job

from otel_bridge.adapters.rq.records import (
    FIELD,
    STARTED_FIELD,
    Record,
    Started,
    read_copy,
    read_fields,
    record_of,
    type_of,
)
from otel_bridge.events import semconv

CARRIER = {"traceparent": "00-a-b-01", semconv.CARRIER_RUN_ID: "r"}


def job(meta: Any = None) -> Job:
    """A job that is in no Redis."""
    made = Job.create("os.getpid", connection=Redis(), meta=meta)
    assert made.meta == (meta or {})
    return made


def test_what_is_written_is_read() -> None:
    """Carrier, attempt and the attempt that started last come back as they were."""
    record = Record(CARRIER, 2)
    started = Started("r", 1, "0" * 16, "w@host", {"traceparent": "x"}, is_ended=True)
    read = job()
    raw = {FIELD.encode(): record.to_text().encode(), STARTED_FIELD: started.to_text()}
    read_fields(read, raw)
    assert record_of(read) == Record(CARRIER, 2, started)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[1, 2]", "[" * 100_000, b"\xff", None])
def test_spoilt_fields_count_as_none(text: Any) -> None:
    """Whatever another program has written there, the record is empty."""
    read = job()
    read_fields(read, {FIELD: text, STARTED_FIELD: text})
    assert record_of(read) == Record()
    assert read_copy(text) == (Record(), "job")


def test_the_meta_of_a_former_release() -> None:
    """Its keys are read and taken out of the user's meta; the hash's own field comes first."""
    old = {"otel_bridge": CARRIER, "otel_bridge_attempt": 1, "own": 2}
    one, two = job(dict(old)), job(dict(old))
    assert record_of(one) == Record(CARRIER, 1)
    read_fields(two, {FIELD: Record({"traceparent": "new"}, 5).to_text()})
    assert record_of(two) == Record({"traceparent": "new"}, 5)
    assert one.meta == two.meta == {"own": 2}


def test_attempts_are_numbered_by_what_has_started() -> None:
    """A job that a second worker got without a retry has another attempt, of the same run."""
    record = Record(CARRIER, 1, Started("r", 1, "", ""))
    assert (record.next_attempt(), record.last_attempt(), record.has_started) == (2, 1, True)
    other = Record(CARRIER, 0, Started("former run", 4, "", ""))
    assert (other.next_attempt(), other.last_attempt(), other.has_started) == (0, 0, False)


def test_the_copy_of_a_job_that_may_expire() -> None:
    """It has the carrier and the type, which are gone with the job."""
    assert read_copy(Record(CARRIER, 1).to_text(type="app.add")) == (Record(CARRIER, 1), "app.add")


def test_a_job_whose_data_cannot_be_read() -> None:
    """Its type is ``job``."""
    spoilt = job()
    spoilt.data = b"no pickle"
    assert type_of(spoilt) == "job"
