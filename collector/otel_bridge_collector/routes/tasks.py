"""``POST /tasks`` queues a research task; ``GET /tasks`` lists them, ``/tasks/{id}`` gives one."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final, Protocol

import pydantic_core
from fastapi import APIRouter, Request
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.responses import JSONResponse, Response

from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest, field_error_sentence
from otel_bridge_collector.cluster.edge.summaries import IncompleteError
from otel_bridge_collector.routes.body import BodyTooLargeError, read_body
from otel_bridge_collector.routes.monitor import MAX_LIMIT, account_slot
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import principal_of
from otel_bridge_collector.security.refusals import refusal
from otel_bridge_collector.wire.filters import EventFilter, FilterError
from otel_bridge_collector.wire.query import QueryValues, parse_number

__all__ = ["TaskGateway", "router"]

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/tasks")

MAX_BODY_BYTES: Final = 1024 * 1024
_DEFAULT_LIMIT: Final = 100
_NO_GATEWAY: Final = (
    "this collector only watches: it has no coordinator; set REDIS_URL to one Redis, not a Cluster"
)
_NOT_QUEUED: Final = (
    "the queue in Redis cannot be reached; the research task may not have been queued, so look for "
    "it before you send it again"
)


class TaskGateway(Protocol):
    """What the routes need of a coordinator; ``ResearchGateway`` is that of the reference one."""

    async def submit(self, request: ResearchTaskRequest) -> str:
        """Queue a research task; return its id; ``SharedQueueError`` if the queue is not ours."""

    async def get(self, task_id: str) -> dict[str, Any] | None:
        """State of a research task; None if it is unknown."""


@router.post("")
async def submit(request: Request) -> Response:
    """Queue a research task; answer 201 with ``{"task_id": ..., "status": "pending", ...}``."""
    gateway: TaskGateway | None = request.app.state.gateway
    if gateway is None:
        # The body is read first, or a client that is still sending would get a broken pipe.
        with contextlib.suppress(BodyTooLargeError):
            await read_body(request, MAX_BODY_BYTES)
        return refusal(request.scope, 503, _NO_GATEWAY)
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        fields = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return refusal(request.scope, 400, f"the body is not JSON: {error}")
    try:
        task = ResearchTaskRequest.model_validate(fields)
    except ValidationError as error:
        return refusal(request.scope, 422, field_error_sentence(error))
    if not principal_of(request.scope).may_use(task.project_id):
        why = f"this token may not use project_id {task.project_id!r}; name one of its projects"
        return refusal(request.scope, 403, why)
    try:
        task_id = await gateway.submit(task)
    except SharedQueueError as error:
        logger.warning("a research task was not queued: %s", error)
        # Without the item, which is another program's and may be of any project.
        why = f"nothing was queued: {error.queue} holds an item of another program; {error.cure}"
        return refusal(request.scope, 503, why)
    except (RedisError, OSError, TimeoutError) as error:
        logger.warning("a research task could not be queued: %s", type(error).__name__)
        return refusal(request.scope, 503, _NOT_QUEUED)
    answer = {
        "task_id": task_id,
        "status": "pending",
        "title": task.title,
        "research_type": task.research_type,
        "project_id": task.project_id,
    }
    return JSONResponse(answer, 201, {"Location": f"/tasks/{task_id}"})


@router.get("")
async def known(request: Request) -> Response:
    """
    Answer ``{"tasks": [...], "total": n}``: the research tasks in the collector's state.

    That is all it has seen events of, wherever submitted, at most 10,000; open ones first, then the
    newest. Each has ``task_id``, ``title``, ``status`` and ``project_id``. Parameters: ``limit``,
    how many ``tasks`` has, 1 to 1000, default 100; ``project_id``, default: all projects of the
    account. An account gets one such answer at a time; its other requests wait. 400: a parameter is
    invalid. 429: 100 of its requests are waiting. 503 with ``Retry-After``: of several collectors
    that share the work one does not answer.
    """
    collector: Collector = request.app.state.collector
    query = QueryValues(request.query_params.multi_items())
    try:
        limit = parse_number(query, "limit", _DEFAULT_LIMIT, MAX_LIMIT)
        event_filter = EventFilter.parse(query).limited(principal_of(request.scope).projects)
    except FilterError as error:
        return refusal(request.scope, 400, str(error))
    async with account_slot(request, "tasks"):
        try:
            rows, total = await collector.answers.research_tasks(event_filter, limit)
        except IncompleteError as error:
            return refusal(request.scope, 503, str(error), {"Retry-After": "1"})
    return JSONResponse({"tasks": rows, "total": total})


@router.get("/{task_id}")
async def state(task_id: str, request: Request) -> Response:
    """Answer with the state of a research task, and its result once it has completed."""
    gateway: TaskGateway | None = request.app.state.gateway
    if gateway is None:
        return refusal(request.scope, 503, _NO_GATEWAY)
    try:
        found = await gateway.get(task_id)
    except (RedisError, OSError, TimeoutError):
        return refusal(request.scope, 503, "the queue in Redis cannot be reached")
    if found is None or not principal_of(request.scope).may_use(found.get("project_id")):
        return refusal(request.scope, 404, "no research task has this id")
    return JSONResponse(found)
