"""Claims and counts as values; tests/contract/test_task_queue.py proves the queue on Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_bridge.orchestration.queue import task_queue
from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.orchestration.queue.task_queue import (
    Claim,
    JobUnreadableError,
    Progress,
    TaskQueue,
    text,
)
from otel_bridge.orchestration.queue.task_types import QueuedJob
from tests.support.queue_clients import embedded


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


@pytest.mark.parametrize(("value", "expected"), [(b"a\xff", "a\ufffd"), ("a", "a"), (7, "7")])
def test_answers_become_text(value: object, expected: str) -> None:
    """Answers are read alike from clients that decode and from those that do not."""
    assert text(value) == expected


def test_every_script_has_the_prelude() -> None:
    """Each Lua file beside the queue is loaded by its name, with the shared functions before it."""
    names = {path.stem for path in (Path(task_queue.__file__).parent / "lua").glob("*.lua")}
    assert "prelude" in names
    prelude = lua_source("claim").partition("-- Claims")[0]
    assert "local function ownership" in prelude
    assert len(names) == 10
    for name in names - {"prelude"}:
        assert lua_source(name).startswith(prelude)


async def test_nothing_is_asked_for_no_ids() -> None:
    """An empty list of ids is answered without a command, which Redis would refuse."""
    client = embedded()
    queue = TaskQueue(client)
    assert await queue.results([]) == {}
    assert await queue.known([]) == set()
    await client.aclose()
