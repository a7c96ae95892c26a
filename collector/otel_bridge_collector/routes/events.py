"""``POST /v1/events``: batches pushed by the ``http://`` transport, into the log."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic_core
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.publish.transports.base import AppendResult, Outgoing
from otel_bridge.publish.transports.http import MAX_PUSH_EVENTS, PUSH_PATH, decode_push
from otel_bridge_collector.routes.body import read_body
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import LOG_UNREACHABLE, refusal
from otel_bridge_collector.security.tokens import ANYONE, Principal, token_digest

router = APIRouter()


@router.post(PUSH_PATH)
async def push(request: Request) -> Response:
    """
    Append a batch, once however often it is sent; answers the log's position after it.

    Of a limited token what belongs to another project is left out and counted as ``rejected``: a
    refusal of the whole batch would be sent again for ever, and hold up what comes after it.
    """
    collector: Collector = request.app.state.collector
    max_event_bytes = collector.bridge_settings.max_event_size_bytes
    try:
        body = await read_body(request, MAX_PUSH_EVENTS * (max_event_bytes + 1))
        batch = decode_push(body, request.headers, max_event_bytes)
        principal = principal_of(request.scope)
        allowed = _allowed(principal, batch.batch, max_event_bytes)
        result = AppendResult(collector.ring.last_position, 0, 0)
        if allowed:
            producer = _producer(principal, batch.producer_id)
            result = await collector.append(producer, batch.first_n, allowed)
    except TransportRejectedError as error:
        return refusal(request.scope, 400, str(error))
    except TransportError:
        return refusal(request.scope, 503, LOG_UNREACHABLE, {"Retry-After": "1"})
    rejected = len(batch.batch) - len(allowed)
    return JSONResponse(result._replace(rejected=rejected)._asdict())


def _allowed(principal: Principal, batch: Sequence[Outgoing], max_bytes: int) -> list[Outgoing]:
    """What the token may write; of one project, what names none, like a heartbeat, is of that."""
    if principal.projects is None:
        return list(batch)
    only = next(iter(principal.projects)) if len(principal.projects) == 1 else None
    found = []
    for given in batch:
        event = given
        if event.project_id is None and only is not None:
            fields = {**pydantic_core.from_json(event.data), "project_id": only}
            event = event._replace(data=pydantic_core.to_json(fields), project_id=only)
        if principal.may_use(event.project_id) and len(event.data) <= max_bytes:
            found.append(event)
    return found


def _producer(principal: Principal, producer_id: str) -> str:
    # A name of the token's own: else one token could make the log skip another's events.
    if principal is ANYONE:
        return producer_id
    return token_digest(f"{principal.account} {producer_id}")
