"""No-op jobs of Dramatiq."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.benchmarks.noop_apps.watching import BROKER_URL, watch

watch("dramatiq.DramatiqAdapter")

dramatiq.set_broker(RedisBroker(url=BROKER_URL))


@dramatiq.actor
def noop(number: int) -> None:
    pass


async def enqueue(count: int) -> None:
    for number in range(count):
        noop.send(number)
