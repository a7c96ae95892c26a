"""``GET /monitor/snapshot``, ``events``, ``config`` and ``nodes``, for the dashboard."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.responses import JSONResponse

from otel_bridge.errors import PositionLostError, TransportError
from otel_bridge.publish.transports.base import position_after
from otel_bridge_collector.cluster.edge.lookups import NodeRecord
from otel_bridge_collector.cluster.edge.summaries import IncompleteError
from otel_bridge_collector.log.blocks import BLOCK_ENTRIES, NodeFacts, find_facts
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import (
    PRINCIPAL,
    Authenticator,
    address_of,
    principal_of,
)
from otel_bridge_collector.security.concurrency import MAX_WAITING
from otel_bridge_collector.security.refusals import LOG_UNREACHABLE, refusal
from otel_bridge_collector.security.tokens import Principal
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.wire.event_matcher import EventMatcher
from otel_bridge_collector.wire.filters import EventFilter, FilterError
from otel_bridge_collector.wire.first_steps import URL_PLACEHOLDER, first_steps
from otel_bridge_collector.wire.query import QueryValues, parse_number

__all__ = ["MAX_LIMIT", "account_slot", "router"]

router = APIRouter(prefix="/monitor")

MAX_LIMIT = 1000
_DEFAULT_LIMIT = 100
_NO_STORE = {"Cache-Control": "no-store"}
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_NO_STACK: Final = (
    "no stack is stored for this span: it did not fail with one, or that was over a day ago, or "
    "this account may not see its project"
)
_NO_RIGHT: Final = "this token may not read stacks; add rights=lines to its line"


def account_slot(request: Request, kind: str) -> AbstractAsyncContextManager[None]:
    """The account's slot for an expensive answer; raises 429 if too many requests wait for it."""
    authenticator: Authenticator = request.app.state.authenticator
    principal = principal_of(request.scope)
    address = address_of(request.scope)
    if authenticator.concurrency.waiting(principal, address, kind) >= MAX_WAITING:
        why = f"{MAX_WAITING} requests of this account are waiting; send this one again later"
        raise HTTPException(429, why, {"Retry-After": "1"})
    return authenticator.concurrency.slot(principal, address, kind)


@router.get("/snapshot")
async def snapshot(request: Request) -> Response:
    """
    Answer with the current state for one filter, as the WebSocket's ``snapshot`` message.

    503 with ``Retry-After``: of several collectors that share the work none answers.
    """
    collector: Collector = request.app.state.collector
    try:
        projects = principal_of(request.scope).projects
        query = QueryValues(request.query_params.multi_items())
        event_filter = EventFilter.parse(query).limited(projects)
    except FilterError as error:
        return refusal(request.scope, 400, str(error))
    async with account_slot(request, "snapshot"):
        try:
            body = await collector.answers.snapshot(event_filter)
        except IncompleteError as error:
            return refusal(request.scope, 503, str(error), {"Retry-After": "1"})
    return Response(body, media_type="application/json", headers=_NO_STORE)


@router.get("/config")
async def config(request: Request) -> JSONResponse:
    """
    Answer 200 with the dashboard's configuration as JSON; it needs no token.

    Takes no parameters and has no error of its own. ``trace_url_template`` is the URL of a trace in
    another tool, with ``{trace_id}`` for its id, or null. ``first_steps`` is a list of 8 or 9 pairs
    ``[heading, command]`` that show how to send events, with ``{url}`` for the collector's address;
    only a client that may see all projects gets that of its Redis. ``runs_research`` says whether a
    task sent to ``POST /tasks`` runs in this process.
    """
    state = request.app.state
    settings: CollectorSettings = state.settings
    collector: Collector = state.collector
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is not None and principal.projects is None:
        log, redis_url = collector.bridge_settings.bus_url, collector.bridge_settings.redis_url
    else:
        log, redis_url = "memory://", None
    answer = {
        "trace_url_template": settings.trace_url_template or None,
        "first_steps": first_steps(
            URL_PLACEHOLDER,
            log_url=log,
            redis_url=redis_url,
            key_prefix=collector.bridge_settings.key_prefix,
            has_tokens=state.authenticator.is_enabled,
            has_coordinator=state.gateway is not None,
        ),
        "runs_research": state.gateway is not None and getattr(state, "research_workers", 0) > 0,
    }
    return JSONResponse(answer, headers=_NO_STORE)


