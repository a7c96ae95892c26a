"""Worker processes killed and stopped at random: no job is lost, none is completed twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
from dataclasses import dataclass, field

import pytest
import redis.asyncio as redis_asyncio
from redis.exceptions import RedisError

from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import Priority, QueuedJob, TaskStatus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.coordinator import eventually
from tests.support.queue_clients import connect
from tests.support.redis_server import RedisServer
from tests.support.worker_process import start

LEASE_SEC = 1.5
POISON = "poison"


@dataclass
class Crew:
    """Worker processes, replaced when they die."""

    url: str
    chance: random.Random
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0
    kills: int = 0
    stops: int = 0

    def fill(self, size: int) -> None:
        """Replace the dead."""
        self.processes = [process for process in self.processes if process.poll() is None]
        while len(self.processes) < size:
            self.started += 1
            process = start("jobs", self.url, f"c{self.started}", workers=2, lease_sec=LEASE_SEC)
            self.processes.append(process)

    async def harm(self) -> None:
        """Kill one, or stop it for longer than its lease."""
        victim = self.chance.choice(self.processes)
        with contextlib.suppress(ProcessLookupError):
            if self.chance.random() < 0.7:
                self.kills += 1
                victim.send_signal(signal.SIGKILL)
                await asyncio.to_thread(victim.wait)
            else:
                self.stops += 1
                victim.send_signal(signal.SIGSTOP)
                await asyncio.sleep(LEASE_SEC * 1.5)
                victim.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ask every process to stop; one that does not is killed."""
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def submit_all(client: redis_asyncio.Redis, count: int, work_ms: int) -> list[str]:
    """Jobs of half to one and a half times ``work_ms``, over all priorities, and a poison one."""
    queue = TaskQueue(client)
    jobs = [
        QueuedJob(
            id=f"j{number}",
            type="work",
            parent_task_id="p",
            priority=list(Priority)[number % 3],
            payload={"ms": work_ms // 2 + number * 7 % work_ms},
        )
        for number in range(count)
    ]
    for job in [*jobs, QueuedJob(id=POISON, type="poison", parent_task_id="p")]:
        await queue.submit(job)
    return [job.id for job in jobs]


async def assert_nothing_lost(client: redis_asyncio.Redis, job_ids: list[str]) -> None:
    queue = TaskQueue(client)
    not_completed = [
        job_id for job_id in job_ids if await queue.status(job_id) is not TaskStatus.COMPLETED
    ]
    assert not_completed == []
    assert set(job_ids) == set(await queue.results(job_ids))
    assert await queue.status(POISON) == TaskStatus.FAILED
    assert "3 workers stopped answering" in str(await queue.error(POISON))
    assert await client.lrange(DEFAULT_KEYS.dead_letters, 0, -1) == [POISON]
    left = [str(key) async for key in client.scan_iter("nexus:*", count=1000)]
    passing = ("nexus:processing:", DEFAULT_KEYS.leases, DEFAULT_KEYS.delayed, *DEFAULT_KEYS.queues)
    assert [key for key in left if key.startswith(passing) or key.endswith(":lease")] == []


async def is_done(client: redis_asyncio.Redis) -> bool:
    try:
        return (await TaskQueue(client).progress("p")).is_done
    except (RedisError, OSError):
        return False


@pytest.mark.fault
async def test_killed_workers_lose_no_job(own_redis: RedisServer) -> None:
    """80 jobs and a poison one, 2 processes, 4 kills or stops: all completed, the poison dead."""
    url = own_redis.url
    client = connect(url)
    crew = Crew(url, random.Random(1))
    try:
        job_ids = await submit_all(client, 80, 100)
        crew.fill(2)
        for _ in range(4):
            await crew.harm()
            crew.fill(2)

        async def done() -> bool:
            crew.fill(2)
            return await is_done(client)

        await eventually(done, "every job has ended", timeout_sec=60)
        await assert_nothing_lost(client, job_ids)
    finally:
        crew.end()
        await client.aclose()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_chaos(own_redis: RedisServer) -> None:
    """1,500 jobs, 4 processes, kills, stops, a poison job, Redis killed once: nothing is lost."""
    url = own_redis.url
    client = connect(url)
    crew = Crew(url, random.Random(20261124))
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        job_ids = await submit_all(client, 1500, 160)
        crew.fill(4)
        while loop.time() < started + 15:
            await crew.harm()
            crew.fill(4)
        own_redis.kill()
        await asyncio.sleep(1)
        own_redis.start()
        while loop.time() < started + 30:
            await crew.harm()
            crew.fill(4)

        async def done() -> bool:
            crew.fill(4)
            return await is_done(client)

        await eventually(done, "every job has ended", timeout_sec=300)
        await assert_nothing_lost(client, job_ids)
        executions = await client.hgetall("test:executions")
        again = sum(int(count) > 1 for name, count in executions.items() if name != POISON)
        print(
            f"\n{len(job_ids)} jobs done in {loop.time() - started:.1f} s; {crew.kills} SIGKILL, "
            f"{crew.stops} SIGSTOP, Redis killed once; {again} jobs ran more than once, "
            f"{crew.started} processes"
        )
    finally:
        crew.end()
        await client.aclose()
