"""OTLP's answers over HTTP: the media type of a request, and a message encoded for it."""

from __future__ import annotations

import json

import pytest
from google.rpc.status_pb2 import Status
from otel_bridge_collector.wire.otlp_http import JSON, PROTOBUF, encode_message, media_type_of

MESSAGE = Status(message="too many")


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        (b"application/json", JSON),
        (b"Application/JSON ;charset=utf-8", JSON),
        (b"application/x-protobuf", PROTOBUF),
        (b"", ""),
        (b"\xff", "\xff"),
    ],
)
def test_the_media_type_has_no_parameters(header: bytes, media_type: str) -> None:
    """It is lower case and ends before the first parameter, whatever bytes the header has."""
    headers = [(b"accept", b"*/*"), (b"content-type", header)]
    assert media_type_of(headers) == media_type


def test_a_request_without_a_content_type() -> None:
    """Without the header the media type is empty."""
    assert media_type_of([(b"accept", b"application/json")]) == ""


def test_protobuf_is_answered_with_protobuf() -> None:
    """A protobuf request gets the message's bytes."""
    body, media_type = encode_message(MESSAGE, PROTOBUF)
    assert (Status.FromString(body), media_type) == (MESSAGE, PROTOBUF)


@pytest.mark.parametrize("media_type", [JSON, "text/html", ""])
def test_every_other_request_is_answered_with_json(media_type: str) -> None:
    """JSON is the answer to JSON, and to a type that OTLP does not know."""
    body, answered = encode_message(MESSAGE, media_type)
    assert (json.loads(body), answered) == ({"message": "too many"}, JSON)
