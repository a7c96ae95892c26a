"""No-op jobs of Celery."""

from __future__ import annotations

from celery import Celery

from tests.benchmarks.noop_apps.watching import BROKER_URL, watch

watch("celery.CeleryAdapter")

app = Celery("noop", broker=BROKER_URL, backend=None)
app.conf.update(
    task_ignore_result=True,
    # With the default of 4 one process waits for messages between no-op jobs.
    worker_prefetch_multiplier=50,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(number: int) -> None:
    pass


async def enqueue(count: int) -> None:
    for number in range(count):
        noop.delay(number)
