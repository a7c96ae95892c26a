"""An RQ application that has never heard of this product."""

from __future__ import annotations

import redis
from rq import Queue

from tests.support.task_apps.work import bus_url


def add(x: int) -> int:
    return x + 1


if __name__ == "__main__":
    queue = Queue(connection=redis.Redis.from_url(bus_url()))
    queue.enqueue("tests.support.task_apps.plain_rq.add", 1)
