"""What a mapping rule is, and what it reads in a third-party span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from otel_bridge.mapping.span_view import Attributes, SpanView

__all__ = ["WRAPPER", "Classification", "Classifier", "MappingRule", "text_of"]


class Classification(NamedTuple):
    """
    What a rule found in a span; a record, which checks and limits nothing.

    Attributes:
        role: What the span is: the enqueue of a job, a job, a phase, or ``wrapper``: none of these,
            whatever other rules would find in it.
        task_type: Type of the job, or name of the phase; of any length.
        queue: Name of the queue; None if the span names none.
        job_id: What identifies the job within its trace, for libraries that know it, so that its
            attempts and its enqueue belong together; None: the ids of the spans decide.
        retry_count: Attempts before this one; None: unknown, or in attributes that ``retries_of``
            reads.
        outcome: How the span ended, where its library says that elsewhere than in the status;
            None: the status decides.
        title: What a research task is called whose root the span is; None: the span's name.
    """

    role: Literal["enqueue", "job", "phase", "wrapper"]
    task_type: str
    queue: str | None = None
    job_id: str | None = None
    retry_count: int | None = None
    outcome: Literal["completed", "failed", "retrying"] | None = None
    title: str | None = None


WRAPPER: Final = Classification("wrapper", "")
"""A known span around others, such as one step of an agent."""

Classifier = Callable[[SpanView, Attributes], Classification | None]
"""Reads a span and a copy of its attributes; only reads, never raises."""


class MappingRule(NamedTuple):
    """
    How the spans of one library or convention are classified.

    Attributes:
        name: The library or convention.
        trigger: The spans that the rule matches, in Markdown for the table in ``docs/MAPPING.md``.
        classify: Returns None when the rule does not match.
        keys: Attributes of which a span has at least one if the rule can match it. Empty: it
            matches by kind or name.
    """

    name: str
    trigger: str
    classify: Classifier
    keys: tuple[str, ...] = ()


def text_of(attributes: Attributes, *names: str) -> str | None:
    """Return the first of these attributes that is neither missing nor empty, as text, or None."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return str(value)
    return None
