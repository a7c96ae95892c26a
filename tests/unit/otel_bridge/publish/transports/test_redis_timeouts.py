"""``redis_timeouts``: a busy loop is no silent Redis, and a silent Redis is noticed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
import redis
import uvloop
from redis.exceptions import TimeoutError as RedisTimeoutError

from otel_bridge.publish.redis_clients import aclose, connect_async
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.transports.redis_timeouts import tolerate_busy_loop
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

_LIMIT_SEC = 0.5
_BUSY_SEC = 0.6


async def wait_while_busy(url: str, *, is_tolerant: bool) -> object:
    """The answer to a command that Redis answers while a callback keeps the loop busy."""
    loop, is_busy = asyncio.get_running_loop(), threading.Event()

    def keep_busy() -> None:
        is_busy.set()
        until = time.monotonic() + _BUSY_SEC
        while time.monotonic() < until:
            pass

    def answer_then() -> None:
        with redis.Redis.from_url(url) as other:
            wait_until(lambda: other.info("clients")["blocked_clients"], "the command to wait")
            loop.call_soon_threadsafe(keep_busy)
            assert is_busy.wait(20)
            other.rpush("list", "answer")

    client = connect_async(
        url, single_connection_client=True, **connection_options(_LIMIT_SEC, 2.0)
    )
    if is_tolerant:
        tolerate_busy_loop(client)
    try:
        await client.ping()
        answering = asyncio.create_task(asyncio.to_thread(answer_then))
        try:
            return await client.execute_command("BLPOP", "list", "0")
        finally:
            await answering
    finally:
        await aclose(client)


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_busy_loop_gets_the_answer_that_came_meanwhile(
    make: Callable[[], asyncio.AbstractEventLoop], redis_url: str
) -> None:
    """The answer is there all the time, and is taken once the loop has time again."""
    with asyncio.Runner(loop_factory=make) as runner:
        found = runner.run(wait_while_busy(redis_url, is_tolerant=True))
    assert found == (b"list", b"answer")


def test_redis_py_by_itself_takes_a_busy_loop_for_a_silent_redis(redis_url: str) -> None:
    """Its timer fires before the loop has looked at its sockets: the reason for all this."""
    with pytest.raises(RedisTimeoutError):
        asyncio.run(wait_while_busy(redis_url, is_tolerant=False))


def test_a_silent_redis_is_noticed_and_its_connection_closed(redis_url: str) -> None:
    """Without an answer in time the error is raised, and the next command connects again."""

    async def main() -> tuple[object, object]:
        client = connect_async(
            redis_url, single_connection_client=True, **connection_options(_LIMIT_SEC, 2.0)
        )
        tolerate_busy_loop(client)
        try:
            before = await client.client_id()
            with pytest.raises(RedisTimeoutError):
                await client.execute_command("BLPOP", "nothing", "5")
            return before, await client.client_id()
        finally:
            await aclose(client)

    before, after = asyncio.run(main())
    assert before != after


@pytest.mark.parametrize(
    "scheme", ["redis://h", "rediss://h", "unix:///s", "redis+sentinel://h/s", "redis+cluster://h"]
)
def test_the_connections_of_every_kind_of_client_are_tolerant(scheme: str) -> None:
    """A server over TCP, TLS or a Unix socket, a master behind Sentinels, and a Cluster."""

    async def main() -> list[str]:
        client = connect_async(scheme)
        tolerate_busy_loop(client)
        tolerate_busy_loop(client)  # a second time changes nothing
        if not hasattr(client, "nodes_manager"):
            return [client.connection_pool.connection_class.__name__]
        nodes = client.nodes_manager.startup_nodes.values()
        kinds = [client.nodes_manager.connection_kwargs["connection_class"]]
        return [kind.__name__ for kind in kinds + [node.connection_class for node in nodes]]

    names = asyncio.run(main())
    assert names
    assert all(name.startswith("Tolerant") and name.count("Tolerant") == 1 for name in names)


def test_the_nodes_that_a_cluster_names_are_tolerant() -> None:
    """Not only those in the URL: the client makes its nodes anew from the Cluster's answer."""

    async def main(port: int) -> list[str]:
        client = connect_async(f"redis+cluster://127.0.0.1:{port}")
        tolerate_busy_loop(client)
        try:
            await client.initialize()
            return [node.connection_class.__name__ for node in client.get_nodes()]
        finally:
            await aclose(client)

    with RedisServer(cluster_enabled="yes") as server:
        with server.client() as plain:
            plain.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        assert asyncio.run(main(server.port)) == ["TolerantConnection"]
