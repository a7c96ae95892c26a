"""Work under a lease; tests/contract/test_task_queue.py proves the renewal on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio as redis_asyncio

from otel_bridge.orchestration.queue.leases import (
    LeaseKeeper,
    LeaseLostError,
    StoppingError,
    run_with_lease,
    synchronous_client,
)
from otel_bridge.orchestration.queue.task_queue import Claim, TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob
from otel_bridge.publish.redis_clients import close, connect_async
from otel_bridge.publish.redis_keys import DEFAULT_KEYS

CLAIM = Claim("j", "w", 1, "queue", "", 0, 0)


@pytest.fixture
def keeper() -> Iterator[LeaseKeeper]:
    made = LeaseKeeper(fakeredis.FakeRedis(), lease_sec=3600)
    yield made
    made.close()


async def test_the_result_of_the_work_is_returned(keeper: LeaseKeeper) -> None:
    """Work that ends in time is not touched."""

    async def work() -> str:
        return "done"

    assert await run_with_lease(keeper, CLAIM, asyncio.Event(), work()) == "done"


async def test_an_error_of_the_work_is_raised(keeper: LeaseKeeper) -> None:
    """An exception passes unchanged."""

    async def work() -> None:
        raise ValueError("page")

    with pytest.raises(ValueError, match="page"):
        await run_with_lease(keeper, CLAIM, asyncio.Event(), work())


async def test_work_that_cancels_itself_is_an_error(keeper: LeaseKeeper) -> None:
    """A handler that raises CancelledError fails its job and does not cancel the worker."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="the handler cancelled itself"):
        await run_with_lease(keeper, CLAIM, asyncio.Event(), work())


class Endless:
    """Work that never ends by itself."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.started = asyncio.Event()

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise


async def test_a_stopping_worker_cancels_its_work(keeper: LeaseKeeper) -> None:
    """The caller learns that the job is to be released."""
    work, stopping = Endless(), asyncio.Event()
    running = asyncio.create_task(run_with_lease(keeper, CLAIM, stopping, work.run()))
    await work.started.wait()
    stopping.set()
    with pytest.raises(StoppingError, match="the worker is stopping"):
        await running
    assert work.is_cancelled


async def test_a_lost_lease_cancels_the_work() -> None:
    """When another attempt took over, the keeper's thread ends the work of the former one."""
    server = fakeredis.FakeServer()
    client = fakeredis.FakeAsyncRedis(server=server, decode_responses=True)
    queue = TaskQueue(client, lease_sec=-1)
    await queue.submit(QueuedJob(id="j", type="search"))
    lost = await queue.claim("w")
    assert lost is not None
    assert (await queue.maintain()).requeued == ("j",)
    assert await queue.claim("w2") is not None
    keeper = LeaseKeeper(synchronous_client(client), lease_sec=0.03)
    work = Endless()
    with pytest.raises(LeaseLostError, match="attempt 1 lost its lease"):
        async with asyncio.timeout(10):
            await run_with_lease(keeper, lost, asyncio.Event(), work.run())
    assert work.is_cancelled
    await asyncio.to_thread(keeper.close)
    await client.aclose()


async def test_a_dropped_claim_is_not_renewed() -> None:
    """After the work has ended, only leases of other jobs are renewed."""
    server = fakeredis.FakeServer()
    client = fakeredis.FakeAsyncRedis(server=server, decode_responses=True)
    queue = TaskQueue(client, lease_sec=10)
    claims = []
    for name in ("a", "b"):
        await queue.submit(QueuedJob(id=name, type="search"))
        claim = await queue.claim("w")
        assert claim is not None
        claims.append(claim)
    await client.zadd(DEFAULT_KEYS.leases, {"a": 1.0, "b": 1.0})
    keeper = LeaseKeeper(synchronous_client(client), lease_sec=0.03)
    keeper.hold(claims[0], lambda: None)
    keeper.drop(claims[0])
    await client.zadd(DEFAULT_KEYS.leases, {"a": 1.0})
    keeper.hold(claims[1], lambda: None)
    async with asyncio.timeout(10):
        while await client.zscore(DEFAULT_KEYS.leases, "b") == 1.0:
            await asyncio.sleep(0)
    await asyncio.to_thread(keeper.close)
    assert await client.zscore(DEFAULT_KEYS.leases, "a") == 1.0
    await client.aclose()


async def test_a_call_that_raises_ends_no_renewal(caplog: pytest.LogCaptureFixture) -> None:
    """If ``on_lost`` of one job raises, that is logged, and other leases are still renewed."""
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), decode_responses=True)
    queue = TaskQueue(client, lease_sec=10)
    await queue.submit(QueuedJob(id="held", type="search"))
    held = await queue.claim("w")
    assert held is not None
    keeper = LeaseKeeper(synchronous_client(client), lease_sec=0.03)

    def on_lost() -> None:
        raise LookupError("no such loop")

    keeper.hold(CLAIM, on_lost)
    keeper.hold(held, lambda: None)
    async with asyncio.timeout(10):
        while "no such loop" not in caplog.text:
            await asyncio.sleep(0)
        await client.zadd(DEFAULT_KEYS.leases, {"held": 1.0})
        while await client.zscore(DEFAULT_KEYS.leases, "held") == 1.0:
            await asyncio.sleep(0)
    await asyncio.to_thread(keeper.close)
    await client.aclose()
    assert "job j: the call for its lost lease failed" in caplog.text


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://user:secret@127.0.0.1:7/3", redis.Connection),
        ("rediss://127.0.0.1:7/0", redis.SSLConnection),
        ("unix:///tmp/redis.sock?db=2", redis.UnixDomainSocketConnection),
    ],
)
def test_the_synchronous_client_connects_as_the_other_does(url: str, kind: type) -> None:
    """Address, database and login are the same, and each answer has a time limit."""
    client = redis_asyncio.Redis.from_url(url)
    pool = synchronous_client(client).connection_pool
    assert pool.connection_class is kind
    given, copied = client.connection_pool.connection_kwargs, pool.connection_kwargs
    for name in ("host", "port", "path", "db", "username", "password"):
        assert copied.get(name) == given.get(name)
    assert copied["socket_timeout"] == copied["socket_connect_timeout"] == 2.0


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_the_synchronous_client_asks_the_same_sentinels(scheme: str) -> None:
    """Sentinels, service, database and logins are the same, and each answer has a time limit."""
    url = f"{scheme}+sentinel://u:p@a:1,b/m/3?sentinel_password=s"
    given: Any = connect_async(url).connection_pool
    client = synchronous_client(connect_async(url))
    pool: Any = client.connection_pool
    assert (pool.service_name, pool.is_master) == ("m", True)
    assert issubclass(pool.connection_class, redis.SSLConnection) is (scheme == "rediss")
    for name in ("db", "username", "password"):
        assert pool.connection_kwargs[name] == given.connection_kwargs[name]
    sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in sentinels] == [
        ("a", 1, "s"),
        ("b", 26379, "s"),
    ]
    for one in (pool.connection_kwargs, *sentinels):
        assert one["socket_timeout"] == one["socket_connect_timeout"] == 2.0
    close(client)
