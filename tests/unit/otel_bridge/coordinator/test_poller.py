"""What is read from and written to a coordinator's Redis, and what an outage of it costs."""

from __future__ import annotations

import itertools
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import TracerProvider
from redis.asyncio.sentinel import Sentinel

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.coordinator.observer import CommandObserver
from otel_bridge.coordinator.poller import CoordinatorPoller
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_names = itertools.count()


@dataclass
class Seen:
    bridge: Bridge
    log_name: str

    def depths(self) -> list[dict[str, int]]:
        assert self.bridge.flush(10)
        entries = reversed(memory_log(self.log_name).newest(100, None))
        events = [json.loads(entry.data) for entry in entries]
        return [e["counts"] for e in events if e["event_type"] == "queue_depth_update"]


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    name = f"poller-{next(_names)}"
    provider = TracerProvider(shutdown_on_exit=False)
    bridge = otel_bridge.configure(
        tracer_provider=provider, settings=make_settings(bus_url=f"memory://{name}")
    )
    yield Seen(bridge, name)
    bridge.shutdown()


Pair = tuple[CoordinatorPoller, CommandObserver]
Make = Callable[[Any], Pair]


@pytest.fixture
def make(seen: Seen) -> Iterator[Make]:
    made: list[Pair] = []

    def create(client: Any) -> Pair:
        observer = CommandObserver(client, "nexus:tasks:")
        made.append((CoordinatorPoller(seen.bridge, client, observer, 0.02), observer))
        return made[-1]

    yield create
    for poller, observer in made:
        poller.close()
        observer.close()


def know(observer: CommandObserver, *queues: str) -> None:
    """Let the observer have seen these queues."""
    observer.queues.update(queues)
    assert observer.on_first_queue is not None
    observer.on_first_queue()


def unreachable() -> redis_asyncio.Redis:
    """A client of a port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return redis_asyncio.Redis(host="127.0.0.1", port=free.getsockname()[1])


def test_an_outage_is_logged_once_and_raises_nothing(
    seen: Seen, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis refuses connections, each answer is None and there is one warning."""
    poller, observer = make(unreachable())
    know(observer, "nexus:tasks:a")
    answers: list[Any] = []
    for _ in range(3):
        poller.call_later(0, lambda: answers.append(poller.run_pipeline(lambda p: p.get("x"))))
    wait_until(lambda: len(answers) == 3, "the answers")
    assert answers == [None] * 3
    messages = [record.getMessage() for record in caplog.records]
    assert [text for text in messages if "cannot be used" in text] == messages[:1]
    assert seen.depths() == []


@pytest.mark.redis
def test_jobs_beyond_the_bound_are_left_out_and_logged(
    own_redis: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """In a long outage 100,000 jobs wait for their group; the log says how many were left out."""
    poller, _ = make(redis_asyncio.Redis.from_url(own_redis.url))
    own_redis.kill()
    with caplog.at_level(logging.INFO, "otel_bridge.coordinator.poller"):
        poller.add_to_group("t1", [f"j{number}" for number in range(100_000)], "p1")
        poller.add_to_group("t1", ["left", "out"], None)
        poller.add_to_group("t2", ["too"], None)
        wait_until(lambda: "cannot be used" in caplog.text, "an attempt that failed")
        own_redis.start()
        wait_until(lambda: "were left out" in caplog.text, "the groups to be written")
        poller.add_to_group("t2", ["later"], None)
        with own_redis.client(decode_responses=True) as client:
            wait_until(lambda: client.exists("nexus:task_group:t2"), "the later job")
            assert client.scard("nexus:task_group:t1") == 100_000
            assert client.smembers("nexus:task_group:t2") == {"later"}
            assert client.hgetall("nexus:task_meta:t1") == {"project_id": "p1"}
            assert 0 < client.ttl("nexus:task_group:t1") <= 24 * 3600
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in warnings if "left out" in text] == [
        "100000 jobs wait to be added to their task groups; further jobs are left out until these "
        "are written",
        "3 jobs were left out of their task groups, because 100000 may wait at most",
    ]


