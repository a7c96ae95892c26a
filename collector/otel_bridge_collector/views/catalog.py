"""
``Views``: the views by name, each computed for a query and a reader.

To add a view: a module with ``compute`` and ``merge``, its models in ``wire/views/rows.py``, and a
line in ``CATALOG``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from otel_bridge_collector.views import events, failure, failures, overview, tasks
from otel_bridge_collector.views.listing import Scope, Window
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
        compute: (state, params, scope) to this process's part of the view; of a list a ``Listing``:
            all rows, none made yet. It may depend on nothing else, and only on what the scope (the
            reader's projects; None: all) may see: the view of all events in a scope equals the view
            of that scope's events. Raises ``GoneError`` if what it shows does not exist.
        merge: (parts of one query from several processes, params) to the window: the rows that the
            reader asked for. At least one part.
        needs_lines: Whether the reader needs the right ``lines``; default False. The
            hub and the route check it.
    """

    params: type[BaseModel]
    compute: Callable[[ViewState, Any, Scope], Any]
    merge: Callable[[Sequence[Any], Any], Window]
    needs_lines: bool = False


CATALOG: Final[Mapping[str, View]] = {
    "events": View(EventsParams, events.compute, events.merge),
    "failure": View(FailureParams, failure.compute, failure.merge),
    "failures": View(FailuresParams, failures.compute, failures.merge),
    "job": View(JobParams, job.compute, job.merge),
    "lines": View(LinesParams, lines.compute, lines.merge, needs_lines=True),
    "overview": View(OverviewParams, overview.compute, overview.merge),
    "queue": View(QueueParams, queue.compute, queue.merge),
    "queues": View(ListParams, queues.compute, queues.merge),
    "search": View(SearchParams, search.compute, search.merge),
    "strip": View(StripParams, strip.compute, strip.merge),
    "tasks": View(TasksParams, tasks.compute, tasks.merge),
    "tree": View(TreeParams, tree.compute, tree.merge),
    "worker": View(WorkerParams, worker.compute, worker.merge),
    "workers": View(ListParams, workers.compute, workers.merge),
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
