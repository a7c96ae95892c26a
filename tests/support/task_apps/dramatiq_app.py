"""A Dramatiq application; ``dramatiq tests.support.task_apps.dramatiq_app``."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import otel_bridge
from otel_bridge.adapters.dramatiq import DramatiqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

otel_bridge.configure(service_name="dramatiq-app")
DramatiqAdapter().instrument()

QUEUE = "default"
broker = RedisBroker(url=bus_url())
dramatiq.set_broker(broker)


@dramatiq.actor
def add(x: int) -> None:
    assert x + 1


@dramatiq.actor(max_retries=0)
def boom() -> None:
    raise ValueError("no such school")


@dramatiq.actor(max_retries=3, min_backoff=1, max_backoff=1)
def flaky(marker: str) -> None:
    if is_first_time(marker):
        raise ConnectionError("try again")


@dramatiq.actor
def nap(gate: str) -> None:
    wait_for(gate)


@dramatiq.actor(time_limit=1000, max_retries=0)
def slow() -> None:
    wait_for("no such gate")


@dramatiq.actor
def nest() -> None:
    add.send(1)


def submit(name: str, *args: Any) -> str:
    """Enqueue a job; its id."""
    if name == "unknown":
        message = dramatiq.Message[Any](
            queue_name=QUEUE, actor_name=name, args=args, kwargs={}, options={}
        )
        return str(broker.enqueue(message).message_id)
    return str(broker.get_actor(name).send(*args).message_id)
