"""The Redis transport against a real server: channels, ACLs, failovers, lost scripts, lost logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_bridge.cancellation import cancel
from otel_bridge.errors import ConfigurationError, PositionLostError, TransportError
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import Outgoing, SpanStack
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.redis_receiver import RedisReceiver
from otel_bridge.settings import BridgeSettings
from tests.support.faults import TcpProxy
from tests.support.redis_server import Kind, RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

MakeSettings = Callable[..., BridgeSettings]


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server of the test's own, which forgets everything when restarted."""
    with RedisServer() as server:
        yield server


STACK = SpanStack("00f067aa0ba902b7", "ValueError: x", "p1")


def outgoing(number: int, project_id: str | None = "p1", *, is_stats: bool = False) -> Outgoing:
    fields = {"event_type": "task_started", "task_id": str(number)}
    return Outgoing(json.dumps(fields, separators=(",", ":")).encode(), project_id, is_stats)


def task_ids(entries: Any) -> list[int]:
    return [int(json.loads(entry.data)["task_id"]) for entry in entries]


def subscribed(client: Any, *patterns: str) -> Any:
    pubsub = client.pubsub()
    pubsub.psubscribe(*patterns)
    for _ in patterns:
        assert pubsub.get_message(timeout=5) is not None
    return pubsub


