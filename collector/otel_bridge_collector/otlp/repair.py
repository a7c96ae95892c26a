"""
Makes readable what senders encode otherwise than OTLP says; what stays unreadable costs no other.

* ``repair_texts``: protobuf refuses a whole message in which one text is not UTF-8. Senders in Go
  and C++ send such texts.
* ``restore_ids``: OTLP's JSON writes ids in hexadecimal, where protobuf's own JSON writes bytes in
  base64. Some senders (the Python partial-span processor in its links) write base64 all the same,
  and others snake_case names.
* ``keep_readable``: leaves out of a JSON request what is no OTLP, as little as possible.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_bridge_collector.otlp.rejections import Rejection, Rejections

__all__ = ["items_of", "keep_readable", "repair_texts", "restore_ids"]

_MAX_FIELDS: Final = 250_000
"""Fields that are looked at, at most: 1 us each, with the interpreter's lock held."""
_MAX_DEPTH: Final = 90
"""Protobuf refuses a whole message that nests over 100 levels; what is deeper is emptied."""
_MAX_JSON_DEPTH: Final = 200
"""Protobuf reads 100 levels of messages, each of which is an object and perhaps a list."""
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
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


def repair_texts(data: bytes, descriptor: Any) -> bytes:
    """
    Replace what is not UTF-8 in the texts of an encoded message by U+FFFD; any thread.

    What is nested deeper than 90 levels is left out.

    Args:
        data: The encoded message.
        descriptor: The ``DESCRIPTOR`` of its type; fields that it does not know stay as they are.

    Returns:
        The encoded message, with every text valid.

    Raises:
        ValueError: It is no encoded message, or has over 250,000 fields.
    """
    return _Repair().message(data, descriptor, 0)


class _Repair:
    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def message(self, data: bytes, descriptor: Any, depth: int) -> bytes:
        if depth > _MAX_DEPTH:
            return b""
        fields = descriptor.fields_by_number
        out = bytearray()
        at = 0
        while at < len(data):
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many fields")
            first = at
            tag, at = _read_varint(data, at)
            kind = tag & 7
            if kind == _DELIMITED:
                size, at = _read_varint(data, at)
                value, at = data[at : at + size], at + size
                if len(value) < size:
                    raise ValueError("truncated")
                fixed = self._value(value, fields.get(tag >> 3), depth)
                out += _varint(tag) + _varint(len(fixed)) + fixed
                continue
            if kind == _VARINT:
                _, at = _read_varint(data, at)
            elif kind == _FIXED64:
                at += 8
            elif kind == _FIXED32:
                at += 4
            else:
                raise ValueError(f"wire type {kind}")
            if at > len(data):
                raise ValueError("truncated")
            out += data[first:at]
        return bytes(out)

    def _value(self, value: bytes, field: Any, depth: int) -> bytes:
        if field is None:
            return value
        if field.type == field.TYPE_STRING:
            return value.decode("utf-8", "replace").encode()
        if field.type == field.TYPE_MESSAGE:
            return self.message(value, field.message_type, depth + 1)
        return value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("truncated")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


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


def keep_readable(fields: dict[str, Any], kind: str, rejected: Rejections) -> dict[str, Any]:
    """
    Return what can be read of a request, with as little left out as possible; any thread.

    Half a surrogate pair, which is no character, becomes U+FFFD: JavaScript truncates texts so.
    Attributes, links, events, resources and scopes that cannot be read are left out alone. A span
    or record that cannot be read without them is left out and counted.

    Args:
        fields: The JSON object of a request; it is changed.
        kind: ``spans`` or ``logs``.
        rejected: Counts the spans and records, with the reason.

    Raises:
        ValueError: The list that a request consists of is none.
    """
    fields = _with_characters(fields)
    found: list[Any] = [fields]
    *levels, last = _LEVELS[kind]
    for name in levels[0]:
        if not isinstance(fields.get(name, []), list):
            raise ValueError(f"{name} is no list")
    for names, (part, part_type) in zip(levels, _PARTS, strict=True):
        for parent in found:
            for name in names:
                if name in parent:
                    parent[name] = _objects(parent[name], rejected)
        found = [item for parent in found for name in names for item in parent.get(name, ())]
        for one in found:
            _keep_part(one, part, part_type)
    for one in found:
        for name in last:
            if not isinstance(one.get(name, []), list):
                one[name] = _objects(one[name], rejected)
    for items in items_of(fields, kind):
        items[:] = [item for item in items if _is_kept(item, kind, rejected)]
    return fields


_PARTS: Final[tuple[tuple[str, type[Message]], ...]] = (
    ("resource", Resource),
    ("scope", InstrumentationScope),
)
_ITEM_PARTS: Final[tuple[tuple[str, type[Message]], ...]] = (
    ("attributes", KeyValue),
    ("events", Span.Event),
    ("links", Span.Link),
)


def _keep_part(owner: dict[str, Any], name: str, part_type: type[Message]) -> None:
    """Keep of a resource or scope what can be read; its attributes say whose spans these are."""
    owner.pop("schemaUrl", None)
    if name in owner and _why_unreadable(owner[name], part_type) is not None:
        part = owner[name]
        attributes = part.get("attributes") if isinstance(part, dict) else None
        owner[name] = {"attributes": _readable(attributes, KeyValue)}


def _is_kept(item: Any, kind: str, rejected: Rejections) -> bool:
    """Whether a span or record can be read, without those parts of it that cannot."""
    item_type = LogRecord if kind == "logs" else Span
    why = _why_unreadable(item, item_type)
    if why is not None and isinstance(item, dict):
        for name, part_type in _ITEM_PARTS:
            if isinstance(item.get(name), list):
                item[name] = _readable(item[name], part_type)
        why = _why_unreadable(item, item_type)
    if why is not None:
        rejected.add(Rejection.VALUE, why)
    return why is None


def _readable(items: Any, item_type: type[Message]) -> list[Any]:
    if not isinstance(items, list):
        return []
    return [item for item in items if _why_unreadable(item, item_type) is None]


def _why_unreadable(value: Any, message_type: type[Message]) -> str | None:
    if not isinstance(value, dict):
        return f"{message_type.DESCRIPTOR.name} is no object"
    try:
        ParseDict(value, message_type(), ignore_unknown_fields=True)
    except (ParseError, ValueError, AttributeError, TypeError, RecursionError) as error:
        return str(error)
    return None


def _objects(value: Any, rejected: Rejections) -> list[dict[str, Any]]:
    """The objects of a list; anything else in it is counted."""
    if not isinstance(value, list):
        if value is not None:
            rejected.add(Rejection.VALUE, "a list of objects is something else")
        return []
    for item in value:
        if not isinstance(item, dict):
            rejected.add(Rejection.VALUE, f"{str(item)[:60]!r} in a list of objects")
    return [item for item in value if isinstance(item, dict)]


def _with_characters(value: Any, depth: int = 0) -> Any:
    """The same value with U+FFFD for each half of a surrogate pair in its texts."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if depth > _MAX_JSON_DEPTH:
        return value
    if isinstance(value, list):
        return [_with_characters(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            _with_characters(key): _with_characters(item, depth + 1) for key, item in value.items()
        }
    return value
