"""
Why spans and log records of an OTLP request were rejected: a count, a sentence and a cure each.

A sender sees them in ``partial_success``, an operator in ``/metrics``.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final

__all__ = ["Rejection", "Rejections"]

_MAX_DETAIL: Final = 120


class Rejection(StrEnum):
    """
    The cause of a rejection; a member is its text, which is the label ``cause`` in ``/metrics``.

    ``ID``: no valid trace or span id. ``VALUE``: a field is not what OTLP says. ``SIZE``: the event
    is too large although its texts were shortened. ``PROJECT``: not allowed for this token.
    ``MAPPING``: it could not be turned into an event. ``LIFECYCLE``: a log record with an
    unknown ``partial.event``. ``BODY``: a log record whose span cannot be read.
    """

    ID = "id"
    VALUE = "value"
    SIZE = "size"
    PROJECT = "project"
    MAPPING = "mapping"
    LIFECYCLE = "lifecycle"
    BODY = "body"


_SENTENCES: Final = {
    Rejection.ID: "a trace id has 16 bytes and a span id 8, not all zeros; JSON has them as hex "
    "digits or base64",
    Rejection.VALUE: "a field has a value that OTLP does not allow; the other spans were taken",
    Rejection.SIZE: "the ids of the span alone are over MONITORING_MAX_EVENT_SIZE_BYTES",
    Rejection.PROJECT: "this token may not write to the project of the span, or another project "
    "has a span of this id; set the attribute nexus.project.id to one of its projects",
    Rejection.MAPPING: "the span could not be turned into an event, e.g. for a time out of range",
    Rejection.LIFECYCLE: "partial.event of a log record is heartbeat or stop; without it "
    "the record is a log line",
    Rejection.BODY: "the body of a partial.event is no span: partial.body.type json/v1 needs OTLP "
    "JSON, proto or none needs TracesData in base64",
}


class Rejections:
    """
    Counts the rejected items of one request by cause, with the first example of each.

    For one thread at a time. Raises nothing; there is no limit on the counts, and a detail keeps
    120 characters.
    """

    def __init__(self) -> None:
        self.counts: Counter[Rejection] = Counter()
        self._details: dict[Rejection, str] = {}

    def add(self, cause: Rejection, detail: str = "", count: int = 1) -> None:
        """
        Count rejected items.

        Args:
            cause: Why.
            detail: The field and its value, such as ``traceId 'xyz'``; the first of a cause is
                shown. Default: none.
            count: How many items; default 1.
        """
        self.counts[cause] += count
        if detail:
            self._details.setdefault(cause, detail[:_MAX_DETAIL])

    @property
    def total(self) -> int:
        """Rejected items of all causes."""
        return self.counts.total()

    def __str__(self) -> str:
        """One sentence for each cause, with its count and example; empty if nothing was."""
        return "; ".join(
            f"{count} rejected: {_SENTENCES[cause]}"
            + (f" ({self._details[cause]})" if cause in self._details else "")
            for cause, count in self.counts.items()
            if count
        )
