"""
OTLP over HTTP: its paths, its two media types, and a message encoded as either.

An answer has the content type of its request, refusals included.

Source: OTLP 1.7, "OTLP/HTTP Response".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

__all__ = ["JSON", "OTLP_PATHS", "PROTOBUF", "encode_message", "media_type_of"]

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
OTLP_PATHS: Final = frozenset({"/v1/traces", "/v1/logs", "/v1/metrics"})


def media_type_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """
    Return the media type of a request's ``Content-Type``; never raises, whatever the bytes are.

    Args:
        headers: As ASGI has them, names in lower case; the first ``content-type`` counts.

    Returns:
        In lower case, without parameters; empty when the header is missing.
    """
    for name, value in headers:
        if name == b"content-type":
            return value.decode("latin-1").partition(";")[0].strip().lower()
    return ""


def encode_message(message: Message, media_type: str) -> tuple[bytes, str]:
    """
    Encode the answer to an OTLP request in the request's own format; does not limit its size.

    Args:
        message: Any complete protobuf message; for one that is set by this package it never raises.
        media_type: Of the request, in lower case and without parameters.

    Returns:
        The body and its media type: protobuf if the request was ``application/x-protobuf``, else
        JSON.
    """
    if media_type == PROTOBUF:
        body: bytes = message.SerializeToString()
        return body, PROTOBUF
    return MessageToJson(message).encode(), JSON
