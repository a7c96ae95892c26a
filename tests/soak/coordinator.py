"""
Enqueues RATE jobs a second of research tasks: ``python -m tests.soak.coordinator URL NAME RATE``.

Several tasks of three phases are open at any time. SIGTERM lets the open ones end.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from typing import Final

import msgspec
import redis.asyncio as redis_asyncio

import otel_bridge
from tests.soak.jobs import QUEUE, Outcome, SoakJob, counters_of, done_key, left_key

_PROJECTS: Final = 3
_OPEN_TASKS: Final = 8
_PHASES: Final = ("search", "extract", "report")
_LARGE_EVERY: Final = 40
"""One task of so many has phases of hundreds of jobs."""
_KILL_EVERY_SEC: Final = 10.0
_MAX_WAIT_SEC: Final = 600
_CATCH_UP_SEC: Final = 0.5


class Coordinator:
    """
    Runs research tasks until it is stopped.

    Args:
        client: Has the queue.
        name: Part of the ids of its tasks.
        jobs_per_sec: Its rate; it falls below that while the workers do not keep up.
    """

    def __init__(self, client: redis_asyncio.Redis, name: str, jobs_per_sec: float) -> None:
        self.stop = asyncio.Event()
        self._client = client
        self._name = name
        self._chance = random.Random(name)
        self._tasks = 0
        self._next_at = time.monotonic()
        self._step_sec = 1 / jobs_per_sec
        self._kill_at = time.monotonic() + _KILL_EVERY_SEC
        self._deaths = 0

    async def run(self) -> None:
        """Keep some tasks open until ``stop`` is set."""
        await asyncio.gather(*(self._run_tasks() for _ in range(_OPEN_TASKS)))

    async def _run_tasks(self) -> None:
        while not self.stop.is_set():
            self._tasks += 1
            await self._run_task(self._tasks)

    async def _run_task(self, number: int) -> None:
        task_id = f"{self._name}-{number}"
        is_large = number % _LARGE_EVERY == 0
        project = f"project-{number % _PROJECTS}"
        async with otel_bridge.research_task(task_id, title=f"Soak {task_id}", project_id=project):
            for name in _PHASES:
                count = self._chance.randint(5, 30) * (15 if is_large else 1)
                async with otel_bridge.phase(name, total=count):
                    await self._run_phase(f"{task_id}_{name}", count)

    async def _run_phase(self, batch: str, count: int) -> None:
        await self._client.set(left_key(batch), count, ex=_MAX_WAIT_SEC)
        for number in range(count):
            await self._wait_turn()
            await self._enqueue(f"{batch}_{number}", batch)
        found = await self._client.blpop([done_key(batch)], timeout=_MAX_WAIT_SEC)
        assert found is not None, f"the jobs of {batch} did not end"

    async def _enqueue(self, job_id: str, batch: str) -> None:
        async with otel_bridge.enqueue(
            task_id=job_id, task_type="soak_step", queue=QUEUE
        ) as carrier:
            job = SoakJob(job_id, batch, dict(carrier), self._outcome())
            await self._client.rpush(QUEUE, msgspec.json.encode(job))

    def _outcome(self) -> Outcome:
        now = time.monotonic()
        if now >= self._kill_at:
            self._kill_at = now + _KILL_EVERY_SEC
            self._deaths += 1
            return "dies" if self._deaths % 2 else "dies_and_is_requeued"
        found = self._chance.random()
        return "fails" if found < 0.08 else "retries" if found < 0.12 else "completes"

    async def _wait_turn(self) -> None:
        """Keep the rate of all tasks together; what was missed longer ago is not made up for."""
        now = time.monotonic()
        self._next_at = max(now - _CATCH_UP_SEC, self._next_at + self._step_sec)
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)


async def _main(url: str, name: str, jobs_per_sec: float) -> None:
    bridge = otel_bridge.configure(service_name=name)
    # A phase is waited for by one command, for longer than redis-py waits for an answer by default.
    client = redis_asyncio.Redis.from_url(url, socket_timeout=2 * _MAX_WAIT_SEC)
    coordinator = Coordinator(client, name, jobs_per_sec)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, coordinator.stop.set)
    await coordinator.run()
    await asyncio.to_thread(bridge.shutdown, 30)
    for key, count in counters_of(bridge).items():
        await client.incrby(key, int(count))
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
