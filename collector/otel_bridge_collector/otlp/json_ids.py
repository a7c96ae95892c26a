"""
Gives ids in OTLP JSON the form that protobuf's JSON reads, span by span.

OTLP's JSON writes ids in hexadecimal, where protobuf's own JSON writes bytes in base64. Some
senders (the Python partial-span processor in its links) write base64 all the same, and others
snake_case names.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

from otel_bridge_collector.otlp.rejections import Rejection, Rejections

__all__ = ["items_of", "restore_ids"]

_TRACE_ID: Final = (("traceId", "trace_id"), 16)
_SPAN_ID: Final = (("spanId", "span_id"), 8)
_PARENT_ID: Final = (("parentSpanId", "parent_span_id"), 8)
_LEVELS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "spans": (("resourceSpans", "resource_spans"), ("scopeSpans", "scope_spans"), ("spans",)),
    "logs": (
        ("resourceLogs", "resource_logs"),
        ("scopeLogs", "scope_logs"),
        ("logRecords", "log_records"),
    ),
}


def items_of(fields: dict[str, Any], kind: str) -> Iterator[list[Any]]:
    """
    Iterate the lists of spans, or of log records, of a request, each as the list that it is.

    Args:
        fields: The JSON object of a request; what is no object or list on the way is passed over.
        kind: ``spans`` or ``logs``.
    """
    found: list[Any] = [fields]
    *levels, last = _LEVELS[kind]
    for names in levels:
        found = [
            item
            for parent in found
            if isinstance(parent, dict)
            for name in names
            if isinstance(parent.get(name), list)
            for item in parent[name]
        ]
    for parent in found:
        if isinstance(parent, dict):
            yield from (parent[name] for name in last if isinstance(parent.get(name), list))


def restore_ids(fields: dict[str, Any], kind: str, rejected: Rejections) -> None:
    """
    Replace ids by base64, in place; drop the spans and links whose ids cannot be read.

    A span without readable ids is counted; a link is not, because its span stays. Ids of log
    records are not used, and dropped if they cannot be read. Never raises.

    Args:
        fields: The JSON object of a request.
        kind: ``spans`` or ``logs``.
        rejected: Counts the spans, with the name and the value of the id.
    """
    for items in items_of(fields, kind):
        if kind == "logs":
            for record in items:
                if isinstance(record, dict):
                    for id_field in (_TRACE_ID, _SPAN_ID):
                        if _restore(record, id_field) is not None:
                            for name in id_field[0]:
                                record.pop(name, None)
            continue
        kept = []
        for span in items:
            wrong = _restore_span(span) if isinstance(span, dict) else None
            if wrong is None:
                kept.append(span)
            else:
                rejected.add(Rejection.ID, wrong)
        items[:] = kept


def _restore_span(span: dict[str, Any]) -> str | None:
    """The name and value of an id that cannot be read; None if all can."""
    for id_field in (_TRACE_ID, _SPAN_ID, _PARENT_ID):
        wrong = _restore(span, id_field)
        if wrong is not None:
            return wrong
    links = span.get("links")
    if isinstance(links, list):
        span["links"] = [
            link
            for link in links
            if isinstance(link, dict)
            and _restore(link, _TRACE_ID) is None
            and _restore(link, _SPAN_ID) is None
        ]
    return None


def _restore(owner: dict[str, Any], id_field: tuple[tuple[str, str], int]) -> str | None:
    names, size = id_field
    for name in names:
        value = owner.get(name)
        if value is None or value == "":
            continue
        data = _bytes_of(value, size) if isinstance(value, str) else None
        if data is None:
            return f"{name} {str(value)[:60]!r}"
        owner[name] = base64.b64encode(data).decode("ascii")
    return None


def _bytes_of(text: str, size: int) -> bytes | None:
    """The bytes of an id in hexadecimal or, by its length, in base64; None: neither."""
    try:
        if len(text) == 2 * size:
            return bytes.fromhex(text)
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
    return data if len(data) == size else None
