"""``POST /v1/events``, ``/v1/stacks``, ``/v1/lines``: what ``http://`` senders send, to the log."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic_core
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.publish.transports.base import AppendResult, Outgoing, SpanLines, SpanStack
from otel_bridge.publish.transports.http import MAX_PUSH_EVENTS, PUSH_PATH, decode_push
from otel_bridge.publish.transports.http_lines import LINES_PATH, MAX_LINES_BYTES, decode_lines
from otel_bridge.publish.transports.http_stacks import MAX_STACKS_BYTES, STACKS_PATH, decode_stacks
from otel_bridge_collector.routes.body import read_body
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import LOG_UNREACHABLE, refusal
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal, token_digest

router = APIRouter()


@router.post(PUSH_PATH)
async def push(request: Request) -> Response:
    """
    Append a batch of events once, however often it is sent.

    The headers ``X-Producer-Id`` and ``X-First-N`` name the sender and the number of the first
    event. The body holds 1 to 1,000 events, one JSON object a line, each of at most
    ``MONITORING_MAX_EVENT_SIZE_BYTES`` (8192), and must arrive within 30 s. Events of a project
    that the token may not use are left out and counted as ``rejected``. If the whole batch were
    refused, its sender would repeat it for ever and never send the next one.

    Answers 200 with ``position`` (of the log's end), ``skipped`` (events that the log had already),
    ``refused`` (Pub/Sub messages that Redis denied), ``rejected`` and ``linger_ms`` (how long to
    collect events for a batch; 0: as the sender's settings say). 400: the batch is malformed. 408
    and 413: the body is too slow or too large. 503 with ``Retry-After``: the event log cannot be
    reached.
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


@router.post(STACKS_PATH)
async def store_stacks(request: Request) -> Response:
    """
    Store stacks of failed spans beside the log, for a day; sending them again changes nothing.

    The body holds 1 to 1,000 lines, each a JSON object with ``span_id`` (16 hex digits), ``text``
    (at most 4,096 bytes) and, if it is known, ``project_id``; 8 MiB in all, within 30 s.

    Answers 200 with ``unstored``: how many are of a project that the token may not use, or were
    stored for another project before. 400: the body is malformed. 408 and 413: it is too slow or
    too large. 503 with ``Retry-After``: the event log cannot be reached.
    """
    collector: Collector = request.app.state.collector
    principal = principal_of(request.scope)
    try:
        stacks = decode_stacks(await read_body(request, MAX_STACKS_BYTES))
        allowed = _allowed_stacks(principal, stacks)
        unstored = len(stacks) - len(allowed)
        if allowed:
            unstored += await collector.store_stacks(allowed)
    except TransportRejectedError as error:
        return refusal(request.scope, 400, str(error))
    except TransportError:
        return refusal(request.scope, 503, LOG_UNREACHABLE, {"Retry-After": "1"})
    return JSONResponse({"unstored": unstored})


@router.post(LINES_PATH)
async def store_lines(request: Request) -> Response:
    """
    Add log lines to those stored of their nodes (spans), of which the last 200 are kept.

    The body holds 1 to 1,000 lines, one a node, each a JSON object with ``span_id`` (16 hex
    digits), ``lines`` (each ``[ms, level, logger, text, n]``, a text of at most 1,000 characters, a
    logger of 64; at most 1,000 in all), if it is known ``project_id`` and, at the end of the node,
    ``outcome`` (``completed`` or ``failed``); 8 MiB in all, within 30 s. Sending it again adds the
    lines again.

    Answers 200 with ``unstored``: how many lines are of a project that the token may not use, or
    could not be stored for the ACL of Redis. 400: the body is malformed. 408 and 413: it is too
    slow or too large. 503 with ``Retry-After``: the event log cannot be reached.
    """
    collector: Collector = request.app.state.collector
    principal = principal_of(request.scope)
    try:
        batch = decode_lines(await read_body(request, MAX_LINES_BYTES))
        allowed = await _allowed_lines(principal, batch, collector)
        unstored = sum(len(one.lines) for one in batch) - sum(len(one.lines) for one in allowed)
        if allowed:
            unstored += await collector.lines.store_lines(allowed)
    except TransportRejectedError as error:
        return refusal(request.scope, 400, str(error))
    except TransportError:
        return refusal(request.scope, 503, LOG_UNREACHABLE, {"Retry-After": "1"})
    return JSONResponse({"unstored": unstored})


async def _allowed_lines(
    principal: Principal, batch: Sequence[SpanLines], collector: Collector
) -> list[SpanLines]:
    """
    The nodes whose lines the token may write: by the rule of ``_allowed``, and by their task.

    A span id travels in ``traceparent``, so another project may know it.
    """
    only_project = _only_project(principal)
    found = []
    for one in batch:
        named = one._replace(project_id=one.project_id or only_project)
        if not principal.may_use(named.project_id):
            continue
        if not await _is_of_others(principal, one, collector):
            found.append(named)
    return found


async def _is_of_others(principal: Principal, lines: SpanLines, collector: Collector) -> bool:
    if principal.projects is None:
        return False
    node = await collector.answers.lookups.node(lines.span_id)
    return node is not None and node.project is not None and not principal.may_use(node.project)


def _allowed_stacks(principal: Principal, stacks: Sequence[SpanStack]) -> list[SpanStack]:
    """The stacks that the token may write, by the rule of ``_allowed``."""
    only_project = _only_project(principal)
    named = (stack._replace(project_id=stack.project_id or only_project) for stack in stacks)
    return [stack for stack in named if principal.may_use(stack.project_id)]


def _only_project(principal: Principal) -> str | None:
    projects = principal.projects
    return next(iter(projects)) if projects is not None and len(projects) == 1 else None


def _allowed(principal: Principal, batch: Sequence[Outgoing], max_bytes: int) -> list[Outgoing]:
    """
    The events that the token may write.

    An event without a project, such as a heartbeat, gets the token's project if there is only one.
    """
    if principal.projects is None:
        return list(batch)
    only_project = _only_project(principal)
    found = []
    for given in batch:
        event = given
        if event.project_id is None and only_project is not None:
            fields = {**pydantic_core.from_json(event.data), "project_id": only_project}
            event = event._replace(data=pydantic_core.to_json(fields), project_id=only_project)
        if principal.may_use(event.project_id) and len(event.data) <= max_bytes:
            found.append(event)
    return found


def _producer(principal: Principal, producer_id: str) -> str:
    """The producer's name in the log: one token must not make the log skip events of another."""
    if principal is ANONYMOUS:
        return producer_id
    return token_digest(f"{principal.account} {producer_id}")
