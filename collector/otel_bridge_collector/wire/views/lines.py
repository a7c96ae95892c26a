"""
What the view of a node's log lines shows: its head and rows, as ``/ws/views`` sends them.

All times are integer milliseconds since the Unix epoch, UTC. None means unknown, never 0.
"""

from __future__ import annotations

from typing import Literal

from otel_bridge_collector.wire.base import WireModel

__all__ = ["LineRow", "LinesHead"]


class LinesHead(WireModel):
    """
    The head of the view ``lines``; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        first: The number of the first row shown, from 0, among the held lines that have the text.
        matches: Held lines that have the text; without a text all that are held.
        total: Lines that the node has written, dropped ones included; None if none are held, for
            then it is not known whether there were any.
        dropped: Of these, how many are not held: over a limit, or older than the last 200. None if
            ``total`` is.
        ended: Whether the node has ended, so that no more lines are to be expected.
        last: Number of the newest line that is held; 0: none is.
        state: ``reading``: the store was not asked yet; it is within 250 ms. ``held``: there are
            lines. ``none``: the store has none, or no longer: they are kept for 15 minutes after a
            node has completed, a day after it failed. ``unreachable``: the store cannot be read;
            the rows are from before.
    """

    first: int
    matches: int
    total: int | None
    dropped: int | None
    ended: bool
    last: int
    state: Literal["reading", "held", "none", "unreachable"]


class LineRow(WireModel):
    """
    One log line; a record.

    A field of a wrong type, or an unknown one, raises ``ValidationError``.

    Attributes:
        k: ``n`` as text; where two publishers gave one number to two lines, that and ``.2``.
        n: Its number in the node, from 1. Dropped lines have one too: a gap is their count.
        at: When it was written, ms.
        level: As in Python's ``logging``: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
        logger: Name of the logger, at most 64 characters.
        text: At most 1,000 characters, secrets masked; may have line breaks.
    """

    k: str
    n: int
    at: int
    level: int
    logger: str
    text: str
