"""The reference jobs, one attempt at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from otel_bridge.orchestration.queue.errors import PageBrokenError, PermanentJobError
from otel_bridge.orchestration.queue.task_types import QueuedJob, TaskType
from otel_bridge.orchestration.research.documents import CorpusSearch, Hit, Record
from otel_bridge.orchestration.research.extraction import PageExtraction
from otel_bridge.orchestration.research.handlers import document_handlers

PAGES = {
    "a.txt": b"Name: St. Quillmere's School\nCounty: Bibb County, Georgia\nEnrollment: 88\n",
    "b.txt": b"Fee schedule\n\nSaint Quillmere's School\nTuition: $9,100 for the year.\n",
    "c.txt": b"Fee schedule\n\nFernholt Academy\nTuition: $7,000 for the year.\n",
    "d.txt": b"Name: Fernholt Academy\nHead: Andr\xe9\nTuition: $7,000\n",
}
SCHOOLS = {"entities": ["private schools"]}


async def run(task_type: str, payload: dict[str, Any], *, retry_count: int = 0) -> Any:
    handlers = document_handlers(CorpusSearch(PAGES), PageExtraction())
    job = QueuedJob(id="j", type=task_type, payload=payload, retry_count=retry_count)
    return await handlers[task_type](job)


async def test_a_search_space_is_enumerated() -> None:
    """The result lists the units to search one by one."""
    result = await run(TaskType.SEARCH_SPACE_ENUM, {"search_space": "in Georgia"})
    assert result == {"units": ["Bibb County"]}


async def test_a_unit_is_searched() -> None:
    """The result names the pages found, best first, with their scores."""
    payload = {"entity": "private schools", "unit": "Bibb County"}
    result = await run(TaskType.DATA_AGGREGATION_SEARCH, payload)
    assert [page_id for page_id, _ in result["hits"]] == ["a.txt"]


async def test_the_second_attempt_reads_leniently() -> None:
    """A damaged page fails the first attempt for a reason and is repaired by the second."""
    payload = {"page_id": "d.txt", "attributes": ["tuition"], **SCHOOLS}
    with pytest.raises(PageBrokenError, match="not UTF-8"):
        await run(TaskType.DATA_AGGREGATION_EXTRACT, payload)
    result = await run(TaskType.DATA_AGGREGATION_EXTRACT, payload, retry_count=1)
    assert [record["values"] for record in result["records"]] == [{"tuition": "7000"}]


@pytest.mark.parametrize(
    ("known_pages", "is_found"), [([], True), (["a.txt"], True), (["a.txt", "b.txt"], False)]
)
async def test_a_gap_is_filled_from_a_page_under_a_variant_of_the_name(
    known_pages: list[str], is_found: bool
) -> None:
    """Only pages not read yet count, and only what they say of this entity."""
    payload = {
        "name": "St. Quillmere's School",
        "attribute": "tuition",
        "known_pages": known_pages,
        **SCHOOLS,
    }
    result = await run(TaskType.SEARCH, payload)
    assert result["is_found"] is is_found
    found = [(record["page_id"], record["values"]) for record in result["records"]]
    assert found == ([("b.txt", {"tuition": "9100"})] if is_found else [])


@pytest.mark.parametrize(
    ("task_type", "payload", "field"),
    [
        (TaskType.SEARCH_SPACE_ENUM, {}, "search_space"),
        (TaskType.DATA_AGGREGATION_SEARCH, {"entity": "x", "unit": 7}, "unit"),
        (TaskType.DATA_AGGREGATION_SEARCH, {"entity": "x", "unit": "y", "limit": 0}, "limit"),
        (TaskType.DATA_AGGREGATION_EXTRACT, {"page_id": "a.txt", "attributes": ["x"]}, "entities"),
        (TaskType.SEARCH, {"name": "x", "attribute": "y", "entities": []}, "entities"),
    ],
)
async def test_a_payload_that_is_wrong_is_refused_for_good_by_name(
    task_type: str, payload: dict[str, Any], field: str
) -> None:
    """A payload that cannot be read will not be better next time."""
    with pytest.raises(PermanentJobError, match=f"payload: {field}: "):
        await run(task_type, payload)


async def test_a_page_of_another_corpus_is_refused_for_good() -> None:
    """Workers with different corpora get an error that says so, and no retry."""
    payload = {"page_id": "z.txt", "attributes": ["tuition"], **SCHOOLS}
    with pytest.raises(PermanentJobError, match=r"'z\.txt' is not in this worker's corpus"):
        await run(TaskType.DATA_AGGREGATION_EXTRACT, payload)


class Elsewhere:
    """A team's own search provider."""

    async def units(self, search_space: str) -> Sequence[str]:
        return ["here"]

    async def search(
        self, terms: Sequence[str], *, phrase: str | None = None, limit: int = 25
    ) -> Sequence[Hit]:
        return [Hit("https://example.org/1", 1.0)]

    async def read(self, page_id: str) -> bytes:
        return b"anything"


class Oracle:
    """A team's own extraction provider."""

    async def extract(
        self,
        page_id: str,
        data: bytes,
        *,
        entities: Sequence[str],
        attributes: Sequence[str],
        is_lenient: bool,
    ) -> Sequence[Record]:
        return [Record("Somewhere School", "here", {"tuition": "1"}, page_id)]


async def test_other_providers_take_the_place_of_ours() -> None:
    """Search and extraction are replaced by passing objects with the same methods."""
    handlers = document_handlers(Elsewhere(), Oracle())
    payload = {"page_id": "https://example.org/1", "attributes": ["tuition"], **SCHOOLS}
    job = QueuedJob(id="j", type=TaskType.DATA_AGGREGATION_EXTRACT, payload=payload)
    result = await handlers[job.type](job)
    assert result["records"] == [
        {
            "name": "Somewhere School",
            "unit": "here",
            "values": {"tuition": "1"},
            "page_id": "https://example.org/1",
        }
    ]
