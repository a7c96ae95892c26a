"""
What reading a log of several shards costs, beside the reader of one stream; and what it costs idle.

``python -m tests.benchmarks shard_reads``, 20 s. Rounds of all cases alternate; CPU is that of this
process, an event or a second. One stream is read by ``RedisReceiver``, as before there were shards.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.sharded.log_receiver import RedisLogReceiver
from otel_bridge.settings import BridgeSettings
from tests.benchmarks.results import row
from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.shard_log import set_shards
from tests.support.sharded_load import producer_on

_EVENTS: Final = 40_000
_BATCH: Final = 256
_ROUNDS: Final = 5
_IDLE_SEC: Final = 3.0
_ONE: Final = "1 stream"
_CLUSTER: Final = "8 shards in a Cluster of 3"
_SHARDS: Final = {_ONE: 1, "2 shards": 2, "4 shards": 4, "8 shards": 8}
_EVENT: Final = json.dumps(
    {"event_id": "x" * 36, "event_type": "task_progress", "message": "a" * 300}
).encode()


def _fill(url: str, shards: int) -> None:
    """As many events in each shard, in batches of one producer a shard."""
    if shards > 1:
        set_shards(url, shards)
    settings = BridgeSettings(send_timeout_ms=5000, stream_max_events=10**7, channels="never")
    sender = RedisSender(url, settings)
    producers = [producer_on(shard, shards) for shard in range(shards)]
    for number in range(_EVENTS // shards // _BATCH):
        for producer in producers:
            sender.send(producer, number * _BATCH + 1, [Outgoing(_EVENT, None)] * _BATCH)
    sender.close()


async def _read_us(url: str) -> float:
    """Microseconds an event, from the beginning of the log to its end."""
    receiver = RedisLogReceiver(url, BridgeSettings())
    position, count = await receiver.open(), 0
    started = time.process_time()
    while entries := await receiver.read(position, wait_ms=0):
        count += len(entries)
        position = entries[-1].position
    used = time.process_time() - started
    await receiver.close()
    return used / count * 1e6


async def _idle_percent(url: str) -> float:
    """Part of a core, at the end of a log that gets nothing."""
    receiver = RedisLogReceiver(url, BridgeSettings())
    position = await receiver.last_position()
    await receiver.read(position, wait_ms=0)
    began, started = time.monotonic(), time.process_time()
    while time.monotonic() - began < _IDLE_SEC:
        await receiver.read(position, wait_ms=1000)
    used = (time.process_time() - started) / (time.monotonic() - began)
    await receiver.close()
    return used * 100


async def _measure(urls: dict[str, str]) -> None:
    costs: dict[str, list[float]] = {name: [] for name in urls}
    for _ in range(_ROUNDS):
        for name, url in urls.items():
            costs[name].append(await _read_us(url))
    for name, found in costs.items():
        row(f"reading the log, {name}: us an event", found, "" if name == _ONE else "<= 4.7")
    for name, found in costs.items():
        if name != _ONE:
            row(f"reading the log, {name} / one stream", _ratios(found, costs[_ONE]))
    for name in (_ONE, "8 shards", _CLUSTER):
        value = await _idle_percent(urls[name])
        row(f"reading the log, {name}: idle, % of a core", [value], "<= 5")


def _ratios(found: Sequence[float], base: Sequence[float]) -> list[float]:
    return [each / other for each, other in zip(found, base, strict=True)]


def main() -> None:
    """Measure and print the rows."""
    print("reading the log: one stream, and several shards")
    with ExitStack() as stack:
        urls = {name: stack.enter_context(RedisServer()).url for name in _SHARDS}
        urls[_CLUSTER] = stack.enter_context(RedisCluster(has_replicas=False)).url
        for name, url in urls.items():
            _fill(url, _SHARDS.get(name, 8))
        asyncio.run(_measure(urls))


if __name__ == "__main__":
    main()
