"""
A Dramatiq application; ``dramatiq tests.support.task_apps.dramatiq_app``.

Variables say what is set up where: ``RIG_CONFIGURE`` names the hook that calls ``configure()``,
``RIG_SENTRY`` when Sentry is set up, ``RIG_REDELIVERY`` lets another worker take over within 1 s.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import sentry_sdk
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, CurrentMessage, GroupCallbacks, Middleware, SkipMessage
from dramatiq.rate_limits.backends import RedisBackend as LimitBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from opentelemetry import context as otel_context
from opentelemetry import trace
from sentry_sdk.integrations.dramatiq import DramatiqIntegration

import otel_bridge
from otel_bridge.adapters.dramatiq import DramatiqAdapter
from tests.support.task_apps.work import bus_url, is_first_time, wait_for

QUEUE = "default"
SENTRY = os.environ.get("RIG_SENTRY")
HAS_ABORT = importlib.util.find_spec("dramatiq_abort") is not None


def set_up() -> None:
    otel_bridge.configure(service_name="dramatiq-app")


def set_up_sentry() -> None:
    sentry_sdk.init(traces_sample_rate=1.0, integrations=[DramatiqIntegration()])


class SetUpLate(Middleware):
    """Calls ``configure()`` in the hook that the variable names, in a worker."""

    def after_process_boot(self, broker: Any) -> None:
        self._set_up("after_process_boot")

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        self._set_up("before_worker_boot")

    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        self._set_up("after_worker_boot")

    def _set_up(self, hook: str) -> None:
        if os.environ.get("RIG_CONFIGURE") == hook:
            set_up()


class Refusing(Middleware):
    """The first of all middleware: skips, rejects or puts off the messages that ask for it."""

    def before_enqueue(self, broker: Any, message: Any, delay: int) -> None:
        if message.options.get("rig") == "unsent":
            raise SkipMessage("not even sent")
        if message.options.get("retries") and message.actor_name == "not_again":
            raise SkipMessage("not again")

    def before_process_message(self, broker: Any, message: Any) -> None:
        wish = message.options.pop("rig", None)
        if wish == "skip":
            raise SkipMessage("not today")
        if wish == "reject":
            message.fail()
        if wish == "put off":
            broker.enqueue(message, delay=100)
            raise SkipMessage("later")

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        if result == "rejected":
            message.fail()


class Raising(Middleware):
    """Another middleware with an error in each hook."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        raise RuntimeError("before")

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        raise RuntimeError("after")


class Leaking(Middleware):
    """An instrumentation that leaves its context attached when a message ends."""

    def before_process_message(self, broker: Any, message: Any) -> None:
        tracer = trace.get_tracer("opentelemetry.instrumentation.dramatiq")
        span = tracer.start_span("process")
        otel_context.attach(trace.set_span_in_context(span))

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        otel_context.attach(otel_context.set_value("left behind", 1))


if SENTRY == "before":
    set_up_sentry()
if os.environ.get("RIG_CONFIGURE") is None or Path(sys.argv[0]).name != "dramatiq":
    set_up()  # the producer has no such hooks
DramatiqAdapter().instrument()
if SENTRY == "after":
    set_up_sentry()

fast = {"maintenance_chance": 1_000_000, "heartbeat_timeout": 1000}
broker = RedisBroker(url=bus_url(), **(fast if "RIG_REDELIVERY" in os.environ else {}))
results = RedisBackend(url=bus_url())
for middleware in (Leaking(), AsyncIO(), CurrentMessage(), Results(backend=results), Raising()):
    broker.add_middleware(middleware)
broker.add_middleware(GroupCallbacks(LimitBackend(url=bus_url())))
broker.middleware.insert(0, Refusing())
broker.add_middleware(SetUpLate())
if HAS_ABORT:
    from dramatiq_abort import Abortable, abort
    from dramatiq_abort.backends import RedisBackend as AbortBackend

    broker.add_middleware(Abortable(backend=AbortBackend.from_url(bus_url())))
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


@dramatiq.actor(max_age=1)
def old() -> None:
    raise AssertionError("it is too old")


@dramatiq.actor
def given_up(message: dict[str, Any], retries: dict[str, int]) -> None:
    assert retries["max_retries"] == 1


@dramatiq.actor(
    time_limit=500, max_retries=1, min_backoff=1, max_backoff=1, on_retry_exhausted="given_up"
)
def slow_twice() -> None:
    wait_for("no such gate")


@dramatiq.actor
def page(marker: str) -> None:
    if is_first_time(marker):
        message = CurrentMessage.get_current_message()
        assert message is not None
        broker.enqueue(message)


@dramatiq.actor(notify_shutdown=True, max_retries=3, min_backoff=1, max_backoff=1)
def interrupted(marker: str) -> None:
    if is_first_time(marker):
        wait_for("no such gate")


@dramatiq.actor(store_results=True)
def unserialisable() -> Any:
    return object()


@dramatiq.actor
def not_again() -> None:
    raise ValueError("no such school")


@dramatiq.actor
def rejected() -> str:
    return "rejected"


@dramatiq.actor(store_results=True)
def double(x: int) -> int:
    return 2 * x


@dramatiq.actor
async def gentle(gate: str) -> None:
    otel_bridge.job_progress(3, 10)
    add.send(1)
    wait_for(gate)


def submit_pipeline(x: int) -> str:
    """Two steps; the id of the first."""
    steps = (double.message(x) | double.message_with_options(args=())).run()
    return str(steps.messages[0].message_id)


def submit_group(x: int) -> str:
    """Two jobs, and a third when both are done; the id of the first."""
    members = dramatiq.group([double.message(x), double.message(x)])
    members.add_completion_callback(add.message(x))
    return str(members.run().children[0].message_id)


def flush() -> str:
    broker.flush_all()
    return "flushed"


def send_again(kept: list[Any] = []) -> str:  # noqa: B006 - what was sent before
    """The message that an earlier call has sent, sent once more; its id."""
    if not kept:
        kept.append(add.send(1))
        return str(kept[0].message_id)
    return str(broker.enqueue(kept.pop()).message_id)


def call_off(task_id: str) -> str:
    abort(task_id)
    return "aborted"


_ORDERS: dict[str, Callable[..., str]] = {
    "pipeline": submit_pipeline,
    "group": submit_group,
    "flush": flush,
    "send_again": send_again,
    "call_off": call_off,
}


def submit(name: str, *args: Any) -> str:
    """Enqueue a job; its id. ``add@1500`` waits 1.5 s, ``add@skip`` is skipped by a middleware."""
    if name in _ORDERS:
        return _ORDERS[name](*args)
    name, _, how = name.partition("@")
    if name == "unknown":
        message = dramatiq.Message[Any](
            queue_name=QUEUE, actor_name=name, args=args, kwargs={}, options={}
        )
        return str(broker.enqueue(message).message_id)
    actor = broker.get_actor(name)
    if how.isdigit():
        return str(actor.send_with_options(args=args, delay=int(how)).message_id)
    if how:
        message = actor.message_with_options(args=args, rig=how)
        with contextlib.suppress(SkipMessage):
            broker.enqueue(message)
        return str(message.message_id)
    return str(actor.send(*args).message_id)
