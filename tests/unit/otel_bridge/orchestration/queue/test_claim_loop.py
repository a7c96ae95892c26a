"""The loop in which a worker claims and runs jobs."""

from __future__ import annotations

import asyncio
import logging

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from otel_bridge.orchestration.queue import claim_loop
from otel_bridge.orchestration.queue.claim_loop import (
    SharedQueueGuard,
    run_claim_loop,
    until_stop,
)
from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.redis_retry import RedisRetry
from otel_bridge.orchestration.queue.task_queue import Claim
from otel_bridge.orchestration.queue.wake import WakeUpNotification

LOGGER = "otel_bridge.orchestration.queue"


def claim_of(job_id: str) -> Claim:
    return Claim(job_id, "w", 1, "queue", "", 0, 0)


class Rig:
    """A loop over given answers of the queue; it stops when they are used up."""

    def __init__(self, *answers: Claim | Exception | None) -> None:
        self.stop = asyncio.Event()
        self.queued = WakeUpNotification()
        self.guard = SharedQueueGuard()
        self.counts: list[int] = []
        self.ran: list[str] = []
        self._answers = list(answers)

    async def claim(self, claims: int) -> Claim | None:
        self.counts.append(claims)
        answer = self._answers.pop(0)
        if not self._answers:
            self.stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run_job(self, claim: Claim) -> None:
        self.ran.append(claim.job_id)
        if claim.job_id == "bad":
            raise ValueError("a bug")

    async def run(self, idle_sec: float = 0.0) -> None:
        async with asyncio.timeout(5):
            await run_claim_loop(
                self.claim,
                self.run_job,
                stop=self.stop,
                queued=self.queued,
                redis_retry=RedisRetry(asyncio.Event()),
                guard=self.guard,
                idle_sec=idle_sec,
            )


async def test_jobs_are_run_one_after_the_other_until_the_stop() -> None:
    """Each claim is given the number of jobs claimed before; a claimed job still runs."""
    rig = Rig(claim_of("a"), None, claim_of("b"), claim_of("c"))
    await rig.run()
    assert rig.ran == ["a", "b", "c"]
    assert rig.counts == [0, 1, 1, 2]


async def test_after_the_stop_nothing_is_claimed() -> None:
    """A loop that is stopped before it starts claims no job."""
    rig = Rig(claim_of("a"))
    rig.stop.set()
    await rig.run()
    assert rig.counts == []


async def test_an_idle_loop_claims_again_when_notified() -> None:
    """A notification ends the wait of an idle loop, however long it would be."""
    rig = Rig(None, claim_of("a"))
    running = asyncio.create_task(rig.run(idle_sec=3600))
    while not rig.counts:
        await asyncio.sleep(0)
    rig.queued.notify()
    await running
    assert rig.ran == ["a"]


async def test_a_notification_during_the_claim_is_not_missed() -> None:
    """A job that is queued while an empty answer is on its way is claimed at once."""
    rig = Rig(None, claim_of("a"))
    first = rig.claim

    async def claim(claims: int) -> Claim | None:
        answer = await first(claims)
        rig.queued.notify()
        return answer

    rig.claim = claim  # type: ignore[method-assign]
    await rig.run(idle_sec=3600)
    assert rig.ran == ["a"]


async def test_an_error_of_a_job_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged with the job's id, and the next job runs."""
    rig = Rig(claim_of("bad"), claim_of("good"))
    await rig.run()
    assert rig.ran == ["bad", "good"]
    (record,) = caplog.records
    assert record.getMessage().startswith("job bad: its attempt ended without a recorded outcome")
    assert record.exc_info is not None


@pytest.mark.parametrize("error", [RedisConnectionError("away"), OSError("away")])
async def test_an_outage_of_redis_does_not_end_the_loop(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outage and its end are logged once each, and the next claim succeeds."""
    monkeypatch.setattr(claim_loop, "IDLE_SEC", 0.0)
    caplog.set_level(logging.INFO, LOGGER)
    rig = Rig(error, error, claim_of("a"))
    await rig.run()
    assert rig.ran == ["a"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_another_error_of_the_claim_ends_the_loop() -> None:
    """A bug in claiming is not repeated for ever."""
    with pytest.raises(ZeroDivisionError):
        await Rig(ZeroDivisionError()).run()


async def test_an_item_of_another_program_ends_all_loops(caplog: pytest.LogCaptureFixture) -> None:
    """The loop that finds it ends, an idle one is woken and ends; one line names the item."""
    found = SharedQueueError("nexus:tasks:normal_priority", '{"id": "theirs"}')
    rig = Rig(claim_of("a"), found, claim_of("b"))
    idle = Rig(None, claim_of("c"))
    idle.guard, idle.queued = rig.guard, rig.queued
    waiting = asyncio.create_task(idle.run(idle_sec=3600))
    while not idle.counts:
        await asyncio.sleep(0)
    await rig.run()
    await waiting
    rig.guard.report(SharedQueueError("another", "later"))
    assert (rig.ran, idle.ran, rig.guard.error) == (["a"], [], found)
    assert [r.getMessage() for r in caplog.records if r.name.startswith(LOGGER)] == [
        f"no more jobs are claimed, running ones are finished: {found.problem}"
    ]


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_guard_that_tripped_waits_for_running_jobs_but_not_after_a_stop(
    is_stopped: bool,
) -> None:
    """Once a queue is shared, what runs may end; a signal ends the wait for it."""
    stop, guard, is_over = asyncio.Event(), SharedQueueGuard(), asyncio.Event()
    running = asyncio.create_task(is_over.wait())
    waiting = asyncio.create_task(until_stop(stop, guard, [running]))
    guard.report(SharedQueueError("queue", "item"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    (stop if is_stopped else is_over).set()
    async with asyncio.timeout(5):
        await waiting
    assert running.done() is not is_stopped
    running.cancel()
