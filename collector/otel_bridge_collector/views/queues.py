"""The view ``queues``: how many jobs wait where, as far as their depths are reported."""

from __future__ import annotations

from collections.abc import Sequence

from otel_bridge_collector.views.listing import Listing, Scope, Window, list_window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import ListParams
from otel_bridge_collector.wire.views.rows import QueueRow

__all__ = ["compute", "merge"]


def compute(state: ViewState, params: ListParams, scope: Scope) -> Listing:
    """
    List the queues whose depth was reported, the coordinator's first, the others by name.

    A reader limited to projects gets none, because queues are shared between projects. Raises
    nothing. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh.
        params: Its ``project`` is not used: queues belong to none.
        scope: The projects that the reader may see; None: all.

    Returns:
        A row for each queue: name, jobs that wait, and when that was measured. At most 200.
    """
    del params
    found: dict[str, tuple[int, int]] = {}
    by_name = state.model.queues.by_name
    if scope is None:
        found = {queue.name: queue.depth for queue in by_name.values() if queue.depth is not None}
    ranks = {name: rank for rank, name in enumerate(state.queues)}
    order = sorted(((ranks.get(name, len(ranks)), name), name) for name in found)

    def row(key: str) -> bytes:
        at, depth = found[key]
        return (
            QueueRow(
                k=key,
                depth=depth,
                at=at // 1000,
                priorities=None,
                oldest=None,
                workers=None,
                running=len(by_name[key].running),
            )
            .model_dump_json()
            .encode()
        )

    return Listing(order, row, {})


def merge(parts: Sequence[Listing], params: ListParams) -> Window:
    """
    Take the window of the first part; all are equal: every process folds all events of queues.

    Pure; raises nothing.

    Args:
        parts: One listing (all rows of the view) for each process; none give an empty window.
        params: Where the window (the rows that the client sees) starts, by default at the first
            row, and how many rows it has: 60, at most 200.
    """
    return list_window(parts[:1], params)
