"""
What Celery's messages, brokers and task states say about queues and progress.

Which queue a message goes to, how many jobs wait in one, and how far a job is by its own state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, Final

from otel_bridge.adapters.base import framework

with framework("celery"):
    from celery import Celery

__all__ = ["depth_of", "progress_of", "queue_names", "queue_of"]

_DONE: Final = ("done", "current", "completed", "processed")
_TOTAL: Final = "total"
_PERCENT: Final = ("percent", "percentage", "progress")


def queue_names(app: Celery) -> list[str]:
    """Return the names of the queues that a worker of this app takes from, as ``-Q`` selects."""
    return [str(name) for name in app.amqp.queues.consume_from]


def queue_of(
    app: Celery, exchange: str | None, routing_key: str | None, declared: Iterable[Any] = ()
) -> str | None:
    """
    Return the name of the queue that a message goes to, or came from.

    Producer and worker both ask it, so that they agree. Reads the app's configuration alone; waits
    for nothing. Of a custom router's or a broken queue's own errors, any passes.

    Args:
        app: The application, whose queues are searched.
        exchange: Name of the message's exchange; empty or None: the default one, where a routing
            key is the name of a queue.
        routing_key: Of the message.
        declared: Queues that the producer declares for this message: looked at first. Celery
            declares the default queue too where only an exchange is named.

    Returns:
        The name. If no queue of the app is bound to exchange and key, the key; None without one.
    """
    if exchange:
        known = [*declared, *app.amqp.queues.values()]
        bound = [one for one in known if _name(getattr(one, "exchange", None)) == exchange]
        for queue in bound:
            if queue.routing_key == routing_key:
                return str(queue.name)
        for queue in bound:
            if _is_match(str(queue.routing_key or ""), routing_key or ""):
                return str(queue.name)
        if len({queue.name for queue in bound}) == 1:
            return str(bound[0].name)
    return str(routing_key) if routing_key else None


def _name(exchange: Any) -> str:
    return str(getattr(exchange, "name", exchange) or "")


def _is_match(pattern: str, routing_key: str) -> bool:
    """Whether a topic exchange sends this key to a queue bound by the pattern."""
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(r"\#", ".*")
    return ("*" in pattern or "#" in pattern) and re.fullmatch(expression, routing_key) is not None


def depth_of(app: Celery, name: str) -> int | dict[str, int]:
    """
    Ask the broker how many jobs wait in a queue; blocks until it answers.

    Opens a connection of its own, with the app's time-outs. What the connection raises passes.

    Args:
        app: The application, which names the broker.
        name: Of the queue. One that does not exist is empty: Redis deletes an empty list.

    Returns:
        The number, or on Redis the number by priority, as the steps that messages are kept in
        (``0``, ``3``, ``6`` and ``9`` by default). Jobs that a worker has taken but not begun are
        not counted.
    """
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        key_of = getattr(channel, "_q_for_pri", None)
        if key_of is not None:
            steps = list(channel.priority_steps)
            with channel.conn_or_acquire() as client, client.pipeline() as pipe:
                for step in steps:
                    pipe = pipe.llen(key_of(name, step))
                depths = pipe.execute()
            return {str(step): int(depth) for step, depth in zip(steps, depths, strict=True)}
        try:
            return int(channel.queue_declare(queue=name, passive=True).message_count)
        except connection.channel_errors:
            return 0


def progress_of(meta: Any) -> tuple[int, int | None] | None:
    """
    Read how far a job is from the ``meta`` of its state ``PROGRESS``; never raises.

    Args:
        meta: A mapping. Read are ``done``, ``current``, ``completed`` or ``processed`` with or
            without ``total``; else ``percent``, ``percentage`` or ``progress``, as a number of 100,
            or a mapping like these. Numbers are rounded down.

    Returns:
        (done, total), total None if it is not named; None if ``meta`` says nothing of this kind.
    """
    try:
        if not isinstance(meta, Mapping):
            return None
        for key in _DONE:
            done = _count(meta.get(key))
            if done is not None:
                return done, _count(meta.get(_TOTAL))
        for key in _PERCENT:
            value = meta.get(key)
            if isinstance(value, Mapping):
                return progress_of(value)
            percent = _count(value)
            if percent is not None and percent <= 100:
                return percent, 100
    except Exception:
        return None  # a mapping or number of the user's own may raise anything
    return None


def _count(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    # A Decimal, in which celery-progress counts percents, is no Real.
    if isinstance(value, Real) or hasattr(value, "as_integer_ratio"):
        number = int(value)
        return number if number >= 0 else None
    return None
