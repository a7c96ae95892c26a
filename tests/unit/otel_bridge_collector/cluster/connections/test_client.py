"""A member that asks another: what it makes of answers that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from otel_bridge_collector.cluster.connections.client import PeerClient, PeerError
from otel_bridge_collector.cluster.connections.frames import PROTOCOL, answer
from otel_bridge_collector.cluster.connections.group import PeerAddress
from otel_bridge_collector.cluster.partitions import PARTITIONS
from websockets.asyncio.server import ServerConnection, unix_serve

from tests.support.cluster_members import until

HELLO = answer({"hello": "b", "v": PROTOCOL, "partitions": PARTITIONS})


class Taken:
    """What a client passed on."""

    def __init__(self) -> None:
        self.connects = 0
        self.parts: list[tuple[int, bytes]] = []

    def connected(self, client: PeerClient) -> None:
        self.connects += 1

    def take_part(self, number: int, data: bytes) -> None:
        self.parts.append((number, data))


async def followed(
    path: Path,
    messages: list[bytes],
    until_this: Callable[[PeerClient, Taken, Counter[str]], object],
    then: Callable[[PeerClient], Awaitable[None]] | None = None,
) -> Counter[str]:
    """Let a client follow a server that sends these messages; return what it counted."""
    taken, counters = Taken(), Counter[str]()
    client = PeerClient("b", PeerAddress(str(path), ""), "", taken, counters)

    async def serve(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        await connection.wait_closed()

    async with await unix_serve(serve, str(path)):
        client.start()
        await until(lambda: until_this(client, taken, counters), "what is expected")
        if then is not None:
            await then(client)
        await client.stop()
    return counters


async def test_parts_and_facts_are_passed_on(tmp_path: Path) -> None:
    """Once the member has said who it is; a message of a newer release is left out."""
    messages = [HELLO, answer({"new": 1}), answer({"sub": 7}, b"x"), answer({"tick": "e:1"})]
    await followed(
        tmp_path / "s",
        messages,
        lambda client, taken, _: (
            taken.parts == [(7, b"x")] and client.position == "e:1" and client.is_open
        ),
    )


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        (answer({"hello": "c", "v": PROTOCOL, "partitions": PARTITIONS}), "bad"),
        (answer({"hello": "b", "v": 99, "partitions": PARTITIONS}), "unfit"),
        (answer({"hello": "b", "v": PROTOCOL, "partitions": 256}), "unfit"),
        (b"no json", "bad"),
        (answer({"facts": True}, b"none"), "bad"),
    ],
)
async def test_an_answer_that_does_not_fit_is_counted(
    tmp_path: Path, message: bytes, counted: str
) -> None:
    """It ends the connection and raises nothing; the next try comes later."""
    counters = await followed(tmp_path / "s", [message], lambda *found: found[2][counted])
    assert counters[counted] >= 1


async def test_a_question_without_an_answer_is_an_error(tmp_path: Path) -> None:
    """Without a connection at once, else after 2 s, or when the connection ends."""

    async def ask(client: PeerClient) -> None:
        with pytest.raises(PeerError, match="no answer"):
            await client.call("numbers")

    await followed(tmp_path / "s", [HELLO], lambda client, *_: client.is_open, ask)
    lonely = PeerClient("b", PeerAddress("", ""), "", Taken(), Counter())
    with pytest.raises(PeerError, match="not connected"):
        await lonely.call("numbers")


async def test_another_machine_needs_a_token(tmp_path: Path) -> None:
    """Without one there is no way to it, which is said once."""
    counters: Counter[str] = Counter()
    client = PeerClient("b", PeerAddress("", "http://10.0.0.5:1"), "", Taken(), counters)
    client.start()
    await until(lambda: counters["failures"] >= 1, "a failure")
    assert "another machine" in (client.failure or "")
    await client.stop()
