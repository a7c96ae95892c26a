"""
Bodies -> OTLP messages, protobuf or JSON.

Source: OTLP 1.7, ``opentelemetry/proto/collector``; its JSON has ids in hexadecimal, where
protobuf's own JSON has base64.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

__all__ = ["OtlpError", "check_items", "decode"]

_MAX_JSON_DEPTH: Final = 64
_MAX_JSON_ITEMS: Final = 250_000
"""Objects and lists. A span or attribute that says something takes 36 bytes, so 4 MiB have fewer;
4 KiB of gzip are 1,400,000 empty ones, which took 9 s of the processor and 70 MiB to read."""
MAX_ITEMS: Final = 100_000
"""Resources, scopes, spans and records of one request, for the same reason."""
_ID_NAMES: Final = ("traceId", "spanId", "parentSpanId")

_Message = TypeVar("_Message", bound=Message)


class OtlpError(Exception):
    """Raised for a body that is not an OTLP request; says what is wrong with it."""


def decode(message: _Message, body: bytes | str, *, is_json: bool) -> _Message:
    """
    Read a body into a new message.

    Raises:
        OtlpError: It is no such message.
    """
    if not is_json:
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            raise OtlpError(f"not an OTLP protobuf message: {error}") from None
        check_items(message)
        return message
    text = body.encode() if isinstance(body, str) else body
    if text.count(b"{") + text.count(b"[") > _MAX_JSON_ITEMS:
        raise OtlpError(f"more than {_MAX_JSON_ITEMS} objects and lists")
    try:
        found = json.loads(body)
        if not isinstance(found, dict):
            raise OtlpError("not a JSON object")
        _restore_ids(found, 0)
        ParseDict(found, message, ignore_unknown_fields=True)
    except RecursionError:
        raise OtlpError(f"deeper than {_MAX_JSON_DEPTH} levels") from None
    except (ParseError, ValueError) as error:
        raise OtlpError(f"not OTLP JSON: {str(error)[:200]}") from None
    check_items(message)
    return message


def check_items(message: Message) -> None:
    """
    Refuse a request of too many parts, however few bytes they are.

    Raises:
        OtlpError: More than 100,000 resources, scopes, spans and records.
    """
    found: Any = message
    is_logs = "resource_logs" in found.DESCRIPTOR.fields_by_name
    resources = found.resource_logs if is_logs else found.resource_spans
    count = len(resources)
    for resource in resources:
        if count > MAX_ITEMS:
            break
        scopes = resource.scope_logs if is_logs else resource.scope_spans
        count += len(scopes)
        if count <= MAX_ITEMS:
            count += sum(len(one.log_records if is_logs else one.spans) for one in scopes)
    if count > MAX_ITEMS:
        raise OtlpError(f"more than {MAX_ITEMS} resources, scopes, spans and records")


def _restore_ids(value: Any, depth: int) -> None:
    """Hexadecimal ids -> base64, which protobuf's JSON has for bytes."""
    if depth > _MAX_JSON_DEPTH:
        raise OtlpError(f"deeper than {_MAX_JSON_DEPTH} levels")
    if isinstance(value, list):
        for item in value:
            _restore_ids(item, depth + 1)
    elif isinstance(value, dict):
        for name in _ID_NAMES:
            text = value.get(name)
            if isinstance(text, str) and text:
                value[name] = base64.b64encode(bytes.fromhex(text)).decode("ascii")
        for item in value.values():
            _restore_ids(item, depth + 1)
