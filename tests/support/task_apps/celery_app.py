"""
A Celery application; ``celery -A tests.support.task_apps.celery_app worker``.

The environment says where it sets up otel-bridge (``SET_UP_IN``: ``module`` or one of Celery's
signals), and which other instrumentations are active (``BESIDE``: ``otel`` and ``sentry``, before
or after ours, as ``otel ours sentry``; ``otel@process`` sets one up in each pool process).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from celery import Celery, chord, group, signals
from celery.exceptions import Reject
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer

import otel_bridge
from otel_bridge.adapters.celery import CeleryAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for


def set_up_ours(**_: Any) -> None:
    otel_bridge.configure(service_name="celery-app")
    CeleryAdapter().instrument()


def set_up_otel(**_: Any) -> None:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call, unused-ignore]


def set_up_sentry(**_: Any) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        traces_sample_rate=1.0,
        integrations=[CeleryIntegration()],
        transport=lambda _: None,
    )


SET_UPS = {"ours": set_up_ours, "otel": set_up_otel, "sentry": set_up_sentry}
PLACE = os.environ.get("SET_UP_IN", "module")
IS_WORKER = "worker" in sys.argv

for named in os.environ.get("BESIDE", "ours").split():
    what, _, place = named.partition("@")
    if what == "ours" and IS_WORKER and PLACE != "module":
        getattr(signals, PLACE).connect(set_up_ours, weak=False)
    elif place == "process":
        if IS_WORKER:
            signals.worker_process_init.connect(SET_UPS[what], weak=False)
    else:
        SET_UPS[what]()

QUEUE = "celery"
app = Celery("app", broker=bus_url(), backend=bus_url())
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "polling_interval": 0.05,
        "visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT", "3600")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "priority_steps": [0, 3, 6, 9],
        "queue_order_strategy": "priority",
    },
    worker_hijack_root_logger=False,
    task_queues=[
        Queue(QUEUE),
        Queue("high", Exchange("celery"), routing_key="urgent"),
        Queue("media", Exchange("media", type="topic"), routing_key="media.#"),
    ],
    task_default_queue=QUEUE,
    task_routes={"routed": {"queue": "high"}},
)


@signals.task_prerun.connect(weak=False)
@signals.task_postrun.connect(weak=False)
def raise_beside(task: Any = None, **_: Any) -> None:
    """A signal handler of another library."""
    if task.name == "beside":
        raise RuntimeError("another library")


@app.task(name="add")
def add(x: int) -> int:
    return x + 1


@app.task(name="beside")
def beside() -> None:
    """A job for which another library's signal handlers raise."""


@app.task(name="routed")
def routed() -> None:
    """A job that ``task_routes`` sends elsewhere."""


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


@app.task(name="die_once", acks_late=True, reject_on_worker_lost=True)
def die_once(marker: str) -> None:
    if is_first_time(marker):
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="die_and_retry", retry_on_worker_lost=True, default_retry_delay=0)
def die_and_retry(marker: str) -> None:
    if is_first_time(marker):
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="slow_once", acks_late=True, acks_on_failure_or_timeout=False, time_limit=1)
def slow_once(marker: str) -> None:
    if is_first_time(marker):
        wait_for("no such gate")


@app.task(name="leave")
def leave() -> None:
    sys.exit(3)


@app.task(name="interrupt")
def interrupt() -> None:
    raise KeyboardInterrupt


class Unlucky(app.Task):  # type: ignore[misc, name-defined, unused-ignore]
    """A task whose own failure handler fails."""

    def on_failure(self, *args: Any) -> None:
        raise RuntimeError("on_failure")


@app.task(name="unlucky", base=Unlucky)
def unlucky() -> None:
    raise ValueError("no such school")


@app.task(name="unserialisable")
def unserialisable() -> object:
    return object()


@app.task(name="reject", acks_late=True)
def reject(marker: str, is_given_back: bool) -> None:
    if is_first_time(marker):
        raise Reject("not now", requeue=is_given_back)


@app.task(name="again", acks_late=True)
def again(marker: str, gate: str) -> None:
    """Works until the gate opens the first time; delivered again, it is quick."""
    if is_first_time(marker):
        wait_for(gate)


@app.task(name="page", bind=True)
def page(self: Any, number: int) -> int:
    """Reads page after page, each in place of the one before."""
    if number < 3:
        raise self.replace(page.s(number + 1))
    return number


@app.task(name="split", bind=True)
def split(self: Any, body: str) -> None:
    """Is replaced by a group and its body, which has the id of this job."""
    raise self.replace(chord(group(add.s(1), add.s(2)), app.signature(body)))


@app.task(name="a_body")
def a_body(results: list[int]) -> int:
    return sum(results)


@app.task(name="a_bad_body")
def a_bad_body(results: list[int]) -> int:
    raise ValueError(f"no {results}")


@app.task(name="loop", bind=True)
def loop(self: Any, marker: str) -> None:
    """Enqueues itself once more, under its own id."""
    if is_first_time(marker):
        self.apply_async([marker], task_id=self.request.id)


@app.task(name="steps", bind=True)
def steps(self: Any, state: str, metas: list[Any]) -> None:
    for meta in metas:
        self.update_state(state=state, meta=meta)


@app.task(name="elsewhere")
def elsewhere() -> None:
    """Sends a job of another application, by its name."""
    Celery("second", broker=bus_url()).send_task("add", [1])


@app.task(name="often", bind=True, max_retries=5)
def often(self: Any, sizes: str) -> None:
    """Is retried five times, and writes down how large its message's headers are."""
    with open(sizes, "a", encoding="utf-8") as lines:
        lines.write(f"{len(repr(self.request.headers))}\n")
    if self.request.retries < 5:
        raise self.retry(countdown=0)


@app.task(name="in_place")
def in_place() -> None:
    """Runs another task in place, then enqueues one."""
    add.apply([1])
    add.delay(1)


def revoke(task_id: str) -> None:
    """Call a job off, also while it runs."""
    app.control.revoke(task_id, terminate=True)


WAYS: dict[str, dict[str, Any]] = {
    "object": {"queue": Queue("high", Exchange("celery"), routing_key="urgent")},
    "name": {"queue": "high"},
    "topic": {"queue": "media", "routing_key": "media.video"},
    "urgent": {"priority": 9},
    "late": {"countdown": 3600},
    "expired": {"expires": 0.001, "countdown": 0.2},
}
"""How ``submit`` enqueues, by the end of the name that it is given."""


def submit(name: str, *args: Any) -> str:
    """Enqueue a job, by the end of its name in another way than by ``delay()``; its id."""
    name, _, way = name.partition("@")
    if name == "purge":
        app.control.purge()
        return name
    if name == "unknown":
        return str(app.send_task("unknown").id)
    task = app.tasks[name]
    if way == "here":
        return str(task.apply(args).id)
    if way == "traceparent":
        return send_by_another_program(name, *args)
    if way == "callback":
        return str(task.apply_async(args, link_error=add.si(1)).id)
    return str(task.apply_async(args, **WAYS.get(way, {})).id)


def send_by_another_program(name: str, traceparent: str) -> str:
    """A message of a producer with its own tracing and without ours."""
    task_id = traceparent.split("-")[1]
    headers = {"lang": "py", "task": name, "id": task_id, "traceparent": traceparent}
    with Connection(bus_url()) as connection:
        Producer(connection).publish(
            [[1], {}, {}],
            headers=headers,
            routing_key=QUEUE,
            serializer="json",
            correlation_id=task_id,
        )
    return task_id
