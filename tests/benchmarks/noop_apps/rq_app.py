"""No-op jobs of RQ."""

from __future__ import annotations

import redis
from rq import Queue, Worker

from tests.benchmarks.noop_apps.watching import BROKER_URL, watch

watch("rq.RqAdapter")

queue = Queue(connection=redis.Redis.from_url(BROKER_URL))


def noop(number: int) -> None:
    pass


async def enqueue(count: int) -> None:
    for number in range(count):
        # By name, as a web application does: it need not import the jobs' code.
        queue.enqueue("tests.benchmarks.noop_apps.rq_app.noop", number, result_ttl=0)


def work() -> None:
    Worker([queue], connection=queue.connection).work(logging_level="ERROR")
