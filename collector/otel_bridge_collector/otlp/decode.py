"""
Decodes OTLP requests, protobuf or JSON, and limits what they may hold.

One strange span, id or text costs no other: what cannot be read is left out and counted.

Source: OTLP 1.7, ``opentelemetry/proto/collector``.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.otlp.repair import items_of, keep_readable, repair_texts, restore_ids

__all__ = ["MAX_ITEMS", "OtlpError", "check_items", "decode"]

_MAX_JSON_ITEMS: Final = 250_000
"""Objects and lists in a JSON body. A useful span or attribute takes at least 36 bytes, so 4 MiB
hold fewer. 1,400,000 empty ones fit into 4 KiB of gzip; reading them took 9 s of processor time and
70 MiB."""
MAX_ITEMS: Final = 100_000
"""Resources, scopes, spans and log records in a request, limited for the same reason."""

_TOO_MANY: Final = f"more than {MAX_ITEMS} resources, scopes, spans and log records"

_Message = TypeVar("_Message", bound=Message)


class OtlpError(Exception):
    """Raised for a body that is not an OTLP request or is over a limit; clients get its text."""


def decode(
    message: _Message, body: bytes | str, *, is_json: bool, rejected: Rejections | None = None
) -> _Message:
    """
    Decode the body of an OTLP request for spans or logs; blocks, so call it in a thread.

    Args:
        message: An empty request message for spans or logs; the body is read into it.
        body: Decompressed by the caller, who also limits its bytes; text is only for JSON.
        is_json: Whether the body is OTLP JSON; else it is protobuf.
        rejected: Counts the spans and records that are left out because their ids or values cannot
            be read; None: they are left out without a count.

    Returns:
        ``message``. Fields that it does not know are ignored. In a text that is not UTF-8 the wrong
        bytes are U+FFFD. What cannot be read of links, events and attributes is left out alone.

    Raises:
        OtlpError: The body is not such a message, or holds more than 250,000 JSON objects and
            lists, or 100,000 resources, scopes, spans and log records. ``message`` may then be
            partly filled.
    """
    if is_json:
        _decode_json(message, body, Rejections() if rejected is None else rejected)
    else:
        _decode_protobuf(message, body)
    check_items(message)
    return message


def _decode_protobuf(message: Message, body: bytes | str) -> None:
    data = body.encode() if isinstance(body, str) else body
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        try:
            message.ParseFromString(repair_texts(data, message.DESCRIPTOR))
        except (DecodeError, ValueError):
            raise OtlpError(f"not an OTLP protobuf message: {error}") from None


def _decode_json(message: Message, body: bytes | str, rejected: Rejections) -> None:
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    if data.count(b"{") + data.count(b"[") > _MAX_JSON_ITEMS:
        raise OtlpError(f"more than {_MAX_JSON_ITEMS} JSON objects and lists")
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig", "replace")
        # Protobuf's JSON has "NaN" and "Infinity" as texts.
        fields = json.loads(text, parse_constant=str)
        if not isinstance(fields, dict):
            raise OtlpError("not a JSON object")
        kind = "logs" if "resource_logs" in message.DESCRIPTOR.fields_by_name else "spans"
        if sum(map(len, items_of(fields, kind))) > MAX_ITEMS:
            # Before each is looked at, which takes 20 us if it cannot be read.
            raise OtlpError(_TOO_MANY)
        restore_ids(fields, kind, rejected)
        try:
            ParseDict(fields, message, ignore_unknown_fields=True)
        except (ParseError, ValueError, TypeError, AttributeError):
            fields = keep_readable(fields, kind, rejected)
            message.Clear()
            ParseDict(fields, message, ignore_unknown_fields=True)
    except RecursionError:
        raise OtlpError("nested too deep") from None
    except (ParseError, ValueError, TypeError, AttributeError) as error:
        raise OtlpError(f"not OTLP JSON: {str(error)[:200]}") from None


def check_items(message: Message) -> None:
    """
    Check the number of parts of a request, which can be large although its bytes are few.

    Changes nothing, and stops counting soon after the limit; for any thread.

    Args:
        message: A request for spans or for logs.

    Raises:
        OtlpError: More than 100,000 resources, scopes, spans and log records together.
    """
    request: Any = message
    is_logs = "resource_logs" in request.DESCRIPTOR.fields_by_name
    resources = request.resource_logs if is_logs else request.resource_spans
    count = len(resources)
    for resource in resources:
        if count > MAX_ITEMS:
            break
        scopes = resource.scope_logs if is_logs else resource.scope_spans
        count += len(scopes)
        if count <= MAX_ITEMS:
            count += sum(len(scope.log_records if is_logs else scope.spans) for scope in scopes)
    if count > MAX_ITEMS:
        raise OtlpError(_TOO_MANY)
