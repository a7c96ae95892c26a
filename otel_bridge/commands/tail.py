"""
``otel-bridge tail``: prints the live stream in a terminal, with the filters of the WebSocket.

The text of events comes from untrusted publishers. So a visible mark replaces every character that
would control the terminal: escape sequences, other control characters, bidirectional overrides.
Source: Unicode Technical Report 36 on bidirectional spoofing; ECMA-48 for C0 and C1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url

__all__ = ["TailOptions", "format_event", "one_line", "run", "tail"]

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_MARK: Final = "\N{REPLACEMENT CHARACTER}"
_MAX_BACKOFF_SEC: Final = 10.0

_SYMBOLS: Final = {
    "completed": ("✓", "32"),
    "failed": ("✕", "31"),
    "retrying": ("↻", "33"),
    "processing": ("◐", "34"),
    "pending": ("○", "90"),
}


@dataclass(frozen=True, slots=True)
class TailOptions:
    """Filters and form of the output."""

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
    is_json: bool = False
    """Print each event as JSON instead of as a readable line."""
    is_coloured: bool = False
    """Colour the status of readable lines."""
    token: str = field(default="", repr=False)
    """Bearer token for a collector that requires one; empty: none is sent."""


def one_line(text: str) -> str:
    """Replace every line break, control and bidirectional character by a visible mark."""
    return _UNPRINTABLE.sub(_MARK, text)


def format_event(event: Mapping[str, Any], *, is_coloured: bool = False) -> str:
    """
    Format an event as one line: time, status, type, phase, job, worker, duration, text.

    Args:
        event: A decoded event; fields may be missing, unknown ones are left out.
        is_coloured: Whether to colour the status (ANSI SGR).
    """
    status = str(event.get("status") or "")
    symbol, colour = _SYMBOLS.get(status, ("·", "90"))
    head = f"{symbol} {event.get('event_type') or '?'!s:<18}"
    clock = str(event.get("ts", ""))[11:23]
    parts = [str(event[key]) for key in ("phase", "task_type", "task_id") if event.get(key)]
    if event.get("worker_id") is not None:
        parts.append(f"worker {event['worker_id']}")
    if event.get("retry_count"):
        parts.append(f"retry {event['retry_count']}")
    if isinstance(event.get("duration_ms"), int | float):
        parts.append(f"{event['duration_ms']:.0f} ms")
    if isinstance(event.get("counts"), dict):
        parts.append(" ".join(f"{name}={count}" for name, count in event["counts"].items()))
    parts += [str(event[key]) for key in ("message", "error") if event.get(key)]
    line = one_line("  ".join(parts))
    head = one_line(head)
    if is_coloured:
        head = f"\x1b[{colour}m{head}\x1b[0m"
    return f"{one_line(clock)}  {head}  {line}"


def socket_url(options: TailOptions, since: str | None) -> str:
    """
    Return the address of the WebSocket with the filters.

    Args:
        options: Address of the collector and filters.
        since: Position after which the stream resumes; None: from now on.

    Raises:
        ConfigurationError: The scheme is not http, https, ws or wss, the host is missing, or the
            port is not a valid one.
    """
    try:
        parts = urlsplit(options.url)
        is_address = parts.hostname and parts.port != 0  # ``port`` raises if it is invalid
        scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}[parts.scheme]
    except (KeyError, ValueError):
        is_address = False
    if not is_address:
        raise ConfigurationError(
            f"--url {redact_url(options.url)} is not a collector's address",
            "use http://127.0.0.1:12000",
        )
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
    write: Callable[[str], None],
    *,
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> None:
    """
    Print events until cancelled; after a lost connection, resume without gap or duplicate.

    Args:
        options: Address, filters and form of the output.
        write: Called with each line. If it raises ``BrokenPipeError``, the function returns, as
            for ``tail | head``.
        report: Called with lines about the connection.

    Raises:
        ConfigurationError: The URL or a filter is wrong; the message has the collector's reason.
        OtelBridgeError: The package ``websockets`` is not installed.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
    except ImportError as error:
        raise OtelBridgeError(
            "otel-bridge tail needs the websockets package: pip install 'otel-bridge[collector]'"
        ) from error
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else None
    address = redact_url(options.url)
    since: str | None = None
    attempt = 0
    while True:
        try:
            url = socket_url(options, since)
            async with connect(url, max_size=None, additional_headers=headers) as socket:
                attempt = 0
                async for message in socket:
                    lines, position = _lines(message, options, report)
                    since = position or since
                    try:
                        for line in lines:
                            write(line)
                    except BrokenPipeError:
                        return
        except InvalidStatus as error:
            if 400 <= error.response.status_code < 500 and error.response.status_code != 429:
                body = (error.response.body or b"").decode(errors="replace")
                raise ConfigurationError(
                    f"the collector refused: {one_line(_reason(body))}",
                    _cure(error.response.status_code),
                ) from error
            report(f"the collector answered {error.response.status_code}")
        except (ConnectionClosed, InvalidHandshake, OSError) as error:
            report(f"no connection to {address}: {one_line(str(error)) or type(error).__name__}")
        else:
            report("the collector closed the connection")
        attempt += 1
        # Full jitter, so that many clients of one collector do not reconnect at the same moment.
        await asyncio.sleep(random.uniform(0.1, min(_MAX_BACKOFF_SEC, 0.25 * 2**attempt)))  # noqa: S311


def _cure(status: int) -> str:
    return "set MONITORING_TOKEN" if status == 401 else "check the filters"


def _lines(
    message: str | bytes, options: TailOptions, report: Callable[[str], None]
) -> tuple[list[str], str | None]:
    """Return the events of a message as lines, and the newest position in it."""
    items = json.loads(message)
    position: str | None = None
    lines: list[str] = []
    for item in items if isinstance(items, list) else [items]:
        position = item.get("position") or position
        if "event_type" in item:
            # json.dumps escapes control characters and all non-ASCII text, so this form is safe.
            lines.append(
                json.dumps(item)
                if options.is_json
                else format_event(item, is_coloured=options.is_coloured)
            )
        elif item.get("type") == "gap":
            dropped = item.get("dropped")
            report(
                f"-- gap: {dropped if dropped is not None else 'some'} events are missing here --"
            )
    return lines, position


def _reason(body: str) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return body[:200]
    return str(found.get("detail") or found.get("error") or body[:200])


def run(options: argparse.Namespace) -> int:
    """Print the live stream until Ctrl-C is pressed."""
    settings = BridgeSettings.load()
    tail_options = TailOptions(
        url=options.url,
        project_id=options.project,
        task_id=options.task,
        types=options.types,
        is_stats_only=options.stats_only,
        is_json=options.json,
        is_coloured=sys.stdout.isatty() and not settings.no_color,
        token=settings.token.get_secret_value(),
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(tail(tail_options, lambda line: print(line, flush=True)))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes again at exit and would print an error about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
