"""A worker process, assembled from its parts on an embedded Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.errors import ConfigurationError
from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import (
    QueuedJob,
    ResearchTaskRequest,
    TaskStatus,
)
from otel_bridge.orchestration.research.documents import Hit
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.coordinator import eventually
from tests.support.queue_clients import embedded

MakeSettings = Callable[..., BridgeSettings]

REQUEST = {
    "title": "Schools",
    "research_query": "List schools",
    "research_type": "data_aggregation",
    "data_aggregation_config": {
        "entities": ["schools"],
        "attributes": ["address"],
        "search_space": "here",
    },
}


class Nowhere:
    """A search provider with one page and no corpus."""

    async def units(self, search_space: str) -> Sequence[str]:
        return [search_space]

    async def search(
        self, terms: Sequence[str], *, phrase: str | None = None, limit: int = 25
    ) -> Sequence[Hit]:
        return [Hit("p", 1.0)]

    async def read(self, page_id: str) -> bytes:
        return b""


async def run_one(
    task: QueuedJob, settings: BridgeSettings, tmp_path: Path, **options: Any
) -> dict[str, Any]:
    """Run one job in a pool of one worker; return what its attempt left on Redis."""
    client, stop = embedded(), asyncio.Event()
    queue = TaskQueue(client)
    await queue.submit(task)
    working = asyncio.create_task(
        run_workers(client, settings, workers=1, data_dir=tmp_path, stop=stop, **options)
    )

    async def has_ended() -> bool:
        return await queue.status(task.id) in (TaskStatus.COMPLETED, TaskStatus.FAILED)

    await eventually(has_ended, "the job ended")
    stop.set()
    await working
    left = {
        "results": await queue.results([task.id]),
        "error": await queue.error(task.id),
        "claimed": await client.zcard(DEFAULT_KEYS.leases),
    }
    await client.aclose()
    return left


async def test_the_reference_jobs_run_with_a_teams_own_provider(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    """With a search provider no corpus is read; the pool ends once the event is set."""
    task = QueuedJob(id="a", type="search_space_enum", payload={"search_space": "here"})
    left = await run_one(
        task, make_settings(), tmp_path, search=Nowhere(), corpus_dir=tmp_path / "nowhere"
    )
    assert left == {"results": {"a": {"units": ["here"]}}, "error": None, "claimed": 0}


async def test_a_teams_own_handler_replaces_or_adds_a_type(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    """Handlers are chosen by type, and each job is delayed by the pace."""

    async def own(task: QueuedJob) -> Mapping[str, Any]:
        return {"own": task.type}

    for task_type in ("search", "dance"):
        task = QueuedJob(id="a", type=task_type)
        handlers = {task_type: own}
        left = await run_one(
            task, make_settings(), tmp_path, search=Nowhere(), handlers=handlers, pace_sec=0.001
        )
        assert left["results"] == {"a": {"own": task_type}}


async def test_without_a_directory_the_generated_corpus_is_searched(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    """The demo's search space is divided into the counties of the generated pages."""
    task = QueuedJob(id="a", type="search_space_enum", payload={"search_space": "in Georgia"})
    left = await run_one(task, make_settings(), tmp_path)
    assert "Fulton County" in left["results"]["a"]["units"]


async def test_a_missing_corpus_is_an_error_before_any_job(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    """Nothing runs with a corpus that does not exist."""
    client = embedded()
    with pytest.raises(ConfigurationError, match="does not exist"):
        await run_workers(
            client,
            make_settings(),
            workers=1,
            corpus_dir=tmp_path / "nowhere",
            data_dir=tmp_path,
            stop=asyncio.Event(),
        )
    await client.aclose()


async def test_an_item_of_another_program_ends_the_pool_and_releases_its_tasks(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    """What was taken of ours goes back or is finished; the stop event is not set."""
    client, stop = embedded(), asyncio.Event()
    queue = TaskQueue(client)
    gateway = ResearchGateway(client)
    task_id = await gateway.submit(ResearchTaskRequest.model_validate(REQUEST))

    async def share(task: QueuedJob) -> Mapping[str, Any]:
        # The research task waits for this job, and so runs.
        await client.rpush(DEFAULT_KEYS.queue("low"), "theirs")
        return {"units": ["here"]}

    with pytest.raises(SharedQueueError, match="low_priority holds an item of another program"):
        await run_workers(
            client,
            make_settings(),
            workers=2,
            data_dir=tmp_path,
            stop=stop,
            search=Nowhere(),
            handlers={"search_space_enum": share, "data_aggregation_search": share},
        )
    assert not stop.is_set()
    assert await client.lrange(DEFAULT_KEYS.queue("low"), 0, -1) == ["theirs"]
    assert await client.lrange(DEFAULT_KEYS.research_queue, 0, -1) == [task_id]
    assert await queue.status(task_id) is TaskStatus.PENDING
    assert await client.zcard(DEFAULT_KEYS.leases) == 0
    await client.aclose()
