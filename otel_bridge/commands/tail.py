"""
``otel-bridge tail``: the live stream in a terminal, with the WebSocket's own filters.

Event text comes from strangers, so nothing of it that a terminal would obey is printed: escape
sequences, other control characters and bidirectional overrides become visible marks.
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
from otel_bridge.settings import BridgeSettings, redact_url

__all__ = ["TailOptions", "format_event", "one_line", "run", "tail"]

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_MARK: Final = "\N{REPLACEMENT CHARACTER}"
_MAX_BACKOFF_SEC: Final = 10.0

_SIGNS: Final = {
    "completed": ("✓", "32"),
    "failed": ("✕", "31"),
    "retrying": ("↻", "33"),
    "processing": ("◐", "34"),
    "pending": ("○", "90"),
}


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What to show and how."""

    url: str
    """The collector: ``http://host:port`` or ``ws://host:port``."""
    project_id: str | None = None
    task_id: str | None = None
    types: str | None = None
    is_stats_only: bool = False
    is_json: bool = False
    is_coloured: bool = False
    token: str = field(default="", repr=False)
    """Shown to a collector that asks for one."""


def one_line(text: str) -> str:
    """Text that a terminal shows and does not obey: one line, every control character marked."""
    return _UNPRINTABLE.sub(_MARK, text)


def format_event(event: Mapping[str, Any], *, is_coloured: bool = False) -> str:
    """
    One event as one line: time, status, type, phase, job, worker, duration, text.

    Args:
        event: A decoded event; missing and surplus fields are fine.
        is_coloured: Whether to colour the status (ANSI SGR).
    """
    status = str(event.get("status") or "")
    sign, colour = _SIGNS.get(status, ("·", "90"))
    head = f"{sign} {event.get('event_type') or '?'!s:<18}"
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
    The WebSocket's address with the filters, resuming after ``since``.

    Raises:
        ConfigurationError: The URL is not http, https, ws or wss, or names no host and port.
    """
    try:
        parts = urlsplit(options.url)
        is_address = parts.hostname and parts.port != 0  # a port that is none raises
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
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> None:
    """
    Print events until cancelled; come back after a lost connection, without hole or double.

    Args:
        options: What to show.
        write: Gets each line; its ``BrokenPipeError`` ends the tail quietly (``tail | head``).
        say: Gets lines about the connection.

    Raises:
        ConfigurationError: The URL or a filter is wrong; the collector's reason is in the message.
        OtelBridgeError: The ``websockets`` package is missing.
    """
    try:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
    except ImportError as error:
        raise OtelBridgeError(
            "otel-bridge tail needs the websockets package: pip install 'otel-bridge[collector]'"
        ) from error
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else None
    where = redact_url(options.url)
    since: str | None = None
    attempt = 0
    while True:
        try:
            url = socket_url(options, since)
            async with connect(url, max_size=None, additional_headers=headers) as socket:
                attempt = 0
                async for message in socket:
                    lines, position = _lines(message, options, say)
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
            say(f"the collector answered {error.response.status_code}")
        except (ConnectionClosed, InvalidHandshake, OSError) as error:
            say(f"no connection to {where}: {one_line(str(error)) or type(error).__name__}")
        else:
            say("the collector closed the connection")
        attempt += 1
        # Full jitter: many tails of one collector must not come back at the same moment.
        await asyncio.sleep(random.uniform(0.1, min(_MAX_BACKOFF_SEC, 0.25 * 2**attempt)))  # noqa: S311


def _cure(status: int) -> str:
    return "set MONITORING_TOKEN" if status == 401 else "check the filters"


def _lines(
    message: str | bytes, options: TailOptions, say: Callable[[str], None]
) -> tuple[list[str], str | None]:
    """One message's events as lines, and the newest position in it."""
    items = json.loads(message)
    position: str | None = None
    lines: list[str] = []
    for item in items if isinstance(items, list) else [items]:
        position = item.get("position") or position
        if "event_type" in item:
            # json.dumps escapes everything but ASCII, so this form is safe as it is.
            lines.append(
                json.dumps(item)
                if options.is_json
                else format_event(item, is_coloured=options.is_coloured)
            )
        elif item.get("type") == "gap":
            dropped = item.get("dropped")
            say(f"-- gap: {dropped if dropped is not None else 'some'} events are missing here --")
    return lines, position


def _reason(body: str) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return body[:200]
    return str(found.get("detail") or found.get("error") or body[:200])


def run(options: argparse.Namespace) -> int:
    """Print the live stream until Ctrl-C; the entry point of the command."""
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
        # The interpreter flushes once more at exit and would complain of the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
