"""
``Views``: the views by name, each computed for a query and a reader.

To add a view: a module with ``compute`` and ``merge``, its models in ``wire/view_rows.py``, and a
line in ``CATALOG``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from otel_bridge_collector.views import failures, overview, queues, tasks, workers
from otel_bridge_collector.views.listing import Listing, Scope, Window
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.view_messages import first_error
from otel_bridge_collector.wire.view_rows import ListParams, OverviewParams, TasksParams

__all__ = ["CATALOG", "Query", "QueryError", "View", "Views", "parse_query"]


class QueryError(ValueError):
    """Raised for an unknown view or parameters that it does not take; the client gets the text."""


class View(NamedTuple):
    """
    One view.

    Attributes:
        params: The model of its parameters.
        compute: (state, params, scope) to a listing. It may depend on nothing else, and only on
            what the scope may see: the view of all events in a scope equals the view of that
            scope's events.
        merge: (listings of one query from several processes, params) to the window.
    """

    params: type[BaseModel]
    compute: Callable[[ViewState, Any, Scope], Listing]
    merge: Callable[[Sequence[Listing], Any], Window]


CATALOG: Final[Mapping[str, View]] = {
    "failures": View(ListParams, failures.compute, failures.merge),
    "overview": View(OverviewParams, overview.compute, overview.merge),
    "queues": View(ListParams, queues.compute, queues.merge),
    "tasks": View(TasksParams, tasks.compute, tasks.merge),
    "workers": View(ListParams, workers.compute, workers.merge),
}


class Query(NamedTuple):
    """A view and its parameters, all defaults filled in: equal queries compare equal."""

    view: str
    params: BaseModel


def parse_query(view: str, params: Mapping[str, Any]) -> Query:
    """
    Check what a client asks for.

    Args:
        view: A name of ``CATALOG``.
        params: Fields of that view's parameters.

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
    Computes views from one state.

    Args:
        state: Refreshed by its owner before windows are asked for.
    """

    def __init__(self, state: ViewState) -> None:
        self._state = state

    def window(self, query: Query, scope: Scope) -> Window:
        """Compute what a reader sees of a query, as of the state's latest refresh."""
        view = CATALOG[query.view]
        return view.merge([view.compute(self._state, query.params, scope)], query.params)
