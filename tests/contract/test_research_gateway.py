"""What ``POST`` and ``GET /tasks`` get from the queue, on a real Redis and on the embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob, ResearchTaskRequest
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.queue_clients import connect, embedded

REQUEST = ResearchTaskRequest.model_validate(
    {
        "title": "Private Schools GA",
        "research_query": "List private schools",
        "research_type": "data_aggregation",
        "user_id": "dev",
        "project_id": "proj",
        "data_aggregation_config": {
            "entities": ["private schools"],
            "attributes": ["tuition"],
            "search_space": "in Georgia",
        },
    }
)


class Clock:
    def time_ns(self) -> int:
        return 1_790_000_000_000_000_000

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture(params=["real", "embedded"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[redis_asyncio.Redis]:
    is_real = request.param == "real"
    made = connect(request.getfixturevalue("redis_url")) if is_real else embedded()
    yield made
    await made.aclose()


async def test_a_submitted_task_waits_and_can_be_looked_at(client: redis_asyncio.Redis) -> None:
    """The request is queued for an orchestrator, its project is on record, its state is pending."""
    gateway = ResearchGateway(client, clock=Clock())
    task_id = await gateway.submit(REQUEST)
    assert await gateway.get(task_id) == {
        "task_id": task_id,
        "title": "Private Schools GA",
        "research_type": "data_aggregation",
        "project_id": "proj",
        "created_at": "2026-09-21T14:13:20.000000Z",
        "status": "pending",
        "error": None,
        "result": None,
        "counts": {"completed": 0, "failed": 0, "pending": 0},
    }
    assert await client.hget(DEFAULT_KEYS.task_meta(task_id), "project_id") == "proj"
    assert await client.lrange(DEFAULT_KEYS.research_queue, 0, -1) == [task_id]
    claim = await TaskQueue(client).claim("r1", [DEFAULT_KEYS.research_queue])
    assert claim is not None
    assert ResearchTaskRequest.model_validate(claim.job().payload) == REQUEST


async def test_result_error_and_counts_are_shown(client: redis_asyncio.Redis) -> None:
    """A finished task shows its result, a failed one its error, both the counts of their jobs."""
    gateway, queue = ResearchGateway(client), TaskQueue(client)
    done, failed = await gateway.submit(REQUEST), await gateway.submit(REQUEST)
    await queue.submit(QueuedJob(id=f"{done}:s:0", type="search", parent_task_id=done))
    for task_id in (done, failed):
        claim = await queue.claim("r1", [DEFAULT_KEYS.research_queue])
        assert claim is not None
        if task_id == done:
            await queue.complete(claim, '{"csv_path": "/x.csv"}')
        else:
            await queue.fail(claim, "OrchestrationError: search: no")
    state = await gateway.get(done)
    assert state is not None
    assert (state["status"], state["result"]) == ("completed", {"csv_path": "/x.csv"})
    assert state["counts"] == {"completed": 0, "failed": 0, "pending": 1}
    state = await gateway.get(failed)
    assert state is not None
    assert (state["status"], state["error"]) == ("failed", "OrchestrationError: search: no")


async def test_what_is_no_research_task_is_none(client: redis_asyncio.Redis) -> None:
    """An unknown id and the id of a job are not research tasks."""
    gateway = ResearchGateway(client)
    await TaskQueue(client).submit(QueuedJob(id="t:s:0", type="search", parent_task_id="t"))
    assert [await gateway.get(name) for name in ("nobody", "t:s:0", "t")] == [None, None, None]
