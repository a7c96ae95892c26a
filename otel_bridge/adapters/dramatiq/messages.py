"""
Dramatiq's messages: what a delivery knows, how a message carries its context, ends without a start.

``adapter.py`` wraps the broker; this has what it needs to know of one message.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace

from otel_bridge.adapters.base import MESSAGE_KEY, framework
from otel_bridge.adapters.runs import Run, attempts_before, read_carrier, report_lost
from otel_bridge.events import semconv

with framework("dramatiq"):
    from dramatiq.common import dq_name
    from dramatiq.message import Message
    from dramatiq.middleware import AgeLimit, SkipMessage, TimeLimitExceeded

__all__ = [
    "ATTEMPT",
    "DELAYED",
    "Delivery",
    "attempt_of",
    "delivery_of",
    "describe_delay",
    "is_being_sent",
    "is_redis",
    "reason_of",
    "report_unstarted",
    "revert_queue_again",
    "sending",
    "waiting_in",
    "with_carrier",
    "within",
]

logger = logging.getLogger(__name__)

ATTEMPT: Final = "otel-bridge-attempt"
"""Item of the carrier: the attempts of this run before. ``retries`` of Dramatiq's own middleware
goes on counting when a message is sent again, and other middleware does not count there."""
DELAYED: Final = "otel-bridge-delayed"
"""Item of the carrier while a message waits in a delay queue: the worker that has taken it from
there enqueues it once more when it is due."""
_FLUSHED_MAX: Final = 10_000
"""Jobs of a flushed queue that are reported one by one: half of what the send buffer holds."""
_CHUNK: Final = 500
_ABORT: Final = "dramatiq_abort"
"""The package whose middleware calls jobs off; not imported, because few have it."""


class Delivery:
    """
    One message while a worker thread handles it, from the first hook before it to the last.

    Created by ``begin()``. It checks nothing and never raises.

    Args:
        message: Dramatiq's message; its ``message_id`` is the job's id.
        outer: The delivery that this one runs inside of, with a broker that calls actors in place.

    Attributes:
        run: The attempt; None until all hooks before the message have passed.
        refusal: What a hook before it raised; None: nothing.
        error: What the actor raised, which the hooks after it get; None: nothing.
        is_queued_again: Whether the message was enqueued again as the same run.
        is_skipped: Whether it was skipped.
    """

    def __init__(self, message: Any, outer: Delivery | None) -> None:
        self.message = message
        self.outer = outer
        self.run: Run | None = None
        self.refusal: BaseException | None = None
        self.error: BaseException | None = None
        self.is_queued_again = False
        self.is_skipped = False
        self._context = otel_context.get_current()

    @classmethod
    def begin(cls, message: Any) -> Delivery:
        """Make the delivery of a message the current one of this thread, until ``finish()``."""
        delivery = cls(message, _delivery.get())
        _delivery.set(delivery)
        return delivery

    def finish(self) -> None:
        """Restore what was current before: the delivery and OpenTelemetry's context."""
        _delivery.set(self.outer)
        if otel_context.get_current() is not self._context:
            # What another instrumentation has left attached is not the next message's.
            otel_context.attach(self._context)

    @property
    def attempt(self) -> int:
        """The number of attempts of this run before."""
        return attempt_of(self.message)


_delivery: ContextVar[Delivery | None] = ContextVar("otel_bridge_dramatiq_message", default=None)
_sending: ContextVar[str | None] = ContextVar("otel_bridge_dramatiq_sending", default=None)


def delivery_of(message: Any) -> Delivery | None:
    """Return the delivery of this job that the caller runs in; None if there is none."""
    found = _delivery.get()
    while found is not None and found.message.message_id != message.message_id:
        found = found.outer
    return found


def revert_queue_again(message: Any) -> None:
    """Take back that a message was enqueued again as the same run, which the broker refused."""
    delivery = delivery_of(message)
    if delivery is not None:
        delivery.is_queued_again = False
        if delivery.run is not None:
            delivery.run.is_queued_again = False


def attempt_of(message: Any) -> int:
    """Return how many attempts of this run were made before; 0 if the message does not say."""
    carrier = read_carrier(message.options.get(MESSAGE_KEY))
    return attempts_before(carrier.get(ATTEMPT, message.options.get("retries")))


@contextmanager
def sending(message: Any) -> Iterator[None]:
    """Note in the block that a message is being enqueued; see ``is_being_sent``."""
    token = _sending.set(message.message_id)
    try:
        yield
    finally:
        _sending.reset(token)


