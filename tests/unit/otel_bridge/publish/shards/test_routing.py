"""
``otel_bridge.publish.shards.routing``: when a producer changes its shard, and what it takes along.

Shards here are a dict of what each has appended, with the rule of ``append.lua``; that the script
has that rule too is proved on real servers by ``tests/integration/test_resharding.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from otel_bridge.errors import TransportError
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.shards import routing
from otel_bridge.publish.shards.layout import SINGLE, TAGS, Layout
from otel_bridge.publish.shards.routing import LayoutChangedError, ShardRouter, layout_refusal

TTL_SEC = 3600


class Log:
    """Shards with a layout; ``execute`` answers the commands that a router sends."""

    def __init__(self, layout: Layout = SINGLE) -> None:
        self.layout = layout
        self.metas = dict.fromkeys(range(len(TAGS)), layout.gen)
        self.last: dict[tuple[str, int], int] = {}
        self.commands: list[str] = []
        self.appended: list[tuple[int, int]] = []
        """Shard and number of each event."""

    def change(self, gen: int, count: int) -> None:
        self.layout = Layout(gen, count, "aa", dict.fromkeys(range(count), "aa"), {})
        self.metas = dict.fromkeys(self.metas, gen)

    def execute(self, *command: Any) -> Any:
        self.commands.append(command[0])
        if command[0] == "HMGET":
            assert command[1] == DEFAULT_KEYS.log_layout()
            if not self.layout.gen:
                return [None] * (len(command) - 2)
            fields = {"gen": self.layout.gen, "n": self.layout.count, "epoch": self.layout.epoch}
            fields |= {f"e:{shard}": epoch for shard, epoch in self.layout.epochs.items()}
            found = [fields.get(name) for name in command[2:]]
            return [None if value is None else str(value).encode() for value in found]
        if command[0] == "EVAL":
            shard = [DEFAULT_KEYS.log_meta(tag) for tag in TAGS].index(command[3])
            self.metas[shard] = command[4]
            return 1
        producer, shard = self.producer_of(command[1])
        if command[0] == "SET":
            assert command[3:] == ("EX", TTL_SEC)
            self.last[producer, shard] = command[2]
            return b"OK"
        assert command[0] == "GET"
        found_last = self.last.get((producer, shard))
        return None if found_last is None else str(found_last).encode()

    def producer_of(self, key: str) -> tuple[str, int]:
        for shard, tag in enumerate(TAGS):
            prefix = DEFAULT_KEYS.log_producer("", tag)
            if key.startswith(prefix):
                return key.removeprefix(prefix), shard
        raise AssertionError(key)

    def append(self, producer: str, first_n: int, count: int, layout: Layout, shard: int) -> int:
        held = min(max(self.last.get((producer, shard), 0) - first_n + 1, 0), count)
        gen = self.metas[shard]
        if held < count and (layout.gen < gen or (gen == 0 and layout.gen)):
            raise LayoutChangedError(gen, held)
        self.appended += [(shard, first_n + index) for index in range(held, count)]
        self.last[producer, shard] = first_n + count - 1
        return held


class Sender:
    """One router on a log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.router = ShardRouter(DEFAULT_KEYS, TTL_SEC, log.execute)

    def send(self, producer: str, first_n: int, count: int) -> int:
        return self.router.append(
            producer,
            first_n,
            lambda layout, shard: self.log.append(producer, first_n, count, layout, shard),
        )


def shard_of(producer: str, count: int) -> int:
    return replace(SINGLE, count=count).shard_of(producer)


def test_a_log_without_a_layout_costs_no_command() -> None:
    """All producers append to shard 0, and the router asks Redis nothing."""
    log = Log()
    sender = Sender(log)
    for producer in ("a", "b"):
        assert sender.send(producer, 1, 2) == 0
    assert log.appended == [(0, 1), (0, 2), (0, 1), (0, 2)]
    assert log.commands == []


def test_a_producer_finds_its_shard_by_the_first_refusal() -> None:
    """The layout is read once, after shard 0 has refused; then nothing is asked any more."""
    log = Log()
    log.change(1, 4)
    sender = Sender(log)
    for first_n in (1, 3):
        sender.send("a", first_n, 2)
    target = shard_of("a", 4)
    assert target != 0
    assert log.appended == [(target, number) for number in (1, 2, 3, 4)]
    assert log.commands == ["HMGET"]


