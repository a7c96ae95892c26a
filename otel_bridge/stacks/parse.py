"""
``places_in``: exception types and frames in the text of a stack, of any language.

Texts come from ``exception.stacktrace`` of OTLP spans and from task frameworks that keep a failure
as text. Read are the forms of Python, Java (and Kotlin, Scala), JavaScript (Node, Chrome, Firefox),
.NET and Go (``debug.Stack``).
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from otel_bridge.stacks.key import Place
from otel_bridge.stacks.own_code import OwnCode, last_two_parts, without_variables

__all__ = ["MAX_INPUT_CHARS", "PYTHON_TITLE", "limited", "places_in"]

MAX_INPUT_CHARS: Final = 64 * 1024
"""What is read of a text."""
_MAX_LINES: Final = 2000
"""Lines that are read: 65,536 line ends took 200 ms."""
_MAX_LINE_CHARS: Final = 500
"""Characters of a line that are searched for a frame: some patterns take the square of it."""
PYTHON_TITLE: Final = "most recent call last"

_PYTHON: Final = re.compile(r'^[\s|+]*File "([^"]+)", line \d+, in (.+)$')
_PYTHON_TYPE: Final = re.compile(r"^([A-Za-z_][\w.]*)(?=$|:)")
_BOX: Final = re.compile(r"^(?: *\|)* ?")
"""What a line in an exception group begins with."""
_JAVA: Final = re.compile(
    r"^\s*at (?:[\w.-]+/(?:[\w.@-]*/)?)?([\w.$<>]+(?:/0x[0-9a-f]+)?)\.([\w$<>]+)"
    r"\((?:[\w$-]+\.(?:java|kt|scala|groovy|clj)(?::\d+)?"
    r"|Native Method|Unknown Source|<generated>)\)"
)
_SCRIPT: Final = re.compile(
    r"^\s*at (?:async )?(?:(.+?) \()?"
    r"((?:[a-z-]+:/{2,3}|/|[A-Za-z]:\\|node:|<)[^()]*?):\d+(?::\d+)?\)?$"
)
_FIREFOX: Final = re.compile(r"^([^@\s]*)@(.+?):\d+:\d+$")
_DOT_NET: Final = re.compile(
    r"^\s*at ([\w.`<>\[\], +]+)\.([\w`<>\[\]|]+)\(.*\)(?: in .*:line \d+)?$"
)
_GO: Final = re.compile(
    r"^(?:created by )?([\w./*()~\[\]-]+?)(?:\([^()]*\))?(?: in goroutine \d+)?$"
)
_GO_LIBRARY: Final = re.compile(
    r"^(?:bufio|bytes|compress|context|crypto|database|encoding|errors|fmt|html|internal|io|log|math"
    r"|mime|net|os|path|reflect|regexp|runtime|sort|strconv|strings|sync|syscall|testing|text|time)"
    r"[./]|^panic$"
)
_TYPE: Final = re.compile(
    r"^[\s|+\-]*(?:Caused by: |Suppressed: |\[cause\]: |Unhandled exception\. |--> )?"
    r"(?:Uncaught )?(?:Exception in thread \"[^\"]*\" )?"
    r"([A-Za-z_][\w.$]*(?:Error|Exception|Throwable|Group|Exit|Interrupt|Warning|Timeout)\w*)"
    r"(?=$|[:\s(])"
)
_FIRST_TYPE: Final = re.compile(r"^([A-Za-z_][\w.$]*)(?=$|: )")
"""What the first line begins with is a type, whatever its name."""
_HANDLING: Final = "During handling of the above exception"
_ORIGIN: Final = re.compile(r"^[a-z-]+:/{2,3}[^/]*")
_QUERY: Final = re.compile(r"[?#].*$")
_BUNDLE_HASH: Final = re.compile(r"[-.][0-9a-f]{8,}(?=\.)")


def limited(text: str) -> str:
    """The beginning of a text: at most 65,536 characters and 2,000 lines."""
    lines = text[:MAX_INPUT_CHARS].split("\n", _MAX_LINES)
    return "\n".join(lines[:_MAX_LINES])


def places_in(text: str, own: OwnCode) -> list[tuple[str, list[Place]]]:
    """
    Read the exceptions of a stack's text: type and frames of each, for ``key_of``. Never raises.

    Args:
        text: Of any form; at most 65,536 characters and 2,000 lines are read, and 500 characters of
            each line.
        own: Which code is the application's.

    Returns:
        The failure itself first; frames outermost first. Empty if no line has a known form.
    """
    lines = [line[:_MAX_LINE_CHARS].rstrip() for line in limited(text).split("\n")]
    if any(line.startswith("goroutine ") for line in lines[:2]):
        return _go(lines, own)
    if PYTHON_TITLE in text or any(_PYTHON.match(line) for line in lines[:3]):
        return _python(lines, own)
    return _innermost_first(lines, own)


def _python(lines: list[str], own: OwnCode) -> list[tuple[str, list[Place]]]:
    """Python names the type after the frames, and prints causes before what they caused."""
    found: list[tuple[int, str, list[Place]]] = []
    frames: list[Place] = []
    box_start = 0
    for line in lines:
        frame = _PYTHON.match(line)
        if frame is not None:
            function = without_variables(frame[2].rpartition(".")[2])
            frames.append((last_two_parts(frame[1]), function, own.has(frame[1])))
            continue
        box = _BOX.match(line)
        depth = box.end() if box is not None and "|" in box[0] else 0
        if "+---" in line:
            box_start = len(found)
        elif _HANDLING in line:
            # What was merely being handled is no part of the failure.
            del found[box_start if depth else 0 :]
            frames = []
        elif frames:
            kind = _PYTHON_TYPE.match(line[depth:])
            if kind is not None and "Traceback" not in line:
                found.append((depth, kind[1], frames))
                frames = []
    if frames:
        found.append((0, "", frames))
    if not found:
        return []
    # The failure itself is the last one outside all boxes.
    outside = min(depth for depth, _, _ in found)
    first = max(index for index, (depth, _, _) in enumerate(found) if depth == outside)
    ordered = [found[first], *found[:first], *found[first + 1 :]]
    return [(kind, places) for _, kind, places in ordered]


def _innermost_first(lines: list[str], own: OwnCode) -> list[tuple[str, list[Place]]]:
    """Java, JavaScript and .NET: the type, then its frames, innermost first; then causes."""
    found: list[tuple[str, list[Place]]] = []
    kind: str | None = None
    frames: list[Place] = []
    for index, line in enumerate(lines):
        place = _place_in(line, own)
        if place is not None:
            frames.append(place)
            continue
        match = _TYPE.match(line) or (_FIRST_TYPE.match(line) if index == 0 else None)
        if match is None:
            continue
        if frames:
            found.append((kind or "", frames[::-1]))
            kind, frames = None, []
        # Without frames in between it is a line of the message of the exception before it.
        kind = kind or match[1]
    if kind is not None or frames:
        found.append((kind or "", frames[::-1]))
    return found


def _place_in(line: str, own: OwnCode) -> Place | None:
    if (java := _JAVA.match(line)) is not None:
        return without_variables(java[1]), without_variables(java[2]), own.has(java[1])
    script = _SCRIPT.match(line) or _FIREFOX.match(line)
    if script is not None:
        return _script_place(script[1] or "?", script[2], own)
    if (dot_net := _DOT_NET.match(line)) is not None:
        return without_variables(dot_net[1]), without_variables(dot_net[2]), own.has(dot_net[1])
    return None


def _script_place(function: str, url: str, own: OwnCode) -> Place:
    path = _QUERY.sub("", url)
    if not path.startswith("node:"):
        path = _ORIGIN.sub("", path)
    path = _BUNDLE_HASH.sub("", path)
    return last_two_parts(path), without_variables(function), own.has(path)


def _go(lines: list[str], own: OwnCode) -> list[tuple[str, list[Place]]]:
    """Go: the function, and its place indented on the next line; no type."""
    frames: list[Place] = []
    for line, after in itertools.pairwise(lines):
        match = _GO.match(line) if after.startswith("\t") else None
        if match is not None:
            function = match[1].rpartition("/")[2]
            is_own = not _GO_LIBRARY.match(match[1]) and own.has(match[1])
            frames.append((without_variables(function), "", is_own))
    return [("", frames[::-1])] if frames else []
