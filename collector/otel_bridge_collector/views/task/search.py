"""
The view ``search``: tasks, or nodes of tasks, that have a text.

All of them are looked at, which takes some 10 ms for 50,000 nodes: names are few, so each is
compared once, and of a node only its job's id and its error are compared. The list is kept while
nothing changes, and made again as often as the budget of the views allows; of what was found only
the first 200 are kept, and their rows are those of now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from heapq import nlargest
from typing import Any, Final, NamedTuple

import msgspec
from pydantic_core import to_json

from otel_bridge_collector.model.events import ENQUEUE, PHASE, STALLED, STATUS_NAMES, TASK, shorten
from otel_bridge_collector.model.nodes import Job, Node
from otel_bridge_collector.model.reading.keys import is_row, node_key, row_name, row_path, task_name
from otel_bridge_collector.model.reading.phases import virtual_standing
from otel_bridge_collector.model.runs import is_open
from otel_bridge_collector.model.snapshot.cards import OPEN
from otel_bridge_collector.views.listing import GoneError, Listing, Scope, Window
from otel_bridge_collector.views.parts import Around, Slice, join_slices, slice_of, slice_window
from otel_bridge_collector.views.state import ViewState, ms
from otel_bridge_collector.views.task_index import IndexedTask
from otel_bridge_collector.wire.views.events import SearchHead
from otel_bridge_collector.wire.views.params import MAX_ROWS, AnchorRow, SearchParams

__all__ = ["SearchPart", "compute", "join", "merge", "select", "tasks_with"]

_MAX_ERROR: Final = 300
_KINDS: Final = ("span", "enqueue", "job", "phase", "task")
"""As ``SearchRow.kind``, by the code of the node's kind."""


class _Found(NamedTuple):
    """What has a text: how much, whether all was looked at, and the newest 200."""

    total: int
    is_exact: bool
    newest: list[Any]


def compute(state: ViewState, params: SearchParams, scope: Scope) -> Listing:
    """
    List what has a text: jobs whose id ends with all of it first, then the newest start first.

    Upper and lower case are equal. Raises nothing. Computed on the collector's event loop.

    Args:
        state: As of its latest refresh; its budget keeps what was found.
        params: The text, and where to search it.
        scope: The projects that the reader may see; None: all.

    Returns:
        At most 200 rows, made when a window asks for them; ``sums`` are ``total``, ``left_out`` (1
        if something is no longer in memory, else 0) and ``as_of``.
    """
    text = params.text.casefold()
    is_for_tasks = params.among == "tasks"
    find = _find_tasks if is_for_tasks else _find_nodes
    found, as_of = state.budget.list(
        ("search", params.among, text, params.project, scope),
        partial(find, state, text, params.project, scope),
        state.tasks.changes,
    )
    rows: dict[str, tuple[IndexedTask, Node | None]] = {}
    order: list[tuple[Any, str]] = []
    for one in found.newest:
        task_id = one if is_for_tasks else one.own.task.id
        try:
            known = state.tasks.find(task_id, scope)
        except GoneError:
            continue
        if is_for_tasks:
            rows[one] = known, None
            order.append(((-known.start,), one))
        elif one.up is not None and one.own.task is known.task:
            key = f"{task_id} {node_key(one)}"
            rows[key] = known, one
            order.append(((not _is_whole(one, text), -one.first), key))
    sums = {"total": found.total, "left_out": int(not found.is_exact), "as_of": as_of}
    return Listing(sorted(order), lambda key: _row(state, *rows[key], key), sums)


def tasks_with(state: ViewState, text: str, project: str | None, scope: Scope) -> frozenset[str]:
    """
    Return the ids of the tasks that have a node (phase, job, span) with a text.

    As of the latest search that the budget allowed, 0.2 to 10 s ago while something changes. On the
    collector's event loop; raises nothing.

    Args:
        state: As of its latest refresh; its budget keeps what was found.
        text: What to find, case-folded.
        project: Only in tasks of this project; None: in all.
        scope: The projects that the reader may see; None: all.
    """

    def find() -> frozenset[str]:
        names = _Names(text)
        return frozenset(
            known.task.id
            for known in state.tasks.visible(scope, project)
            if next(_nodes_with(known, text, names), None) is not None
        )

    key = "tasks with", text, project, scope
    found, _ = state.budget.list(key, find, state.tasks.changes)
    return found


class SearchPart(msgspec.Struct, array_like=True, frozen=True):
    """What one state, or several together, found, as of the older of these moments; a record."""

    shown: Slice
    as_of: int


def select(part: Listing, params: SearchParams, around: Around = None) -> SearchPart:
    """Take what ``join`` needs of one state's part; on the event loop of its model."""
    del around
    sums = {name: part.sums[name] for name in ("total", "left_out")}
    shown = slice_of(part._replace(sums=sums), AnchorRow(row=0), params.count)
    return SearchPart(shown, part.sums["as_of"])