@router.get("/events")
async def events(request: Request) -> Response:
    """
    Answer ``{"events": [...], "next_before": ...}``: events from the log, newest first.

    Without ``before`` from the newest on, else only those older than the event at that position, so
    that with the key of its first row they continue the view ``events``. ``upto`` is the same with
    the event at the position; only one of the two can be given. ``limit`` is 1 to 1,000, by default
    100. ``project_id types stats_only`` filter as on ``/ws/monitor``. ``job type status text``
    filter as in the view ``events``, where ``task_id`` is ``task``; ``status`` is a comma-separated
    list here. ``all=false`` leaves out heartbeats, queue depths, statistics, and events of spans
    that are no task, phase or job. The account gets events of its projects only.

    A request looks at 20,000 events at most. So it may answer few or no events though there are
    older ones: go on with ``next_before`` until it is null, which is the beginning of the log. 400:
    a parameter is wrong, or the position is of another log. 429 with ``Retry-After``: 100 requests
    of the account are waiting. 503: the log cannot be read.
    """
    collector: Collector = request.app.state.collector
    query = QueryValues(request.query_params.multi_items())
    try:
        limit = parse_number(query, "limit", _DEFAULT_LIMIT, MAX_LIMIT)
        before, upto = query.get("before") or None, query.get("upto") or None
        if before and upto:
            raise FilterError("before and upto: only one of them can be given")
        matcher = EventMatcher.parse(query, principal_of(request.scope).projects)
        async with account_slot(request, "events"):
            start = position_after(upto) if upto else before
            found, next_before = await collector.resumer.recent(matcher, limit=limit, before=start)
    except FilterError as error:
        return refusal(request.scope, 400, str(error))
    except PositionLostError as lost:
        name = "upto" if query.get("upto") else "before"
        return refusal(request.scope, 400, f"{name}: {lost.reason} position")
    except TransportError:
        return refusal(request.scope, 503, LOG_UNREACHABLE)
    position = bytes(JSONResponse(next_before).body)
    # The events are JSON already.
    body = b'{"events":[' + b",".join(found) + b'],"next_before":' + position + b"}"
    return Response(body, media_type="application/json", headers=_NO_STORE)


@router.get("/nodes/{span_id}")
async def node(span_id: str, request: Request) -> Response:
    """
    Answer 200 with what the collector does not hold of a span: its attributes, and its stack.

    ``span_id`` is 16 hex digits. ``attributes`` is ``meta`` of its own end, else of its newest
    event that has any, as ``GET /monitor/events`` shows it; ``links`` a list of its span's links
    with ``trace``, ``span`` and ``attributes``. Both are null where they are not known: ``log`` is
    ``held`` if they were read from the log, ``gone`` if it no longer has them, ``unknown`` if the
    collector does not hold the span. ``stack`` is text of at most 4,096 bytes, secrets masked, kept
    for a day, of a failed span. ``stack_of`` is the span that it was taken from: the same one, or
    another with the same failure, of which a stack is stored once a minute. Without one both are
    null and ``detail`` says why, else that is null.

    Who may see the span's project gets its attributes; the stack needs ``rights=lines`` or
    ``projects=*`` as well. 400: the id is no span's. 403: the token has no right to stacks, and
    nothing else is known of the span. 404: nothing is known of it, or the account may not see its
    project. 503: the log cannot be read.
    """
    if not _SPAN_ID.fullmatch(span_id):
        return refusal(request.scope, 400, "span_id: 16 lower-case hex digits")
    collector: Collector = request.app.state.collector
    principal = principal_of(request.scope)
    held = await collector.answers.lookups.node(span_id)
    is_shown = held is not None and _may_see(principal, held, None)
    holder = span_id if held is None else held.stack or span_id
    status, why_none = (404, _NO_STACK) if principal.may_read_lines else (403, _NO_RIGHT)
    try:
        stack = await _stack(collector, principal, held, holder)
        if stack is None and not is_shown:
            return refusal(request.scope, status, why_none)
        log, facts = "unknown", None
        if held is not None and held.block is not None:
            log, facts = await _facts(collector, span_id, held.block)
    except TransportError:
        return refusal(request.scope, 503, LOG_UNREACHABLE)
    answer = {
        "span_id": span_id,
        "stack": stack,
        "stack_of": None if stack is None else holder,
        "detail": why_none if stack is None else None,
        "attributes": None if facts is None else facts.attributes,
        "links": None if facts is None else facts.links,
        "log": log,
    }
    return JSONResponse(answer, headers=_NO_STORE)


async def _stack(
    collector: Collector, principal: Principal, held: NodeRecord | None, holder: str
) -> str | None:
    """The stack stored for a span; None: none, or the account may not read it."""
    if not principal.may_read_lines:
        return None
    found = await collector.stack(holder)
    if found is None:
        return None
    nodes = [held]
    if held is not None and held.stack is not None:
        nodes.append(await collector.answers.lookups.node(holder))
    allowed = all(_may_see(principal, one, found.project_id) for one in nodes)
    return found.text if allowed else None


async def _facts(
    collector: Collector, span_id: str, block: str
) -> tuple[Literal["held", "gone"], NodeFacts | None]:
    """What the log says of a node, by the place where its events are."""
    try:
        entries = await collector.resumer.read_on(block, BLOCK_ENTRIES)
    except PositionLostError:
        return "gone", None
    facts = find_facts(entries, span_id)
    return ("gone" if facts is None else "held"), facts


def _may_see(principal: Principal, node: NodeRecord | None, stored: str | None) -> bool:
    """Whether the account may see a span: by its task's project, else by that of the stack."""
    if principal.projects is None:
        return True
    if node is None:
        return principal.may_use(stored)
    if node.is_shared or not principal.may_use(node.project):
        return False
    return stored is None or principal.may_use(stored)
