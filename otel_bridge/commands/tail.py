"""``otel-bridge tail``: prints the live stream, with the filters of the WebSocket."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlunsplit

from otel_bridge.commands.collector_address import collector_url, split_url
from otel_bridge.commands.event_lines import one_line
from otel_bridge.commands.outputs import ClosedOutputError, Event, open_output
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import BridgeSettings
from otel_bridge.terminal.coming_back import asked_wait_sec
from otel_bridge.terminal.printable import refusal_text
from otel_bridge.urls import redact_url

__all__ = ["TailOptions", "run", "tail"]

_MAX_BACKOFF_SEC: Final = 10.0


@dataclass(frozen=True, slots=True)
class TailOptions:
    """The collector that ``tail`` connects to, and which events it asks for; immutable."""

    url: str
    """Address of the collector: ``http://host:port`` or ``ws://host:port``."""
    project_id: str | None = None
    """Only events of this project."""
    task_id: str | None = None
    """Only events of this research task."""
    types: str | None = None
    """Only events of these types, comma-separated."""
    is_stats_only: bool = False
    """Only aggregates."""
    token: str = field(default="", repr=False)
    """Bearer token for a collector that requires one; empty: none is sent."""


def socket_url(options: TailOptions, since: str | None) -> str:
    """
    Return the address of the collector's WebSocket, ``/ws/monitor``, with the filters as query.

    Neither the form nor the length of filters is checked here: the collector refuses a wrong one.

    Args:
        options: Its ``url`` is the collector's address. Its filters are ``project_id``,
            ``task_id``, ``types`` (comma-separated) and ``is_stats_only``; unset ones are left out.
        since: ``position`` of an event after which the stream resumes; None: from now on.

    Raises:
        ConfigurationError: The scheme is not http, https, ws or wss, the host is missing, or the
            port is not a valid one.
    """
    parts = split_url(options.url, ("http", "https", "ws", "wss"))
    scheme = "wss" if parts.scheme in ("https", "wss") else "ws"
    query = {
        "project_id": options.project_id,
        "task_id": options.task_id,
        "types": options.types,
        "stats_only": "true" if options.is_stats_only else None,
        "batch_ms": "50",
        "since": since,
    }
    text = urlencode({key: value for key, value in query.items() if value})
    path = parts.path.rstrip("/")
    if not path.endswith("/ws/monitor"):
        path += "/ws/monitor"
    return urlunsplit((scheme, parts.netloc, path, text, ""))


