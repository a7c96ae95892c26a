"""An RQ application; ``python -m tests.support.task_apps.rq_app`` is its worker."""

from __future__ import annotations

import os
import signal
from typing import Any

import redis
from rq import Queue, Repeat, Retry, Worker
from rq.job import Job

import otel_bridge
from otel_bridge.adapters.rq import RqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

otel_bridge.configure(service_name="rq-app")
RqAdapter().instrument()

QUEUE = "default"
queue = Queue(QUEUE, connection=redis.Redis.from_url(bus_url()))


def add(x: int) -> int:
    return x + 1


def boom() -> None:
    raise ValueError("no such school")


def flaky(marker: str) -> str:
    if is_first_time(marker):
        raise ConnectionError("try again")
    return "done"


def nap(gate: str) -> None:
    wait_for(gate)


def slow() -> None:
    wait_for("no such gate")


def nest() -> None:
    queue.enqueue("tests.support.task_apps.rq_app.add", 1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def submit(name: str, *args: Any) -> str:
    """Enqueue a job, or by the end of its name run it here or repeat it once; its id."""
    name, _, way = name.partition("@")
    retry = Retry(max=3) if name == "flaky" else None
    repeat = Repeat(times=1) if way == "twice" else None
    timeout = 1 if name == "slow" else None
    function = f"tests.support.task_apps.rq_app.{name}"
    chosen = Queue(QUEUE, connection=queue.connection, is_async=way != "here")
    job = chosen.enqueue(function, *args, retry=retry, repeat=repeat, job_timeout=timeout)
    return str(job.id)


def revoke(task_id: str) -> None:
    """Cancel a job that waits."""
    Job.fetch(task_id, connection=queue.connection).cancel()


def forget(task_id: str) -> None:
    """Delete a job."""
    Job.fetch(task_id, connection=queue.connection).delete()


def requeue(task_id: str) -> None:
    """Put a job that has failed back into its queue."""
    Job.fetch(task_id, connection=queue.connection).requeue()


if __name__ == "__main__":
    Worker([queue], connection=queue.connection).work()
