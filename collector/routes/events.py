"""``POST /v1/events``: batches pushed by the ``http://`` transport, into the log."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from collector.routes.body import BodyTooLargeError, read_body
from collector.runtime import Collector
from collector.security.authentication import principal_of
from collector.security.tokens import ANYONE, Principal, token_digest
from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.transports.http import MAX_PUSH_EVENTS, PUSH_PATH, decode_push

router = APIRouter()


@router.post(PUSH_PATH)
async def push(request: Request) -> JSONResponse:
    """Append a batch, once however often it is sent; answers the log's position after it."""
    collector: Collector = request.app.state.collector
    max_event_bytes = collector.bridge_settings.max_event_size_bytes
    try:
        body = await read_body(request, MAX_PUSH_EVENTS * (max_event_bytes + 1))
        batch = decode_push(body, request.headers, max_event_bytes)
        principal = principal_of(request.scope)
        if not all(principal.may_use(event.project_id) for event in batch.batch):
            return JSONResponse({"detail": "this token may not use that project_id"}, 403)
        result = await collector.append(
            _producer(principal, batch.producer_id), batch.first_n, batch.batch
        )
    except BodyTooLargeError:
        return JSONResponse({"detail": "the batch is too large"}, 413)
    except TransportRejectedError as error:
        return JSONResponse({"detail": str(error)}, 400)
    except TransportError:
        return JSONResponse({"detail": "the log cannot be reached"}, 503, {"Retry-After": "1"})
    return JSONResponse(result._asdict())


def _producer(principal: Principal, producer_id: str) -> str:
    # A name of the token's own: else one token could make the log skip another's events.
    if principal is ANYONE:
        return producer_id
    return token_digest(f"{principal.account} {producer_id}")
