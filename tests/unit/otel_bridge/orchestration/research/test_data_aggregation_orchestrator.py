"""The seven phases over given results; tests/integration/test_orchestrator.py has real pages."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis_asyncio

from otel_bridge.orchestration.queue.errors import PermanentJobError
from otel_bridge.orchestration.queue.task_queue import TaskQueue
from otel_bridge.orchestration.queue.task_types import JobHandler, QueuedJob, ResearchTaskRequest
from otel_bridge.orchestration.research.data_aggregation_orchestrator import (
    PHASES,
    DataAggregationOrchestrator,
    OrchestrationError,
)
from otel_bridge.orchestration.research.result_store import ResultStore
from tests.support.coordinator import running
from tests.support.queue_clients import embedded

REQUEST = ResearchTaskRequest.model_validate(
    {
        "title": "Schools",
        "research_query": "List them",
        "research_type": "data_aggregation",
        "project_id": "p",
        "data_aggregation_config": {
            "entities": ["schools", "academies"],
            "attributes": ["tuition", "phone"],
            "search_space": "in Georgia",
        },
    }
)


@pytest.fixture
async def client() -> AsyncIterator[redis_asyncio.Redis]:
    made = embedded()
    yield made
    await made.aclose()


def record(page_id: str, name: str, **values: str) -> dict[str, Any]:
    return {"name": name, "unit": "Bibb County", "values": values, "page_id": page_id}


async def enumerate_units(task: QueuedJob) -> Mapping[str, Any]:
    return {"units": ["Bibb County", "Cobb County"]}


async def search(task: QueuedJob) -> Mapping[str, Any]:
    if task.payload["unit"] == "Cobb County":
        raise PermanentJobError("no answer")
    return {"unit": task.payload["unit"], "hits": [["b", 2.0], ["a", 1.0]]}


async def extract(task: QueuedJob) -> Mapping[str, Any]:
    page_id = task.payload["page_id"]
    return {"page_id": page_id, "records": [record(page_id, "Fern School", tuition="7")]}


async def fill_gap(task: QueuedJob) -> Mapping[str, Any]:
    assert (task.payload["name"], task.payload["attribute"]) == ("Fern School", "phone")
    assert task.payload["known_pages"] == ["a", "b"]
    return {"is_found": True, "records": [record("c", "Fern School", phone="5")]}


HANDLERS: dict[str, JobHandler] = {
    "search_space_enum": enumerate_units,
    "data_aggregation_search": search,
    "data_aggregation_extract": extract,
    "search": fill_gap,
}


async def run(
    client: redis_asyncio.Redis, data_dir: Path, **handlers: JobHandler
) -> dict[str, Any]:
    async with running(client, {**HANDLERS, **handlers}) as coordinator:
        orchestrator = DataAggregationOrchestrator(coordinator, ResultStore(data_dir))
        return await orchestrator.run("t", REQUEST)


async def test_each_phase_works_on_the_results_of_the_phase_before(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """Units, pages, records, a filled gap and one joined row; failed jobs are only counted."""
    result = await run(client, tmp_path)
    path = Path(result.pop("csv_path"))
    assert Path(result.pop("database_path")).is_file()
    assert result == {
        "units": 2,
        "pages": 2,
        "records": 3,
        "entities": 1,
        "complete_entities": 1,
        "phases": {
            "enumeration": {"completed": 1, "failed": 0},
            "search": {"completed": 2, "failed": 2},
            "extraction": {"completed": 2, "failed": 0},
            "enrichment": {"completed": 1, "failed": 0},
        },
    }
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == ["Fern School", "Bibb County", "7", "5", "a b c", ""]


async def test_the_jobs_have_derived_ids_and_name_their_task(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """Ids follow from task, phase and number; gaps wait behind all other jobs."""
    await run(client, tmp_path)
    stored = {}
    for key in await client.keys("nexus:task:t:*:data"):
        job = QueuedJob.model_validate_json(str(await client.get(key)))
        assert (job.parent_id, job.project_id, job.payload["task_id"]) == ("t", "p", "t")
        stored[job.id] = job.priority.value
    assert stored == {
        "t:enumeration:0000": "high",
        **{f"t:search:{number:04d}": "normal" for number in range(4)},
        "t:extraction:0000": "normal",
        "t:extraction:0001": "normal",
        "t:enrichment:0000": "low",
    }


async def test_what_another_run_has_finished_is_not_run_again(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """A second orchestrator of the same task finds all jobs ended and gives the same result."""
    first = await run(client, tmp_path)

    async def never(task: QueuedJob) -> Mapping[str, Any]:
        raise AssertionError(task.id)

    second = await run(client, tmp_path, **dict.fromkeys(HANDLERS, never))
    assert second == first


@pytest.mark.parametrize(
    ("task_type", "answer", "sentence"),
    [
        ("search_space_enum", {"units": []}, "enumeration: no units in 'in Georgia'"),
        ("data_aggregation_search", None, "search: all 4 searches failed"),
    ],
)
async def test_a_task_that_cannot_continue_names_the_phase(
    client: redis_asyncio.Redis,
    tmp_path: Path,
    task_type: str,
    answer: Mapping[str, Any] | None,
    sentence: str,
) -> None:
    """No units, or no search that succeeded, ends the task with phase and reason."""

    async def handler(task: QueuedJob) -> Mapping[str, Any]:
        if answer is None:
            raise PermanentJobError("no answer")
        return answer

    with pytest.raises(OrchestrationError) as caught:
        await run(client, tmp_path, **{task_type: handler})
    assert str(caught.value) == sentence
    assert caught.value.phase_name == sentence.partition(":")[0]


async def test_the_caller_is_called_before_the_first_phase(
    client: redis_asyncio.Redis, tmp_path: Path
) -> None:
    """The hook runs inside the root span, when no job is queued yet."""
    seen = []

    async def on_root(task_id: str) -> None:
        seen.append((task_id, await TaskQueue(client).progress("t")))

    async with running(client, HANDLERS) as coordinator:
        orchestrator = DataAggregationOrchestrator(coordinator, ResultStore(tmp_path))
        await orchestrator.run("t", REQUEST, on_root=on_root)
    assert seen == [("t", (0, 0, 0))]


def test_there_are_seven_phases() -> None:
    """Their names and order are what the dashboard and the documents show."""
    assert json.dumps(PHASES) == json.dumps(
        [
            "enumeration",
            "search",
            "extraction",
            "enrichment",
            "resolution",
            "persistence",
            "csv_generation",
        ]
    )
