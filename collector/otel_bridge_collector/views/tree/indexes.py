"""``TreeIndexes``: the indexes of all tasks whose trees are asked for."""

from __future__ import annotations

from typing import Final

from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.views.tree.index import TreeIndex

__all__ = ["TreeIndexes"]

_UNUSED_US: Final = 60_000_000


class TreeIndexes:
    """
    Makes the index of a task when a view first asks for it, and drops it after 60 s without one.

    For the collector's event loop, without a lock. No limit of its own: tasks that are asked for
    are limited by the number of subscriptions, and their nodes by the model. Raises nothing for
    tasks that are held.

    Args:
        model: The state; swept at the present time before a refresh.
    """

    def __init__(self, model: Fold) -> None:
        self._model = model
        self._indexes: dict[Task, TreeIndex] = {}
        self._asked_at: dict[Task, int] = {}
        self._fresh: set[Task] = set()

    def __len__(self) -> int:
        return len(self._indexes)

    def of(self, task: Task) -> TreeIndex:
        """The index of a task that is held, as of the latest refresh."""
        self._asked_at[task] = self._model.liveness.now
        index = self._indexes.get(task)
        if index is None:
            index = self._indexes[task] = TreeIndex(self._model, task)
        elif task not in self._fresh:
            index.refresh()
        self._fresh.add(task)
        return index

    def refresh(self) -> None:
        """Let each index take what has changed when it is next asked for; drop unused ones."""
        self._fresh.clear()
        by_id, now = self._model.tasks.by_id, self._model.liveness.now
        for task in list(self._indexes):
            is_evicted = by_id.get(task.id) is not task
            if is_evicted or now - self._asked_at[task] > _UNUSED_US:
                self._indexes.pop(task).close()
                del self._asked_at[task]
