"""
What a log line costs the thread that writes it, over a logger without output; and the bus's thread.

``python -m tests.benchmarks lines``, 5 s. Beside what others do with a line: a file, and the log
records of OpenTelemetry's SDK. Each line has three arguments and is written in an open job. Rounds
of all cases alternate; times are CPU time of the thread; rows are medians.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.events.redaction import redact_text
from otel_bridge.lines import tap
from otel_bridge.lines.drain import LineDrain
from otel_bridge.lines.line_queue import LineQueue
from otel_bridge.settings import BridgeSettings
from tests.benchmarks.results import row

_ROUNDS: Final = 15
_LINES: Final = 400
"""Under the 500 that a job may write at once."""

logger = logging.getLogger("bench")
logger.propagate = False
logger.setLevel(logging.INFO)


def _write(count: int) -> float:
    """Microseconds of one line."""
    started = time.thread_time()
    for number in range(count):
        logger.info("fetched %d rows for %s in %.2f s", number, "county", 0.25)
    return (time.thread_time() - started) / count * 1e6


@contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    logger.handlers = [handler]
    yield
    logger.handlers = [logging.NullHandler()]


def _with_handler(handler: logging.Handler) -> float:
    with otel_bridge.job(task_id="j", task_type="t"), _handled_by(handler):
        return _write(_LINES)


def _taken_by(queue: LineQueue, lines: int, warm_up: int = 0) -> float:
    tap.install(queue)
    try:
        with otel_bridge.job(task_id="j", task_type="t"):
            _write(warm_up or 1)
            return _write(lines)
    finally:
        tap.remove(queue)


def _outside(queue: LineQueue) -> float:
    tap.install(queue)
    try:
        return _write(_LINES)
    finally:
        tap.remove(queue)


def _in_the_bus() -> float:
    """Microseconds of one line, until it is what is stored."""
    queue = LineQueue(logging.INFO)
    drain = LineDrain(queue, lambda key, block: None)
    _taken_by(queue, _LINES)
    started = time.thread_time()
    drain.begin_round()
    drain.end_round()
    assert len(drain.take_batch(0)) == 1
    return (time.thread_time() - started) / (_LINES + 1) * 1e6


def _masking(text: str) -> float:
    started = time.thread_time()
    for _ in range(_LINES):
        redact_text(text)
    return (time.thread_time() - started) / _LINES * 1e6


def _otel_handler(stack: ExitStack) -> logging.Handler:
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    stack.callback(provider.shutdown)
    with warnings.catch_warnings():
        # Its successor is in a package that is not needed otherwise, and does the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        from opentelemetry.sdk._logs import LoggingHandler

        return LoggingHandler(logger_provider=provider)


def main() -> None:
    """Measure and print the rows."""
    print("log lines of jobs")
    with ExitStack() as stack:
        bridge = otel_bridge.configure(
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            settings=BridgeSettings(bus_url="memory://bench-lines"),
        )
        stack.callback(bridge.shutdown)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        file = logging.FileHandler(Path(folder) / "log")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        stack.callback(file.close)
        theirs = _otel_handler(stack)
        prose = "searching county 42 of 159 for private schools, 12.50 s so far, page 3 done ok. "
        cases: dict[str, Callable[[], float]] = {
            "bare": lambda: _with_handler(logging.NullHandler()),
            "ours": lambda: _taken_by(LineQueue(logging.INFO), _LINES),
            "over": lambda: _taken_by(LineQueue(logging.INFO), _LINES, 600),
            "outside": lambda: _outside(LineQueue(logging.INFO)),
            "file": lambda: _with_handler(file),
            "theirs": lambda: _with_handler(theirs),
            "bus": _in_the_bus,
            "mask": lambda: _masking(prose[:78]),
            "mask long": lambda: _masking((prose * 13)[:1000]),
        }
        found: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(_ROUNDS):
            for case, measure in cases.items():
                found[case].append(measure())

    def added(case: str) -> list[float]:
        return [a - b for a, b in zip(found[case], found["bare"], strict=True)]

    def ratio(case: str) -> list[float]:
        return [a / b for a, b in zip(added("ours"), added(case), strict=True)]

    row("line: bare logger.info, us", found["bare"], digits=1)
    row("line: ours adds, us", added("ours"), digits=1)
    row("line: ours / FileHandler, added", ratio("file"), "<= 0.7", 2)
    row("line: ours / BatchLogRecordProcessor, added", ratio("theirs"), "<= 0.35", 2)
    row("line: over the limit, added, us", added("over"), digits=1)
    row("line: outside of a span, added, us", added("outside"), digits=1)
    row("line: in the bus's thread, us", found["bus"], digits=1)
    row("line: masking of 78 characters, us", found["mask"], digits=1)
    row("line: masking of 1,000 characters, us", found["mask long"], digits=1)


if __name__ == "__main__":
    main()
