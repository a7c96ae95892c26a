"""Producers that append numbered events while the log's shards change, some answers being lost."""

from __future__ import annotations

import itertools
import json
import random
import threading
import zlib
from collections.abc import Callable
from typing import Any

import redis

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards.layout import MAX_SHARDS, TAGS
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings

__all__ = ["Producer", "merged_log", "problems", "producer_on"]


def producer_on(shard: int, count: int, name: str = "p") -> str:
    """A producer id that belongs to this shard of so many."""
    return next(
        found
        for number in itertools.count()
        if zlib.crc32((found := f"{name}{number}").encode()) % count == shard
    )


class Producer:
    """
    Sends batches of numbered events in a thread, each until it is acknowledged, until stopped.

    Args:
        url: Of Redis.
        producer_id: Its name, which decides its shard.
        lost: Part of the answers that are lost after the script has run.
        settings: Of the sender.
    """

    def __init__(
        self,
        url: str,
        producer_id: str,
        *,
        lost: float = 0.0,
        settings: BridgeSettings | None = None,
    ) -> None:
        self.producer_id = producer_id
        # Not about time, and no event may be trimmed: all are counted at the end.
        self.sender = RedisSender(
            url,
            settings or BridgeSettings(send_timeout_ms=2000, stream_max_events=100_000_000),
        )
        self.sent = 0
        """Events that were acknowledged."""
        self.repeats = 0
        """Attempts that failed, and were made again."""
        self.failure: Exception | None = None
        """What the last attempt failed with; None if it did not."""
        self._random = random.Random(producer_id)
        self._is_stopped = threading.Event()
        self._execute: Callable[..., Any] = self.sender._execute
        if lost:
            self._lost = lost
            self.sender._execute = self._lose_answers  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _lose_answers(self, *command: Any) -> Any:
        reply = self._execute(*command)
        if str(command[0]).startswith("EVAL") and self._random.random() < self._lost:
            raise redis.ConnectionError("the answer was lost")
        return reply

    def start(self) -> Producer:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Returns when the last batch is acknowledged."""
        self._is_stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.sender.close()

    def _run(self) -> None:
        while not self._is_stopped.wait(0.0005):
            size = self._random.randint(1, 16)
            batch = [
                Outgoing(
                    json.dumps(
                        {
                            "event_type": "task_started",
                            "event_id": f"{self.producer_id}-{number}",
                            "task_id": f"{self.producer_id}-{number}",
                            "meta": {"producer": self.producer_id, "n": number},
                        }
                    ).encode(),
                    None,
                )
                for number in range(self.sent + 1, self.sent + 1 + size)
            ]
            while True:
                try:
                    self.sender.send(self.producer_id, self.sent + 1, batch)
                    break
                except TransportError as error:
                    self.failure = error
                    self.repeats += 1
            self.failure = None
            self.sent += size


def merged_log(client: Any) -> list[tuple[str, int]]:
    """Producer and number of each entry of all shards, in the order of the log."""
    rows = []
    for shard in range(MAX_SHARDS):
        stream = DEFAULT_KEYS.log_stream(TAGS[shard])
        for entry_id, fields in client.execute_command("XRANGE", stream, "-", "+"):
            ms, _, seq = entry_id.decode().partition("-")
            meta = json.loads(fields[b"e"])["meta"]
            rows.append(((int(ms), shard, int(seq)), meta["producer"], meta["n"]))
    return [(producer, number) for _, producer, number in sorted(rows)]


def problems(log: list[tuple[str, int]], producers: list[Producer]) -> list[str]:
    """What is missing, double or out of order; empty if every event is in the log once."""
    found = []
    for producer in producers:
        numbers = [number for name, number in log if name == producer.producer_id]
        if numbers != list(range(1, producer.sent + 1)):
            missing = set(range(1, producer.sent + 1)) - set(numbers)
            doubles = len(numbers) - len(set(numbers))
            found.append(
                f"{producer.producer_id}: of {producer.sent} events {len(missing)} are missing and "
                f"{doubles} double, or they are out of order"
            )
    return found
