"""Stacks are read as they were stored, and what is not one is none."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import redis.exceptions

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.publish.transports.stack_reader import read_stack

SPAN = "00f067aa0ba902b7"
URL = "memory://stack-reader"


class Answering:
    """A Redis client that answers one HMGET."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def hmget(self, key: str, *fields: str) -> Any:
        assert (key, fields) == (f"nexus:{{0}}:node:{SPAN}", ("project", "stack"))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


async def test_a_log_in_memory_is_read_without_a_client() -> None:
    """The last 1,000 stacks are there; of one that is not there is none."""
    stack = SpanStack(SPAN, "text", "p")
    assert await read_stack(SPAN, URL, None, DEFAULT_KEYS) is None
    assert memory_log("stack-reader").store_stack(stack)
    assert await read_stack(SPAN, URL, None, DEFAULT_KEYS) == stack


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([b"p", zlib.compress("é".encode())], SpanStack(SPAN, "é", "p")),
        ([b"", zlib.compress(b"x")], SpanStack(SPAN, "x", None)),
        ([None, zlib.compress(b"x")], SpanStack(SPAN, "x", None)),
        ([None, None], None),
        ([b"p", b"not compressed"], None),
        ([b"p", zlib.compress(b"x" * 1_000_000)], SpanStack(SPAN, "x" * 4096, "p")),
    ],
    ids=["stored", "no project", "no field", "none", "damaged", "too large"],
)
async def test_what_redis_answers(answer: Any, expected: SpanStack | None) -> None:
    """A text over the limit is read up to it: another program may have written the key."""
    assert await read_stack(SPAN, "redis://h", Answering(answer), DEFAULT_KEYS) == expected


async def test_an_outage_is_a_transport_error() -> None:
    """So that the route answers 503."""
    client = Answering(redis.exceptions.ConnectionError("gone"))
    with pytest.raises(TransportError):
        await read_stack(SPAN, "redis://h", client, DEFAULT_KEYS)
