"""
The command line: its parser, the commands that need no service, and exit codes.

The exit code is 0 if the command has done its work, which for ``serve``, ``demo``, ``worker``,
``tail`` and ``top`` lasts until Ctrl-C; 1 if the collector, Redis, the output or, with ``submit
--follow``, the task failed; 2 if an argument or a setting is wrong; and 130 if Ctrl-C came before
the work was done. With 1 and 2, one line on standard error says what to change.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from otel_bridge.commands import interrupts, submit, tail, token
from otel_bridge.commands.collector_address import collector_url, split_url
from otel_bridge.commands.env_file import read_env_file
from otel_bridge.commands.shards import command as shards
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import BridgeSettings

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
_EXIT_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells count."""

_URL_HELP = (
    "the collector's address (default: MONITORING_BUS_URL if it is http or https, "
    "else http://MONITORING_HOST:MONITORING_PORT)"
)

Commands = argparse._SubParsersAction  # the type that ``add_subparsers`` returns has no public name


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run ``python -m otel_bridge``: ``worker submit tail top token shards``.

    Returns when the command has ended; there is no time limit.

    Args:
        arguments: The command and its options; None, the default: those of the process.

    Returns:
        The exit code: 0 if the command has done its work, 1 if the collector, Redis or the output
        failed, 2 if a setting is wrong, 130 on Ctrl-C. The error is one line on standard error.

    Raises:
        SystemExit: The arguments are wrong (code 2), or ask for help or the version (code 0).
    """
    parser, commands = make_parser("python -m otel_bridge")
    add_library_commands(commands)
    return run(parser, arguments)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """
    Parse arguments, read ``.env``, run the command and return its exit code.

    Also sets up logging to standard error: at level WARNING, with ``--verbose`` at INFO. There is
    no time limit.

    Args:
        parser: Made by ``make_parser``. Each command sets the default ``run``, a function that gets
            the parsed options and returns the exit code. A command whose work lasts until Ctrl-C
            also sets ``interrupted_code`` to 0.
        arguments: The command and its options; None: those of the process.

    Returns:
        What the command returned, which is 0 if it has done its work. 2 for a
        ``ConfigurationError`` and 1 for any other ``OtelBridgeError``, printed as one line on
        standard error. On Ctrl-C the ``interrupted_code``, default 130.

    Raises:
        SystemExit: The arguments are wrong (code 2), or ask for help or the version (code 0).
        Exception: Any other error of the command passes.
    """
    options = argparse.Namespace()
    try:
        interrupts.raise_again()
        options = parser.parse_args(arguments)
        logging.basicConfig(
            level=logging.INFO if options.verbose else logging.WARNING,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        read_env_file()
        code: int = options.run(options)
    except ConfigurationError as error:
        print(f"otel-bridge: {error}", file=sys.stderr)
        return _EXIT_USAGE
    except OtelBridgeError as error:
        print(f"otel-bridge: {error}", file=sys.stderr)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        return int(getattr(options, "interrupted_code", _EXIT_INTERRUPTED))
    return code


def make_parser(prog: str) -> tuple[argparse.ArgumentParser, Commands[argparse.ArgumentParser]]:
    """
    Return a parser with the options of all commands, and an object whose ``add_parser`` adds one.

    The options are ``--version`` and ``--verbose``; a command is required. The parser ends the
    process with code 2 when it is given wrong arguments.

    Args:
        prog: Name of the program in its help: ``otel-bridge``.

    Raises:
        importlib.metadata.PackageNotFoundError: The distribution ``otel-bridge`` is not installed.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Watch work that OpenTelemetry traces while it runs.",
        epilog="Settings come from the environment; what it does not set, from .env in the working "
        "directory. .env.example lists them all.",
    )
    version = importlib.metadata.version("otel-bridge")
    parser.add_argument("--version", action="version", version=f"otel-bridge {version}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log at level INFO")
    return parser, parser.add_subparsers(required=True, metavar="COMMAND")