@pytest.mark.redis
def test_groups_that_redis_refuses_are_logged_and_counted(
    own_redis: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """An error as the answer is one warning with the reason; the next one has their number."""
    poller, _ = make(redis_asyncio.Redis.from_url(own_redis.url))

    def write(*jobs: str) -> None:
        poller.add_to_group("t1", list(jobs), "p1")
        wait_until(lambda: poller._pending == 0, "the answer")

    with own_redis.client(decode_responses=True) as client:
        client.execute_command("ACL", "SETUSER", "default", "-sadd")
        write("j1", "j2")
        write("j3")
        client.execute_command("ACL", "SETUSER", "default", "+@all")
        write("j4")
        wait_until(lambda: client.exists("nexus:task_group:t1"), "the later job")
        wait_until(lambda: "3 jobs were left out" in caplog.text, "the number")
        assert client.smembers("nexus:task_group:t1") == {"j4"}
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(
        "jobs are left out of their task groups: the coordinator's Redis answers NoPermission"
    )
    assert second == (
        "3 jobs were left out of their task groups, because Redis refused to write them"
    )


@pytest.mark.redis
def test_closing_during_an_outage_says_what_is_lost(
    own_redis: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Groups that cannot be written at the end are a warning with the number of their jobs."""
    poller, _ = make(redis_asyncio.Redis.from_url(own_redis.url))
    own_redis.kill()
    poller.add_to_group("t1", ["j1", "j2"], None)
    poller.close()
    text = "2 jobs were left out of their task groups: the Redis cannot be used"
    wait_until(lambda: text in caplog.text, "the number")


@pytest.mark.redis
def test_depths_are_those_of_the_queues_seen(
    own_redis: RedisServer, seen: Seen, make: Make
) -> None:
    """The lengths of the lists are published; a key of another type is left out."""
    _, observer = make(redis_asyncio.Redis.from_url(own_redis.url))
    with own_redis.client() as client:
        client.lpush("nexus:tasks:a", "j1", "j2")
        client.set("nexus:tasks:b", "no list")
    know(observer, "nexus:tasks:a", "nexus:tasks:b", "nexus:tasks:c")
    wait_until(lambda: seen.depths(), "a sample")
    assert seen.depths()[0] == {"nexus:tasks:a": 2, "nexus:tasks:c": 0}


@pytest.mark.redis
@pytest.mark.parametrize(
    "push",
    [
        ("LPUSH", "nexus:tasks:a", "j1", "j2"),
        ("ZADD", "nexus:tasks:a", 1, "j1", 2, "j2"),
        ("XADD", "nexus:tasks:a", "*", "data", "j1"),
    ],
    ids=["list", "sorted set", "stream"],
)
async def test_the_first_queue_is_sampled_at_once_whatever_its_kind(
    own_redis: RedisServer, seen: Seen, push: tuple[Any, ...]
) -> None:
    """Not after the interval, and not before Redis has the first job."""
    client: Any = redis_asyncio.Redis.from_url(own_redis.url)
    observer = CommandObserver(client, "nexus:tasks:")
    poller = CoordinatorPoller(seen.bridge, client, observer, 3600)
    await client.execute_command(*push)
    wait_until(seen.depths, "a sample")
    assert seen.depths() == [{"nexus:tasks:a": 1 if push[0] == "XADD" else 2}]
    poller.close()
    observer.close()
    await client.aclose()


@pytest.mark.redis
def test_a_project_that_is_known_stays(own_redis: RedisServer, make: Make) -> None:
    """The project of a research task is written only if the coordinator has written none."""
    poller, _ = make(redis_asyncio.Redis.from_url(own_redis.url))
    with own_redis.client(decode_responses=True) as client:
        client.hset("nexus:task_meta:t1", "project_id", "own")
        poller.add_to_group("t1", ["j1"], "other")
        wait_until(lambda: client.exists("nexus:task_group:t1"), "the group")
        assert client.hget("nexus:task_meta:t1", "project_id") == "own"


@pytest.mark.redis
def test_closing_writes_what_waits(own_redis: RedisServer, seen: Seen, make: Make) -> None:
    """Jobs that were submitted just before the end are in their group; nothing runs after it."""
    poller, _ = make(redis_asyncio.Redis.from_url(own_redis.url))
    poller.add_to_group("t1", ["j1"], None)
    poller.close()
    ran: list[int] = []
    poller.call_later(0, lambda: ran.append(1))
    has_run = threading.Event()
    seen.bridge.timer.call_later(0, has_run.set)
    assert has_run.wait(10)
    with own_redis.client(decode_responses=True) as client:
        assert client.smembers("nexus:task_group:t1") == {"j1"}
    assert ran == []


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (
            redis_asyncio.Redis(host="h", port=7, db=2, username="u", password="p"),
            {"host": "h", "port": 7, "db": 2, "username": "u", "password": "p"},
        ),
        (
            redis_asyncio.Redis(unix_socket_path="/run/redis.sock", db=1),
            {"path": "/run/redis.sock", "db": 1},
        ),
        (
            redis_asyncio.Redis(host="h", ssl=True, ssl_ca_certs="/ca.pem"),
            {"host": "h", "ssl_ca_certs": "/ca.pem"},
        ),
    ],
    ids=["tcp", "unix", "tls"],
)
def test_its_connections_have_the_coordinators_address(
    make: Make, client: redis_asyncio.Redis, expected: dict[str, Any]
) -> None:
    """Address, database, credentials and TLS are the client's; only timeouts are our own."""
    poller, _ = make(client)
    pool = poller.connect_async().connection_pool
    assert expected.items() <= pool.connection_kwargs.items()
    assert issubclass(pool.connection_class, client.connection_pool.connection_class)


def test_an_unknown_address_is_logged_with_the_fix(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a Sentinel the client has no address: one warning names the setting to use."""
    sentinel: Any = Sentinel
    poller, _ = make(sentinel([("127.0.0.1", 1)]).master_for("main"))
    (record,) = caplog.records
    assert "set REDIS_URL to the coordinator's Redis" in record.getMessage()
    answers: list[Any] = []
    poller.call_later(0, lambda: answers.append(poller.run_pipeline(lambda p: p.get("x"))))
    wait_until(lambda: answers, "an answer")
    assert answers == [None]
