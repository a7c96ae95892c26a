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

__all__ = ["OtlpError", "decode"]

_MAX_JSON_DEPTH: Final = 64
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
            return message
        except DecodeError as error:
            raise OtlpError(f"not an OTLP protobuf message: {error}") from None
    try:
        found = json.loads(body)
        if not isinstance(found, dict):
            raise OtlpError("not a JSON object")
        _restore_ids(found, 0)
        ParseDict(found, message, ignore_unknown_fields=True)
        return message
    except RecursionError:
        raise OtlpError(f"deeper than {_MAX_JSON_DEPTH} levels") from None
    except (ParseError, ValueError) as error:
        raise OtlpError(f"not OTLP JSON: {str(error)[:200]}") from None


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
