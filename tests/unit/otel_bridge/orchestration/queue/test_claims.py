"""Claims and counts as values."""

from __future__ import annotations

import pytest

from otel_bridge.orchestration.queue.claims import Claim, JobUnreadableError, Progress
from otel_bridge.orchestration.queue.task_types import QueuedJob


def claim_of(data: str, retries: int = 0, crashes: int = 0) -> Claim:
    return Claim("j", "w", 1, "queue", data, retries, crashes)


def test_a_claimed_job_knows_its_id_and_its_attempts() -> None:
    """Failed attempts and crashes count; the queue's own id and count replace the stored ones."""
    data = QueuedJob(id="other", type="search", retry_count=9).model_dump_json()
    claim = claim_of(data, retries=1, crashes=2)
    assert claim.retry_count == 3
    assert (claim.job().id, claim.job().retry_count, claim.job().type) == ("j", 3, "search")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "job j has no data"),
        ("{", "not a job: Invalid JSON"),
        ('{"id": "j"}', "not a job: type: Field required"),
        ('{"id": "j", "type": "t", "max_retries": -1}', "not a job: max_retries: Input should be"),
        ('{"payload":' * 5000, "not a job: "),
    ],
)
def test_what_is_no_job_says_why(data: str, reason: str) -> None:
    """An entry that cannot be read is an error with the field, and never another exception."""
    with pytest.raises(JobUnreadableError) as caught:
        claim_of(data).job()
    assert str(caught.value).startswith(reason)


def test_a_group_is_done_when_nothing_is_pending() -> None:
    """Completed and failed jobs have ended; everything else is pending."""
    assert Progress(completed=2, failed=1, pending=0).is_done
    assert not Progress(completed=2, failed=1, pending=1).is_done
    assert Progress().is_done
