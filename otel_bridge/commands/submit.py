"""``otel-bridge submit``: sends a research task to ``POST /tasks`` of a running collector."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any, Final

from otel_bridge.commands.collector_address import collector_url, split_url
from otel_bridge.commands.event_lines import one_line
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url

__all__ = ["run"]

_HTTP_TIMEOUT_SEC: Final = 10.0


def run(options: argparse.Namespace) -> int:
    """
    Send the JSON body from a file or standard input; print the id of the new research task.

    One ``POST /tasks`` is sent, with ``MONITORING_TOKEN`` if that is set; it is not repeated. The
    body is read whole, and neither its size nor its form is checked here.

    Args:
        options: ``file`` (``-`` is standard input) and ``url``, the collector's address. None:
            ``MONITORING_BUS_URL`` if that is http or https, else ``MONITORING_HOST`` and
            ``MONITORING_PORT``, by default ``http://127.0.0.1:12000``. ``follow``: wait for the
            task's end, and print how far its phases are.

    Returns:
        The exit code: 0; with ``follow`` 1 if the task has failed.

    Raises:
        ConfigurationError: The file, the address or a setting is wrong, or the collector refuses
            the request (4xx) or redirects.
        OtelBridgeError: No connection or no answer within 10 s each, so the task may have been
            taken all the same; the collector failed (5xx) or is none; ``httpx`` is not installed;
            or, with ``follow``, the task is stalled or unknown for 60 s.
    """
    try:
        import httpx
    except ImportError as error:
        raise OtelBridgeError(
            "otel-bridge submit needs the httpx package: pip install 'otel-bridge[cli]'"
        ) from error
    body = _body_of(options.file)
    collector = options.url if options.url is not None else collector_url()
    split_url(collector, ("http", "https"))
    shown = redact_url(collector)
    headers = {"Content-Type": "application/json"}
    settings = BridgeSettings.load()
    token = settings.token.get_secret_value()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = httpx.post(
            collector.rstrip("/") + "/tasks",
            content=body,
            headers=headers,
            timeout=_HTTP_TIMEOUT_SEC,
        )
    except httpx.TransportError as error:
        reason = one_line(str(error)) or type(error).__name__
        raise OtelBridgeError(
            f"no collector at {shown}: {reason}; start one: otel-bridge serve"
        ) from error
    if answer.has_redirect_location:
        raise ConfigurationError(
            f"{shown} redirects to {one_line(redact_url(answer.headers['Location']))}",
            "use that address as --url",
        )
    if answer.status_code >= 300:
        _raise_refusal(answer.status_code, answer.content)
    task = _task_id_in(answer.content, shown)
    print(task, flush=True)
    return _follow(collector, task, settings) if options.follow else 0


def _follow(collector: str, task: str, settings: BridgeSettings) -> int:
    try:
        from otel_bridge.terminal.follow import follow
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "otel_bridge":
            raise  # a bug or a damaged installation: the traceback says where
        raise ConfigurationError(
            f"otel-bridge submit --follow needs the {error.name} package",
            "pip install 'otel-bridge[cli]'",
        ) from error
    token = settings.token.get_secret_value()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # ISO-8859-1 lacks the marks of statuses
    is_colourless = bool(settings.no_color)
    is_done = follow(collector, task, token=token, output=sys.stdout, is_colourless=is_colourless)
    return 0 if is_done else 1


def _raise_refusal(status: int, body: bytes) -> None:
    reason = one_line(_error_sentence(body))
    if status >= 500:
        raise OtelBridgeError(f"the collector failed: {reason}")
    cure = "set MONITORING_TOKEN" if status == 401 else "correct the request"
    raise ConfigurationError(f"the collector refused: {reason or status}", cure)


def _body_of(file: str) -> bytes:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return text.encode()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file}: {error.strerror}", "name a file with the JSON body"
        ) from error
    except UnicodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8", "save the JSON body as UTF-8") from error


def _task_id_in(answer: bytes, url: str) -> str:
    try:
        return str(json.loads(answer)["task_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise OtelBridgeError(f"the server at {url} is not a collector") from error


def _error_sentence(body: bytes) -> str:
    try:
        found: Any = json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace")
    return str(found.get("detail", found)) if isinstance(found, dict) else str(found)
