"""How one of several processes starts, and its line to the parent."""

from __future__ import annotations

import asyncio
import socket

import pytest
from otel_bridge_collector.commands.process_start import (
    AT_ONCE,
    ParentLine,
    ProcessStart,
    error_of,
)

from otel_bridge.errors import ConfigurationError, OtelBridgeError


def test_a_start_survives_the_command_line() -> None:
    """It is the value of a hidden option."""
    start = ProcessStart(1, 3, "/tmp/x", "ab", 12000, None, 7, None)
    assert ProcessStart.parse(start.text()) == start


async def test_a_process_reports_once_and_notices_the_end_of_its_parent() -> None:
    """Its parent reads a line of JSON and may say not to wait; its end is that of the line."""
    ours, theirs = socket.socketpair()
    stop = asyncio.Event()
    line = ParentLine(theirs.detach(), stop, at_once := asyncio.Event())
    line.note_up()
    assert error_of(ours.recv(100)) is None
    line.note_failure(ConfigurationError("A=1 is wrong", "use 2"))
    error = error_of(ours.recv(100))
    assert isinstance(error, ConfigurationError)
    assert str(error) == "A=1 is wrong; use 2"
    ours.send(AT_ONCE)
    async with asyncio.timeout(5):
        await at_once.wait()
    assert not stop.is_set()
    ours.close()
    async with asyncio.timeout(5):
        await stop.wait()
    line.note_up()  # no process reads the line any more
    line.close()
    line.close()


@pytest.mark.parametrize("message", [b"", b"Traceback", b'{"error":"no"}'])
def test_a_process_that_dies_is_an_error(message: bytes) -> None:
    """Whatever it has written."""
    assert isinstance(error_of(message), OtelBridgeError)
