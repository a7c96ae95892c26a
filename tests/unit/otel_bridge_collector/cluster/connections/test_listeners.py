"""The ways to a member: its Unix socket, and another process that passes a connection on."""

from __future__ import annotations

from pathlib import Path

import pytest
from otel_bridge_collector.cluster.connections.frames import pieces, read_answer
from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.cluster.connections.listeners import relay

from tests.support.cluster_members import cluster_of, links_of

pytestmark = pytest.mark.redis


class Peer:
    """One that sends some texts, and leaves when it has got an answer to a question."""

    def __init__(self, *texts: str) -> None:
        self._texts = list(texts)
        self.got: list[bytes] = []

    async def receive(self) -> str | None:
        return self._texts.pop(0) if self._texts else None

    async def send(self, message: bytes) -> None:
        self.got.append(message)


async def test_a_connection_is_passed_on_to_the_process_it_is_for(redis_url: str) -> None:
    """With what it says in both directions; the socket is removed at the end."""
    async with cluster_of(redis_url, 2) as members:
        here, there = map(links_of, members)
        assert here.group is not None
        path = Path(here.group.socket_of(there.id))
        assert path.is_socket()
        peer = Peer(*pieces('{"op":"call","n":1,"name":"nothing"}'))
        assert await relay(here.group, there.id, peer.send, peer.receive)
        hello = [read_answer(message).fields for message in peer.got if b"hello" in message]
        assert not hello or hello[0]["hello"] == there.id
        for wrong in ("0" * 12, "../../x", ""):
            assert not await relay(here.group, wrong, peer.send, peer.receive)
        assert not await relay(None, there.id, peer.send, peer.receive)
    assert not path.exists()


async def test_a_group_without_processes_passes_nothing_on(tmp_path: Path) -> None:
    """The socket of a member that is not there cannot be reached."""
    peer = Peer()
    group = LocalGroup(str(tmp_path), "g", 2, 0)
    assert not await relay(group, "0123456789ab", peer.send, peer.receive)
