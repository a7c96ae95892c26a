"""``otel-bridge submit``: sends a research task to ``POST /tasks`` of a running collector."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from otel_bridge.commands.tail import one_line
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import BridgeSettings

__all__ = ["run"]

_HTTP_TIMEOUT_SEC = 10


def run(options: argparse.Namespace) -> int:
    """
    Send the JSON body from a file or standard input; print the id of the new research task.

    Args:
        options: ``file`` (``-`` is standard input) and ``url``.

    Raises:
        ConfigurationError: The file or the address is wrong, or the collector refuses the request.
        OtelBridgeError: No collector answers within 10 s, or it failed.
    """
    body = _body_of(options.file)
    url = options.url.rstrip("/") + "/tasks"
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"--url {options.url} is not http or https", "use http://HOST:PORT"
        )
    headers = {"Content-Type": "application/json"}
    token = BridgeSettings.load().token.get_secret_value()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_SEC) as answer:  # noqa: S310
            print(_task_id_in(answer.read(), options.url))
    except urllib.error.HTTPError as error:
        reason = one_line(_error_sentence(error.read()))
        if error.code >= 500:
            raise OtelBridgeError(f"the collector failed: {reason}") from error
        raise ConfigurationError(
            f"the collector refused: {reason}",
            "set MONITORING_TOKEN" if error.code == 401 else "correct the request",
        ) from error
    except (OSError, http.client.BadStatusLine) as error:
        raise OtelBridgeError(
            f"no collector at {options.url}: {one_line(str(error))}; start one: otel-bridge serve"
        ) from error
    except (ValueError, http.client.HTTPException) as error:
        raise ConfigurationError(
            f"--url {options.url} is not valid: {one_line(str(error))}", "use http://HOST:PORT"
        ) from error
    return 0


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
