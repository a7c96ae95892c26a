"""
``key_of``: what failures of one cause have in common, 16 hex digits.

It is made of exception types and of the last functions of the application's own code, and of no
line number, message or value: the key stays when a line above changes, and two customers' failures
are one group. Python's and JavaScript's functions are named by the last two parts of their file's
path, Java's and .NET's by their class, so that hosts and containers agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from otel_bridge.stacks.capture import Raised
from otel_bridge.stacks.own_code import OwnCode, last_two_parts, without_variables

__all__ = ["Place", "key_of", "key_of_raised"]

_OWN_FRAMES: Final = 5
"""Functions of the application's own code that count, of each exception."""
_OTHER_FRAMES: Final = 3
"""Functions that count where none is the application's."""

Place = tuple[str, str, bool]
"""File or class, function, and whether it is the application's own code."""


def key_of(raised: Iterable[tuple[str, Sequence[Place]]]) -> str | None:
    """
    Return the key of a failure as 16 hex digits; None if no exception has a frame. Never raises.

    Args:
        raised: Type and frames (outermost first) of each exception, the failure itself first. The
            order and the number of the others do not count.
    """
    rows = [(kind.rpartition(".")[2], _counted(places)) for kind, places in raised]
    if not any(places for _, places in rows):
        return None
    digest = hashlib.blake2b(digest_size=8)
    for kind, places in [*rows[:1], *sorted(set(rows[1:]))]:
        digest.update(f"{kind}\0".encode(errors="replace"))
        for place in places:
            digest.update(f"{place}\0".encode(errors="replace"))
    return digest.hexdigest()


def _counted(places: Sequence[Place]) -> tuple[str, ...]:
    own = [place for place in places if place[2]] or places[-_OTHER_FRAMES:]
    counted: list[str] = []
    for file, function, _ in own:
        name = f"{file}|{function}"
        if not counted or counted[-1] != name:  # a recursion counts once
            counted.append(name)
    return tuple(counted[-_OWN_FRAMES:])


def key_of_raised(error: Raised, own: OwnCode) -> str | None:
    """
    Return the key of a captured exception, the same as of its standard text in Python.

    Exceptions that were merely being handled do not count: they are noise.

    Args:
        error: From ``capture``.
        own: Which code is the application's.
    """
    return key_of((one.type, _places(one, own)) for one in _caused(error))


def _caused(error: Raised) -> Iterable[Raised]:
    yield error
    if error.cause is not None and not error.is_context:
        yield from _caused(error.cause)
    for member in error.members:
        yield from _caused(member)


def _places(error: Raised, own: OwnCode) -> list[Place]:
    return [
        (last_two_parts(path), without_variables(function.rpartition(".")[2]), own.has(path))
        for path, _, function in error.frames()
    ]
