"""Reading a request's body with a bound, which the framework does not have."""

from __future__ import annotations

from fastapi import Request

__all__ = ["BodyTooLargeError", "read_body"]


class BodyTooLargeError(Exception):
    """Raised when a body is over the bound; nothing past it was kept."""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """
    The body, of at most ``max_bytes``.

    Raises:
        BodyTooLargeError: It says, or turns out, to be larger.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLargeError
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLargeError
        chunks.append(chunk)
    return b"".join(chunks)
