"""Bodies are read within a size and a time, and decompressed within a size."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from otel_bridge_collector.routes import body
from otel_bridge_collector.routes.body import (
    BodyTooLargeError,
    BodyTooSlowError,
    UnknownEncodingError,
    inflate,
    read_body,
)
from starlette.requests import ClientDisconnect

MIB = 1024 * 1024


class Sender:
    """A client that sends these parts; counts how many were read."""

    def __init__(self, parts: Iterator[bytes] | list[bytes], length: str | None = None) -> None:
        self._parts = iter(parts)
        self.read_count = 0
        headers = [] if length is None else [(b"content-length", length.encode())]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self.request = Request(scope, self._receive)

    async def _receive(self) -> dict[str, Any]:
        self.read_count += 1
        part = next(self._parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}


async def test_a_body_up_to_the_limit_is_read() -> None:
    """A body of exactly the limit is returned whole, in however many parts it comes."""
    assert await read_body(Sender([b"ab", b"", b"cd"]).request, 4) == b"abcd"
    assert await read_body(Sender([]).request, 4) == b""
    assert await read_body(Sender([b"abcd"], length="4").request, 4) == b"abcd"


@pytest.mark.parametrize("length", [None, "5", "1", "x", "\N{SUPERSCRIPT TWO}"])
async def test_a_body_over_the_limit_is_an_error(length: str | None) -> None:
    """One byte more is an error that names the limit, whatever ``Content-Length`` says."""
    with pytest.raises(BodyTooLargeError, match="over 4 bytes") as raised:
        await read_body(Sender([b"ab", b"cde"], length=length).request, 4)
    assert raised.value.max_bytes == 4


async def test_a_declared_length_over_the_limit_is_enough() -> None:
    """A body that says it is too large is refused although less of it arrives."""
    with pytest.raises(BodyTooLargeError):
        await read_body(Sender([b"ab"], length="5").request, 4)


async def test_what_is_too_large_is_read_and_thrown_away() -> None:
    """The rest is read, so that the client gets the answer, but no more than 8 MiB of it."""
    short = Sender([bytes(MIB)] * 3)
    with pytest.raises(BodyTooLargeError):
        await read_body(short.request, MIB)
    assert short.read_count == 4
    endless = Sender(iter(lambda: bytes(MIB), None))
    with pytest.raises(BodyTooLargeError):
        await read_body(endless.request, MIB)
    assert endless.read_count == 10


async def test_what_is_declared_far_too_large_is_not_read() -> None:
    """A body that says it is more than 8 MiB over the limit is refused unread."""
    sender = Sender([b"x"], length=str(9 * MIB + 1))
    with pytest.raises(BodyTooLargeError):
        await read_body(sender.request, MIB)
    assert sender.read_count == 0


async def test_a_body_that_does_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time-out, reading ends with an error that names it."""
    monkeypatch.setattr(body, "BODY_TIMEOUT_SEC", 0.0)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(BodyTooSlowError, match="within 0 s"):
        await read_body(Request(scope, receive), 4)


async def test_a_client_that_leaves_is_an_error() -> None:
    """A client that disconnects in the middle of its body raises Starlette's own error."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with pytest.raises(ClientDisconnect):
        await read_body(Request(scope, receive), 4)


@given(st.binary(max_size=1000))
def test_gzip_is_decompressed(data: bytes) -> None:
    """What was compressed comes out; without an encoding a body is taken as it is."""
    assert inflate(gzip.compress(data), " GZip ", 1000) == data
    assert inflate(data, "", 1) == inflate(data, "Identity", 1) == data


@pytest.mark.parametrize("size", [1001, 10_000_000])
def test_no_more_than_the_limit_is_decompressed(size: int) -> None:
    """A decompressed size over the limit is an error, however small the body is."""
    with pytest.raises(BodyTooLargeError, match="over 1000 bytes"):
        inflate(gzip.compress(bytes(size)), "gzip", 1000)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x" * 1000])
def test_other_encodings_are_named(encoding: str) -> None:
    """An unknown encoding is named, within bounds, with what is supported."""
    with pytest.raises(UnknownEncodingError, match="use gzip or none") as raised:
        inflate(b"", encoding, 1000)
    assert encoding[:40] in str(raised.value)
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not gzip", "not gzip"),
        (zlib.compress(b"{}"), "not gzip"),
        (b"", "incomplete"),
        (gzip.compress(b"{}")[:-1], "incomplete"),
        (gzip.compress(b"{}") + b"more", "bytes after the end"),
        (gzip.compress(b"{}") * 2, "bytes after the end"),
    ],
)
def test_broken_gzip_is_an_error(data: bytes, reason: str) -> None:
    """Bytes that are no gzip, a part of one, or more than one, say which."""
    with pytest.raises(ValueError, match=reason):
        inflate(data, "gzip", 1000)
