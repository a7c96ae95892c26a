"""Several real Redis or Valkey servers on loopback: a master with Sentinels, and a Cluster."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from tests.support.clocks import ServerClock
from tests.support.ports import free_port
from tests.support.redis_server import DATABASES, Kind, RedisServer, require_redis_server
from tests.support.waiting import wait_until

__all__ = ["RedisCluster", "SentinelGroup"]

_SERVICE: Final = "mymaster"
_SLOTS: Final = 16384


class SentinelGroup:
    """One master, one replica and three Sentinels that replace it after half a second."""

    def __init__(self, kind: Kind = "redis") -> None:
        self._kind: Kind = kind
        self._stack = ExitStack()
        self.servers: list[RedisServer] = []
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self._ports: list[int] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        return f"redis+sentinel://{hosts}/{_SERVICE}/0"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        self.servers = [
            self._stack.enter_context(RedisServer(is_durable=True, kind=self._kind))
            for _ in range(2)
        ]
        master, replica = self.servers
        with replica.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", str(master.port))
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "a link")
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(3):
            port = free_port()
            config = directory / f"sentinel-{number}.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
                f"sentinel monitor {_SERVICE} 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds {_SERVICE} 500\n"
                f"sentinel failover-timeout {_SERVICE} 3000\n",
                encoding="utf-8",
            )
            command = [require_redis_server(self._kind), str(config), "--sentinel"]
            self._sentinels.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            self._ports.append(port)
        wait_until(lambda: all(self._knows_all(port) for port in self._ports), "the Sentinels")

    def _knows_all(self, port: int) -> bool:
        try:
            with redis.Redis(port=port, socket_timeout=1) as client:
                (found,) = client.execute_command("SENTINEL", "MASTERS")
                is_map = isinstance(found, dict)  # RESP3
                fields = found if is_map else dict(zip(found[::2], found[1::2], strict=True))
                told = fields[b"num-slaves"], fields[b"num-other-sentinels"]
                return bool(told == (b"1", b"2"))
        except (redis.RedisError, ValueError):
            return False

    def master(self) -> int:
        """The master's port, as the first Sentinel has it."""
        with redis.Redis(port=self._ports[0], socket_timeout=1) as client:
            found: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _SERVICE)
            return int(found[1])

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._sentinels:
            process.kill()
            process.wait()
        self._stack.close()


class RedisCluster:
    """
    Three masters, a replica of each; a dead master is replaced after a second.

    Args:
        kind: Which server to run.
        has_replicas: False: three masters alone; a dead one is away until it is started again.
        is_durable: Keep an append-only file, so that a restart loses nothing acknowledged.
        clocks: Of the first servers; the others have this machine's.
        options: Further command-line options of each server.
    """

    def __init__(
        self,
        kind: Kind = "redis",
        *,
        has_replicas: bool = True,
        is_durable: bool = False,
        clocks: Sequence[ServerClock] = (),
        **options: str,
    ) -> None:
        self._kind: Kind = kind
        self._clocks = clocks
        self._is_durable = is_durable
        self._size = 6 if has_replicas else 3
        self._options = options
        self._stack = ExitStack()
        self.servers: list[RedisServer] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"redis+cluster://{hosts}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        buses = [str(free_port()) for _ in range(self._size)]
        for number, bus in enumerate(buses):
            options: dict[str, Any] = {
                "cluster_enabled": "yes",
                "cluster_config_file": f"nodes-{number}.conf",
                "cluster_node_timeout": "1000",
                "cluster_port": bus,
                "databases": "1",
                **self._options,
            }
            assert DATABASES > 1
            clock = self._clocks[number] if number < len(self._clocks) else None
            server = RedisServer(
                kind=self._kind, is_durable=self._is_durable, clock=clock, **options
            )
            self.servers.append(self._stack.enter_context(server))
        ids = [self._ask(server, "CLUSTER", "MYID").decode() for server in self.servers]
        first = self.servers[0]
        for server in self.servers[1:]:
            self._ask(server, "CLUSTER", "MEET", "127.0.0.1", str(first.port), buses[0])
        for number, server in enumerate(self.servers[:3]):
            begin, end = (_SLOTS * part // 3 for part in (number, number + 1))
            self._ask(server, "CLUSTER", "ADDSLOTSRANGE", str(begin), str(end - 1))
        wait_until(
            lambda: all(self._counts(s) == self._size for s in self.servers), "the nodes to meet"
        )
        for number, server in enumerate(self.servers[3:]):
            self._ask(server, "CLUSTER", "REPLICATE", ids[number])
        self.wait_until_whole()
        wait_until(lambda: all(self._is_linked(s) for s in self.servers[3:]), "the replicas")

    def _ask(self, server: RedisServer, *command: str) -> Any:
        with server.client() as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def _counts(self, server: RedisServer) -> int:
        return len(self._ask(server, "CLUSTER", "NODES").splitlines())

    def _is_ok(self, server: RedisServer) -> bool:
        return b"cluster_state:ok" in self._ask(server, "CLUSTER", "INFO")

    def wait_until_whole(self) -> None:
        """Returns when each node says that the Cluster works, e.g. after one was started again."""
        wait_until(lambda: all(self._is_ok(server) for server in self.servers), "the Cluster")

    def _is_linked(self, server: RedisServer) -> bool:
        return b"master_link_status:up" in self._ask(server, "INFO", "replication")

    def move_slot(self, key: str) -> None:
        """Move the slot of a key, with all its keys, to the next master; without replicas only."""
        source = self.owner(key)
        target = self.servers[(self.servers.index(source) + 1) % 3]
        slot = str(int(self._ask(target, "CLUSTER", "KEYSLOT", key)))
        ids = {server: self._ask(server, "CLUSTER", "MYID").decode() for server in self.servers}
        self._ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        self._ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        where = ("127.0.0.1", str(target.port), "", "0", "5000", "KEYS")
        while keys := self._ask(source, "CLUSTER", "GETKEYSINSLOT", slot, "100"):
            self._ask(source, "MIGRATE", *where, *(key.decode() for key in keys))
        for server in (target, source, *self.servers):
            self._ask(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    def owner(self, key: str) -> RedisServer:
        """The master that has a key's slot."""
        slot = int(self._ask(self.servers[-1], "CLUSTER", "KEYSLOT", key))
        for line in self._ask(self.servers[-1], "CLUSTER", "NODES").decode().splitlines():
            fields = line.split()
            if "master" in fields[2] and "fail" not in fields[2]:
                for part in fields[8:]:
                    begin, _, end = part.partition("-")
                    if begin.isdigit() and int(begin) <= slot <= int(end or begin):
                        port = int(fields[1].partition("@")[0].rpartition(":")[2])
                        return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
