"""Events are published where a program listens, and not for collectors alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from otel_bridge.cancellation import cancel
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.redis_receiver import RedisReceiver
from otel_bridge.settings import BridgeSettings
from tests.support.redis_server import Kind, RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

MakeSettings = Callable[..., BridgeSettings]
EVENTS, STATS, PROJECT = "nexus:events", "nexus:events:stats", "nexus:events:project:p1"


@pytest.fixture(params=["redis", "oldest", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    kind: Kind = request.param
    with RedisServer(kind=kind) as made:
        yield made


def batch() -> list[Outgoing]:
    """An event of a project, one of another, and statistics without one."""
    names = (("1", "p1", False), ("2", "p2", False), ("3", None, True))
    return [
        Outgoing(json.dumps({"event_type": "task_started", "task_id": name}).encode(), project, is_)
        for name, project, is_ in names
    ]


def publishes(client: Any) -> int:
    """How often PUBLISH was called since ``CONFIG RESETSTAT``."""
    return int(client.info("commandstats").get("cmdstat_publish", {}).get("calls", 0))


def heard(pubsub: Any) -> list[tuple[str, str]]:
    """Channel and task id of what came; the sender has returned, so all of it is here."""
    found = []
    while (message := pubsub.get_message(timeout=0.2)) is not None:
        if message["type"] in ("message", "pmessage"):
            fields = json.loads(message["data"])
            assert "position" in fields
            found.append((message["channel"].decode(), fields["task_id"]))
    return found


@contextlib.asynccontextmanager
async def collectors(
    server: RedisServer, settings: BridgeSettings, count: int = 2, url: str | None = None
) -> AsyncIterator[list[bytes]]:
    """So many collectors listen for external publishers; what they get is collected."""
    found: list[bytes] = []

    async def listen() -> None:
        async for message in RedisReceiver(url or server.url, settings).external_messages():
            found.append(message)

    tasks = [asyncio.create_task(listen()) for _ in range(count)]
    with server.client() as client:
        await asyncio.to_thread(
            wait_until,
            lambda: client.publish(settings.events_channel, b"") >= count,
            "the subscriptions",
        )
        marker = f"{settings.events_channel}:collectors"
        if url is None:
            await asyncio.to_thread(
                wait_until,
                lambda: client.pubsub_numsub(marker)[0][1] == count,
                "the collectors' channel",
            )
        client.config_resetstat()
    yield found
    await cancel(tasks)


@pytest.mark.parametrize("channel", [EVENTS, "a*[b]-", "x"])
async def test_nothing_is_published_for_collectors_alone(
    server: RedisServer, make_settings: MakeSettings, channel: str
) -> None:
    """Two collectors listen: no PUBLISH; an external publisher's message still reaches both."""
    settings = make_settings(events_channel=channel)
    sender = RedisSender(server.url, settings)
    async with collectors(server, settings) as found:
        with server.client() as client:
            await asyncio.to_thread(sender.send, "a", 1, batch())
            assert publishes(client) == 0
            assert client.publish(channel, b'{"raw":1}') == 2
            await asyncio.to_thread(wait_until, lambda: len(found) == 2, "the message")
    sender.close()


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize(
    ("subscribe", "names", "expected"),
    [
        ("subscribe", (PROJECT,), [(PROJECT, "1")]),
        ("subscribe", (STATS,), [(STATS, "3")]),
        ("subscribe", (EVENTS,), [(EVENTS, "1"), (EVENTS, "2"), (EVENTS, "3")]),
        (
            "psubscribe",
            ("nexus:events*",),
            [
                *((EVENTS, "1"), (PROJECT, "1"), (EVENTS, "2")),
                *((f"{EVENTS}:project:p2", "2"), (EVENTS, "3"), (STATS, "3")),
            ],
        ),
        ("psubscribe", (f"{PROJECT}*",), [(PROJECT, "1")]),
    ],
)
async def test_a_program_that_listens_gets_what_it_asked_for(
    server: RedisServer,
    make_settings: MakeSettings,
    count: int,
    subscribe: str,
    names: tuple[str, ...],
    expected: list[tuple[str, str]],
) -> None:
    """By channel or by pattern, with collectors and without; a new one from the next batch on."""
    sender = RedisSender(server.url, make_settings())
    async with collectors(server, make_settings(), count):
        with server.client() as client, client.pubsub() as pubsub:
            await asyncio.to_thread(sender.send, "a", 1, batch())
            getattr(pubsub, subscribe)(*names)
            assert pubsub.get_message(timeout=5) is not None
            await asyncio.to_thread(sender.send, "a", 4, batch())
            assert await asyncio.to_thread(heard, pubsub) == expected
    sender.close()


