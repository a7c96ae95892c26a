"""``tail``: the address of the stream, and where the lines go."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import pytest
from websockets.asyncio.server import ServerConnection, serve

from otel_bridge.cancellation import cancel
from otel_bridge.commands.command_line import main
from otel_bridge.commands.tail import TailOptions, _longest_backoff_sec, run, socket_url, tail
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from tests.support.command_lines import error_line


def test_filters_reach_the_address() -> None:
    """The filters become the WebSocket's own parameters."""
    options = TailOptions("http://localhost:12000", project_id="p 1", types="task_failed")
    assert (
        socket_url(options, "e:1-0") == "ws://localhost:12000/ws/monitor"
        "?project_id=p+1&types=task_failed&batch_ms=50&since=e%3A1-0"
    )


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("https://h/a/", "wss://h/a/ws/monitor?"),
        ("ws://h:1/ws/monitor", "ws://h:1/ws/monitor?"),
        ("wss://h", "wss://h/ws/monitor?"),
    ],
)
def test_each_scheme_has_its_socket(url: str, start: str) -> None:
    """TLS stays TLS, and the path of a reverse proxy is kept."""
    assert socket_url(TailOptions(url), None).startswith(start)


@pytest.mark.parametrize(
    "url", ["ftp://x", "127.0.0.1:12000", "http://", "http://x:99999", "http://x:y", "http://[::1"]
)
def test_a_wrong_address_names_the_cure(url: str) -> None:
    """A URL that is no collector's is refused with an example."""
    with pytest.raises(ConfigurationError, match="is not a collector's address; use http://127"):
        socket_url(TailOptions(url), None)


async def test_an_outage_is_one_line() -> None:
    """While each attempt fails for the same reason nothing more is reported; another one is."""
    statuses = iter(["503 Busy", "503 Busy"])
    reported: list[str] = []
    has_changed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {next(statuses, '429 Slow')}\r\n\r\n".encode())
        writer.close()

    def report(line: str) -> None:
        reported.append(line)
        if len(reported) == 2:
            has_changed.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, asyncio.timeout(60):
        tailing = asyncio.create_task(tail(TailOptions(url), print, report=report))
        await has_changed.wait()
        await cancel([tailing])
    assert reported == ["the collector answered 503", "the collector answered 429"]


async def test_an_error_of_the_output_is_no_lost_connection() -> None:
    """An ``OSError`` of ``show`` ends ``tail`` and is raised; nothing is tried again."""
    reported: list[str] = []

    async def one_event(socket: ServerConnection) -> None:
        await socket.send('{"event_type": "task_started"}')
        await socket.wait_closed()

    def show(events: Sequence[object]) -> None:
        raise OSError("the terminal is gone")

    async with serve(one_event, "127.0.0.1", 0) as server, asyncio.timeout(60):
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        with pytest.raises(OSError, match="the terminal is gone"):
            await tail(TailOptions(url), show, report=reported.append)
    assert reported == []


async def test_a_number_of_any_length_is_shown() -> None:
    """A publisher's number with more digits than Python converts does not end ``tail``."""
    shown: list[object] = []

    class EnoughError(Exception):
        """Raised to end ``tail``."""

    async def one_event(socket: ServerConnection) -> None:
        await socket.send('{"event_type": "task_started", "meta": {"n": %s}}' % ("9" * 5000))
        await socket.wait_closed()

    def show(events: Sequence[object]) -> None:
        shown.extend(events)
        raise EnoughError

    async with serve(one_event, "127.0.0.1", 0) as server, asyncio.timeout(60):
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        with pytest.raises(EnoughError):
            await tail(TailOptions(url), show)
    assert shown == [{"event_type": "task_started", "meta": {"n": "9" * 5000}}]


def test_the_delay_between_attempts_is_bounded() -> None:
    """It doubles from 0.5 s to 10 s, and stays there however long an outage lasts."""
    delays = [_longest_backoff_sec(attempt) for attempt in (1, 2, 5, 6, 7, 1024, 10**6)]
    assert delays == [0.5, 1, 8, 10, 10, 10, 10]


def test_a_closed_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started with ``>&-`` it says so instead of running without a reader."""
    monkeypatch.setattr("sys.stdout", None)
    options = argparse.Namespace(
        url="http://127.0.0.1:9", project=None, task=None, types=None, stats_only=False, json=False
    )
    with pytest.raises(OtelBridgeError, match="standard output is closed"):
        run(options)


def test_a_missing_package_has_its_pip_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without ``websockets`` one line says what to install."""
    monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
    assert main(["tail"]) == 1
    assert error_line(capsys) == (
        "otel-bridge tail needs the websockets package: pip install 'otel-bridge[cli]'"
    )
