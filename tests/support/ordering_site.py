"""
A web service that enqueues a job for each order: ``python -m tests.support.ordering_site``.

Arguments: the URL of the Redis, which is log and queue, and the port. FastAPI makes the span of
each request by itself, because ``configure()`` sets the process's tracer provider.
"""

from __future__ import annotations

import json
import sys

import redis
import uvicorn
from fastapi import FastAPI

import otel_bridge
from otel_bridge.settings import BridgeSettings

__all__ = ["ORDERS", "make_app"]

ORDERS = "orders"


def make_app(redis_url: str) -> FastAPI:
    """The service; each order is put into the list ``ORDERS`` with its carrier."""
    bridge = otel_bridge.configure(service_name="web", settings=BridgeSettings(redis_url=redis_url))
    queue = redis.Redis.from_url(redis_url)
    web = FastAPI()

    @web.post("/orders/{number}")
    def order(number: int) -> str:
        job_id = f"order-{number}"
        with otel_bridge.enqueue(task_id=job_id, task_type="ship", queue=ORDERS) as carrier:
            queue.lpush(ORDERS, json.dumps({"task_id": job_id, "carrier": dict(carrier)}))
        return "accepted"

    @web.get("/flushed")
    def is_flushed() -> bool:
        return bridge.flush(20)

    return web


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
