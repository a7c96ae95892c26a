"""Research tasks claimed from their queue; tests/integration/test_orchestrator.py has takeovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.orchestration.queue.leases import LeaseKeeper, synchronous_client
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import QueuedJob, ResearchTaskRequest, TaskStatus
from otel_bridge.orchestration.research.data_aggregation_orchestrator import (
    DataAggregationOrchestrator,
)
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.orchestration.research.research_runner import ResearchRunner
from otel_bridge.orchestration.research.result_store import ResultStore
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.coordinator import eventually, running
from tests.support.queue_clients import embedded

REQUEST = ResearchTaskRequest.model_validate(
    {
        "title": "Schools",
        "research_query": "List them",
        "research_type": "data_aggregation",
        "data_aggregation_config": {
            "entities": ["schools"],
            "attributes": ["tuition"],
            "search_space": "in Georgia",
        },
    }
)


@pytest.fixture
async def client() -> AsyncIterator[redis_asyncio.Redis]:
    made = embedded()
    yield made
    await made.aclose()


async def no_pages(task: QueuedJob) -> Mapping[str, Any]:
    return {"units": ["Bibb County"], "hits": []}


async def endless(task: QueuedJob) -> Mapping[str, Any]:
    await asyncio.Event().wait()
    return {}


@asynccontextmanager
async def runner_of(
    client: redis_asyncio.Redis, data_dir: Path, handler: Any, slots: int = 1
) -> AsyncIterator[asyncio.Event]:
    """A runner at work while the block is open; it has ended after it."""
    handlers = {"search_space_enum": handler, "data_aggregation_search": handler}
    keeper = LeaseKeeper(synchronous_client(client), 15)
    stop = asyncio.Event()
    async with running(client, handlers, grace_sec=0.01) as coordinator:
        orchestrator = DataAggregationOrchestrator(coordinator, ResultStore(data_dir))
        runner = ResearchRunner(
            coordinator, orchestrator, keeper=keeper, runner_id="r", slots=slots
        )
        working = asyncio.create_task(runner.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            await working
    await asyncio.to_thread(keeper.close)


async def until_status(client: redis_asyncio.Redis, task_id: str, status: TaskStatus) -> None:
    async def is_there() -> bool:
        return await TaskQueue(client).status(task_id) is status

    await eventually(is_there, f"{task_id} is {status}")


async def test_a_research_task_is_claimed_and_completed(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """The result of the orchestrator becomes the result of the research task."""
    gateway = ResearchGateway(client)
    task_id = await gateway.submit(REQUEST)
    async with runner_of(client, tmp_path, no_pages):
        await until_status(client, task_id, TaskStatus.COMPLETED)
    state = await gateway.get(task_id)
    assert state is not None
    assert (state["result"]["units"], state["result"]["pages"]) == (1, 0)
    assert state["counts"] == {"completed": 2, "failed": 0, "pending": 0}


async def test_a_request_that_is_none_fails_with_its_field(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """A request of another producer is checked again before it runs."""
    queue = TaskQueue(client)
    bad = QueuedJob(id="bad", type="data_aggregation", payload={"research_type": "poetry"})
    await queue.submit(bad, queue=DEFAULT_KEYS.research_queue)
    async with runner_of(client, tmp_path, no_pages):
        await until_status(client, "bad", TaskStatus.FAILED)
    assert "research_type: Input should be 'data_aggregation'" in str(await queue.error("bad"))


async def test_a_stopping_runner_releases_its_tasks(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """An unfinished research task waits in its queue again, without a crash counted."""
    task_id = await ResearchGateway(client).submit(REQUEST)
    async with runner_of(client, tmp_path, endless):
        await until_status(client, f"{task_id}:enumeration:0000", TaskStatus.PROCESSING)
    assert await TaskQueue(client).status(task_id) is TaskStatus.PENDING
    assert await client.lrange(DEFAULT_KEYS.research_queue, 0, -1) == [task_id]
    assert await client.hget(DEFAULT_KEYS.task_lease(task_id), "crashes") is None


async def test_no_more_tasks_run_than_there_are_slots(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """Further research tasks wait in the queue."""
    gateway = ResearchGateway(client)
    ids = [await gateway.submit(REQUEST) for _ in range(3)]
    async with runner_of(client, tmp_path, endless, slots=2):

        async def are_two_claimed() -> bool:
            statuses = [await TaskQueue(client).status(task_id) for task_id in ids]
            return statuses.count(TaskStatus.PROCESSING) == 2

        await eventually(are_two_claimed, "two research tasks run")
        assert await client.llen(DEFAULT_KEYS.research_queue) == 1
