"""Reads a request's body with limits on size and time, which Starlette does not have."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from fastapi import Request

__all__ = [
    "BODY_TIMEOUT_SEC",
    "BodyTooLargeError",
    "BodyTooSlowError",
    "UnknownEncodingError",
    "inflate",
    "read_body",
]

BODY_TIMEOUT_SEC: Final = 30.0
"""4 MiB in this time need 1.1 Mbit/s. A slower client occupies a connection, but no thread."""
_DISCARD_BYTES: Final = 8 * 1024 * 1024
"""Read and thrown away beyond the limit, because a client that is still sending when the connection
closes gets a broken pipe instead of the answer."""


class BodyTooLargeError(Exception):
    """
    Raised when a body is over the limit; nothing past it was kept. The answer is 413.

    ``add_exception_handlers`` makes that answer. The text names the limit.

    Attributes:
        max_bytes: The limit, in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return f"the body is over {self.max_bytes} bytes; send less in one request"


class BodyTooSlowError(Exception):
    """Raised when a body does not arrive within 30 s. The answer is 408."""

    def __str__(self) -> str:
        return f"the body did not arrive within {BODY_TIMEOUT_SEC:g} s"


class UnknownEncodingError(Exception):
    """
    Raised for a ``Content-Encoding`` other than gzip. The answer is 415.

    ``add_exception_handlers`` makes that answer. The text quotes at most 40 characters.

    Attributes:
        encoding: As the request says, in lower case.
    """

    def __init__(self, encoding: str) -> None:
        super().__init__(encoding)
        self.encoding = encoding

    def __str__(self) -> str:
        return f"Content-Encoding {self.encoding[:40]!r} is not supported; use gzip or none"


async def read_body(request: Request, max_bytes: int) -> bytes:
    """
    Read a request's body as it was sent, without decompressing it (async).

    Args:
        request: One whose body was not read before.
        max_bytes: The largest body that is returned.

    Raises:
        BodyTooSlowError: It has not arrived within 30 s.
        BodyTooLargeError: It is larger, or its ``Content-Length`` says so. Up to 8 MiB more are
            read and thrown away; nothing is read if ``Content-Length`` is larger than that.
        starlette.requests.ClientDisconnect: The client has gone away.
    """
    declared = request.headers.get("content-length", "0")
    is_too_large = declared.isdigit() and int(declared) > max_bytes
    if is_too_large and int(declared) > max_bytes + _DISCARD_BYTES:
        raise BodyTooLargeError(max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SEC):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    is_too_large = True
                    chunks.clear()
                if size > max_bytes + _DISCARD_BYTES:
                    break
                if not is_too_large:
                    chunks.append(chunk)
    except TimeoutError:
        raise BodyTooSlowError from None
    if is_too_large:
        raise BodyTooLargeError(max_bytes)
    return b"".join(chunks)


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """
    Decompress a body, or return it as it is if ``encoding`` is ``identity`` or empty; blocks.

    May be called from any thread.

    Args:
        body: As it was sent.
        encoding: The value of ``Content-Encoding``: ``gzip``, ``identity`` or empty, in any case.
        max_bytes: The limit of a body that was compressed; any other is not measured.

    Raises:
        BodyTooLargeError: The decompressed body is larger; no more than the limit is decompressed.
        UnknownEncodingError: ``encoding`` is something else.
        ValueError: The body is not gzip, is incomplete, or has bytes after its end.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise UnknownEncodingError(encoding)
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if len(found) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    if not stream.eof:
        raise ValueError("gzip: the body is incomplete")
    if stream.unused_data:
        raise ValueError("gzip: there are bytes after the end of the body")
    return found
