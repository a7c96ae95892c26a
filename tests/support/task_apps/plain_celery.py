"""A Celery application that has never heard of this product."""

from __future__ import annotations

from celery import Celery

from tests.support.task_apps.work import bus_url, is_first_time, wait_for

app = Celery("shop", broker=bus_url(), backend=bus_url())
app.conf.update(
    broker_connection_retry_on_startup=True, broker_transport_options={"polling_interval": 0.05}
)


@app.task(name="send_mail")
def send_mail(gate: str) -> None:
    wait_for(gate)


@app.task(
    name="charge", autoretry_for=(ConnectionError,), default_retry_delay=0, retry_backoff=False
)
def charge(marker: str) -> None:
    if is_first_time(marker):
        raise ConnectionError("the bank is away")


if __name__ == "__main__":
    import sys

    getattr(sys.modules[__name__], sys.argv[1]).delay(sys.argv[2])
