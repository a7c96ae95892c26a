"""A Celery application; ``celery -A tests.support.task_apps.celery_app worker``."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import Celery
from celery.exceptions import Reject

import otel_bridge
from otel_bridge.adapters.celery import CeleryAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

otel_bridge.configure(service_name="celery-app")
CeleryAdapter().instrument()

QUEUE = "celery"
app = Celery("app", broker=bus_url(), backend=bus_url())
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"polling_interval": 0.05},
    worker_hijack_root_logger=False,
)


@app.task(name="add")
def add(x: int) -> int:
    return x + 1


@app.task(name="boom")
def boom() -> None:
    raise ValueError("no such school")


@app.task(name="flaky", bind=True, max_retries=3)
def flaky(self: Any, marker: str) -> str:
    if is_first_time(marker):
        raise self.retry(exc=ConnectionError("try again"), countdown=0)
    return "done"


@app.task(name="nap")
def nap(gate: str) -> None:
    wait_for(gate)


@app.task(name="nest")
def nest() -> None:
    add.delay(1)


@app.task(name="slow", time_limit=1)
def slow() -> None:
    wait_for("no such gate")


@app.task(name="soft", soft_time_limit=1)
def soft() -> None:
    wait_for("no such gate")


@app.task(name="die")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="reject", acks_late=True)
def reject(marker: str, is_given_back: bool) -> None:
    if is_first_time(marker):
        raise Reject("not now", requeue=is_given_back)


def revoke(task_id: str) -> None:
    """Call a job off, also while it runs."""
    app.control.revoke(task_id, terminate=True)


def submit(name: str, *args: Any) -> str:
    """Enqueue a job; its id."""
    if name == "unknown":
        return str(app.send_task("unknown").id)
    return str(app.tasks[name].delay(*args).id)
