"""
What an event says of a task as a whole: its project, its traces, and which trace it continues.

Nodes that know only their trace may belong elsewhere after that; they are placed again.
"""

from __future__ import annotations

from collections.abc import Iterable

from otel_bridge_collector.model.events import Event, short_id
from otel_bridge_collector.model.nodes import NAMED, Task
from otel_bridge_collector.model.tasks import Tasks, is_link, names_task
from otel_bridge_collector.model.tree import Tree

__all__ = ["Learning"]


class Learning:
    """
    Notes facts of tasks, and moves the loose nodes (spans that know only their trace) accordingly.

    For the collector's event loop, without a lock. Raises nothing for checked events.

    Args:
        tasks, tree: The parts of the model that it changes.
    """

    def __init__(self, tasks: Tasks, tree: Tree) -> None:
        self._tasks = tasks
        self._tree = tree

    def learn(self, task: Task, event: Event) -> None:
        """
        Note what an event says of the task that it names, or of its trace's card.

        Args:
            task: The one with the id ``parent_task_id``, else the trace's card; it is changed.
            event: Its project or its trace may be new for the task.
        """
        project, trace_id = event.project_id, event.trace_id
        if project is not None and project != task.project:
            self._place_loose(self._tasks.note_project(task, short_id(project)))
        if names_task(event):
            task.is_named = True
            task.last_trace = trace_id
        elif not is_link(event):
            return
        if trace_id is not None:
            card = self._tasks.note_trace(task, trace_id)
            if card is not None:
                self._place_loose(self._with_links(card))

    def _with_links(self, card: Task) -> Iterable[Task]:
        """A trace's card, and those of the traces that continue it, and so on."""
        found = {card: None}
        todo = [card]
        while todo:
            for guest in todo.pop().guests or ():
                if guest not in found:
                    found[guest] = None
                    todo.append(guest)
        return found

    def _place_loose(self, cards: Iterable[Task]) -> None:
        """Find again where nodes that know only their trace belong."""
        for card in cards:
            self._tasks.only_task_of(card)  # which has a guest more, also without a loose node
            for node in list(card.loose):
                if node.base is card and not node.marks & NAMED:
                    self._tree.place(node)
