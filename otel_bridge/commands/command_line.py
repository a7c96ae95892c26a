"""
The shared command line: the parser, the library's own commands, and how each error ends.

Exit code 0 after a clean stop, 1 when the other side failed, 2 when an argument or a setting is
wrong; in the last two cases one line on standard error says what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from otel_bridge.commands import submit, tail, token
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import DEFAULT_COLLECTOR_URL

__all__ = [
    "Commands",
    "add_library_commands",
    "add_work_arguments",
    "main",
    "make_parser",
    "run",
    "worker_count",
]

_EXIT_FAILED = 1
_EXIT_USAGE = 2

Commands = argparse._SubParsersAction  # the type that ``add_subparsers`` returns has no public name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the library's commands; return its exit code."""
    parser, commands = make_parser("python -m otel_bridge")
    add_library_commands(commands)
    return run(parser, arguments)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Parse ``arguments`` (None: the process's own), run the command, return its exit code."""
    options = parser.parse_args(arguments)
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


def make_parser(prog: str) -> tuple[argparse.ArgumentParser, Commands[argparse.ArgumentParser]]:
    """The parser with the options that every command shares, and where commands are added."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="See OpenTelemetry work while it runs.",
        epilog="Settings come from the environment; .env.example lists them all.",
    )
    version = importlib.metadata.version("otel-bridge")
    parser.add_argument("--version", action="version", version=f"otel-bridge {version}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    return parser, parser.add_subparsers(required=True, metavar="COMMAND")


def add_library_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``worker``, ``submit``, ``tail`` and ``token``."""
    worker_ = commands.add_parser("worker", help="run workers of the reference coordinator")
    worker_.add_argument("--workers", type=worker_count, default=4, help="workers (default: 4)")
    add_work_arguments(worker_)
    worker_.set_defaults(run=_run_worker)

    submit_ = commands.add_parser("submit", help="submit a research task to a running collector")
    submit_.add_argument("--url", default=DEFAULT_COLLECTOR_URL, help="the collector's address")
    submit_.add_argument(
        "file",
        nargs="?",
        default="-",
        help="JSON body of POST /tasks; - (the default) reads standard input",
    )
    submit_.set_defaults(run=submit.run)

    tail_ = commands.add_parser("tail", help="print the live stream")
    tail_.add_argument("--url", default=DEFAULT_COLLECTOR_URL, help="the collector's address")
    tail_.add_argument("--project", help="only this project_id")
    tail_.add_argument("--task", help="only this research task")
    tail_.add_argument("--types", help="only these event types, comma-separated")
    tail_.add_argument("--stats-only", action="store_true", help="only aggregates")
    tail_.add_argument("--json", action="store_true", help="one JSON object a line")
    tail_.set_defaults(run=tail.run)

    token_ = commands.add_parser(
        "token", help="make a token for a collector's MONITORING_TOKENS_FILE"
    )
    token_.add_argument("name", help="for logs and for taking it back: ci, grafana, alice")
    token_.add_argument("--projects", required=True, help="comma-separated, or * for everything")
    token_.add_argument("--days", type=token.days, help="how long it holds (default: for ever)")
    token_.set_defaults(run=token.run)


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``serve``, ``demo`` and ``worker`` about the work itself."""
    parser.add_argument("--corpus", type=Path, help="directory of text files to work on")
    parser.add_argument("--data-dir", type=Path, help="where results go (otel-bridge-data)")
    parser.add_argument(
        "--pace", type=float, metavar="SEC", help="stretch every job by this, to watch"
    )


def worker_count(text: str) -> int:
    """Read a number of workers, 0 to 1000."""
    number = int(text)
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 1000")
    return number


def _run_worker(options: argparse.Namespace) -> int:
    from otel_bridge.commands.worker import run_worker_process

    return asyncio.run(
        run_worker_process(
            workers=options.workers,
            corpus_dir=options.corpus,
            data_dir=options.data_dir,
            pace_sec=options.pace or 0.0,
        )
    )
