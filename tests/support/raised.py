"""Exceptions of every kind for the tests of stacks: raised for real, with frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "TEXTS",
    "UnreadableError",
    "any_exceptions",
    "chained",
    "grouped",
    "raised_by",
    "recursing",
]

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
"""Any Unicode, half surrogate pairs and control characters included."""


class UnreadableError(Exception):
    """Its ``str()`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised_by(function: Callable[[], Any]) -> BaseException:
    """What a function raises, with its traceback."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def look_up(key: object) -> None:
    """Raise a ``KeyError`` with a frame of its own."""
    raise KeyError(key)


def chained(key: object = "page") -> BaseException:
    """A ``ValueError`` that was caused by a ``KeyError``."""

    def convert() -> None:
        try:
            look_up(key)
        except KeyError as error:
            raise ValueError(f"bad {key}") from error

    return raised_by(convert)


def grouped(members: int) -> BaseException:
    """A group of equal ``KeyError``s, and one ``ValueError``."""

    def collect() -> None:
        errors: list[Exception] = []
        for number in range(members):
            error = raised_by(lambda number=number: look_up(number))  # type: ignore[misc]
            assert isinstance(error, Exception)
            errors.append(error)
        last = chained()
        assert isinstance(last, Exception)
        raise ExceptionGroup("many", [*errors, last])

    return raised_by(collect)


def recursing(depth: int) -> BaseException:
    """A ``KeyError`` below so many calls of one function."""

    def recurse(left: int) -> None:
        if left:
            recurse(left - 1)
        else:
            look_up("deep")

    return raised_by(lambda: recurse(depth))


_KINDS: list[Callable[[str], BaseException]] = [
    ValueError,
    KeyError,
    OSError,
    lambda text: UnreadableError(text),
    lambda text: UnicodeDecodeError("utf-8", text.encode(errors="replace"), 0, 1, "bad"),
    lambda text: SystemExit(text),
]


def _with_frames(error: BaseException, calls: int) -> BaseException:
    def recurse(left: int) -> None:
        if left:
            recurse(left - 1)
        raise error

    return raised_by(lambda: recurse(calls))


@st.composite
def any_exceptions(draw: st.DrawFn, depth: int = 3) -> BaseException:
    """Chains, circles, groups and notes of any exceptions, some deep, some with huge messages."""
    kind = draw(st.sampled_from(_KINDS))
    text = draw(TEXTS) * draw(st.sampled_from([1, 1, 1, 10_000]))
    error = kind(text)
    if depth and draw(st.booleans()):
        count = draw(st.integers(1, 4))
        members = [draw(any_exceptions(depth - 1)) for _ in range(count)]
        members = [one if isinstance(one, Exception) else ValueError("x") for one in members]
        error = BaseExceptionGroup(text, members * draw(st.sampled_from([1, 100])))
    error = _with_frames(error, draw(st.sampled_from([0, 1, 5, 30, 200])))
    if draw(st.booleans()):
        error.add_note(draw(TEXTS))
    if depth and draw(st.booleans()):
        error.__cause__ = draw(any_exceptions(depth - 1))
    elif depth and draw(st.booleans()):
        error.__context__ = draw(any_exceptions(depth - 1))
        if draw(st.booleans()):
            error.__context__.__cause__ = error  # a circle
    return error
