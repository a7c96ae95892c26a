"""The project of a research task is found once, and looking for it never raises."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import fakeredis
import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.projects.resolver import ProjectIdResolver
from otel_bridge.publish.redis_clients import connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.queue_clients import connect, embedded


@pytest.fixture
async def client() -> AsyncIterator[redis_asyncio.Redis]:
    made = embedded()
    yield made
    await made.aclose()


@dataclass
class Clock:
    now: float = 0.0

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def monotonic(self) -> float:
        return self.now


class Book:
    """A knowledge base with a plain method."""

    def __init__(self, **projects: Any) -> None:
        self.projects = projects
        self.asked: list[str] = []
        self.threads: set[int] = set()

    def get_research_task(self, task_id: str) -> Any:
        self.asked.append(task_id)
        self.threads.add(threading.get_ident())
        return self.projects.get(task_id)


class AsyncBook(Book):
    """A knowledge base with a coroutine."""

    async def get_research_task(self, task_id: str) -> Any:
        self.asked.append(task_id)
        return self.projects.get(task_id)


class Broken:
    """A knowledge base that is down."""

    def get_research_task(self, task_id: str) -> Any:
        raise ConnectionError("no database")


class Hanging:
    """A knowledge base that never answers."""

    async def get_research_task(self, task_id: str) -> Any:
        await asyncio.Event().wait()


async def test_the_payload_takes_precedence(client: redis_asyncio.Redis) -> None:
    """A job that names its project needs no Redis and no knowledge base."""
    book = Book(t1={"project_id": "other"})
    resolver = ProjectIdResolver(client, book)
    assert await resolver.resolve({"project_id": "mine"}, "t1") == "mine"
    assert book.asked == []


async def test_the_parents_record_is_read_once(client: redis_asyncio.Redis) -> None:
    """The project in ``nexus:task_meta`` is remembered: Redis is not read again."""
    resolver = ProjectIdResolver(client)
    await client.hset(DEFAULT_KEYS.task_meta("t1"), "project_id", "proj")
    assert await resolver.resolve({}, "t1") == "proj"
    await client.delete(DEFAULT_KEYS.task_meta("t1"))
    assert await resolver.resolve({}, "t1") == "proj"


@dataclass
class Record:
    project_id: str | None


@pytest.mark.parametrize(
    "book",
    [
        Book(t1={"project_id": "proj"}),
        Book(t1=Record("proj")),
        AsyncBook(t1={"project_id": "proj"}),
    ],
)
async def test_the_knowledge_base_is_asked_in_the_background_and_its_answer_kept(
    client: redis_asyncio.Redis, book: Book
) -> None:
    """The first call does not wait; later calls and other processes get the answer."""
    resolver = ProjectIdResolver(client, book)
    assert await resolver.resolve({}, "t1") is None
    await resolver.wait_until_answered()
    assert await resolver.resolve({}, "t1") == "proj"
    assert await client.hget(DEFAULT_KEYS.task_meta("t1"), "project_id") == "proj"
    assert book.asked == ["t1"]
    assert await ProjectIdResolver(client).resolve({}, "t1") == "proj"


async def test_a_plain_knowledge_base_runs_in_a_thread(client: redis_asyncio.Redis) -> None:
    """A blocking database call does not block the event loop."""
    book = Book(t1={"project_id": "proj"})
    resolver = ProjectIdResolver(client, book)
    await resolver.resolve({}, "t1")
    await resolver.wait_until_answered()
    assert threading.get_ident() not in book.threads
    assert len(book.threads) == 1


async def test_an_unknown_parent_is_asked_for_once_a_minute(client: redis_asyncio.Redis) -> None:
    """A parent without a known project does not cost a query for each job."""
    book, clock = Book(), Clock()
    resolver = ProjectIdResolver(client, book, clock=clock)
    for clock.now in (0, 1, 59.9, 60, 61):
        assert await resolver.resolve({}, "t1") is None
        await resolver.wait_until_answered()
    assert book.asked == ["t1", "t1"]


async def test_a_broken_knowledge_base_costs_an_unknown_project_and_one_line(
    client: redis_asyncio.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It never raises, and it is logged once, not once a job."""
    resolver = ProjectIdResolver(client, Broken())
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            assert await resolver.resolve({}, f"t{number}") is None
            await resolver.wait_until_answered()
    assert len([one for one in caplog.records if "no database" in one.getMessage()]) == 1


async def test_a_hanging_knowledge_base_is_given_up(client: redis_asyncio.Redis) -> None:
    """A question without an answer in time is dropped, and ``close`` does not wait for it."""
    resolver = ProjectIdResolver(client, Hanging(), timeout_sec=0.01)
    assert await resolver.resolve({}, "t1") is None
    await resolver.wait_until_answered()
    resolver = ProjectIdResolver(client, Hanging(), timeout_sec=3600)
    assert await resolver.resolve({}, "t1") is None
    await resolver.close()


async def test_without_redis_the_project_is_unknown() -> None:
    """An unreachable Redis makes the project unknown, not the job fail."""
    away = connect("redis://127.0.0.1:1/0")
    assert await ProjectIdResolver(away).resolve({}, "t1") is None
    await away.aclose()


async def test_without_a_cluster_the_project_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """A Cluster of which no node can be reached makes the project unknown, with one log line."""
    away: Any = connect_async("redis+cluster://127.0.0.1:1")
    resolver = ProjectIdResolver(away)
    assert await resolver.resolve({}, "t1") is None
    assert "project ids are unknown: Redis failed" in caplog.text
    await away.aclose()


@pytest.mark.parametrize("is_decoding", [False, True])
async def test_a_project_that_is_no_utf_8_is_unknown(
    caplog: pytest.LogCaptureFixture, is_decoding: bool
) -> None:
    """What cannot be decoded, by the client or here, is logged; the project is unknown."""
    server = fakeredis.FakeServer()
    async with fakeredis.FakeAsyncRedis(server=server) as writing:
        await writing.hset(DEFAULT_KEYS.task_meta("t1"), "project_id", b"\xff")
    async with fakeredis.FakeAsyncRedis(server=server, decode_responses=is_decoding) as reading:
        assert await ProjectIdResolver(reading).resolve({}, "t1") is None
    assert "project ids are unknown: Redis failed: UnicodeDecodeError" in caplog.text


async def test_memory_is_bounded(client: redis_asyncio.Redis) -> None:
    """The least recently used parents are forgotten, not the newest."""
    resolver = ProjectIdResolver(client, max_cached=2)
    for name in ("t1", "t2", "t3"):
        await client.hset(DEFAULT_KEYS.task_meta(name), "project_id", name)
        await resolver.resolve({}, name)
        await client.delete(DEFAULT_KEYS.task_meta(name))
    assert [await resolver.resolve({}, name) for name in ("t1", "t2", "t3")] == [None, "t2", "t3"]


async def test_no_parent_and_no_payload_is_no_project(client: redis_asyncio.Redis) -> None:
    """A job without a research task has no project, and the knowledge base is not asked."""
    book = Book()
    assert await ProjectIdResolver(client, book).resolve({"project_id": 7}, None) is None
    assert book.asked == []