def join(parts: Sequence[SearchPart]) -> SearchPart:
    """Merge what several states, at least one, each with tasks of its own, send; pure."""
    return SearchPart(join_slices([one.shown for one in parts]), min(one.as_of for one in parts))


def merge(parts: Sequence[Listing | SearchPart], params: SearchParams) -> Window:
    """
    Merge what several states found, each in tasks of its own, and take the newest rows.

    On the collector's event loop, because rows are made here.

    Args:
        parts: At least one, as ``compute``, ``select`` or ``join`` returned it.
        params: ``count``: rows, at most.

    Raises:
        ValueError: There are no parts.
    """
    part = join([select(one, params) if isinstance(one, Listing) else one for one in parts])
    sums = part.shown.sums
    head = SearchHead(total=sums["total"], exact=not sums["left_out"], as_of=part.as_of)
    _, rows = slice_window(part.shown, AnchorRow(row=0), params.count)
    return Window(head.model_dump(), rows)


def _find_tasks(state: ViewState, text: str, project: str | None, scope: Scope) -> _Found:
    found = []
    tasks = state.model.tasks
    for known in state.tasks.visible(scope, project):
        task = known.task
        face = tasks.face_of(task)
        type_ = None if face is None else face.name
        texts = (task.id, task_name(tasks, task), type_, task.project)
        if any(one is not None and text in one.casefold() for one in texts):
            found.append(known)
    newest = sorted(found, key=lambda known: (-known.start, known.task.id))[:MAX_ROWS]
    is_exact = not state.tasks.has_evicted(scope, project)
    return _Found(len(found), is_exact, [known.task.id for known in newest])


def _find_nodes(state: ViewState, text: str, project: str | None, scope: Scope) -> _Found:
    found: list[Node] = []
    is_exact = not state.tasks.has_evicted(scope, project)
    names = _Names(text)
    for known in state.tasks.visible(scope, project):
        is_exact = is_exact and not known.task.not_held
        found.extend(_nodes_with(known, text, names))
    return _Found(len(found), is_exact, _newest(found, text))


class _Names(dict[str | None, bool]):
    """Whether a name has the text; each name is compared once."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __missing__(self, name: str | None) -> bool:
        has_text = self[name] = name is not None and self._text in name.casefold()
        return has_text


def _nodes_with(known: IndexedTask, text: str, names: _Names) -> Iterator[Node]:
    task = known.task
    for held in (task.roots, task.tops, task.spans):
        for node in held:
            if (
                names[node.name]
                or (node.error is not None and text in node.error.casefold())
                or (node.kind == TASK and text in row_name(node).casefold())
            ) and is_row(node):
                yield node
    for job in task.jobs.values():
        has_text = text in job.id.casefold()
        one = job.first
        while one is not None:
            if (
                has_text
                or names[one.name]
                or (one.error is not None and text in one.error.casefold())
            ) and is_row(one):
                yield one
            one = one.next


def _newest(found: list[Node], text: str) -> list[Node]:
    """What the text names, then what started last, 200 in all; keys are made only for those."""
    if len(found) > MAX_ROWS:
        last = nlargest(MAX_ROWS, [node.first for node in found])[-1]
        found = [node for node in found if node.first >= last or _is_whole(node, text)]
    found.sort(
        key=lambda node: (
            *(not _is_whole(node, text), -node.first),
            *(node.own.task.id, node_key(node)),
        )
    )
    return found[:MAX_ROWS]


def _is_whole(node: Node, text: str) -> bool:
    """Whether a text is the whole end of a job's id: ``search-4`` of ``a:search-4``, not of -42."""
    own = node.own
    if type(own) is not Job:
        return False
    before = len(own.id) - len(text) - 1
    if before < -1 or own.id[before + 1 :].casefold() != text:
        return False
    return before < 0 or not own.id[before].isalnum()


def _row(state: ViewState, known: IndexedTask, node: Node | None, key: str) -> bytes:
    tasks = state.model.tasks
    task = known.task
    root = tasks.root_of(task)
    if node is None or node is root:
        is_failed = root is not None and not is_open(root)
        name, status, start = task_name(tasks, task), known.status, known.start
        error = root.error if root is not None and is_failed else None
    else:
        name, status, start = row_name(node), _status_of(state, known, node), node.start or 0
        error = node.error
    own = None if node is None else node.own
    return to_json(
        {
            "k": key,
            "task": task.id,
            "node": None if node is None else node_key(node),
            "kind": _KINDS[TASK if node is None else node.kind],
            "name": name,
            "job": own.id if type(own) is Job else None,
            "path": () if node is None else row_path(tasks, node),
            "status": STATUS_NAMES[status],
            "start": None if node is not None and node.kind == ENQUEUE else ms(start),
            "error": None if error is None else shorten(error, _MAX_ERROR),
        }
    )


def _status_of(state: ViewState, known: IndexedTask, node: Node) -> int:
    if node.kind == PHASE and node.key is None:
        status = virtual_standing(known.task, node)[0]
        return STALLED if status in OPEN and known.end else status
    return state.model.rows.state(node, known.end or None).status
