"""
The models of the queue: task types, priorities, ``QueuedJob`` and ``ResearchTaskRequest``.

A ``QueuedJob`` carries its type as text, so that an unknown type reaches a worker and fails there
with a reason, instead of breaking the reader of the queue. A ``ResearchTaskRequest`` comes from an
untrusted client over HTTP: every field is bounded and unknown fields are refused by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from otel_bridge.events.model import TaskStatus
from otel_bridge.publish import redis_keys

__all__ = [
    "QUEUE_OF",
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
    """What a job does; a worker runs those it has a handler for."""

    SUMMARIZATION = "summarization"
    ENTITY_EXTRACTION = "entity_extraction"
    DOK_CATEGORIZATION = "dok_categorization"
    SEARCH_SPACE_ENUM = "search_space_enum"
    DATA_AGGREGATION_SEARCH = "data_aggregation_search"
    DATA_AGGREGATION_EXTRACT = "data_aggregation_extract"
    SEARCH = "search"
    REASONING = "reasoning"


TERMINAL_STATUSES: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED})


class Priority(StrEnum):
    """Which queue a job waits in; claimed strictly in this order."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


QUEUE_OF: Final[Mapping[Priority, str]] = {
    Priority.HIGH: redis_keys.QUEUE_HIGH,
    Priority.NORMAL: redis_keys.QUEUE_NORMAL,
    Priority.LOW: redis_keys.QUEUE_LOW,
}


class QueuedJob(BaseModel):
    """
    One unit of queued work, as stored in ``nexus:task:{id}:data``.

    Attributes:
        id: Unique; a second job with the same id is not queued again.
        type: One of ``TaskType``, or any text a team has a handler for.
        payload: Anything JSON; what the handler reads.
        priority: Which queue.
        retry_count: Attempts made before this one, crashes of workers included.
        max_retries: Attempts after the first that a failing handler gets.
        parent_task_id: The research task; None for a research task itself.
        project_id: Whose work it is; None when unknown.
        trace_context: W3C ``traceparent`` and the bridge's own ids, as ``enqueue`` gave them.
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
"""Runs one attempt at a job; what it returns becomes ``nexus:task:{id}:result``."""


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataAggregationConfig(_Request):
    """
    What to collect.

    Attributes:
        entities: What to look for, e.g. ``["private schools"]``; 1 to 20 of up to 100 characters.
        attributes: What to know of each, e.g. ``["address", "tuition"]``; 1 to 50.
        search_space: Where, e.g. ``in Georgia``.
        domain_hint: E.g. ``schools``; shown with the task.
    """

    entities: list[_Term] = Field(min_length=1, max_length=20)
    attributes: list[_Term] = Field(min_length=1, max_length=50)
    search_space: _Line
    domain_hint: _Term | None = None


class ResearchTaskRequest(_Request):
    """
    The body of ``POST /tasks``.

    Attributes:
        title: For people; up to 200 characters.
        research_query: The question in words; up to 2,000 characters.
        research_type: Only ``data_aggregation``.
        user_id: Who asks; letters, digits and ``_.:@-``, up to 128.
        project_id: Whose events these become; the same alphabet. None: visible to unrestricted
            readers only.
        data_aggregation_config: What to collect.
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
    """One sentence that names each wrong field, at most five of them; never the value."""
    parts = []
    for item in error.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in item["loc"]) or "body"
        parts.append(f"{where}: {item['msg']}")
    return "; ".join(parts)
