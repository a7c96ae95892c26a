"""From a line of ``logging`` in a worker to where it is stored, over Redis and HTTP."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.push_server import PushServer

pytestmark = pytest.mark.redis

logger = logging.getLogger("shop.orders")
logger.setLevel(logging.INFO)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture
def bridge(redis_url: str) -> Iterator[Bridge]:
    settings = BridgeSettings(bus_url=redis_url, logs="info", send_timeout_ms=10_000)
    provider = TracerProvider(shutdown_on_exit=False)
    made = otel_bridge.configure(tracer_provider=provider, settings=settings)
    yield made
    made.shutdown()


def span_id() -> str:
    return f"{trace.get_current_span().get_span_context().span_id:016x}"


def stored(client: redis.Redis, of_span: str) -> list[tuple[str, int]]:
    found: Any = client.lrange(DEFAULT_KEYS.lines(of_span), 0, -1)
    return [(text, n) for _, _, _, text, n in map(json.loads, found)]


def test_each_node_has_its_lines_and_its_time_to_live(bridge: Bridge, client: redis.Redis) -> None:
    """An hour while it runs, 15 minutes after it completed, a day after it failed."""
    with otel_bridge.research_task("t1", project_id="p"):
        task = span_id()
        logger.info("of the task")
        with otel_bridge.phase("search"):
            phase = span_id()
            logger.info("of the phase")
            with otel_bridge.enqueue(task_id="j1", task_type="a") as carrier:
                logger.warning("of the phase, too")
        with otel_bridge.job(task_id="j1", task_type="a", carrier=carrier) as job:
            failed = span_id()
            logger.error("token=%s", "sk-proj-abcdefghijklmnop1234")
            job.fail("no luck")
        assert bridge.flush(10)
        found = {name: stored(client, name) for name in (task, phase, failed)}
        assert found == {
            task: [("of the task", 1)],
            phase: [("of the phase", 1), ("of the phase, too", 2)],
            failed: [("token=[redacted]", 1)],
        }
        ttls = [client.ttl(DEFAULT_KEYS.lines(name)) for name in (task, phase, failed)]
        assert [round(ttl, -2) for ttl in ttls] == [3600, 900, 86_400]
    index: Any = client.zrange(DEFAULT_KEYS.lines_index(), 0, -1)
    assert {name.decode() for name in index} >= {task, phase, failed}


def test_a_shutdown_stores_the_last_lines(bridge: Bridge, client: redis.Redis) -> None:
    """And takes no more."""
    with otel_bridge.job(task_id="j1", task_type="a"):
        name = span_id()
        logger.info("the last")
        assert bridge.shutdown()
        logger.info("after it")
    assert stored(client, name) == [("the last", 1)]


def test_dropped_lines_are_counted(bridge: Bridge) -> None:
    """In the counts of the bus."""
    with otel_bridge.job(task_id="j1", task_type="a"):
        for number in range(600):
            logger.info("line %d", number)
    assert bridge.flush(10)
    assert bridge.bus is not None
    # 500 pass at once, and one each 20 ms.
    assert 0 < bridge.bus.counters.lines_dropped <= 100


async def test_asyncio_jobs_that_run_together_keep_their_lines_apart(
    bridge: Bridge, client: redis.Redis
) -> None:
    """The context of a task holds its job, in coroutines and in ``asyncio.to_thread``."""
    names: dict[int, str] = {}

    async def run(number: int) -> None:
        async with otel_bridge.job(task_id=f"j{number}", task_type="a"):
            names[number] = span_id()
            logger.info("start %d", number)
            await asyncio.sleep(0)
            await asyncio.to_thread(logger.info, "thread %d", number)

    await asyncio.gather(*(run(number) for number in range(20)))
    assert await asyncio.to_thread(bridge.flush, 10)
    for number, name in names.items():
        assert stored(client, name) == [(f"start {number}", 1), (f"thread {number}", 2)]


def test_every_line_of_many_threads_is_counted(bridge: Bridge, client: redis.Redis) -> None:
    """Stored or dropped: the last number of a node is that of all its lines, and none is twice."""
    with otel_bridge.job(task_id="j1", task_type="a"):
        name = span_id()
        contexts = [contextvars.copy_context() for _ in range(4)]

        def write() -> None:
            for number in range(300):
                logger.info("line %d", number)

        threads = [threading.Thread(target=context.run, args=(write,)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        logger.error("the last")
    assert bridge.flush(10)
    lines = stored(client, name)
    assert lines[-1] == ("the last", 4 * 300 + 1)
    numbers = [n for _, n in lines]
    assert numbers == sorted(set(numbers))


def test_a_list_that_was_trimmed_away_gets_its_time_to_live_again(
    bridge: Bridge, client: redis.Redis
) -> None:
    """The leader may drop the lines of a node that still writes: no list stays for ever."""
    with otel_bridge.job(task_id="j1", task_type="a"):
        name = span_id()
        logger.info("first")
        assert bridge.flush(10)
        client.delete(DEFAULT_KEYS.lines(name))
        logger.info("second")
        assert bridge.flush(10)
        assert stored(client, name) == [("second", 2)]
        assert client.ttl(DEFAULT_KEYS.lines(name)) > 3000


@pytest.mark.parametrize("command", ["expire", "ltrim", "rpush", "zadd"])
def test_a_denied_command_stores_nothing(
    make_denied: Callable[[str], str], client: redis.Redis, command: str
) -> None:
    """Nothing that would never go: the lines are counted as lost, the events are in the log."""
    settings = BridgeSettings(bus_url=make_denied(command), logs="info", send_timeout_ms=10_000)
    provider = TracerProvider(shutdown_on_exit=False)
    bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
    try:
        with otel_bridge.job(task_id="j1", task_type="a"):
            name = span_id()
            logger.info("line")
        assert bridge.flush(10)
        assert bridge.bus is not None
        counters = bridge.bus.counters
        assert (counters.lines_dropped, counters.dropped) == (1, 0)
        assert not client.exists(DEFAULT_KEYS.lines(name))
    finally:
        bridge.shutdown()


@pytest.fixture
def make_denied(client: redis.Redis, redis_url: str) -> Iterator[Callable[[str], str]]:
    def make(command: str) -> str:
        client.acl_setuser(
            "lines",
            enabled=True,
            passwords=["+pw"],
            keys=["*"],
            channels=["*"],
            commands=["+@all", f"-{command}"],
        )
        return redis_url.replace("redis://", "redis://lines:pw@")

    yield make
    client.acl_deluser("lines")


def test_workers_without_a_redis_push_their_lines() -> None:
    """To the collector; one of an older release costs the lines, and no event."""
    log = memory_log(f"lines-{sys._getframe().f_lineno}")
    with PushServer(log) as server:
        settings = BridgeSettings(bus_url=server.url, logs="info", send_timeout_ms=10_000)
        provider = TracerProvider(shutdown_on_exit=False)
        bridge = otel_bridge.configure(tracer_provider=provider, settings=settings)
        try:
            with otel_bridge.job(task_id="j1", task_type="a"):
                name = span_id()
                logger.info("pushed")
            assert bridge.flush(10)
            (line,) = log.lines(name)
            assert json.loads(line)[3:] == ["pushed", 1]
            server.is_of_older_release = True
            with otel_bridge.job(task_id="j2", task_type="a"):
                logger.info("lost")
            assert bridge.flush(10)
            assert bridge.bus is not None
            counters = bridge.bus.counters
            assert (counters.lines_dropped, counters.dropped) == (1, 0)
        finally:
            bridge.shutdown()
