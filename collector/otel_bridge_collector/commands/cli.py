"""The ``otel-bridge`` command: ``serve``, ``demo`` and the commands of the library."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence

from otel_bridge.commands.command_line import (
    add_library_commands,
    add_work_arguments,
    make_parser,
    run,
    worker_count,
)
from otel_bridge.errors import ConfigurationError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 1 or 2, as ``command_line`` describes."""
    parser, commands = make_parser("otel-bridge")
    serve = commands.add_parser(
        "serve", help="run the collector (all in one process without REDIS_URL)"
    )
    _add_service_arguments(serve)
    serve.add_argument(
        "--workers",
        type=worker_count,
        help="workers in this process (default: 4 embedded, 0 on Redis)",
    )
    serve.set_defaults(run=_serve, is_demo=False)

    demo = commands.add_parser("demo", help="serve, and submit a research task to watch")
    _add_service_arguments(demo)
    demo.add_argument("--workers", type=worker_count, default=4, help="workers (default: 4)")
    demo.set_defaults(run=_serve, is_demo=True)
    add_library_commands(commands)
    return run(parser, arguments)


def _add_service_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 12000)")
    add_work_arguments(parser)


def _serve(options: argparse.Namespace) -> int:
    try:
        from otel_bridge_collector.commands.serve import ServiceOptions, run_service
    except ImportError as error:
        raise ConfigurationError(
            f"the collector is not installed ({error})", "pip install 'otel-bridge[demo]'"
        ) from error

    service_options = ServiceOptions(
        host=options.host,
        port=options.port,
        workers=options.workers,
        corpus_dir=options.corpus,
        data_dir=options.data_dir,
        pace_sec=options.pace,
        is_demo=options.is_demo,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run_service(service_options))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # The extra ``collector`` installs uvloop, and the benchmarks were measured with it.
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
