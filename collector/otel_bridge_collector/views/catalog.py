"""
``Views``: the views by name, each computed for a query and a reader.

To add a view: a module with ``compute``, ``select``, ``join`` and ``merge``, its models in
``wire/views/rows.py``, and a line in ``CATALOG``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from otel_bridge_collector.model.snapshot.causes import Cause, join_causes
from otel_bridge_collector.views import events, failure, failures, overview, tasks
from otel_bridge_collector.views.listing import Scope, Window
from otel_bridge_collector.views.parts import Around, Slice, join_slices
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.views.task import job, lines, search, strip
from otel_bridge_collector.views.tree import view as tree
from otel_bridge_collector.views.workers import queue, queues, worker, workers
from otel_bridge_collector.wire.views.messages import first_error
from otel_bridge_collector.wire.views.params import (
    EventsParams,
    FailureParams,
    FailuresParams,
    JobParams,
    LinesParams,
    ListParams,
    OverviewParams,
    QueueParams,
    SearchParams,
    StripParams,
    TasksParams,
    TreeParams,
    WorkerParams,
)

__all__ = ["CATALOG", "NO_RIGHT", "Query", "QueryError", "View", "Views", "parse_query"]


NO_RIGHT: Final = "this token may not read log lines; add rights=lines to its line"
"""What a reader is answered that lacks the right which a view needs."""


class QueryError(ValueError):
    """
    Raised for an unknown view, parameters that it does not take, or a message that is not valid.

    The text says what is wrong, in at most 300 characters; the client gets it.
    """


class View(NamedTuple):
    """
    One view: what a reader sees of the state, as a head (numbers) and rows.

    A record of functions, all pure; checks nothing.

    Attributes:
        params: The model of its parameters; it fills in defaults and rejects unknown ones.
        compute: (state, params, scope) to this state's part of the view; of a list a ``Listing``:
            all rows, none made yet. It may depend on nothing else, and only on what the scope (the
            reader's projects; None: all) may see: the view of all events in a scope equals the view
            of that scope's events. Raises ``GoneError`` if what it shows does not exist.
        select: (part, params, around) to what ``join`` needs of it, a record of ``part``: only what
            the window of the query needs. ``around`` as of ``NotCoveredError``, None at first.
        join: Selected parts of one query from several states, at least one, in any grouping, to
            one.
        merge: (parts of one query from several states, params) to the window: the rows that the
            reader asked for. At least one part, as ``compute``, ``select`` or ``join`` gave it.
            Raises ``NotCoveredError`` if selected parts do not have all rows of the window.
        part: The type of a selected part, which ``msgspec`` encodes and decodes.
        needs_lines: Whether the reader needs the right ``lines``; default False. The
            hub and the route check it.
    """

    params: type[BaseModel]
    compute: Callable[[ViewState, Any, Scope], Any]
    select: Callable[[Any, Any, Around], Any]
    join: Callable[[Sequence[Any]], Any]
    merge: Callable[[Sequence[Any], Any], Window]
    part: Any
    needs_lines: bool = False


def _first(parts: Sequence[Window]) -> Window:
    return parts[0]


def _of_one_task(
    params: type[BaseModel],
    compute: Callable[[ViewState, Any, Scope], Any],
    merge: Callable[[Sequence[Any], Any], Window],
) -> View:
    """A view of one task, which one state has: the window as it is."""

    def select(part: Any, params: Any, around: Around) -> Window:
        del around
        return merge([part], params)

    def merge_any(parts: Sequence[Any], params: Any) -> Window:
        part = parts[0]
        return part if isinstance(part, Window) else merge([part], params)

    return View(params, compute, select, _first, merge_any, Window)


CATALOG: Final[Mapping[str, View]] = {
    "events": View(EventsParams, events.compute, events.select, join_slices, events.merge, Slice),
    "failure": View(
        FailureParams,
        failure.compute,
        failure.select,
        failure.join,
        failure.merge,
        failure.FailurePart,
    ),
    "failures": View(
        FailuresParams, failures.compute, failures.select, join_causes, failures.merge, list[Cause]
    ),
    "job": _of_one_task(JobParams, job.compute, job.merge),
    "lines": _of_one_task(LinesParams, lines.compute, lines.merge)._replace(needs_lines=True),
    "overview": View(
        OverviewParams,
        overview.compute,
        overview.select,
        overview.join,
        overview.merge,
        overview.OverviewPart,
    ),
    "queue": View(
        QueueParams, queue.compute, queue.select, queue.join, queue.merge, queue.QueuePart
    ),
    "queues": View(
        ListParams, queues.compute, queues.select, queues.join, queues.merge, queues.QueuesPart
    ),
    "search": View(
        SearchParams, search.compute, search.select, search.join, search.merge, search.SearchPart
    ),
    "strip": _of_one_task(StripParams, strip.compute, strip.merge),
    "tasks": View(
        TasksParams, tasks.compute, tasks.select, tasks.join, tasks.merge, tasks.TasksPart
    ),
    "tree": _of_one_task(TreeParams, tree.compute, tree.merge),
    "worker": View(
        WorkerParams, worker.compute, worker.select, worker.join, worker.merge, worker.WorkerPart
    ),
    "workers": View(
        ListParams,
        workers.compute,
        workers.select,
        workers.join,
        workers.merge,
        workers.WorkersPart,
    ),
}


class Query(NamedTuple):
    """A view and its parameters, all defaults filled in: equal queries compare equal."""

    view: str
    params: BaseModel

    @property
    def needs_lines(self) -> bool:
        """Whether its reader needs the right ``lines``."""
        return CATALOG[self.view].needs_lines


def parse_query(view: str, params: Mapping[str, Any]) -> Query:
    """
    Check what a client asks for, and fill in the defaults of its parameters. From any thread.

    Args:
        view: A name of ``CATALOG``, such as ``tasks``.
        params: Fields of that view's parameters, as JSON values; empty: all defaults.

    Returns:
        The query; equal requests give equal queries.

    Raises:
        QueryError: There is no such view, or a parameter is unknown or out of range.
    """
    known = CATALOG.get(view)
    if known is None:
        raise QueryError(f"view: {view[:64]!r} is none of {', '.join(CATALOG)}")
    try:
        return Query(view, known.params.model_validate(params, strict=False))
    except ValidationError as error:
        raise QueryError(first_error(error)) from None


class Views:
    """
    Computes views (heads and rows that readers see) from one state; changes nothing in the model.

    Use it on the event loop that changes the state; nothing waits. A window has at most 200 rows, a
    strip 240. Raises nothing but ``GoneError`` for queries that ``parse_query`` made.

    Args:
        state: The model and its indexes; refreshed by its owner before windows are asked for.
    """

    def __init__(self, state: ViewState) -> None:
        self._state = state

    def window(self, query: Query, scope: Scope) -> Window:
        """
        Compute what a reader sees of a query, as of the state's latest refresh.

        Call it on the event loop that changes the state.

        Args:
            query: A view's name and its checked parameters; ``parse_query`` makes it.
            scope: The projects that the reader may see; None: all.

        Returns:
            The head and at most 200 rows, of a strip 240.

        Raises:
            GoneError: What the view shows does not exist, or the reader may not see it.
            KeyError: The query's view is not in ``CATALOG``; ``parse_query`` gives none such.
        """
        view = CATALOG[query.view]
        return view.merge([view.compute(self._state, query.params, scope)], query.params)
