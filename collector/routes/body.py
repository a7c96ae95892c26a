"""Reading a request's body with a bound, which the framework does not have."""

from __future__ import annotations

from typing import Final

from fastapi import Request

__all__ = ["BodyTooLargeError", "read_body"]

_DISCARD_BYTES: Final = 8 * 1024 * 1024
"""Read and thrown away after the bound: a client that is still sending when the connection closes
gets a broken pipe instead of the answer."""


class BodyTooLargeError(Exception):
    """Raised when a body is over the bound; nothing past it was kept."""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """
    The body, of at most ``max_bytes``.

    Raises:
        BodyTooLargeError: It says, or turns out, to be larger. Up to 8 MiB more have been read and
            thrown away; a body that says it is larger still is not read at all.
    """
    declared = request.headers.get("content-length", "0")
    is_too_large = declared.isdigit() and int(declared) > max_bytes
    if is_too_large and int(declared) > max_bytes + _DISCARD_BYTES:
        raise BodyTooLargeError
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            is_too_large = True
            chunks.clear()
        if size > max_bytes + _DISCARD_BYTES:
            break
        if not is_too_large:
            chunks.append(chunk)
    if is_too_large:
        raise BodyTooLargeError
    return b"".join(chunks)
