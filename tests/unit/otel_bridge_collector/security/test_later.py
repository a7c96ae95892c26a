"""``later``: the answer to a handshake that is to be repeated, to programs and to browsers."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.security.headers import SECURITY_HEADERS
from otel_bridge_collector.security.later import is_handshake, later_answer
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.uri import parse_uri


def answered(wait_sec: int, *, origin: str | None, offers: list[str] | None) -> ClientProtocol:
    """A client that has sent its handshake and read the answer to it."""
    client = ClientProtocol(
        parse_uri("ws://localhost/ws/views"),
        origin=origin,  # type: ignore[arg-type]
        subprotocols=offers,  # type: ignore[arg-type]
    )
    request = client.connect()
    headers = [
        (name.lower().encode(), value.encode()) for name, value in request.headers.raw_items()
    ]
    client.send_request(request)
    client.receive_data(later_answer(headers, wait_sec))
    client.receive_eof()
    return client


def test_a_program_gets_503_and_when_to_come_back() -> None:
    """Status, Retry-After, the security headers, and a sentence for people."""
    client = answered(17, origin=None, offers=None)
    error = client.handshake_exc
    assert isinstance(error, InvalidStatus)
    response = error.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, "17")
    for name, value in SECURITY_HEADERS:
        assert response.headers[name.decode()] == value.decode()
    assert "in 17 s" in json.loads(response.body or b"")["detail"]


@pytest.mark.parametrize(
    ("offers", "agreed"), [(None, None), (["otel-bridge"], "otel-bridge"), (["other"], None)]
)
def test_a_browser_gets_a_close_code_that_its_page_sees(
    offers: list[str] | None, agreed: str | None
) -> None:
    """The handshake is complete, and closed with 1013 and the seconds in the reason."""
    client = answered(8, origin="http://localhost", offers=offers)
    assert client.handshake_exc is None
    assert (client.close_code, client.subprotocol) == (1013, agreed)
    assert "in 8 s" in (client.close_reason or "")


def test_a_broken_handshake_of_a_browser_gets_503() -> None:
    """Without a key there is nothing to accept."""
    assert later_answer([(b"origin", b"http://localhost")], 3).startswith(b"HTTP/1.1 503 ")


KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
VERSION = (b"sec-websocket-version", b"13")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([KEY, VERSION], True),
        ([KEY], False),
        ([VERSION], False),
        ([KEY, (b"sec-websocket-version", b"8")], False),
        ([KEY, KEY, VERSION], False),
        ([(b"sec-websocket-key", b"c2hvcnQ="), VERSION], False),
        ([(b"sec-websocket-key", b"?" * 24), VERSION], False),
        ([(b"sec-websocket-key", b"a"), VERSION], False),
    ],
)
def test_only_a_whole_handshake_counts(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    """One key of 16 bytes, and version 13."""
    assert is_handshake(headers) is expected
