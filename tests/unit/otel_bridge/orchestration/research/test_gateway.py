"""Research tasks as HTTP sees them; tests/contract/test_research_gateway.py has the real Redis."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.clock import SystemClock
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob, ResearchTaskRequest
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.queue_clients import embedded

REQUEST = ResearchTaskRequest.model_validate(
    {
        "title": "Schools",
        "research_query": "List them",
        "research_type": "data_aggregation",
        "project_id": "p",
        "data_aggregation_config": {
            "entities": ["schools"],
            "attributes": ["address"],
            "search_space": "in Georgia",
        },
    }
)


@pytest.fixture
async def client() -> AsyncIterator[redis_asyncio.Redis]:
    made = embedded()
    yield made
    await made.aclose()


class Morning(SystemClock):
    """Always the same moment."""

    def time_ns(self) -> int:
        return 1_800_000_000 * 10**9


async def test_a_submitted_task_waits_with_what_is_known_of_it(
    client: redis_asyncio.Redis,
) -> None:
    """The state has the request's title and project, and no result yet."""
    gateway = ResearchGateway(client, clock=Morning())
    task_id = await gateway.submit(REQUEST)
    assert re.fullmatch("[0-9a-f]{12}", task_id)
    assert await client.lrange(DEFAULT_KEYS.research_queue, 0, -1) == [task_id]
    state = await gateway.get(task_id)
    assert state == {
        "task_id": task_id,
        "title": "Schools",
        "research_type": "data_aggregation",
        "project_id": "p",
        "created_at": "2027-01-15T08:00:00.000000Z",
        "status": "pending",
        "error": None,
        "result": None,
        "counts": {"completed": 0, "failed": 0, "pending": 0},
    }


async def test_jobs_and_result_of_a_task_are_in_its_state(client: redis_asyncio.Redis) -> None:
    """The jobs of its group are counted, and the result is decoded."""
    gateway, queue = ResearchGateway(client), TaskQueue(client)
    task_id = await gateway.submit(REQUEST)
    for name in ("a", "b"):
        await queue.submit(QueuedJob(id=name, type="search", parent_task_id=task_id))
    await client.set(DEFAULT_KEYS.task_status("a"), "completed")
    result: dict[str, Any] = {"csv_path": "x.csv", "phases": {"search": {"completed": 1}}}
    await client.set(DEFAULT_KEYS.task_result(task_id), json.dumps(result))
    state = await gateway.get(task_id)
    assert state is not None
    assert state["counts"] == {"completed": 1, "failed": 0, "pending": 1}
    assert state["result"] == result


async def test_an_unknown_id_and_a_jobs_id_have_no_state(client: redis_asyncio.Redis) -> None:
    """Only research tasks are found."""
    gateway, queue = ResearchGateway(client), TaskQueue(client)
    await queue.submit(QueuedJob(id="a", type="search"))
    assert await gateway.get("a") is None
    assert await gateway.get("nothing") is None
