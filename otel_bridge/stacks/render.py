"""
The texts of a captured exception: one for people, and Python's own form for OTLP.

Made in the bus's thread or an exporter's, never in the thread that failed: reading the source lines
takes most of the time.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Sequence
from typing import Final

from otel_bridge.events.redaction import redact_text
from otel_bridge.stacks.capture import Frame, Raised
from otel_bridge.stacks.own_code import OwnCode, short_path

__all__ = ["MAX_STACK_BYTES", "python_text", "stack_text", "truncated"]

MAX_STACK_BYTES: Final = 4096
"""Bound on the text of a stack as UTF-8."""
_MAX_MESSAGE_CHARS: Final = 300
_MAX_LINE_CHARS: Final = 120
_MAX_PATH_CHARS: Final = 200
_MAX_EQUAL: Final = 3
"""Times that one frame is shown in a row."""
_STEPS: Final = ((True, 16), (True, 8), (True, 3), (False, 16), (False, 8), (False, 3))
"""Whether source lines are shown, and how many last frames: the first that fits."""


def stack_text(error: Raised, own: OwnCode) -> str:
    """
    Return the text of a stack for people, at most 4,096 bytes of UTF-8; never raises.

    The failure comes first, its frames below it, the innermost last, then what caused it. Frames of
    libraries begin with ``~``; those of the application have their source line. What looks like a
    secret in a message or a source line is masked. If it is too long, first frames go, then source
    lines, and the text says how many frames are missing. Takes 0.1 to 0.7 ms.

    Args:
        error: From ``capture``.
        own: Which code is the application's.
    """
    text = ""
    for with_source, last in _STEPS:
        lines = _lines(error, own, "", 0, with_source=with_source, last=last)
        text = "\n".join(lines).encode(errors="replace").decode()
        if len(text.encode()) <= MAX_STACK_BYTES:
            return text
    return truncated(text)


def truncated(text: str) -> str:
    """The beginning and the end of a text, at most 4,096 bytes; one that fits as it is."""
    data = text.encode(errors="replace")
    if len(data) <= MAX_STACK_BYTES:
        return data.decode()
    half = (MAX_STACK_BYTES - 8) // 2
    begin, end = data[:half].decode(errors="ignore"), data[-half:].decode(errors="ignore")
    return f"{begin}\n ...\n{end}"


def _lines(
    error: Raised, own: OwnCode, link: str, depth: int, *, with_source: bool, last: int
) -> Iterator[str]:
    indent = "  " * depth
    times = f"{error.times} x " if error.times > 1 else ""
    message = _one_text(error.message)
    yield f"{indent}{link}{times}{error.type}" + (f": {message}" if message else "")
    for note in error.notes:
        yield f"{indent}  {_one_text(note)}"
    yield from _frame_lines(error, own, f"{indent}  ", with_source=with_source, last=last)
    if error.cause is not None:
        how = "While handling: " if error.is_context else "Caused by: "
        yield from _lines(error.cause, own, how, depth + 1, with_source=with_source, last=last)
    for member in error.members:
        yield from _lines(
            member, own, "In the group: ", depth + 1, with_source=with_source, last=last
        )
    if error.more:
        yield f"{indent}  In the group: {error.more} more"


def _one_text(message: str) -> str:
    """A message masked before it is shortened, so that no half of a secret is left."""
    return _shortened(redact_text(message), _MAX_MESSAGE_CHARS)


def _shortened(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _frame_lines(
    error: Raised, own: OwnCode, indent: str, *, with_source: bool, last: int
) -> Iterator[str]:
    left_out = max(0, len(error.tail) - last)
    omitted = error.omitted + left_out
    frames: list[Frame | None] = [*error.head]
    if omitted:
        frames.append(None)
    frames += error.tail[left_out:]
    for frame, again in _without_repetition(frames):
        if frame is None:
            yield f"{indent}... {again or omitted} frames"
            continue
        path, line, function = frame
        is_own = own.has(path)
        mark = "" if is_own else "~"
        yield f"{indent}{mark}{short_path(path)[-_MAX_PATH_CHARS:]}:{line} {function[:200]}"
        source = _source(path, line) if with_source and is_own else ""
        if source:
            yield f"{indent}    {source}"


def _without_repetition(frames: Sequence[Frame | None]) -> Iterator[tuple[Frame | None, int]]:
    """Each frame, at most 3 equal ones in a row; then None and how many equal ones followed."""
    before: Frame | None = None
    equal = 0
    for frame in frames:
        if frame is not None and frame == before:
            equal += 1
            if equal <= _MAX_EQUAL:
                yield frame, 0
            continue
        if equal > _MAX_EQUAL:
            yield None, equal - _MAX_EQUAL
        before, equal = frame, 1
        yield frame, 0
    if equal > _MAX_EQUAL:
        yield None, equal - _MAX_EQUAL


def _source(path: str, line: int) -> str:
    # Masked before it is shortened, as messages are.
    return _shortened(redact_text(_source_as_it_is(path, line)[:1024]), _MAX_LINE_CHARS)


def python_text(error: Raised) -> str:
    """
    Return the stack in the form of Python's ``traceback``, for ``exception.stacktrace``.

    As that has it: causes first, the innermost frame last, members of groups in boxes. Not masked,
    as other attributes of exported spans. Each exception has its first 4 and last 60 frames, in
    between a line with the number of the others; a message has at most 1,024 characters. Never
    raises.

    Args:
        error: From ``capture``.
    """
    return "".join(f"{line}\n" for line in _python_lines(error))


def _python_lines(error: Raised) -> Iterator[str]:
    if error.cause is not None:
        yield from _python_lines(error.cause)
        yield ""
        if error.is_context:
            yield "During handling of the above exception, another exception occurred:"
        else:
            yield "The above exception was the direct cause of the following exception:"
        yield ""
    if not error.members:
        yield from _python_block(error, "Traceback")
        return
    yield from _boxed(_python_block(error, "Exception Group Traceback"), "  + ", "  | ")
    for number, member in enumerate(error.members, 1):
        corner = "  +-+" if number == 1 else "    +"
        yield f"{corner}---------------- {number} ----------------"
        yield from _boxed(_python_lines(member), "    | ", "    | ")
        if member.times > 1:
            yield f"    | ({member.times} times)"
    if error.more:
        yield f"    | and {error.more} more"
    yield "    +------------------------------------"


def _boxed(lines: Iterator[str], first: str, others: str) -> Iterator[str]:
    for index, line in enumerate(lines):
        yield f"{others if index else first}{line}"


def _python_block(error: Raised, title: str) -> Iterator[str]:
    if error.head:
        yield f"{title} (most recent call last):"
    omitted: list[Frame | None] = [None] if error.omitted else []
    for frame, again in _without_repetition([*error.head, *omitted, *error.tail]):
        if frame is None:
            # Python's own sentence about equal frames, which readers of such texts know.
            yield (
                f"  [Previous line repeated {again} more times]"
                if again
                else f"  ... {error.omitted} frames"
            )
            continue
        path, line, function = frame
        yield f'  File "{path}", line {line}, in {function.rpartition(".")[2]}'
        source = _source_as_it_is(path, line)
        if source:
            yield f"    {source}"
    yield error.type + (f": {error.message}" if error.message else "")
    yield from error.notes


def _source_as_it_is(path: str, line: int) -> str:
    try:
        return linecache.getline(path, line).strip()
    except Exception:
        return ""  # a loader of the user's own may raise anything
