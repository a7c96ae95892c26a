"""``capture`` takes little of an exception, holds nothing of it, and never fails."""

from __future__ import annotations

import gc
import traceback
import weakref

from otel_bridge.stacks.capture import capture
from tests.support.raised import UnreadableError, chained, grouped, look_up, raised_by, recursing


class Held:
    """Something that a local variable holds."""


def test_frames_are_file_line_and_qualified_name() -> None:
    """The innermost frame is last, with the line that raised."""
    captured = capture(raised_by(lambda: look_up("x")))
    path, line, function = captured.frames()[-1]
    assert path.endswith("raised.py")
    assert function == "look_up"
    assert line == look_up.__code__.co_firstlineno + 2
    assert (captured.type, captured.message, captured.omitted) == ("KeyError", "'x'", 0)


def test_no_frame_local_or_exception_is_held() -> None:
    """What the failing function held is freed although its capture is kept."""
    held: list[weakref.ref[Held]] = []

    def fail() -> None:
        local = Held()
        held.append(weakref.ref(local))
        raise ValueError("x")

    error: BaseException | None = raised_by(fail)
    assert error is not None
    captured = capture(error)
    error = None
    gc.collect()
    assert held[0]() is None
    assert captured.type == "ValueError"
    for value in (captured.message, *captured.head, *captured.tail):
        assert isinstance(value, str | tuple)


def test_cleared_frames_are_captured() -> None:
    """Celery clears the frames of a failure before its end is reported; they are still named."""
    error = raised_by(lambda: look_up("x"))
    traceback.clear_frames(error.__traceback__)
    assert capture(error).frames()[-1][2] == "look_up"


def test_a_deep_recursion_keeps_its_two_ends() -> None:
    """The first 4 and the last 60 frames are kept, and the others are counted."""
    captured = capture(recursing(400))
    depth = 400 + 4  # raised_by, its lambda, recurse(400) to recurse(0), look_up
    assert (len(captured.head), len(captured.tail)) == (4, 60)
    assert captured.omitted == depth - 64
    assert captured.frames()[-1][2] == "look_up"


def test_causes_and_contexts_differ() -> None:
    """``raise ... from`` is a cause; an exception that was being handled is a context."""
    caused = capture(chained())
    assert caused.cause is not None
    assert (caused.cause.type, caused.is_context) == ("KeyError", False)

    def handle() -> None:
        try:
            look_up("x")
        except KeyError:
            raise ValueError("y")  # noqa: B904 - the context is what is tested

    handled = capture(raised_by(handle))
    assert handled.cause is not None
    assert handled.is_context

    def suppress() -> None:
        try:
            look_up("x")
        except KeyError:
            raise ValueError("y") from None

    assert capture(raised_by(suppress)).cause is None


def test_equal_members_of_a_group_are_one_entry() -> None:
    """Twenty tasks that failed at one place are one entry with a count."""
    captured = capture(grouped(20))
    assert [(member.type, member.times) for member in captured.members] == [
        ("KeyError", 20),
        ("ValueError", 1),
    ]
    many = capture(grouped(500))
    assert many.members[0].times + many.more + 1 > 500 - 1


def test_what_raises_in_str_is_caught() -> None:
    """A message that cannot be made is said to be so."""

    def fail() -> None:
        raise UnreadableError

    captured = capture(raised_by(fail))
    assert captured.message == "<str() failed>"
    assert captured.type.endswith("UnreadableError")


def test_an_exception_that_was_never_raised_has_no_frames() -> None:
    """``fail(ValueError("x"))`` gives a type and a message."""
    captured = capture(ValueError("x"))
    assert (captured.frames(), captured.message) == ([], "x")
