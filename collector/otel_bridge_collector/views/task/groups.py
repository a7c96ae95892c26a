"""Groups and pins of the view ``tasks``: where each task stands, and how large groups are."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from otel_bridge_collector.model.events import (
    COMPLETED,
    FAILED,
    PENDING,
    PROCESSING,
    RETRYING,
    STALLED,
    STATUS_NAMES,
)
from otel_bridge_collector.views.task_index import IndexedTask
from otel_bridge_collector.wire.views.params import TasksParams
from otel_bridge_collector.wire.views.rows import TaskGroup

__all__ = ["MAX_GROUPS", "add_up", "named", "placing", "sections"]

MAX_GROUPS: Final = 200
"""Groups that the head of the view names, at most: there can be as many projects as tasks."""

_STATUS_ORDER: Final = (STALLED, FAILED, PROCESSING, RETRYING, PENDING, COMPLETED)
_RANKS: Final = {status: rank for rank, status in enumerate(_STATUS_ORDER)}

Place = tuple[Any, ...]


def placing(params: TasksParams) -> Callable[[IndexedTask], Place]:
    """
    Make what says where a task stands before the order within its group counts.

    Raises nothing; nor does the result, for tasks whose status was read.

    Args:
        params: ``group`` and ``pins``; without both no task stands before another.

    Returns:
        A function of a task that gives a tuple to sort by: empty without groups and pins, else the
        place among the pinned tasks (their number for a task that is not pinned) and the group.
    """
    if params.group is None and not params.pins:
        return lambda known: ()
    pins = {task: place for place, task in enumerate(params.pins)}
    group = _GROUPS[params.group]
    others = len(params.pins)
    return lambda known: (pins.get(known.task.id, others), group(known))


def sections(
    order: Sequence[tuple[Place, str]], params: TasksParams
) -> tuple[int, list[tuple[Place, int]]]:
    """
    Find where the pinned tasks of a sorted list end, and which groups follow.

    Pure, raises nothing. Costs a binary search a group: grouped lists are made four times a second.

    Args:
        order: (sort value, id) of each task, sorted; values start with what ``placing`` gives.
        params: The query of the list.

    Returns:
        How many tasks are pinned; place and size of the first 200 groups of the others, none
        without ``group``.
    """
    pinned = 0
    if params.pins:
        pinned = bisect_left(order, len(params.pins), key=lambda item: item[0][0])
    groups: list[tuple[Place, int]] = []
    if params.group is None:
        return pinned, groups
    start = pinned
    while start < len(order) and len(groups) < MAX_GROUPS:
        place = order[start][0][1]
        end = bisect_right(order, place, lo=start, key=lambda item: item[0][1])
        groups.append((place, end - start))
        start = end
    return pinned, groups


def add_up(parts: Iterable[Sequence[tuple[Place, int]]]) -> list[tuple[Place, int]]:
    """Add up the groups of several lists, each as ``sections`` gives them; the first 200. Pure."""
    found: Counter[Place] = Counter()
    for groups in parts:
        for place, count in groups:
            found[place] += count
    return sorted(found.items())[:MAX_GROUPS]


def named(params: TasksParams, groups: Sequence[tuple[Place, int]]) -> list[TaskGroup] | None:
    """Return the groups as the head of the view names them; None without ``group``. Pure."""
    if params.group is None:
        return None
    return [TaskGroup(name=_name(params, place), count=count) for place, count in groups]


def _name(params: TasksParams, place: Place) -> str | None:
    if params.group == "status":
        return STATUS_NAMES[_STATUS_ORDER[place[0]]]
    has_none, project = place
    return None if has_none else project


def _by_project(known: IndexedTask) -> Place:
    project = known.task.project
    return project is None, project or ""


def _by_status(known: IndexedTask) -> Place:
    return (_RANKS[known.status],)


_GROUPS: Final[dict[str | None, Callable[[IndexedTask], Place]]] = {
    None: lambda known: (),
    "project": _by_project,
    "status": _by_status,
}
