"""
What shards gain: CPU of the busiest master of a Cluster of three, beside one Redis, in one run.

``python -m tests.benchmarks.bench_shards``; rounds alternate. The CPU is that of Redis' main thread
by ``INFO cpu``; nothing is published in either case. The producers are spread by their ids, as real
ones are, so no shard has exactly its part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from otel_bridge.publish.redis_clients import close, connect
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.redis_options import connection_options
from otel_bridge.publish.shards.layout import TAGS
from otel_bridge.publish.shards.resharding import reshard
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.benchmarks.results import row
from tests.support.redis_groups import RedisCluster
from tests.support.redis_server import RedisServer

SHARDS: Final = 8
PRODUCERS: Final = 96
_EVENTS: Final = 60_000
"""Events a round."""
_GOALS: Final = {4: "", 16: ">= 2", 256: ""}


def _events(count: int) -> list[Outgoing]:
    fields = {
        "event_id": "6f1f9a54-8d0e-4c3e-9c39-3f2a9d3f7c11",
        "ts": "2026-01-01T00:00:00.000Z",
        "event_type": "task_started",
        "project_id": "proj_123",
        "parent_task_id": "6ba529d4",
        "task_id": "6ba5_search_42",
        "task_type": "data_aggregation_search",
        "phase": "search",
        "worker_id": 3,
        "status": "processing",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
    }
    return [Outgoing(json.dumps(fields).encode(), "proj_123")] * count


class _Load:
    """Producers with a connection each; counts the CPU of each server."""

    def __init__(self, url: str, servers: Sequence[RedisServer]) -> None:
        self._sender = RedisSender(url, BridgeSettings(channels="never", send_timeout_ms=10_000))
        self._clients = [server.client() for server in servers]
        self._sent = [0] * PRODUCERS
        for number in range(PRODUCERS):  # it learns the layout, and the servers the script
            self._sender.send(f"p{number}", 1, _events(1))
            self._sent[number] = 1
        client = self._sender._connect()
        self._connections = []
        for number in range(PRODUCERS):
            layout = self._sender._router._layouts[f"p{number}"]
            stream = DEFAULT_KEYS.log_stream(TAGS[layout.shard_of(f"p{number}")])
            if hasattr(client, "get_node_from_key"):
                one = client.get_redis_connection(client.get_node_from_key(stream))
            else:
                one = client
            self._connections.append(one.connection_pool.get_connection())

    def cpu_us(self, size: int, *, is_crowd: bool = True) -> float:
        """
        Microseconds of the busiest server for each event that is sent, in batches of a size.

        A crowd: all producers send before an answer is read, so a server finds several commands at
        a time. Else one waits for its answer before the next sends, and the servers sleep between
        the commands: that is what little load costs, and says nothing of how much they can carry.
        """
        rounds = max(1, _EVENTS // (size * PRODUCERS))
        packed = [self._commands(number, size, rounds) for number in range(PRODUCERS)]
        before = self._cpu_sec()
        for commands in zip(*packed, strict=True):
            for connection, command in zip(self._connections, commands, strict=True):
                connection.send_packed_command(command)
                if not is_crowd:
                    connection.read_response()
            for connection in self._connections if is_crowd else ():
                connection.read_response()
        spent = [after - start for after, start in zip(self._cpu_sec(), before, strict=True)]
        return 1e6 * max(spent) / (rounds * PRODUCERS * size)

    def _commands(self, number: int, size: int, rounds: int) -> list[list[bytes]]:
        """What the sender would send, packed beforehand."""
        found: list[list[bytes]] = []
        batch = _events(size)

        def note(*command: Any) -> Any:
            found.append(self._connections[number].pack_command(*command))
            return [b"0", b"0-0", 0, 0, 0]

        run = self._sender._execute
        self._sender._execute = note  # type: ignore[method-assign]
        try:
            for _ in range(rounds):
                self._sender.send(f"p{number}", self._sent[number] + 1, batch)
                self._sent[number] += size
        finally:
            self._sender._execute = run  # type: ignore[method-assign]
        return found

    def _cpu_sec(self) -> list[float]:
        found: list[dict[str, Any]] = [client.info("cpu") for client in self._clients]
        return [
            float(one["used_cpu_user_main_thread"]) + float(one["used_cpu_sys_main_thread"])
            for one in found
        ]

    def close(self) -> None:
        for connection in self._connections:
            connection.disconnect()
        self._sender.close()
        for client in self._clients:
            client.close()


def bench_shards(rounds: int = 7) -> None:
    """One Redis beside the busiest of three masters, for three sizes of batches."""
    with RedisServer() as server, RedisCluster(has_replicas=False) as cluster:
        client = connect(cluster.url, **connection_options(10, 10))
        reshard(client, DEFAULT_KEYS, SHARDS)
        close(client)
        one, three = _Load(server.url, [server]), _Load(cluster.url, cluster.servers)
        print(
            f"shards: {SHARDS} on a Cluster of 3 masters, {PRODUCERS} producers, beside one Redis"
        )
        for size, goal in _GOALS.items():
            for load in (one, three):
                load.cpu_us(size)  # scripts are loaded, layouts known
            pairs = [(one.cpu_us(size), three.cpu_us(size)) for _ in range(rounds)]
            of = f"batches of {size}"
            row(f"shards: one Redis, {of}, us an event", [single for single, _ in pairs])
            row(
                f"shards: busiest of 3 masters, {of}, us an event",
                [busiest for _, busiest in pairs],
            )
            ratios = [single / busiest for single, busiest in pairs]
            row(f"shards: one Redis / busiest of 3 masters, {of}", ratios, goal)
        waiting = [
            one.cpu_us(16, is_crowd=False) / three.cpu_us(16, is_crowd=False) for _ in range(rounds)
        ]
        row("shards: one Redis / busiest of 3 masters, batches of 16, one at a time", waiting)
        one.close()
        three.close()


def main() -> None:
    """Print all rows."""
    bench_shards()


if __name__ == "__main__":
    main()