async def tail(
    options: TailOptions,
    show: Callable[[Sequence[Event]], object],
    *,
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> None:
    """
    Receive events from a collector and show them, until cancelled.

    A lost connection is made again: after the time that the collector asks for, 60 s at most; else
    after a random delay, of 0 to 5 s if it restarts, and of 0.1 s to at most 10 s otherwise. The
    stream then resumes at the last position; events that the collector no longer has are reported.
    The size of a message is not limited.

    Args:
        options: The collector's ``url``, its bearer ``token`` (empty: none), and the filters:
            ``project_id``, ``task_id``, ``types`` (comma-separated) and ``is_stats_only``.
        show: Called on the event loop, in order, with the decoded events of each message, of which
            there may be none. What it raises ends the function and is raised.
        report: Called with lines about the connection and about missing events; default: printed to
            standard error.

    Raises:
        ConfigurationError: The URL or a filter is wrong, or the token is missing (4xx, but for
            429); the message has the collector's reason.
        OtelBridgeError: The package ``websockets`` is not installed.
        ValueError: A message is no JSON: the server is not a collector.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
    except ImportError as error:
        raise OtelBridgeError(
            "otel-bridge tail needs the websockets package: pip install 'otel-bridge[cli]'"
        ) from error
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else None
    address = redact_url(options.url)
    since: str | None = None
    attempt = 0
    trouble = reported = ""
    show_error: Exception | None = None
    while True:
        asked_sec: float | None = None
        try:
            url = socket_url(options, since)
            async with connect(url, max_size=None, additional_headers=headers) as socket:
                attempt, reported = 0, ""
                async for message in socket:
                    events, position = _events_in(message, report)
                    since = position or since
                    try:
                        show(events)
                    except Exception as error:
                        show_error = error
                        raise
        except InvalidStatus as error:
            if 400 <= error.response.status_code < 500 and error.response.status_code != 429:
                raise ConfigurationError(
                    f"the collector refused: {refusal_text(error.response.body)}",
                    _cure(error.response.status_code),
                ) from error
            trouble = f"the collector answered {error.response.status_code}"
            asked_sec = asked_wait_sec(error)
        except (ConnectionClosed, InvalidHandshake, OSError) as error:
            if error is show_error:
                raise  # it is about the output: a new connection would not help
            asked_sec = asked_wait_sec(error)
            reason = one_line(str(error)) or type(error).__name__
            trouble = f"no connection to {address}: {reason}; trying again"
        else:
            trouble = "the collector closed the connection; trying again"
        # One line per change: an outage of hours is one line.
        if trouble != reported:
            report(trouble)
        reported = trouble
        attempt += 1
        await asyncio.sleep(_backoff_sec(attempt) if asked_sec is None else asked_sec)


def _backoff_sec(attempt: int) -> float:
    # Full jitter, so that many clients of one collector do not reconnect at the same moment.
    return random.uniform(0.1, _longest_backoff_sec(attempt))  # noqa: S311


def _longest_backoff_sec(attempt: int) -> float:
    """Return the upper bound of the delay before an attempt; attempts count from 1."""
    # The limit is reached by the sixth; of the 1,024th the power would be too large for a float.
    return min(_MAX_BACKOFF_SEC, 0.25 * 2.0 ** min(attempt, 6))


def _cure(status: int) -> str:
    return "set MONITORING_TOKEN" if status == 401 else "check the filters"


def _events_in(
    message: str | bytes, report: Callable[[str], None]
) -> tuple[list[Event], str | None]:
    """Return the events of a message, and the newest position in it."""
    items = json.loads(message, parse_int=_read_int)
    position: str | None = None
    events: list[Event] = []
    for item in items if isinstance(items, list) else [items]:
        position = item.get("position") or position
        if "event_type" in item:
            events.append(item)
        elif item.get("type") == "gap":
            dropped = item.get("dropped")
            report(
                f"-- gap: {dropped if dropped is not None else 'some'} events are missing here --"
            )
    return events, position


def _read_int(digits: str) -> int | str:
    """Return a whole number of a message; as text if it has more digits than Python converts."""
    try:
        return int(digits)
    except ValueError:
        # More than 4,300, from the publisher of the event: the connection is a good one.
        return digits


def run(options: argparse.Namespace) -> int:
    """
    Print the live stream until Ctrl-C is pressed or the reader of the output is gone.

    A collector that cannot be reached is reported on standard error and tried again, at most 10 s
    later each time.

    Args:
        options: The filters ``project``, ``task``, ``types`` and ``stats_only``; ``json`` (one JSON
            object per line) and ``url``, the collector's address. None: ``MONITORING_BUS_URL`` if
            that is http or https, else ``MONITORING_HOST`` and ``MONITORING_PORT``, by default
            ``http://127.0.0.1:12000``.

    Returns:
        The exit code, 0.

    Raises:
        ConfigurationError: The URL, a filter, the token or a setting is wrong.
        OtelBridgeError: The output cannot be written, or a package is not installed.
    """
    settings = BridgeSettings.load()
    tail_options = TailOptions(
        url=options.url or collector_url(),
        project_id=options.project,
        task_id=options.task,
        types=options.types,
        is_stats_only=options.stats_only,
        token=settings.token.get_secret_value(),
    )
    output = open_output(sys.stdout, is_json=options.json, is_colourless=bool(settings.no_color))
    with contextlib.suppress(KeyboardInterrupt, ClosedOutputError), output:
        asyncio.run(tail(tail_options, output.print))
    return 0
