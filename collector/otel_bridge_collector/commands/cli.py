"""
The command ``otel-bridge``: ``serve``, ``demo`` and the commands of the library.

At the top this module imports the standard library only. The other imports take up to a second, in
which Ctrl-C would print a traceback from the middle of some package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    import asyncio

__all__ = ["main"]

_EXIT_INTERRUPTED = 130
_MAX_PROCESSES = 24
"""As many as there are partitions: a further process would have nothing to fold."""
_OUR_PACKAGES = ("otel_bridge", "otel_bridge_collector")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0, 1, 2 or 130, as ``command_line`` describes."""
    with _ctrl_c_exits_at_once():
        from otel_bridge.commands.command_line import run

        parser = _make_parser()
    return run(parser, arguments)


def _make_parser() -> argparse.ArgumentParser:
    import argparse

    from otel_bridge.commands.command_line import (
        add_library_commands,
        add_work_arguments,
        make_parser,
        worker_count,
    )

    def add_service_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
        parser.add_argument("--port", type=int, help="port to listen on (default: 12000)")
        add_work_arguments(parser)

    parser, commands = make_parser("otel-bridge")
    serve = commands.add_parser(
        "serve", help="run the collector (all in one process without REDIS_URL)"
    )
    add_service_arguments(serve)
    serve.add_argument(
        "--workers",
        type=worker_count,
        help="workers in this process (default: 4 embedded, 0 on Redis)",
    )
    serve.add_argument(
        "--processes",
        type=_process_count,
        default=1,
        help="processes that share the port and the work of reading (1 to 24, default: 1); "
        "more than 1 need a Redis",
    )
    # Given by the parent of several processes to each of them.
    serve.add_argument("--process-start", help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve, is_demo=False, interrupted_code=0)

    demo = commands.add_parser("demo", help="serve, and submit a research task to watch")
    add_service_arguments(demo)
    demo.add_argument("--workers", type=worker_count, default=4, help="workers (default: 4)")
    demo.set_defaults(processes=1, process_start=None)
    demo.set_defaults(run=_serve, is_demo=True, interrupted_code=0)
    add_library_commands(commands)
    return parser


@contextlib.contextmanager
def _ctrl_c_exits_at_once() -> Iterator[None]:
    """
    While packages are imported, let SIGINT end the process with code 130 and without a word.

    ``except KeyboardInterrupt`` would not do: an import may turn the exception into another one, as
    Python 3.11 does where a class is being made. Where SIGINT is ignored, it stays so.
    """
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_default or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(_EXIT_INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _process_count(text: str) -> int:
    import argparse

    number = int(text)
    if not 1 <= number <= _MAX_PROCESSES:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and {_MAX_PROCESSES}")
    return number


def _serve(options: argparse.Namespace) -> int:
    from otel_bridge.errors import ConfigurationError

    with _ctrl_c_exits_at_once():
        try:
            import asyncio

            from otel_bridge_collector.commands.process_start import ProcessStart
            from otel_bridge_collector.commands.processes import run_processes
            from otel_bridge_collector.commands.serve import ServiceOptions, run_service
        except ImportError as error:
            if (error.name or "").partition(".")[0] in _OUR_PACKAGES:
                raise  # a bug or a damaged installation: the traceback says where
            extra = "demo" if options.is_demo else "collector"
            raise ConfigurationError(
                f"the collector is not installed ({error})", f"pip install 'otel-bridge[{extra}]'"
            ) from error
        loop_factory = _loop_factory()

    service_options = ServiceOptions(
        host=options.host,
        port=options.port,
        workers=options.workers,
        corpus_dir=options.corpus,
        data_dir=options.data_dir,
        pace_sec=options.pace,
        is_demo=options.is_demo,
    )
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        if options.processes > 1:
            return runner.run(run_processes(service_options, options.processes))
        given = options.process_start
        start = None if given is None else ProcessStart.parse(given)
        return runner.run(run_service(service_options, start))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # The extra ``collector`` installs uvloop, and the benchmarks were measured with it.
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
