"""The view ``queues``: how many jobs wait where, as far as their depths are reported."""

from __future__ import annotations

from collections import Counter

from otel_bridge_collector.model.queues import Queue
from otel_bridge_collector.views.listing import Listing, Scope
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.workers.workers import merge
from otel_bridge_collector.wire.views.params import ListParams
from otel_bridge_collector.wire.views.queues import QueueRow

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
    found: dict[str, Queue] = {}
    workers: Counter[str] | None = None
    if scope is None:
        queues = state.model.queues.by_name.values()
        found = {queue.name: queue for queue in queues if queue.depth is not None}
        workers = _workers_of(state)
    ranks = {name: rank for rank, name in enumerate(state.queues)}
    order = sorted(((ranks.get(name, len(ranks)), name), name) for name in found)

    def row(key: str) -> bytes:
        queue = found[key]
        assert queue.depth is not None
        at, depth = queue.depth
        return (
            QueueRow(
                k=key,
                depth=depth,
                at=at // 1000,
                waiting=len(queue.pending),
                priorities=dict(queue.priorities) or None,
                oldest=ms(queue.oldest(state.now)),
                workers=None if workers is None else workers[key],
                running=len(queue.running),
                stuck=None,
            )
            .model_dump_json()
            .encode()
        )

    return Listing(order, row, {})


def _workers_of(state: ViewState) -> Counter[str] | None:
    """How many workers that are online take jobs from each queue; None: none ever said so."""
    found: Counter[str] = Counter()
    does_any_say = False
    for _, process, status in state.processes():
        if process is not None and process.queues is not None:
            does_any_say = True
            if status == "online":
                found.update(process.queues[1])
    return found if does_any_say else None
