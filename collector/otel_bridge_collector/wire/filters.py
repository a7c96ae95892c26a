"""
``EventFilter``: which events a client asked for.

A value, hashable, so that all sessions with the same wish share one group in the hub and the cost
of fan-out grows with distinct filters, not with clients.

A project's reader also needs what belongs to nobody: workers and queues are shared, so events with
neither project nor research task pass a project filter. They do not pass a task filter.
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
    """Raised when a query parameter makes no sense; the text is for the client."""


class Routed(Protocol):
    """What of an event decides who gets it."""

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
    All conditions must hold; None (or False) leaves one out.

    Attributes:
        project_id: Events of this project, and those of nobody in particular.
        task_id: Events of this research task.
        types: Events of these types.
        is_stats_only: Aggregates only: ``stats_snapshot`` and ``queue_depth_update``.
        projects: What the asking token is limited to; such a reader gets nothing of other projects
            and nothing that belongs to nobody: workers and queues tell of others' work.
    """

    project_id: str | None = None
    task_id: str | None = None
    types: frozenset[str] | None = None
    is_stats_only: bool = False
    projects: frozenset[str] | None = None

    def may_see(self, project_id: str | None) -> bool:
        """Whether a fact of this project may be shown, by the token's limit and by the wish."""
        if self.projects is not None and project_id not in self.projects:
            return False
        return self.project_id is None or project_id == self.project_id

    def limited(self, projects: frozenset[str] | None) -> EventFilter:
        """The same wish of a token limited to these projects; None: no limit."""
        return self if projects is None else replace(self, projects=projects)

    def matches(self, event: Routed) -> bool:
        """Whether a client with this filter gets the event."""
        if self.projects is not None:
            if event.project_id not in self.projects:
                return False
            if event.event_type == "stats_snapshot" and event.parent_task_id is None:
                return False  # the leader's numbers hold shared workers and queues
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
        Read ``project_id task_id types stats_only`` of a query; empty values count as absent.

        Raises:
            FilterError: An unknown event type, an id of more than 512 characters, a flag that is
                neither true nor false.
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
    Read a true/false query parameter; absent or empty is false.

    Raises:
        FilterError: It is something else.
    """
    value = query.get(name, "").lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise FilterError(f"{name}: {value[:40]!r} is neither true nor false")
