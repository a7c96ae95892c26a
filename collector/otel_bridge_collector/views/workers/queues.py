"""The view ``queues``: how many jobs wait where, as far as that is reported or known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_bridge_collector.views.attention.stuck import (
    QueueFacts,
    Stuck,
    Takers,
    add_up,
    stuck,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window, no_row
from otel_bridge_collector.views.parts import Around
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.wire.views.params import ListParams
from otel_bridge_collector.wire.views.queues import QueueRow

__all__ = [
    "Known",
    "QueuesPart",
    "add_up_queues",
    "compute",
    "facts_of",
    "join",
    "known_queues",
    "merge",
    "select",
]


class Known(NamedTuple):
    """
    What is known of all queues at one moment; a record.

    Attributes:
        facts: Of each, by name.
        workers: How many workers that are online take from each; None: none has said in the last
            hour which queues it takes from.
        now: That moment, microseconds.
    """

    facts: Mapping[str, QueueFacts]
    workers: Mapping[str, int] | None
    now: int

    @property
    def listed(self) -> Iterator[tuple[str, QueueFacts]]:
        """The queues that people see: those with a depth, or in which jobs are known to wait."""
        return ((name, facts) for name, facts in self.facts.items() if facts.is_listed)

    def workers_of(self, name: str) -> int | None:
        """Return how many take from a queue; None: none says what it takes from."""
        return None if self.workers is None else self.workers.get(name, 0)

    def stuck(self, name: str) -> Stuck | None:
        """Return why a queue of ``facts`` is stuck; None: it is not, or not known."""
        return stuck(self.facts[name], self.workers_of(name), self.now)


def known_queues(state: ViewState) -> Known:
    """Return what this state knows; on the collector's event loop. Raises nothing."""
    return Known(state.queue_facts(), _counts(state.takers()), state.now)


def _counts(takers: Takers) -> dict[str, int] | None:
    names = takers.names
    return None if names is None else {name: len(ids) for name, ids in names.items()}


def add_up_queues(parts: Sequence[Known]) -> Known:
    """
    Add up what several states, at least one, know; all know the same workers. Pure.

    In any grouping. As of the latest of their moments.
    """
    if len(parts) == 1:
        return parts[0]
    workers: dict[str, int] | None = None
    for part in parts:
        if part.workers is not None:
            workers = {} if workers is None else workers
            for name, count in part.workers.items():
                workers[name] = max(count, workers.get(name, 0))
    facts = add_up([part.facts for part in parts])
    return Known(facts, workers, max(part.now for part in parts))


def facts_of(known: Known, name: str) -> dict[str, Any]:
    """Return what is said of a queue of ``known``, the fields of ``QueueRow``; pure."""
    facts, why = known.facts[name], known.stuck(name)
    return {
        "k": name,
        "depth": None if facts.depth is None else facts.depth[1],
        "at": None if facts.depth is None else facts.depth[0] // 1000,
        "waiting": facts.waiting,
        "priorities": dict(facts.priorities) or None,
        "oldest": ms(facts.oldest),
        "workers": known.workers_of(name),
        "running": facts.running,
        "stuck": None if why is None else why.reason,
    }


def compute(state: ViewState, params: ListParams, scope: Scope) -> Listing:
    """
    Read the queues whose depth was reported, or in which jobs are known to wait.

    A reader limited to projects gets none, because queues are shared between projects. Raises
    nothing. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh.
        params: Its ``project`` is not used: queues belong to none.
        scope: The projects that the reader may see; None: all.

    Returns:
        No rows: ``merge`` makes them from ``sums``. At most 200 queues.
    """
    del params
    known = Known({}, None, state.now) if scope is not None else known_queues(state)
    return Listing((), no_row, {"known": known, "first": state.queues})


class QueuesPart(msgspec.Struct, array_like=True, frozen=True):
    """What one state, or several together, know of all queues, and which come first; a record."""

    known: Known
    first: Sequence[str]


def select(part: Listing, params: ListParams, around: Around = None) -> QueuesPart:
    """Take what ``join`` needs of one state's part; pure."""
    del params, around
    return QueuesPart(part.sums["known"], part.sums["first"])


def join(parts: Sequence[QueuesPart]) -> QueuesPart:
    """Add up what several states, at least one, know; pure."""
    return QueuesPart(add_up_queues([part.known for part in parts]), parts[0].first)


def merge(parts: Sequence[Listing | QueuesPart], params: ListParams) -> Window:
    """
    Add up the parts, and take the window: the coordinator's queues first, the others by name.

    Pure.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it; each knows the jobs
            of its own tasks.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.

    Raises:
        IndexError: There are no parts.
    """
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    known = part.known
    ranks = {name: rank for rank, name in enumerate(part.first)}
    order = sorted(((ranks.get(name, len(ranks)), name), name) for name, _ in known.listed)

    def row(key: str) -> bytes:
        return QueueRow.model_validate(facts_of(known, key)).model_dump_json().encode()

    return list_window(Listing(order, row, {}), params)
