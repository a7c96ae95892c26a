"""
The models of the queue: task types, priorities, ``QueuedJob`` and ``ResearchTaskRequest``.

The type of a ``QueuedJob`` is text, so that a job of an unknown type reaches a worker and fails
there with a reason, instead of being unreadable. A ``ResearchTaskRequest`` comes from an untrusted
client over HTTP: every field has limits, and a request with an unknown field is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from otel_bridge.events.model import TaskStatus
from otel_bridge.publish.redis_keys import RedisKeys

__all__ = [
    "TERMINAL_STATUSES",
    "DataAggregationConfig",
    "JobHandler",
    "Priority",
    "QueuedJob",
    "ResearchTaskRequest",
    "TaskStatus",
    "TaskType",
    "field_error_sentence",
]


class TaskType(StrEnum):
    """
    The types of the orchestrator's jobs, each of which has a handler in ``handlers.py``.

    ``SEARCH_SPACE_ENUM`` divides the search space into units, ``DATA_AGGREGATION_SEARCH`` searches
    a unit, ``DATA_AGGREGATION_EXTRACT`` extracts a page, ``SEARCH`` looks for a missing attribute.
    A team may queue jobs of other types and give its workers handlers for them; a job of a type
    that no handler has fails at once. An enum: another text raises ``ValueError``.
    """

    SEARCH_SPACE_ENUM = "search_space_enum"
    DATA_AGGREGATION_SEARCH = "data_aggregation_search"
    DATA_AGGREGATION_EXTRACT = "data_aggregation_extract"
    SEARCH = "search"


TERMINAL_STATUSES: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED})


class Priority(StrEnum):
    """Decides in which queue a job waits; workers claim from them in this order, mostly."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def queue_of(priority: Priority, keys: RedisKeys) -> str:
    """Return the full name of a priority's queue: the Redis list in which its jobs wait."""
    return keys.queue(priority.value)


class QueuedJob(BaseModel):
    """
    One unit of queued work, as stored in ``<prefix>:task:{id}:data``.

    A value outside of these limits raises pydantic's ``ValidationError``; unknown fields are
    ignored. The size of a job is not limited.

    Attributes:
        id: Unique, 1 to 512 characters; a second job with the same id is not queued.
        type: One of ``TaskType``, or another type that the workers have a handler for; 1 to 128
            characters.
        payload: The handler's input; any JSON object; default empty.
        priority: Decides the queue: high, normal (default) or low.
        retry_count: Earlier attempts that failed or whose worker stopped answering; default 0.
        max_retries: How often a job whose handler fails is retried; 0 to 100, default 2.
        parent_task_id: The research task; None for a research task itself.
        project_id: The project that the job belongs to; None when unknown.
        trace_context: W3C ``traceparent`` and the bridge's own ids, as text by name, set when the
            job is queued; default empty.
    """

    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1, max_length=512)
    type: str = Field(min_length=1, max_length=128)
    payload: dict[str, Any] = Field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    retry_count: int = Field(default=0, ge=0)
    max_retries: int = Field(default=2, ge=0, le=100)
    parent_task_id: str | None = None
    project_id: str | None = None
    trace_context: dict[str, str] = Field(default_factory=dict)

    @property
    def parent_id(self) -> str | None:
        """The research task: ``parent_task_id``, else ``payload["task_id"]``, else None."""
        if self.parent_task_id:
            return self.parent_task_id
        named = self.payload.get("task_id")
        return named if isinstance(named, str) and named else None


_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_Term = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
# Ids become parts of Redis key and channel names: no spaces, no glob characters, no braces.
_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}$")]


JobHandler = Callable[[QueuedJob], Awaitable[Mapping[str, Any]]]
"""Runs one attempt at a job; what it returns is stored as JSON in ``<prefix>:task:{id}:result``."""


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataAggregationConfig(_Request):
    """
    What a research task collects.

    Immutable. A value outside of these limits, of a wrong type, or an unknown field raises
    pydantic's ``ValidationError``; spaces around a text are removed.

    Attributes:
        entities: Kinds of entities to find, e.g. ``["private schools"]``; 1 to 20, each of 1 to 100
            characters.
        attributes: Facts to find of each entity, e.g. ``["address", "tuition"]``; 1 to 50, each of
            1 to 100 characters.
        search_space: Where to look, e.g. ``in Georgia``; 1 to 200 characters.
        domain_hint: Shown with the task, e.g. ``schools``; 1 to 100 characters; default None.
    """

    entities: list[_Term] = Field(min_length=1, max_length=20)
    attributes: list[_Term] = Field(min_length=1, max_length=50)
    search_space: _Line
    domain_hint: _Term | None = None


class ResearchTaskRequest(_Request):
    """
    The body of ``POST /tasks``.

    Immutable. A value outside of these limits, of a wrong type, or an unknown field raises
    pydantic's ``ValidationError``; spaces around title and query are removed.

    Attributes:
        title: Shown to people; 1 to 200 characters.
        research_query: The question in plain language; 1 to 2,000 characters.
        research_type: Always ``data_aggregation``.
        user_id: The user who asks; up to 128 letters, digits and ``_.:@-``, not starting with one
            of these signs; default None.
        project_id: The project of all events of the task; in the same form. None, the default: only
            clients that may see all projects see them.
        data_aggregation_config: Entities, attributes, search space and ``domain_hint``: what to
            collect.
    """

    title: _Line
    research_query: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)
    ]
    research_type: Literal["data_aggregation"]
    user_id: _Id | None = None
    project_id: _Id | None = None
    data_aggregation_config: DataAggregationConfig


def field_error_sentence(error: ValidationError) -> str:
    """
    Describe why a pydantic model refused its input: up to five fields and what is wrong with each.

    Further fields are left out. Never raises.

    Args:
        error: From the model's validation. The text contains none of its values, so it may be sent
            to the client; ``body`` stands for the whole input.
    """
    parts = []
    for item in error.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in item["loc"]) or "body"
        parts.append(f"{where}: {item['msg']}")
    return "; ".join(parts)
