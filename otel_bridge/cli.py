"""
The ``otel-bridge`` command: ``serve``, ``demo``, ``worker``, ``submit`` and ``tail``.

Parses, checks, calls; the work is elsewhere. Exit code 0 after a clean stop, 1 when the other side
failed, 2 when something given or set up is wrong; then one line says what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import importlib.metadata
import json
import logging
import os
import re
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import DEFAULT_COLLECTOR_URL, BridgeSettings
from otel_bridge.tail import TailOptions, one_line, tail

__all__ = ["main"]

_EXIT_FAILED = 1
_EXIT_USAGE = 2
_HTTP_TIMEOUT_SEC = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        code: int = options.run(options)
    except ConfigurationError as error:
        print(f"otel-bridge: {error}", file=sys.stderr)
        return _EXIT_USAGE
    except OtelBridgeError as error:
        print(f"otel-bridge: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-bridge",
        description="See OpenTelemetry work while it runs.",
        epilog="Settings come from the environment; .env.example lists them all.",
    )
    version = importlib.metadata.version("otel-bridge")
    parser.add_argument("--version", action="version", version=f"otel-bridge {version}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve", help="run the collector: dashboard, WebSocket, HTTP (embedded without REDIS_URL)"
    )
    _add_service_arguments(serve)
    serve.add_argument(
        "--workers", type=_count, help="workers in this process (default: 4 embedded, 0 on Redis)"
    )
    serve.set_defaults(run=_serve, is_demo=False)

    demo = commands.add_parser("demo", help="serve, and submit one research task to watch")
    _add_service_arguments(demo)
    demo.add_argument("--workers", type=_count, default=4, help="workers (default: 4)")
    demo.set_defaults(run=_serve, is_demo=True)

    worker = commands.add_parser("worker", help="run workers of the reference coordinator")
    worker.add_argument("--workers", type=_count, default=4, help="workers (default: 4)")
    _add_work_arguments(worker)
    worker.set_defaults(run=_worker)

    submit = commands.add_parser("submit", help="submit a research task to a running collector")
    submit.add_argument("--url", default=DEFAULT_COLLECTOR_URL, help="the collector's address")
    submit.add_argument(
        "file",
        nargs="?",
        default="-",
        help="JSON body of POST /tasks; - (the default) reads standard input",
    )
    submit.set_defaults(run=_submit)

    tail_ = commands.add_parser("tail", help="print the live stream")
    tail_.add_argument("--url", default=DEFAULT_COLLECTOR_URL, help="the collector's address")
    tail_.add_argument("--project", help="only this project_id")
    tail_.add_argument("--task", help="only this research task")
    tail_.add_argument("--types", help="only these event types, comma-separated")
    tail_.add_argument("--stats-only", action="store_true", help="only aggregates")
    tail_.add_argument("--json", action="store_true", help="one JSON object a line")
    tail_.set_defaults(run=_tail)

    token = commands.add_parser(
        "token", help="make a token for a collector's MONITORING_TOKENS_FILE"
    )
    token.add_argument("name", help="for logs and for taking it back: ci, grafana, alice")
    token.add_argument("--projects", required=True, help="comma-separated, or * for everything")
    token.add_argument("--days", type=_days, help="how long it holds (default: for ever)")
    token.set_defaults(run=_token)
    return parser


def _add_service_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 12000)")
    _add_work_arguments(parser)


def _add_work_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, help="directory of text files to work on")
    parser.add_argument("--data-dir", type=Path, help="where results go (otel-bridge-data)")
    parser.add_argument(
        "--pace", type=float, metavar="SEC", help="stretch every job by this, to watch"
    )


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 1000")
    return number


def _days(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 3650:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 3650")
    return number


def _token(options: argparse.Namespace) -> int:
    if not re.fullmatch(r"[^\s#]\S*", options.name):
        raise ConfigurationError(f"{options.name!r} is not a name", "use one word: ci, alice")
    token = secrets.token_urlsafe(32)
    projects = "*"
    if options.projects != "*":
        names = [name.strip() for name in options.projects.split(",") if name.strip()]
        if not names:
            raise ConfigurationError("--projects names none", "use --projects shop,blog or '*'")
        projects = ",".join(quote(name, safe="") for name in names)
    line = f"{options.name} sha256={hashlib.sha256(token.encode()).hexdigest()} projects={projects}"
    if options.days:
        ends = datetime.now(UTC) + timedelta(days=options.days)
        line += f" expires={ends:%Y-%m-%dT%H:%M:%SZ}"
    print(token)
    print("the token, shown only now; the line for MONITORING_TOKENS_FILE:", file=sys.stderr)
    print(line, file=sys.stderr)
    return 0


def _serve(options: argparse.Namespace) -> int:
    from otel_bridge.demo import ServiceOptions, run_service

    given = ServiceOptions(
        host=options.host,
        port=options.port,
        workers=options.workers,
        corpus_dir=options.corpus,
        data_dir=options.data_dir,
        pace_sec=options.pace,
        is_demo=options.is_demo,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run_service(given))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # The extra ``collector`` brings it, and all numbers of ours were taken on it.
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _worker(options: argparse.Namespace) -> int:
    from otel_bridge.demo import run_worker_process

    return asyncio.run(
        run_worker_process(
            workers=options.workers,
            corpus_dir=options.corpus,
            data_dir=options.data_dir,
            pace_sec=options.pace or 0.0,
        )
    )


def _submit(options: argparse.Namespace) -> int:
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
            f"--url {options.url} cannot be read: {one_line(str(error))}", "use http://HOST:PORT"
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
        raise OtelBridgeError(f"what answers at {url} is no collector") from error


def _error_sentence(body: bytes) -> str:
    try:
        found: Any = json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace")
    return str(found.get("detail", found)) if isinstance(found, dict) else str(found)


def _tail(options: argparse.Namespace) -> int:
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
