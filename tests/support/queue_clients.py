"""Clients for tests of the task queue: of a real Redis as the command line makes them, embedded."""

from __future__ import annotations

import fakeredis
import redis.asyncio as redis_asyncio

__all__ = ["connect", "embedded"]


def embedded() -> redis_asyncio.Redis:
    """A fakeredis of its own."""
    client: redis_asyncio.Redis = fakeredis.FakeAsyncRedis(decode_responses=True)
    return client


def connect(url: str) -> redis_asyncio.Redis:
    """A client as the command line makes it."""
    client: redis_asyncio.Redis = redis_asyncio.Redis.from_url(url, decode_responses=True)
    return client
