"""The view ``queues``: how many jobs wait where, as far as that is reported or known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from otel_bridge_collector.views.attention.stuck import (
    QueueFacts,
    Stuck,
    Takers,
    add_up,
    stuck,
)
from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window, no_row
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.wire.views.params import ListParams
from otel_bridge_collector.wire.views.queues import QueueRow

__all__ = ["Known", "add_up_queues", "compute", "facts_of", "known_queues", "merge"]


class Known(NamedTuple):
    """
    What is known of all queues at one moment; a record.

    Attributes:
        facts: Of each, by name.
        takers: Which workers take from which.
        now: That moment, microseconds.
    """

    facts: Mapping[str, QueueFacts]
    takers: Takers
    now: int

    def stuck(self, name: str) -> Stuck | None:
        """Return why a queue of ``facts`` is stuck; None: it is not, or not known."""
        names = self.takers.of(name)
        return stuck(self.facts[name], None if names is None else len(names), self.now)


def known_queues(state: ViewState) -> Known:
    """Return what this process knows; on the collector's event loop. Raises nothing."""
    return Known(state.queue_facts(), state.takers(), state.now)


def add_up_queues(parts: Sequence[Known]) -> Known:
    """Add up what several processes, at least one, know; all know the same workers. Pure."""
    return parts[0]._replace(facts=add_up([part.facts for part in parts]))


def facts_of(known: Known, name: str) -> dict[str, Any]:
    """Return what is said of a queue of ``known``, the fields of ``QueueRow``; pure."""
    facts, names, why = known.facts[name], known.takers.of(name), known.stuck(name)
    return {
        "k": name,
        "depth": None if facts.depth is None else facts.depth[1],
        "at": None if facts.depth is None else facts.depth[0] // 1000,
        "waiting": facts.waiting,
        "priorities": dict(facts.priorities) or None,
        "oldest": ms(facts.oldest),
        "workers": None if names is None else len(names),
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
    known = Known({}, state.takers(), state.now) if scope is not None else known_queues(state)
    return Listing((), no_row, {"known": known, "first": state.queues})


def merge(parts: Sequence[Listing], params: ListParams) -> Window:
    """
    Add up the parts, and take the window: the coordinator's queues first, the others by name.

    Pure.

    Args:
        parts: One for each process, at least one; each knows the jobs of its own tasks.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.

    Raises:
        IndexError: There are no parts.
    """
    known = add_up_queues([part.sums["known"] for part in parts])
    ranks = {name: rank for rank, name in enumerate(parts[0].sums["first"])}
    order = sorted(((ranks.get(name, len(ranks)), name), name) for name in known.facts)

    def row(key: str) -> bytes:
        return QueueRow.model_validate(facts_of(known, key)).model_dump_json().encode()

    return list_window([Listing(order, row, {})], params)
