"""``read_stack``: what a sender stored beside the log under the id of a failed span."""

from __future__ import annotations

import zlib
from typing import Any, Final

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_clients import REDIS_ERRORS
from otel_bridge.publish.redis_failures import failure_reason
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.publish.transports import memory_name
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.stacks.render import MAX_STACK_BYTES

__all__ = ["read_stack"]

_MAX_BYTES: Final = MAX_STACK_BYTES
"""What is decompressed: another program may have written the key."""


async def read_stack(span_id: str, url: str, redis: Any, keys: RedisKeys) -> SpanStack | None:
    """
    Read the stack of a failed span from Redis, or from a log in memory (async).

    Args:
        span_id: 16 hex digits; not checked.
        url: URL of the log, ``redis://...`` or ``memory://NAME``.
        redis: An asyncio client of the Redis of the log, which returns bytes; None for memory.
        keys: The keys of the log.

    Returns:
        The stack with its project, at most 4,096 bytes of text; None: none is stored, or no longer.

    Raises:
        TransportError: Redis cannot be reached, or denies it.
    """
    if redis is None:
        return memory_log(memory_name(url)).stack(span_id)
    try:
        project, data = await redis.hmget(keys.node(span_id), "project", "stack")
    except REDIS_ERRORS as error:
        raise TransportError(failure_reason(error, url)) from error
    if data is None:
        return None
    try:
        text = zlib.decompressobj().decompress(data, _MAX_BYTES).decode(errors="replace")
    except zlib.error:
        return None
    return SpanStack(span_id, text, project.decode(errors="replace") or None if project else None)