def add_library_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``worker submit tail top token shards``, the library's commands, to a parser."""
    worker_ = commands.add_parser("worker", help="run workers of the reference coordinator")
    worker_.add_argument("--workers", type=worker_count, default=4, help="workers (default: 4)")
    add_work_arguments(worker_)
    worker_.set_defaults(run=_run_worker, interrupted_code=0)

    submit_ = commands.add_parser("submit", help="submit a research task to a running collector")
    submit_.add_argument("--url", help=_URL_HELP)
    submit_.add_argument(
        "file",
        nargs="?",
        default="-",
        help="JSON body of POST /tasks; - (the default) reads standard input",
    )
    submit_.add_argument(
        "--follow", action="store_true", help="show its phases until the end; exit 1 if it failed"
    )
    submit_.set_defaults(run=submit.run)

    tail_ = commands.add_parser("tail", help="print the live stream")
    tail_.add_argument("--url", help=_URL_HELP)
    tail_.add_argument("--project", help="only this project_id")
    tail_.add_argument("--task", help="only this research task")
    tail_.add_argument("--types", help="only these event types, comma-separated")
    tail_.add_argument("--stats-only", action="store_true", help="only aggregates")
    tail_.add_argument("--json", action="store_true", help="one JSON object per line")
    tail_.set_defaults(run=tail.run, interrupted_code=0)

    top_ = commands.add_parser("top", help="show tasks, failures, workers, queues in the terminal")
    top_.add_argument("url", nargs="?", metavar="URL", help=_URL_HELP)
    top_.add_argument("--token", help="bearer token (default: MONITORING_TOKEN)")
    top_.add_argument("--project", help="only this project_id")
    top_.set_defaults(run=_run_top, interrupted_code=0)

    token_ = commands.add_parser(
        "token", help="make a token for the MONITORING_TOKENS_FILE of a collector"
    )
    token_.add_argument("name", help="client, for logs and for revoking the token: ci, alice")
    token_.add_argument("--projects", required=True, help="comma-separated; * for all")
    token_.add_argument(
        "--lines", action="store_true", help="may also read the stacks of their failures"
    )
    token_.add_argument("--days", type=token.days, help="days until it expires (default: never)")
    token_.set_defaults(run=token.run)

    shards_ = commands.add_parser(
        "shards", help="show the shards of the log in Redis, or change them"
    )
    shards_.add_argument(
        "count",
        nargs="?",
        type=shards.shard_count,
        metavar="N",
        help="change to N shards, 1 to 8, while publishers and collectors run",
    )
    shards_.set_defaults(run=shards.run)


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add ``--corpus``, ``--data-dir`` and ``--pace``, which concern the workers' jobs, to a command.

    They are the directory of pages to search, the directory for results, and the delay before each
    job in seconds. Each is None if it is not given. The directories are checked when the command
    runs; a ``--pace`` that is no number ends the process with code 2 when it is parsed.

    Args:
        parser: That of ``serve``, ``demo`` or ``worker``.

    Raises:
        argparse.ArgumentError: The parser has one of them already.
    """
    parser.add_argument(
        "--corpus", type=Path, help="directory of text files to search (default: generated)"
    )
    parser.add_argument(
        "--data-dir", type=Path, help="directory for results (default: otel-bridge-data)"
    )
    parser.add_argument(
        "--pace", type=float, metavar="SEC", help="delay each job, so that a person can watch"
    )


def worker_count(text: str) -> int:
    """
    Read the value of ``--workers``, a whole number from 0 to 1000.

    Raises:
        argparse.ArgumentTypeError: The number is outside of these bounds.
        ValueError: The text is not a whole number. argparse reports both as a wrong argument.
    """
    number = int(text)
    if not 0 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 1000")
    return number


def _run_top(options: argparse.Namespace) -> int:
    from otel_bridge.terminal import top

    url = options.url or collector_url()
    split_url(url, ("http", "https"), "URL")
    token = options.token or BridgeSettings.load().token.get_secret_value()
    return top.run(url, token=token, project=options.project)


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