async def test_the_setting_decides(server: RedisServer, make_settings: MakeSettings) -> None:
    """``always`` publishes though no program listens, ``never`` does not though a program does."""
    for channels, expected in (("always", 6), ("never", 0)):
        sender = RedisSender(server.url, make_settings(channels=channels))
        with server.client() as client, client.pubsub() as pubsub:
            if channels == "never":
                pubsub.subscribe(EVENTS)
                assert pubsub.get_message(timeout=5) is not None
            client.config_resetstat()
            await asyncio.to_thread(sender.send, channels, 1, batch())
            assert publishes(client) == expected
        sender.close()


@pytest.mark.parametrize("kind", ["redis", "oldest", "valkey"])
def test_a_program_at_a_replica_needs_always(kind: Kind, make_settings: MakeSettings) -> None:
    """A master does not count a replica's subscribers; with ``always`` they get everything."""
    with (
        RedisServer(kind=kind, repl_diskless_sync_delay="0") as master,
        RedisServer(kind=kind) as replica,
        replica.client() as client,
        client.pubsub() as pubsub,
    ):
        client.execute_command("REPLICAOF", "127.0.0.1", str(master.port))
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "a link")
        pubsub.psubscribe("nexus:*")
        assert pubsub.get_message(timeout=5) is not None
        for channels in ("auto", "always"):
            sender = RedisSender(master.url, make_settings(channels=channels))
            fields = {"event_type": "task_started", "task_id": channels}
            sender.send(channels, 1, [Outgoing(json.dumps(fields).encode(), "p1")])
            sender.close()
        found: list[str] = []

        def got_both() -> bool:  # in the order in which the master published
            message = pubsub.get_message(timeout=0.05)
            if message is not None and message["type"] == "pmessage":
                found.append(json.loads(message["data"])["task_id"])
            return len(found) == 2

        wait_until(got_both, "events and project channel")
        assert found == ["always", "always"]


async def test_an_acl_without_pubsub_publishes_everything(
    server: RedisServer, make_settings: MakeSettings
) -> None:
    """A user that may not ask who listens publishes as before; its events are in the log."""
    with server.client() as client:
        rules = ("~nexus:*", "resetchannels", "&nexus:*", "+@all", "-pubsub")
        client.execute_command("ACL", "SETUSER", "worker", "on", ">pw", *rules)
        sender = RedisSender(f"redis://worker:pw@127.0.0.1:{server.port}", make_settings())
        client.config_resetstat()
        result = await asyncio.to_thread(sender.send, "a", 1, batch())
        assert (publishes(client), result.refused, result.skipped) == (6, 0, 0)
        sender.close()


@pytest.mark.parametrize("denied", ["-psubscribe", "resetchannels &nexus:events"])
async def test_a_collector_whose_acl_denies_the_pattern_subscribes_to_the_channel(
    server: RedisServer, make_settings: MakeSettings, denied: str
) -> None:
    """External messages reach it all the same; the log is then published for it, and left out."""
    with server.client() as client:
        rules = ("~nexus:*", "allchannels", "+@all", *denied.split())
        client.execute_command("ACL", "SETUSER", "old", "on", ">pw", *rules)
        url = f"redis://old:pw@127.0.0.1:{server.port}"
        sender = RedisSender(server.url, make_settings())
        async with collectors(server, make_settings(), 1, url) as found:
            assert client.pubsub_numsub(EVENTS)[0][1] == 1
            await asyncio.to_thread(sender.send, "a", 1, batch())
            assert client.publish(EVENTS, b'{"raw":1}') == 1
            await asyncio.to_thread(wait_until, lambda: found == [b'{"raw":1}'], "the message")
        sender.close()