def test_a_batch_that_the_old_shard_has_is_not_appended_again() -> None:
    """Its answer was lost and the log got more shards since: the old shard says that it has it."""
    log = Log()
    sender = Sender(log)
    sender.send("a", 1, 4)
    log.change(1, 4)
    assert sender.send("a", 1, 4) == 4
    sender.send("a", 5, 1)
    assert log.appended == [*((0, number) for number in (1, 2, 3, 4)), (shard_of("a", 4), 5)]


def test_what_the_old_shard_has_of_a_batch_is_carried_over() -> None:
    """A batch that was appended in part goes on in the new shard with the rest."""
    log = Log()
    sender = Sender(log)
    sender.send("a", 1, 2)
    log.change(1, 4)
    assert sender.send("a", 1, 4) == 2
    target = shard_of("a", 4)
    assert log.appended == [(0, 1), (0, 2), (target, 3), (target, 4)]


def test_another_producer_keeps_its_layout() -> None:
    """That one producer was refused moves no other, whose last batch may be in its old shard."""
    log = Log()
    sender = Sender(log)
    sender.send("a", 1, 1)
    sender.send("b", 1, 4)
    log.change(1, 4)
    sender.send("a", 2, 1)
    assert sender.send("b", 1, 4) == 4


def test_a_restarted_sender_finds_what_its_producers_have_appended() -> None:
    """A restarted collector takes a producer's last number from the shard that has it."""
    log = Log()
    Sender(log).send("a", 1, 4)
    log.change(1, 4)
    assert Sender(log).send("a", 1, 4) == 4
    log.change(2, 3)
    restarted = Sender(log)
    restarted.send("b", 1, 1)
    assert restarted.send("a", 3, 3) == 2
    assert sorted(number for _, number in log.appended) == [1, 1, 2, 3, 4, 5]


def test_a_shard_that_lost_its_data_is_marked_again() -> None:
    """It came back empty while the layout stayed: its producers go on there."""
    log = Log()
    log.change(1, 4)
    sender = Sender(log)
    sender.send("a", 1, 1)
    target = shard_of("a", 4)
    log.metas[target] = 0
    sender.send("a", 2, 1)
    assert log.metas[target] == 1
    assert log.appended == [(target, 1), (target, 2)]


def test_a_redis_that_lost_everything_is_one_shard_again() -> None:
    """Without the layout the producer appends to shard 0, the only one that readers look for."""
    log = Log()
    log.change(1, 4)
    sender = Sender(log)
    sender.send("a", 1, 1)
    log.layout, log.metas, log.last = SINGLE, dict.fromkeys(log.metas, 0), {}
    sender.send("a", 2, 1)
    assert log.appended == [(shard_of("a", 4), 1), (0, 2)]


def test_a_change_that_was_interrupted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shards have a newer layout than the log, so the batch waits for an operator."""
    monkeypatch.setattr(routing, "_WAIT_SEC", 0.0)
    log = Log()
    log.change(1, 4)
    log.metas = dict.fromkeys(log.metas, 2)
    with pytest.raises(TransportError, match="run otel-bridge shards again"):
        Sender(log).send("a", 1, 1)
    assert log.appended == []


def test_a_hash_that_is_no_layout_is_an_error() -> None:
    """The key is named, as an operator must look at it."""
    log = Log()
    log.change(1, 4)
    log.layout = replace(log.layout, count=9)
    with pytest.raises(TransportError, match=r"nexus:\{0\}:layout: n=9"):
        Sender(log).send("a", 1, 1)


def test_producers_that_are_forgotten_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector remembers a bounded number of producers; the others lose and repeat nothing."""
    monkeypatch.setattr(routing, "_MAX_PRODUCERS", 2)
    log = Log()
    sender = Sender(log)
    for producer in "abcd":
        sender.send(producer, 1, 2)
        sender.send(producer, 3, 2)
    log.change(1, 4)
    for producer in "dcba":
        assert sender.send(producer, 3, 2) == 2
        assert sender.send(producer, 4, 2) == 1
    assert len(log.appended) == 4 * 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("LAYOUT 3 16", (3, 16)), ("ERR LAYOUT 0 0 script: f_1", (0, 0)), ("OOM LAYOUT", None)],
)
def test_a_refusal_is_read_from_the_error(text: str, expected: tuple[int, int] | None) -> None:
    """Redis may put words around the script's text; other errors are no refusals."""
    found = layout_refusal(str(ResponseError(text)))
    assert (found and (found.gen, found.held)) == expected
