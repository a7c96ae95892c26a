"""``bound``: the text of a stack in any language, masked and short enough to keep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from otel_bridge.events.redaction import redact_text
from otel_bridge.stacks.parse import PYTHON_TITLE, limited
from otel_bridge.stacks.render import MAX_STACK_BYTES, truncated

__all__ = ["bound"]

_MAX_FRAME_CHARS: Final = 200
_MAX_LINE_CHARS: Final = 300
_STEPS: Final = (20, 12, 8, 5, 3, 2)
"""Frames that stay at the end where a stack broke; at the other end at most 4. The first that
fits."""
_FEW: Final = 4
_FRAME: Final = re.compile(r'^[\s|+]*(?:at |File "|\.\.\. |~)|^\s+/|^[^@\s]*@.*:\d+:\d+$')

_SOURCE: Final = re.compile(r"^ *(?:\| )* {4,}\S")
"""A source line below a frame of Python, in a group's box or not."""


def bound(text: str) -> str:
    """
    Return the text of a stack with at most 4,096 bytes of UTF-8, secrets masked. Never raises.

    A text that fits stays as it is. Of a longer one each run of frames keeps its two ends, with the
    number of the frames between them, and lines with types, messages and causes stay, at most 300
    characters each.

    Args:
        text: In any language's form, or none; at most 65,536 characters and 2,000 lines are read.
    """
    masked = redact_text(limited(text).encode(errors="replace").decode())
    if len(masked.encode()) <= MAX_STACK_BYTES:
        return masked
    found = masked
    # Python's innermost frame is the last of a run, with its source line below it.
    is_python = PYTHON_TITLE in masked
    for kept in _STEPS:
        first, last = (min(kept, _FEW), kept) if is_python else (kept, min(kept, _FEW))
        found = "\n".join(_shortened(masked, first, last, 2 if is_python else 1))
        if len(found.encode()) <= MAX_STACK_BYTES:
            return found
    return truncated(found)


def _shortened(text: str, first: int, last: int, lines_a_frame: int) -> Iterator[str]:
    run: list[str] = []
    for line in map(str.rstrip, text.split("\n")):
        is_source = lines_a_frame == 2 and bool(run) and _SOURCE.match(line) is not None
        if is_source or _FRAME.match(line):
            run.append(line[:_MAX_FRAME_CHARS])
            continue
        yield from _ends(run, first * lines_a_frame, last * lines_a_frame, lines_a_frame)
        run = []
        yield line[:_MAX_LINE_CHARS]
    yield from _ends(run, first * lines_a_frame, last * lines_a_frame, lines_a_frame)


def _ends(run: list[str], first: int, last: int, lines_a_frame: int) -> list[str]:
    left_out = len(run) - first - last
    if left_out <= lines_a_frame:
        return run
    middle = f"  ... {left_out // lines_a_frame} frames"
    return [*run[:first], middle, *run[len(run) - last :]]
