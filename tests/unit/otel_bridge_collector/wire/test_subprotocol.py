"""The subprotocol of a handshake: ours if it is offered, else none."""

from __future__ import annotations

import pytest
from otel_bridge_collector.wire.subprotocol import SUBPROTOCOL, choose_subprotocol

NAME = b"sec-websocket-protocol"


@pytest.mark.parametrize(
    "values", [[b"otel-bridge"], [b"mqtt , otel-bridge"], [b"x", b"otel-bridge"]]
)
def test_ours_is_chosen_wherever_it_stands(values: list[bytes]) -> None:
    """It may be one of a list, and in any of several headers."""
    assert choose_subprotocol([(b"host", b"x"), *((NAME, each) for each in values)]) == SUBPROTOCOL


@pytest.mark.parametrize("value", [b"", b"mqtt", b"Otel-Bridge", b"otel-bridge2", b"\xff"])
def test_no_other_name_is_agreed_on(value: bytes) -> None:
    """Agreeing on a protocol that the collector does not speak would be false."""
    assert choose_subprotocol([(NAME, value)]) is None
    assert choose_subprotocol([]) is None