def is_being_sent(message: Any) -> bool:
    """Return whether a broker hands a message on to another broker, which enqueues it once."""
    return bool(_sending.get() == message.message_id)


def with_carrier(message: Any, carrier: dict[str, str]) -> Any:
    """
    Return a copy of a message with a carrier; the message itself if it cannot be copied.

    A copy, because the caller may enqueue its message once more, which is another run of the job.
    Never raises: an error is logged.
    """
    try:
        return message.copy(options={MESSAGE_KEY: carrier})
    except Exception:
        logger.exception("otel-bridge could not put a carrier into a message")
        return message


def describe_delay(delay: Any, eta: Any) -> None:
    """
    Say in the event of the enqueue that the job waits for its time, so that it is not given up.

    Args:
        delay: Milliseconds from now; None: not given.
        eta: Milliseconds since 1970 at which it is due; None: not given.
    """
    for name, value in (("delay", delay), ("eta", eta)):
        if value is not None:
            trace.get_current_span().set_attribute(f"{semconv.META_PREFIX}{name}", value)


@contextmanager
def within(carrier: dict[str, str]) -> Iterator[None]:
    """
    Make the span of a carrier the parent of spans that start in the block; an empty one does not.

    An error of the configured propagator is logged, and the block runs in the current context.
    """
    context = otel_context.get_current()
    if carrier:
        try:
            context = propagate.extract(carrier, context)
        except Exception:
            logger.exception("otel-bridge could not read the trace context of a carrier")
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def reason_of(error: BaseException | None) -> str | None:
    """
    Return why an attempt ended, as a reason of ``MonitoringEvent.reason``.

    Args:
        error: What its actor or a hook of a middleware raised.

    Returns:
        ``time_limit``, ``expired`` (``max_age``), ``refused`` (another ``SkipMessage``) or
        ``revoked`` (dramatiq-abort); None: the job's own error, or none.
    """
    if isinstance(error, TimeLimitExceeded):
        return "time_limit"
    if type(error).__module__.partition(".")[0] == _ABORT:
        return "revoked"
    if isinstance(error, SkipMessage):
        frames = list(traceback.walk_tb(error.__traceback__))
        raised_in = frames[-1][0] if frames else None
        if raised_in is None:
            return "refused"
        if raised_in.f_code is AgeLimit.before_process_message.__code__:
            return "expired"
        module = str(raised_in.f_globals.get("__name__"))
        return "revoked" if module.partition(".")[0] == _ABORT else "refused"
    return None


def report_unstarted(message: Any, error: str, reason: str, *, will_retry: bool = False) -> None:
    """
    Publish the end of a job that did not start; never raises.

    Args:
        message: Dramatiq's message.
        error: What happened, for people.
        reason: A reason of ``MonitoringEvent.reason``.
        will_retry: Whether it was enqueued again as the same run.
    """
    report_lost(
        message.message_id,
        message.actor_name,
        message.options.get(MESSAGE_KEY),
        error=error,
        retry_count=attempt_of(message),
        worker_id=None,
        will_retry=will_retry,
        reason=reason,
    )


def waiting_in(broker: Any, queue_name: str) -> list[Any]:
    """
    Return the messages that wait in a queue of Redis and in its delay queue, and were shown.

    Those that a worker has taken, which it may hold in its memory, are not among them: they run all
    the same. Blocks for two commands a 500 messages.

    Args:
        broker: Any broker of Dramatiq.
        queue_name: The queue, without the ending ``.DQ`` of its delay queue.

    Returns:
        The first 10,000; none for a broker without Redis, and if they cannot be read, which is
        logged. Never raises.
    """
    found: list[Any] = []
    if not is_redis(broker):
        return found
    try:
        for name in (queue_name, dq_name(queue_name)):
            key = f"{broker.namespace}:{name}"
            for start in range(0, _FLUSHED_MAX, _CHUNK):
                ids = broker.client.lrange(key, start, start + _CHUNK - 1)
                texts = broker.client.hmget(f"{key}.msgs", ids) if ids else []
                found += [Message.decode(text) for text in texts if text is not None]
                if len(ids) < _CHUNK:
                    break
    except Exception:
        logger.exception(
            "otel-bridge could not read the queue %s before it was flushed", queue_name
        )
    return [message for message in found[:_FLUSHED_MAX] if MESSAGE_KEY in message.options]


def is_redis(broker: Any) -> bool:
    """Return whether a broker keeps its queues in Redis, as ``RedisBroker`` does."""
    return hasattr(broker, "namespace") and hasattr(broker, "client")
