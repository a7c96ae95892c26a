"""``coming_back``: what a client reads from ``Retry-After`` and from close codes."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response

from otel_bridge.terminal.coming_back import asked_wait_sec


def refused(retry_after: str | None, status: int = 503) -> InvalidStatus:
    headers = Headers() if retry_after is None else Headers({"Retry-After": retry_after})
    return InvalidStatus(Response(status, "", headers, b""))


def closed(code: int, reason: str) -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, reason), None)


@pytest.mark.parametrize(
    ("value", "least"), [("0", 0), ("7", 7), ("60", 60), ("3600", 60), ("9" * 5000, 60)]
)
def test_retry_after_is_honoured_within_a_minute(value: str, least: int) -> None:
    """The seconds it says, at most 60, and up to one more at random."""
    found = {asked_wait_sec(refused(value)) for _ in range(20)}
    assert len(found) == 20
    assert all(wait is not None and least <= wait <= least + 1 for wait in found)


@pytest.mark.parametrize("value", [None, "", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_is_no_number_of_seconds_says_nothing(value: str | None) -> None:
    """A date counts as absent: the clocks of two machines differ."""
    assert asked_wait_sec(refused(value)) is None


def test_only_503_is_about_all_clients() -> None:
    """429 is about this client alone, which comes back as soon as it does otherwise."""
    assert asked_wait_sec(refused("10", 429)) is None


def test_clients_of_a_restart_come_back_over_five_seconds() -> None:
    """After 1012 the waits are spread from 0 to 5 s."""
    found = sorted(asked_wait_sec(closed(1012, "restarting")) or 0 for _ in range(1000))
    assert 0 <= found[0] < 0.5
    assert 4.5 < found[-1] <= 5


@pytest.mark.parametrize(
    ("code", "reason", "least"),
    [
        (1013, "many clients connect at once, come back in 12 s", 12),
        (1013, "in 99999 s", 60),
        (1013, "try again later", None),
        (1013, "in 5 steps", None),
        (1011, "in 12 s", None),
    ],
)
def test_the_reason_of_1013_has_the_seconds(code: int, reason: str, least: int | None) -> None:
    """Other codes, and a reason without a number of seconds, say nothing."""
    found = asked_wait_sec(closed(code, reason))
    assert (found is None) if least is None else (found is not None and least <= found <= least + 1)


def test_a_connection_that_is_only_lost_says_nothing() -> None:
    """Without a close frame, and without a connection at all."""
    assert asked_wait_sec(ConnectionClosedError(None, None)) is None
    assert asked_wait_sec(ConnectionRefusedError()) is None
