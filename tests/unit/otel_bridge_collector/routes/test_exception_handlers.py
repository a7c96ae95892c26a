"""Errors of any route are answered in one form, and none reveals what went wrong inside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from google.rpc.status_pb2 import Status
from otel_bridge_collector.routes.body import (
    BodyTooLargeError,
    BodyTooSlowError,
    UnknownEncodingError,
)
from otel_bridge_collector.routes.exception_handlers import add_exception_handlers
from starlette.requests import ClientDisconnect

from tests.support.app_server import Answer
from tests.support.asgi_site import call

PATHS = ["/v1/traces", "/v1/logs", "/elsewhere"]


def make_app(error: Exception) -> FastAPI:
    """An application whose routes raise this."""
    app = FastAPI()
    add_exception_handlers(app)

    async def route(_: Request) -> None:
        raise error

    for path in PATHS:
        app.post(path)(route)
    return app


def detail_of(answer: Answer, path: str) -> Any:
    """The sentence of a refusal, in the form that the path must have."""
    fields = answer.json()
    assert list(fields) == ["detail" if path == "/elsewhere" else "message"]
    return next(iter(fields.values()))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("error", "status", "detail", "header"),
    [
        (BodyTooLargeError(7), 413, "the body is over 7 bytes", None),
        (BodyTooSlowError(), 408, "did not arrive within 30 s", ("connection", "close")),
        (UnknownEncodingError("br"), 415, "'br' is not supported", ("accept-encoding", "gzip")),
        (HTTPException(429, "later", {"Retry-After": "1"}), 429, "later", ("retry-after", "1")),
    ],
    ids=["large", "slow", "encoded", "HTTP"],
)
async def test_each_error_has_its_answer(
    path: str, error: Exception, status: int, detail: str, header: tuple[str, str] | None
) -> None:
    """Status, sentence and headers are the error's; the form is the path's."""
    answer = await call(make_app(error), path, method="POST")
    assert answer.status == status
    assert detail in detail_of(answer, path)
    assert header is None or header in answer.headers.items()


@pytest.mark.parametrize("path", PATHS)
async def test_fastapis_own_refusals_have_the_same_form(path: str) -> None:
    """Another method is 405 with ``Allow``, an unknown path 404."""
    app = make_app(AssertionError())
    answer = await call(app, path, method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert detail_of(answer, path) == "Method Not Allowed"
    unknown = await call(app, f"{path}/unknown")
    assert (unknown.status, json.loads(unknown.body)) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("path", PATHS)
async def test_an_unexpected_error_reveals_nothing(path: str) -> None:
    """A 500 has the security headers and none of the error's text."""
    app = make_app(RuntimeError("a secret"))
    answer = await call(app, path, method="POST", raises=RuntimeError)
    assert (answer.status, detail_of(answer, path)) == (500, "internal error")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_protobuf_is_answered_with_protobuf() -> None:
    """An exporter that sends protobuf gets a ``Status`` in protobuf from a handler as well."""
    kind = "application/x-protobuf"
    headers = {"Content-Type": kind}
    answer = await call(
        make_app(BodyTooLargeError(7)), "/v1/traces", method="POST", headers=headers
    )
    assert answer.headers["content-type"] == kind
    assert Status.FromString(answer.body).message.startswith("the body is over 7 bytes")


async def test_a_client_that_left_gets_an_empty_answer() -> None:
    """A client that left in the middle of its body is no error of the server."""
    answer = await call(make_app(ClientDisconnect()), "/v1/traces", method="POST")
    assert (answer.status, answer.body) == (400, b"")