def messages(pubsub: Any, count: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []

    def got_all() -> bool:
        message = pubsub.get_message(timeout=0.05)
        if message is not None:
            found.append((message["channel"].decode(), message["data"]))
        return len(found) >= count

    wait_until(got_all, f"{count} messages")
    assert pubsub.get_message(timeout=0.05) is None
    return found


async def test_each_event_goes_to_its_channels_as_the_reader_sees_it(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """Global, project and stats channel carry the very bytes that a reader of the log gets."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    with own.client() as client, subscribed(client, "nexus:events*") as pubsub:
        batch = [outgoing(1), outgoing(2, None), outgoing(3, "p2", is_stats=True)]
        result = await asyncio.to_thread(sender.send, "a", 1, batch)
        found = await asyncio.to_thread(messages, pubsub, 6)
    first, second, third = await receiver.read(await receiver.open())
    assert found == [
        ("nexus:events", first.data),
        ("nexus:events:project:p1", first.data),
        ("nexus:events", second.data),
        ("nexus:events", third.data),
        ("nexus:events:project:p2", third.data),
        ("nexus:events:stats", third.data),
    ]
    assert result.refused == 0
    sender.close()
    await receiver.close()


def test_channels_are_those_of_the_settings(own: RedisServer, make_settings: MakeSettings) -> None:
    """Renamed channels are used."""
    settings = make_settings(events_channel="e", stats_channel="s", project_channel_prefix="p:")
    with own.client() as client, subscribed(client, "*") as pubsub:
        RedisSender(own.url, settings).send("a", 1, [outgoing(1, "x", is_stats=True)])
        assert [channel for channel, _ in messages(pubsub, 3)] == ["e", "p:x", "s"]


def test_a_denied_channel_loses_no_event(own: RedisServer, make_settings: MakeSettings) -> None:
    """With an ACL that denies a channel the events are in the log once, the denials counted."""
    with own.client() as client, subscribed(client, "nexus:events*"):
        client.execute_command(
            "ACL", "SETUSER", "worker", "on", ">pw", "~nexus:*", "resetchannels", "&nexus:events",
            "+@all",
        )  # fmt: skip
        sender = RedisSender(f"redis://worker:pw@127.0.0.1:{own.port}/0", make_settings())
        result = sender.send("a", 1, [outgoing(1), outgoing(2)])
        assert (result.skipped, result.refused) == (0, 2)
        assert sender.send("a", 1, [outgoing(1), outgoing(2)]).skipped == 2
        assert client.xlen(DEFAULT_KEYS.log_stream()) == 2
        sender.close()


def test_the_documented_acl_is_enough(own: RedisServer, make_settings: MakeSettings) -> None:
    """A user with just the commands the script uses can publish."""
    commands = (
        *("+eval", "+evalsha", "+get", "+set", "+hget", "+hset", "+exists"),
        *("+xadd", "+xtrim", "+xrevrange", "+publish", "+pubsub", "+expire"),
    )
    with own.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "worker", "on", ">pw", "~nexus:{0}:*", "&nexus:*", *commands
        )
    sender = RedisSender(f"redis://worker:pw@127.0.0.1:{own.port}", make_settings())
    assert sender.send("a", 1, [outgoing(1)]).refused == 0
    assert sender.send("a", 1, [outgoing(1)]).skipped == 1
    assert sender.send("a", 2, [outgoing(2)._replace(stack=STACK)]).unstored == 0
    with own.client() as client:
        assert 86_000 < client.ttl(DEFAULT_KEYS.node(STACK.span_id)) <= 86_400
    sender.close()


@pytest.mark.parametrize(
    ("keys", "denied"),
    [("~nexus:{0}:*", "-expire"), ("~nexus:{0}:*", "-hset"), ("~nexus:{0}:[spm]*", "+expire")],
)
def test_an_acl_without_stacks_costs_no_event(
    own: RedisServer, make_settings: MakeSettings, keys: str, denied: str
) -> None:
    """Such as that of an older release: stacks are counted as lost, and nothing stays for ever."""
    with own.client() as client:
        RedisSender(own.url, make_settings()).send("first", 1, [outgoing(1)])
        client.execute_command(
            "ACL", "SETUSER", "worker", "on", ">pw", keys, "&nexus:*", "+@all", denied
        )
    sender = RedisSender(f"redis://worker:pw@127.0.0.1:{own.port}", make_settings())
    batch = [outgoing(2)._replace(stack=STACK)]
    if denied == "-hset":
        assert sender.store_stacks([STACK]) == 1  # an append needs HSET as well, for a new log
    else:
        assert sender.send("a", 1, batch).unstored == 1
    with own.client() as client:
        assert client.exists(DEFAULT_KEYS.node(STACK.span_id)) == 0
    sender.close()


def test_a_lost_script_is_sent_again(own: RedisServer, make_settings: MakeSettings) -> None:
    """After SCRIPT FLUSH, as after a failover, the same batch goes through at once."""
    sender = RedisSender(own.url, make_settings())
    sender.send("a", 1, [outgoing(1)])
    with own.client() as client:
        client.script_flush()
        assert sender.send("a", 2, [outgoing(2)]).skipped == 0
        assert client.xlen(DEFAULT_KEYS.log_stream()) == 2
    sender.close()


@pytest.mark.parametrize(
    ("command", "undo"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"),
         ("CONFIG", "SET", "min-replicas-to-write", "0")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("ACL", "SETUSER", "default", "-@scripting"), ("ACL", "SETUSER", "default", "+@all")),
        (("SET", "nexus:{0}:stream", "x"), ("DEL", "nexus:{0}:stream")),
        (("CONFIG", "SET", "requirepass", "x"), ("CONFIG", "SET", "requirepass", "")),
        *(
            (("ACL", "SETUSER", "default", f"-{command}"), ("ACL", "SETUSER", "default", "+@all"))
            for command in ("get", "set", "hget", "hset", "exists", "xadd", "xtrim")
        ),
    ],
    ids=lambda words: "_".join(words[-2:]),
)  # fmt: skip
@pytest.mark.parametrize("kind", ["redis", "oldest", "valkey"])
def test_what_an_operator_can_mend_is_tried_again(
    command: tuple[str, ...],
    undo: tuple[str, ...],
    kind: Kind,
    make_settings: MakeSettings,
) -> None:
    """A refusal that says nothing about the batch keeps it; mended, it is appended once."""
    with RedisServer(kind=kind) as server:
        sender = RedisSender(server.url, make_settings())
        batch = [outgoing(1), outgoing(2)]
        with server.client() as client:
            client.execute_command(*command)
            with pytest.raises(TransportError) as caught:
                sender.send("a", 1, batch)
            assert type(caught.value) is TransportError
            with pytest.raises(TransportError):
                sender.send("a", 1, batch)
            client.execute_command(*undo)
            sender.send("a", 1, batch)
            assert client.xlen(DEFAULT_KEYS.log_stream()) == 2
        sender.close()


def test_an_answer_that_is_lost_makes_no_duplicate(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """A batch applied behind a broken link is reported as failed, sent again, and skipped."""
    with TcpProxy(own.port) as proxy, own.client() as client:
        sender = RedisSender(f"redis://127.0.0.1:{proxy.port}", make_settings())
        sender.send("a", 1, [outgoing(1)])
        proxy.swallow_answers()
        with pytest.raises(TransportError):
            sender.send("a", 2, [outgoing(2)])
        wait_until(lambda: client.xlen(DEFAULT_KEYS.log_stream()) == 2, "the batch to be applied")
        proxy.heal()
        assert sender.send("a", 2, [outgoing(2)]).skipped == 1
        assert client.xlen(DEFAULT_KEYS.log_stream()) == 2
        sender.close()


def test_a_connection_that_redis_closed_is_opened_again(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """One closed between two batches fails none of them; one connection is open at a time."""
    sender = RedisSender(own.url, make_settings())
    with own.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)  # of the server's start
        for number in range(1, 6):
            sender.send("a", number, [outgoing(number)])
            assert client.client_kill_filter(_type="normal", skipme=True) == 1
        entries = client.xrange(DEFAULT_KEYS.log_stream())
    sender.close()
    assert [json.loads(fields[b"e"])["task_id"] for _, fields in entries] == list("12345")


def test_a_refused_connection_is_a_transport_error(make_settings: MakeSettings) -> None:
    """Nobody listening is a reason to try again, and the reason names no password."""
    sender = RedisSender("redis://:hunter2@127.0.0.1:1/0", make_settings())
    with pytest.raises(TransportError) as caught:
        sender.send("a", 1, [outgoing(1)])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://localhost:port", "redis://localhost:6379/x?db=y"])
def test_a_url_that_cannot_be_read_fails_at_once(url: str, make_settings: MakeSettings) -> None:
    """Both ends say so when they are made."""
    for end in (RedisSender, RedisReceiver):
        with pytest.raises(ConfigurationError):
            end(url, make_settings())


async def test_an_epoch_may_contain_a_colon(own: RedisServer, make_settings: MakeSettings) -> None:
    """An epoch that another program wrote is part of the positions, and reading goes on."""
    with own.client() as client:
        client.hset(DEFAULT_KEYS.log_meta(), "epoch", "a:b")
        client.xadd(DEFAULT_KEYS.log_stream(), {"e": outgoing(1).data})
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    (first,) = await receiver.read(await receiver.open())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(2)])
    (second,) = await receiver.read(first.position)
    assert first.position.startswith("a:b:")
    assert second.position == await receiver.last_position()
    assert task_ids([first, second]) == [1, 2]
    await receiver.close()
    sender.close()


@pytest.mark.parametrize("epoch", [b'a"b', b"\xff", b"x" * 33, b"a b"])
async def test_an_epoch_that_no_position_can_hold_is_named(
    own: RedisServer, make_settings: MakeSettings, epoch: bytes
) -> None:
    """The error names the key to delete; without that key reading goes on."""
    receiver = RedisReceiver(own.url, make_settings())
    with own.client() as client:
        client.hset(DEFAULT_KEYS.log_meta(), "epoch", epoch)
        client.xadd(DEFAULT_KEYS.log_stream(), {"e": outgoing(1).data})
        with pytest.raises(
            TransportError, match=r"^the epoch in nexus:\{0\}:meta .* delete that key"
        ):
            await receiver.open()
        client.delete(DEFAULT_KEYS.log_meta())
    assert task_ids(await receiver.read(await receiver.open())) == [1]
    await receiver.close()


async def test_a_full_redis_can_be_read(own: RedisServer, make_settings: MakeSettings) -> None:
    """Over maxmemory the reader goes on where it was, and checks for holes as always."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(1), outgoing(2)])
    with own.client() as client:
        client.config_set("maxmemory", 1)
    (first,) = await receiver.read(await receiver.open(), limit=1)
    assert task_ids(await receiver.read(first.position)) == [2]
    assert task_ids(await receiver.read_back(10)) == [2, 1]
    await receiver.close()
    sender.close()


@pytest.mark.parametrize("is_meta_kept", [True, False])
async def test_a_wiped_stream_is_another_log(
    own: RedisServer, make_settings: MakeSettings, is_meta_kept: bool
) -> None:
    """After the stream was deleted a reader is told, though ids go on from the clock."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(1)])
    (entry,) = await receiver.read(await receiver.open())
    with own.client() as client:
        client.delete(
            DEFAULT_KEYS.log_stream(), *(() if is_meta_kept else (DEFAULT_KEYS.log_meta(),))
        )
    sender = RedisSender(own.url, make_settings())
    await asyncio.to_thread(sender.send, "b", 1, [outgoing(2)])
    await receiver.close()
    with pytest.raises(PositionLostError) as caught:
        await receiver.read(entry.position, wait_ms=0)
    assert caught.value.reason == "epoch"
    assert task_ids(await receiver.read(await receiver.open())) == [2]
    await receiver.close()


async def test_a_reader_that_stays_notices_a_wiped_stream(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """Without any reconnect a waiting reader learns of a deleted stream within its check."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(1)])
    (entry,) = await receiver.read(await receiver.open())
    with own.client() as client:
        client.delete(DEFAULT_KEYS.log_stream())
    with pytest.raises(PositionLostError) as caught:
        await receiver.read(entry.position, wait_ms=20_000)
    assert caught.value.reason == "epoch"
    await receiver.close()


@pytest.mark.parametrize("change", ["stream", "stream and meta", "epoch"])
async def test_a_log_replaced_between_two_full_reads_is_noticed(
    own: RedisServer, make_settings: MakeSettings, change: str
) -> None:
    """Also by the check that comes with a read after a full one, which asks once for all."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(number) for number in range(1, 11)])
    entries = await receiver.read(await receiver.open(), limit=2)
    with own.client() as client:
        before = client.info("commandstats")["cmdstat_hmget"]["calls"]
        for first in (3, 5):
            entries = await receiver.read(entries[-1].position, limit=2)
            assert task_ids(entries) == [first, first + 1]
        assert client.info("commandstats")["cmdstat_hmget"]["calls"] == before
        if change == "epoch":
            client.hset(DEFAULT_KEYS.log_meta(), "epoch", "another")
        else:
            client.delete(DEFAULT_KEYS.log_stream())
        if change == "stream and meta":
            client.delete(DEFAULT_KEYS.log_meta())
    await asyncio.to_thread(sender.close)
    sender = RedisSender(own.url, make_settings())
    await asyncio.to_thread(sender.send, "b", 1, [outgoing(number) for number in range(11, 21)])
    with pytest.raises(PositionLostError) as caught:
        await receiver.read(entries[-1].position, limit=2)
    assert caught.value.reason == "epoch"
    await receiver.close()
    sender.close()


async def test_a_redis_that_came_back_with_less_is_noticed(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """A position newer than anything in the log, as after lost writes, is another log's."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(1)])
    position = await receiver.last_position()
    epoch, _, stream_id = position.partition(":")
    ahead = f"{epoch}:{int(stream_id.partition('-')[0]) + 5000}-0"
    with pytest.raises(PositionLostError) as caught:
        await receiver.read(ahead, wait_ms=0)
    assert caught.value.reason == "epoch"
    await receiver.close()


async def test_a_reader_gets_an_error_while_redis_is_away_and_goes_on(
    own_redis: RedisServer, make_settings: MakeSettings
) -> None:
    """Killed: TransportError. Back with its data: the same position goes on without a hole."""
    sender = RedisSender(own_redis.url, make_settings())
    receiver = RedisReceiver(own_redis.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(1), outgoing(2)])
    entries = await receiver.read(await receiver.open(), limit=1)
    own_redis.kill()
    with pytest.raises(TransportError):
        await receiver.read(entries[0].position)
    await asyncio.to_thread(own_redis.start)
    sender.close()
    await asyncio.to_thread(sender.send, "a", 2, [outgoing(2), outgoing(3)])
    assert task_ids(await receiver.read(entries[0].position)) == [2, 3]
    await receiver.close()
    sender.close()


async def test_a_stopped_redis_does_not_hold_the_reader(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """With Redis stopped a read fails instead of waiting for ever."""
    receiver = RedisReceiver(own.url, make_settings())
    position = await receiver.open()
    own.stop()
    with pytest.raises(TransportError):
        await receiver.read(position)
    own.resume()
    assert list(await receiver.read(position, wait_ms=0)) == []
    await receiver.close()


async def test_a_cancelled_read_leaves_no_answer_behind(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """After a cancelled wait the next command gets its own answer."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    await asyncio.to_thread(sender.send, "a", 1, [outgoing(1)])
    last = await receiver.last_position()
    for _ in range(5):
        reading = asyncio.create_task(receiver.read(last, wait_ms=20_000))
        await asyncio.wait([reading], timeout=0.02)
        await cancel([reading])
        assert await receiver.last_position() == last
    await receiver.close()
    sender.close()


async def test_foreign_messages_are_adopted_and_ours_are_not(
    own: RedisServer, make_settings: MakeSettings
) -> None:
    """Only messages without a position come through, wherever the word may stand in them."""
    sender = RedisSender(own.url, make_settings())
    receiver = RedisReceiver(own.url, make_settings())
    found: list[bytes] = []
    foreign = [
        b'{"event_type":"task_started","task_id":"f1"}',
        b'{"task_id":"f2","meta":{"position":"left"}}',
        b'"position"',
        b"not json",
    ]
    listening = asyncio.create_task(_collect(receiver, found))
    with own.client() as client:
        await asyncio.to_thread(
            wait_until, lambda: client.publish("nexus:events", foreign[0]) == 1, "the subscriber"
        )
        await asyncio.to_thread(sender.send, "a", 1, [outgoing(1), outgoing(2)])
        client.publish("nexus:events", b'{"task_id":"x","position":"e:1"}')
        for message in foreign[1:]:
            client.publish("nexus:events", message)
    await asyncio.to_thread(wait_until, lambda: len(found) >= len(foreign), "the messages")
    await cancel([listening])
    assert found == foreign
    sender.close()


async def test_the_subscription_comes_back_by_itself(
    own_redis: RedisServer, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """After Redis was killed and restarted foreign messages come through again."""
    receiver = RedisReceiver(own_redis.url, make_settings())
    found: list[bytes] = []
    listening = asyncio.create_task(_collect(receiver, found))
    with own_redis.client() as client:
        await asyncio.to_thread(
            wait_until, lambda: client.publish("nexus:events", b"one") == 1, "the subscriber"
        )
    # Redis answers the publisher before it writes to its subscribers.
    await asyncio.to_thread(wait_until, lambda: found == [b"one"], "the first message")
    own_redis.kill()
    await asyncio.to_thread(own_redis.start)
    with own_redis.client() as client:
        await asyncio.to_thread(
            wait_until, lambda: client.publish("nexus:events", b"two") == 1, "the subscriber again"
        )
    await asyncio.to_thread(wait_until, lambda: b"two" in found, "the second message")
    await cancel([listening])
    assert found == [b"one", b"two"]
    assert caplog.text.count("lost the subscription") == 1


async def _collect(receiver: RedisReceiver, found: list[bytes]) -> None:
    async for message in receiver.external_messages():
        found.append(message)
