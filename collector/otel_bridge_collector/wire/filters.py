"""
``EventFilter``: which events a client asked for.

A hashable value: all sessions with equal filters share one group in the hub, so the cost of fan-out
grows with the number of distinct filters, not with the number of clients.

A filter by project also passes events that have neither a project nor a research task, because
workers and queues are shared by all projects. A filter by research task does not pass them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from otel_bridge.events.model import STATS_EVENT_TYPES, MonitoringEventType
from otel_bridge_collector.errors import CollectorError

__all__ = ["ALL_EVENTS", "EventFilter", "FilterError", "Routed", "parse_flag"]

_MAX_ID_CHARS: Final = 512


class FilterError(CollectorError):
    """Raised for an invalid or ambiguous query parameter; the client gets 400 with its text."""


class Routed(Protocol):
    """
    The fields of an event that a filter looks at; ``stream.ring.Entry`` has them.

    A protocol for type checkers: it checks and limits nothing, and raises nothing.

    Attributes:
        event_type: A value of ``MonitoringEventType``.
        project_id: The event's project; None: it has none.
        parent_task_id: The research task that it belongs to; None: to none.
        task_id: The event's own task or job; None: it has none.
    """

    @property
    def event_type(self) -> str: ...
    @property
    def project_id(self) -> str | None: ...
    @property
    def parent_task_id(self) -> str | None: ...
    @property
    def task_id(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class EventFilter:
    """
    Conditions on events, all of which must hold; None (or False) leaves one out.

    It is made with ``parse``, which checks the values and raises ``FilterError``; the constructor
    checks nothing. Immutable and hashable; clients with equal filters share their work in the hub,
    which sends events to all clients.

    Attributes:
        project_id: Only events of this project, and those without project and research task.
        task_id: Only events of this research task; also matches a job's own ``task_id``.
        types: Only events of these types, such as ``task_failed``; an empty set passes none.
        is_stats_only: Only aggregates: ``stats_snapshot`` and ``queue_depth_update``.
        projects: The projects that the client's token is limited to. Such a client gets no events
            without a project either, and none of the leader's statistics, because workers and
            queues reveal the work of other projects.
    """

    project_id: str | None = None
    task_id: str | None = None
    types: frozenset[str] | None = None
    is_stats_only: bool = False
    projects: frozenset[str] | None = None

    def may_see(self, project_id: str | None) -> bool:
        """
        Return whether data of a project passes both the token's limit and the project filter.

        False: the token is limited to projects and this is none of them, or the filter names
        another project. Never raises; from any thread.

        Args:
            project_id: None, data without a project, passes only if there is neither.
        """
        if self.projects is not None and project_id not in self.projects:
            return False
        return self.project_id is None or project_id == self.project_id

    def limited(self, projects: frozenset[str] | None) -> EventFilter:
        """Return this filter with ``projects`` as the token's limit; None leaves it as it is."""
        return self if projects is None else replace(self, projects=projects)

    def matches(self, event: Routed) -> bool:
        """Return whether a client with this filter gets the event; never raises."""
        if self.projects is not None:
            if event.project_id not in self.projects:
                return False
            if event.event_type == "stats_snapshot" and event.parent_task_id is None:
                return False  # the leader's statistics include shared workers and queues
        if self.project_id is not None and event.project_id != self.project_id:
            is_shared = event.project_id is None and event.parent_task_id is None
            if not is_shared:
                return False
        if self.task_id is not None and self.task_id not in (event.parent_task_id, event.task_id):
            return False
        if self.types is not None and event.event_type not in self.types:
            return False
        return not self.is_stats_only or event.event_type in STATS_EVENT_TYPES

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> EventFilter:
        """
        Make a filter of a query's ``project_id``, ``task_id``, ``types`` and ``stats_only``.

        Other parameters are ignored. ``projects``, the token's limit, is None; ``limited`` sets it.
        Each condition that is absent lets all events pass.

        Args:
            query: Empty values count as absent. ``types`` is a comma-separated list of any length;
                ``stats_only`` is ``1 true yes on`` or ``0 false no off``, in any case.

        Raises:
            FilterError: An unknown event type, an id of more than 512 characters, another value of
                ``stats_only``, or two different values for one name.
        """
        types = None
        if query.get("types"):
            types = frozenset(name.strip() for name in query["types"].split(",") if name.strip())
            unknown = sorted(types - set(MonitoringEventType))
            if unknown:
                shown = ", ".join(name[:40] for name in unknown[:5])
                known = ", ".join(MonitoringEventType)
                raise FilterError(f"types: unknown event type {shown}; known: {known}")
        return cls(
            project_id=_id(query, "project_id"),
            task_id=_id(query, "task_id"),
            types=types or None,
            is_stats_only=parse_flag(query, "stats_only"),
        )


ALL_EVENTS: Final = EventFilter()


def _id(query: Mapping[str, str], name: str) -> str | None:
    value = query.get(name)
    if value and len(value) > _MAX_ID_CHARS:
        raise FilterError(f"{name}: longer than {_MAX_ID_CHARS} characters")
    return value or None


def parse_flag(query: Mapping[str, str], name: str) -> bool:
    """
    Read a boolean query parameter: ``1 true yes on`` or ``0 false no off``, in any case.

    Absent or empty is false. From any thread.

    Args:
        query: Values by name, such as ``QueryValues``.
        name: Of the parameter.

    Raises:
        FilterError: Any other value, or ``QueryValues`` has two different ones.
    """
    value = query.get(name, "").lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise FilterError(f"{name}: {value[:40]!r} is neither true nor false")
