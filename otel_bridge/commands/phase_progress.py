"""Which phases are open and how far they are, as far as the events of a stream say so."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_bridge.commands.event_lines import one_line

__all__ = ["OpenPhases", "PhaseProgress"]

_MAX_PHASES: Final = 200
_MAX_TITLES: Final = 1000
"""Bounds for a stream whose ends are filtered out or lost; the oldest is forgotten first."""

_Key = tuple[str, str]


@dataclass(slots=True)
class PhaseProgress:
    """How far one open phase is; made and updated by ``OpenPhases``."""

    title: str
    """Title of the task, else its id, and the name of the phase."""
    completed: int = 0
    failed: int = 0
    total: int | None = None
    """Number of its jobs; None while no event said it."""


class OpenPhases:
    """
    Keeps which phases are open and how far they are: feed ``update`` with all events of a stream.

    At most 200 phases and the titles of 1,000 research tasks are kept; the oldest is forgotten
    first. Used from one thread. No method raises: what cannot be read is ignored.
    """

    def __init__(self) -> None:
        self._phases: OrderedDict[_Key, PhaseProgress] = OrderedDict()
        self._titles: OrderedDict[str, str] = OrderedDict()

    def newest(self, number: int) -> list[PhaseProgress]:
        """
        Return open phases, the one whose counts came last at the end of the list. Never raises.

        Each has a ``title``, its ``completed`` and ``failed`` jobs, and ``total``, their number
        (None if unknown).

        Args:
            number: Return at most this many; 1 or more (0 returns all). At most 200 are kept.
        """
        return list(self._phases.values())[-number:]

    def update(self, events: Iterable[Mapping[str, Any]]) -> None:
        """
        Take what events say about phases, in their order; other events change nothing.

        ``phase_started`` opens a phase, ``phase_completed`` or the end of its research task closes
        it, ``stats_snapshot`` sets its counts, and the end of one of its jobs adds one.

        Never raises. At most 200 phases are kept; the one whose counts are oldest is forgotten
        first.

        Args:
            events: Events decoded from JSON, any number. Those without a text as ``parent_task_id``
                are ignored.
        """
        for event in events:
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, task, phase = (event.get(k) for k in ("event_type", "parent_task_id", "phase"))
        if not isinstance(task, str):
            return
        if event.get("task_id") == task and kind in ("task_completed", "task_failed"):
            for key in [key for key in self._phases if key[0] == task]:
                del self._phases[key]
        elif event.get("task_id") == task and kind == "task_started":
            meta = event.get("meta")
            title = meta.get("title") if isinstance(meta, dict) else None
            self._titles[task] = one_line(str(title or task))
            if len(self._titles) > _MAX_TITLES:
                self._titles.popitem(last=False)
        elif isinstance(phase, str) and kind == "phase_completed":
            self._phases.pop((task, phase), None)
        elif isinstance(phase, str) and kind in ("phase_started", "stats_snapshot"):
            self._take_counts((task, phase), event.get("counts"))
        elif isinstance(phase, str) and (found := self._phases.get((task, phase))):
            # Between two counts, which come every few seconds, each end of a job is counted.
            found.completed += kind == "task_completed"
            found.failed += kind == "task_failed"

    def _take_counts(self, key: _Key, counts: object) -> None:
        task, phase = key
        found = self._phases.setdefault(
            key, PhaseProgress(f"{self._titles.get(task, one_line(task))}  {one_line(phase)}")
        )
        self._phases.move_to_end(key)
        if len(self._phases) > _MAX_PHASES:
            self._phases.popitem(last=False)
        if isinstance(counts, dict):
            numbers = {k: v for k, v in counts.items() if isinstance(v, int)}
            found.completed = numbers.get("completed", found.completed)
            found.failed = numbers.get("failed", found.failed)
            found.total = numbers.get("total", found.total)
