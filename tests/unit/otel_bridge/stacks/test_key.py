"""The key is the same for the same failure, whatever the values, and another for another."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

import pytest

from otel_bridge.stacks.capture import capture
from otel_bridge.stacks.key import key_of, key_of_raised
from otel_bridge.stacks.own_code import OwnCode
from otel_bridge.stacks.parse import places_in
from otel_bridge.stacks.render import python_text
from tests.support.raised import chained, grouped, look_up, raised_by, recursing

OWN = OwnCode()


def handled() -> BaseException:
    def handle() -> None:
        try:
            look_up("x")
        except KeyError:
            raise ValueError("y")  # noqa: B904 - the context is what is tested

    return raised_by(handle)


def test_the_key_does_not_depend_on_values() -> None:
    """Messages, depths of recursion, and number and order of a group's members do not count."""
    keys = {key_of_raised(capture(chained(key)), OWN) for key in ("a", 1, "other")}
    assert len(keys) == 1
    assert re.fullmatch(r"[0-9a-f]{16}", str(keys.pop()))
    assert len({key_of_raised(capture(recursing(n)), OWN) for n in (10, 30, 300)}) == 1
    assert len({key_of_raised(capture(grouped(n)), OWN) for n in (1, 3, 40)}) == 1


def test_different_failures_have_different_keys() -> None:
    """Another type, another function or another cause is another failure."""
    row = ("ValueError", [("shop/orders.py", "buy", True)])
    cause = ("KeyError", [("shop/orders.py", "find", True)])
    keys = [
        key_of([row]),
        key_of([("TypeError", row[1])]),
        key_of([("ValueError", [("shop/orders.py", "sell", True)])]),
        key_of([row, cause]),
        key_of([cause, row]),
    ]
    assert len(set(keys)) == len(keys)


def test_library_frames_do_not_count() -> None:
    """A newer release of a framework splits no group; without own code it is all there is."""
    own = ("shop/orders.py", "buy", True)
    first = key_of([("ValueError", [("celery/trace.py", "run", False), own])])
    second = key_of([("ValueError", [("celery/trace2.py", "go", False), own])])
    assert first == second == key_of([("ValueError", [own])])
    assert key_of([("ValueError", [("celery/trace.py", "run", False)])]) is not None


def test_without_frames_there_is_no_key() -> None:
    """The message groups such failures, as it did before there were stacks."""
    assert key_of([]) is None
    assert key_of([("ValueError", [])]) is None
    assert key_of_raised(capture(ValueError("x")), OWN) is None


@pytest.mark.parametrize(
    "make",
    [chained, handled, lambda: recursing(200), lambda: grouped(5)],
    ids=["chained", "handled", "recursing", "grouped"],
)
def test_texts_of_python_give_the_same_key(make: Callable[[], BaseException]) -> None:
    """A failure that is exported by OTLP, and one that is known as text, join the same group."""
    error = make()
    captured = capture(error)
    expected = key_of_raised(captured, OWN)
    standard = "".join(traceback.format_exception(error))
    assert key_of(places_in(python_text(captured), OWN)) == expected
    assert key_of(places_in(standard, OWN)) == expected
