"""
What a process that routes remembers of tasks, traces and spans: records, and ``Spans``.

Where a trace has several tasks, whose a span is depends on what its earlier events named, and on
what is above it. A member that folds nothing of the trace has no tree to ask, so it remembers these
two facts of the spans of such traces. To remember them of all spans takes 0.3 us for each new one,
which is a fifth of what it costs to route an event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["LINKED", "LOOSE", "NAMED", "Group", "Home", "Known", "Place", "Spans"]

LOOSE, LINKED, NAMED = range(3)
"""What a span's events named: its own trace, another one that it continues, a task; as of nodes."""

_MAX_RECENT: Final = 50_000


class Group:
    """
    Tasks and traces that are folded together; a record.

    Attributes:
        key: Its owner key.
        ids: Of its tasks and traces, as far as they are remembered.
        partition: Of the key; the first reader notes it. -1: not known.
        first: Number of its first event, as its reader counts them.
        position: Of the log, before its first event or earlier.
        project: The first that one of its events named.
        is_shared: Whether a span of it may be of one of several, by its tasks, links or projects:
            then places of its spans are remembered.
        is_indexed: Whether those of its earlier events are; ``is_whole``: they all were in memory.
    """

    __slots__ = (
        "first",
        "ids",
        "is_indexed",
        "is_named",
        "is_shared",
        "is_whole",
        "key",
        "partition",
        "position",
        "project",
    )

    def __init__(self, key: str, first: int, position: str) -> None:
        self.key = key
        self.ids: set[str] = {key}
        self.is_named = False
        self.partition = -1
        self.first = first
        self.position = position
        self.project: str | None = None
        self.is_shared = self.is_indexed = False
        self.is_whole = True


class Known:
    """
    What is known of one task, or of one trace; a record.

    Attributes:
        id: Of the task or trace.
        group: What it belongs to.
        project: Of events that name it; of several the smallest, and ``is_mixed``.
        tasks: Of a trace: ids that its events named, at most 8.
        trace: Of the latest event that named it; itself: there was none. None: not known.
    """

    __slots__ = ("group", "id", "is_mixed", "is_named", "is_used", "project", "tasks", "trace")

    def __init__(self, known_id: str, group: Group) -> None:
        self.id = known_id
        self.group = group
        self.project: str | None = None
        self.is_mixed = False
        self.is_named = False
        self.is_used = False
        self.tasks: tuple[str, ...] = ()
        self.trace: Known | None = None


class Home(NamedTuple):
    """Whose an event is to readers limited to projects; a record, as ``project_of`` of a model."""

    id: str
    project: str | None
    is_mixed: bool


class Place(NamedTuple):
    """
    What decides whose a span is; a record.

    Attributes:
        kind: ``NAMED`` if an event of it named a task, else ``LINKED`` or ``LOOSE``.
        base: That task, else that trace; of several of one kind that with the smallest id.
        parent: Span id of its parent, of several the smallest; None: none was named.
    """

    kind: int
    base: Known
    parent: str | None


class Spans:
    """
    Remembers the places of the latest 50,000 to 100,000 spans. For one event loop.

    300 bytes each, 30 MB at most. Half of them are forgotten at a time, but for those that were
    asked for since. Facts may come in any order and again: they make the same place, as in a model.

    Args:
        max_recent: When there are so many new ones, the older half is forgotten.

    Attributes:
        recent: The newer ones by span id; only to be read.
        complete_from: Number of the event from which on all are remembered; 0: none was forgotten.
    """

    __slots__ = ("_max_recent", "_older", "_recent_from", "complete_from", "recent")

    def __init__(self, max_recent: int = _MAX_RECENT) -> None:
        self._max_recent = max_recent
        self._older: dict[str, Place] = {}
        self.recent: dict[str, Place] = {}
        self._recent_from = 0
        self.complete_from = 0

    def __len__(self) -> int:
        return len(self.recent) + len(self._older)

    def note(self, span_id: str, place: Place, number: Callable[[], int]) -> None:
        """
        Note what an event says of a span.

        Args:
            span_id: 16 lower-case hex characters.
            place: What it says.
            number: Returns that of the event which the reader is at.
        """
        recent = self.recent
        known = self.get(span_id) if span_id in recent or self._older else None
        if known is None and len(recent) >= self._max_recent:
            self.complete_from, self._recent_from = self._recent_from, number()
            self._older, self.recent = self.recent, {}
        self.recent[span_id] = place if known is None else _merge(known, place)

    def get(self, span_id: str) -> Place | None:
        """Return what is known of a span, and remember it for longer; None: nothing."""
        place = self.recent.get(span_id)
        if place is None:
            place = self._older.pop(span_id, None)
            if place is not None:
                self.recent[span_id] = place
        return place


def _merge(one: Place, other: Place) -> Place:
    """A named task before a linked trace before its own; of two the smaller id, and parent."""
    first = min(one, other, key=lambda place: (-place.kind, place.base.id))
    parents = [place.parent for place in (one, other) if place.parent is not None]
    return Place(first.kind, first.base, min(parents, default=None))
