"""The parts that all transports share: batches, results, and the position in an event's JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import PositionLostError
from otel_bridge.publish.transports.base import (
    AppendResult,
    LogEntry,
    Outgoing,
    Receiver,
    Sender,
    position_after,
    splice_position,
)
from otel_bridge.publish.transports.http import HttpSender
from otel_bridge.publish.transports.memory import MemoryReceiver, MemorySender
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.publish.transports.redis_receiver import RedisReceiver

EVENTS = st.dictionaries(
    st.text(max_size=9).filter(lambda name: name != "position"), st.text() | st.integers()
).filter(bool)


@given(EVENTS, st.from_regex(r"[0-9a-f]{8}:[0-9]{1,20}-[0-9]{1,20}", fullmatch=True))
def test_the_position_becomes_the_first_member(event: dict[str, Any], position: str) -> None:
    """The JSON stays valid, has the position first, and is otherwise the same bytes."""
    data = json.dumps(event).encode()
    spliced = splice_position(position, data)
    assert json.loads(spliced) == {"position": position, **event}
    assert spliced.startswith(b'{"position":"')
    assert spliced.endswith(data[1:])


def test_a_position_and_its_event_are_an_entry() -> None:
    """An entry is the position with the JSON that contains it, as a reader gets both."""
    entry = LogEntry("e:1", splice_position("e:1", b'{"ts":"x"}'))
    assert entry == ("e:1", b'{"position":"e:1","ts":"x"}')


@pytest.mark.parametrize(
    ("position", "after"),
    [("e:9", "e:10"), ("a-b:c:7-0", "a-b:c:7-1"), (f"e:7-{2**64 - 1}", f"e:7-{2**64 - 1}")],
)
def test_the_position_after_one_is_the_next_number(position: str, after: str) -> None:
    """Of both forms, whatever the epoch is, and within what Redis takes."""
    assert position_after(position) == after


@pytest.mark.parametrize(
    "position", ["", "7", ":7", "e:", "e:x", "e:7-", "e:\u00b2", "e:" + "9" * 21]
)
def test_what_is_no_position_has_none_after_it(position: str) -> None:
    """Such a text of a client is refused as malformed."""
    with pytest.raises(PositionLostError) as caught:
        position_after(position)
    assert caught.value.reason == "malformed"


def test_by_default_an_event_is_no_aggregate_and_none_is_rejected() -> None:
    """A transport without tokens and a plain event need not name what does not concern them."""
    assert Outgoing(b"{}", None).is_stats is False
    assert AppendResult("e:1", 0, 0).rejected == 0


@pytest.mark.parametrize("kind", [MemorySender, HttpSender, RedisSender])
def test_every_sender_has_the_methods_of_a_sender(kind: type) -> None:
    """A bus can use each sender: the methods of ``Sender`` are there, with the same arguments."""
    _check_methods(kind, Sender)


@pytest.mark.parametrize("kind", [MemoryReceiver, RedisReceiver])
def test_every_receiver_has_the_methods_of_a_receiver(kind: type) -> None:
    """A collector can use each receiver, with the same arguments and defaults."""
    _check_methods(kind, Receiver)


def _check_methods(kind: type, protocol: type) -> None:
    names = [name for name in vars(protocol) if not name.startswith("_")]
    assert names
    for name in names:
        found, expected = getattr(kind, name), getattr(protocol, name)
        assert (
            found.__code__.co_varnames[: found.__code__.co_argcount]
            == (expected.__code__.co_varnames[: expected.__code__.co_argcount])
        )
        assert found.__kwdefaults__ == expected.__kwdefaults__
