"""Reading a request's body with a bound, which the framework does not have."""

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
"""4 MiB in it is a slow line of 1.1 Mbit/s; whoever trickles holds a connection, not a worker."""
_DISCARD_BYTES: Final = 8 * 1024 * 1024
"""Read and thrown away after the bound: a client that is still sending when the connection closes
gets a broken pipe instead of the answer."""


class BodyTooLargeError(Exception):
    """Raised when a body is over the bound; nothing past it was kept."""


class BodyTooSlowError(Exception):
    """Raised when a body does not come in time; the application answers 408."""


class UnknownEncodingError(Exception):
    """Raised for a ``Content-Encoding`` that is not taken; the route answers 415."""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """
    The body, of at most ``max_bytes``.

    Raises:
        BodyTooSlowError: It has not come within 30 s.
        BodyTooLargeError: It says, or turns out, to be larger. Up to 8 MiB more have been read and
            thrown away; a body that says it is larger still is not read at all.
    """
    declared = request.headers.get("content-length", "0")
    is_too_large = declared.isdigit() and int(declared) > max_bytes
    if is_too_large and int(declared) > max_bytes + _DISCARD_BYTES:
        raise BodyTooLargeError
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
        raise BodyTooLargeError
    return b"".join(chunks)


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """
    Undo ``Content-Encoding``: ``gzip``, or nothing.

    Raises:
        BodyTooLargeError: It inflates to more; no more than that was inflated.
        UnknownEncodingError: Another encoding.
        ValueError: No gzip, a part of one, or something behind it.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise UnknownEncodingError(f"content-encoding: {encoding[:40]!r} is not gzip")
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if len(found) > max_bytes:
        raise BodyTooLargeError
    if not stream.eof:
        raise ValueError("gzip: the body ends too early")
    if stream.unused_data:
        raise ValueError("gzip: the body goes on after its end")
    return found
