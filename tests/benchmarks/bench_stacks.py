"""
What the stack of a failure costs: in the thread that failed, and in the bus's thread.

``python -m tests.benchmarks stacks``, 5 s. Beside what would be done without it: formatting by
``traceback.format_exception``, which is what ``Span.record_exception`` of OpenTelemetry does in the
thread that failed. Rounds of all cases alternate; rows are medians.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.stacks.bound import bound
from otel_bridge.stacks.capture import capture
from otel_bridge.stacks.key import key_of, key_of_raised
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.parse import places_in
from otel_bridge.stacks.recorded import add_recorded, recorded
from otel_bridge.stacks.render import stack_text
from tests.benchmarks.results import row
from tests.support.raised import chained, grouped, recursing

_ROUNDS: Final = 7
_CASES: Final[dict[str, tuple[Callable[[], BaseException], int, str]]] = {
    "cause": (chained, 300, "<= 0.25"),
    "recursion of 900": (lambda: recursing(900), 10, "<= 0.05"),
    "group of 20": (lambda: grouped(20), 30, "<= 0.25"),
}


def _us(function: Callable[[], Any], count: int) -> float:
    """Microseconds of one call."""
    started = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - started) / count * 1e6


def _case(name: str, error: BaseException, count: int, goal: str) -> None:
    own = OwnCode()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    ours, theirs = tracer.start_span("ours"), tracer.start_span("theirs")
    captured = capture(error)
    text = "".join(traceback.format_exception(error))

    def record() -> None:
        add_recorded(ours, recorded(error, str(error), own))

    cases: dict[str, Callable[[], Any]] = {
        "format": lambda: traceback.format_exception(error),
        "theirs": lambda: theirs.record_exception(error),
        "capture": lambda: capture(error),
        "ours": record,
        "key": lambda: key_of_raised(captured, own),
        "text": lambda: stack_text(captured, own),
        "parse": lambda: key_of(places_in(text, own)),
        "bound": lambda: bound(text),
    }
    found: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(_ROUNDS):
        for case, function in cases.items():
            found[case].append(_us(function, count))

    def ratio(first: str, second: str) -> list[float]:
        return [a / b for a, b in zip(found[first], found[second], strict=True)]

    row(f"stack, {name}: capture in the caller, us", found["capture"], digits=1)
    row(f"stack, {name}: capture / format_exception", ratio("capture", "format"), goal, 3)
    row(f"stack, {name}: event of the span / record_exception", ratio("ours", "theirs"), goal, 3)
    row(f"stack, {name}: key in the bus's thread, us", found["key"], digits=1)
    row(f"stack, {name}: text in the bus's thread, ms", [us / 1000 for us in found["text"]])
    row(f"stack, {name}: key of a text by OTLP, us", found["parse"], digits=1)
    row(f"stack, {name}: masking and bounding of it, ms", [us / 1000 for us in found["bound"]])


def main() -> None:
    """Measure and print the rows."""
    print("stacks of failures")
    for name, (make, count, goal) in _CASES.items():
        _case(name, make(), count, goal)


if __name__ == "__main__":
    main()
