"""A Dramatiq application that has never heard of this product."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.support.task_apps.work import bus_url

dramatiq.set_broker(RedisBroker(url=bus_url()))


@dramatiq.actor
def add(x: int) -> None:
    assert x + 1


if __name__ == "__main__":
    add.send(1)
