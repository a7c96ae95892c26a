"""
Decodes OTLP requests, protobuf or JSON, and limits what they may hold.

Source: OTLP 1.7, ``opentelemetry/proto/collector``. OTLP's JSON writes ids in hexadecimal, where
protobuf's own JSON writes bytes in base64.
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
"""Objects and lists in a JSON body. A useful span or attribute takes at least 36 bytes, so 4 MiB
hold fewer. 1,400,000 empty ones fit into 4 KiB of gzip; reading them took 9 s of processor time and
70 MiB."""
MAX_ITEMS: Final = 100_000
"""Resources, scopes, spans and log records in a request, limited for the same reason."""
_ID_NAMES: Final = ("traceId", "spanId", "parentSpanId")

_Message = TypeVar("_Message", bound=Message)


class OtlpError(Exception):
    """Raised for a body that is not an OTLP request or is over a limit; clients get its text."""


def decode(message: _Message, body: bytes | str, *, is_json: bool) -> _Message:
    """
    Decode the body of an OTLP request for spans or logs; blocks, so call it in a thread.

    Args:
        message: An empty request message for spans or logs; the body is read into it.
        body: Decompressed by the caller, who also limits its bytes; text is only for JSON.
        is_json: Whether the body is OTLP JSON; else it is protobuf.

    Returns:
        ``message``. Fields that it does not know are ignored.

    Raises:
        OtlpError: The body is not such a message, or holds more than 250,000 JSON objects and
            lists, 64 levels of them, or 100,000 resources, scopes, spans and log records.
            ``message`` may then be partly filled.
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
        raise OtlpError(f"more than {_MAX_JSON_ITEMS} JSON objects and lists")
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict):
            raise OtlpError("not a JSON object")
        _restore_ids(fields, 0)
        ParseDict(fields, message, ignore_unknown_fields=True)
    except RecursionError:
        raise OtlpError(f"nested deeper than {_MAX_JSON_DEPTH} levels") from None
    except (ParseError, ValueError) as error:
        raise OtlpError(f"not OTLP JSON: {str(error)[:200]}") from None
    check_items(message)
    return message


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
        raise OtlpError(f"more than {MAX_ITEMS} resources, scopes, spans and log records")


def _restore_ids(value: Any, depth: int) -> None:
    """Replace ids in hexadecimal by base64, which protobuf's JSON expects for bytes, in place."""
    if depth > _MAX_JSON_DEPTH:
        raise OtlpError(f"nested deeper than {_MAX_JSON_DEPTH} levels")
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
