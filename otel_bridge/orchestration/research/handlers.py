"""
Handlers of the reference jobs: enumerate a search space, search it, extract a page, fill a gap.

A handler takes a ``QueuedJob`` and returns a JSON object. If it raises ``PermanentJobError``, the
job fails at once; any other exception leads to a retry. ``document_handlers`` makes the four
handlers for a search and an extraction provider. A team passes its own providers or its own
handlers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from otel_bridge.orchestration.queue.errors import PermanentJobError
from otel_bridge.orchestration.queue.task_types import (
    JobHandler,
    QueuedJob,
    TaskType,
    field_error_sentence,
)
from otel_bridge.orchestration.research.documents import ExtractionProvider, Record, SearchProvider
from otel_bridge.orchestration.research.resolution import is_same_core, name_core
from otel_bridge.orchestration.research.vocabulary import attribute_named, search_words

__all__ = ["document_handlers"]

_Words = Annotated[list[str], Field(min_length=1)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _Enumerate(_Payload):
    search_space: str


class _Search(_Payload):
    entity: str
    unit: str
    limit: int = Field(default=25, ge=1, le=1000)


class _Extract(_Payload):
    page_id: str
    entities: _Words
    attributes: _Words


class _Gap(_Payload):
    name: str
    attribute: str
    entities: _Words
    known_pages: list[str] = Field(default_factory=list)


_PayloadT = TypeVar("_PayloadT", bound=_Payload)


def _read(model: type[_PayloadT], job: QueuedJob) -> _PayloadT:
    try:
        return model.model_validate(job.payload)
    except ValidationError as error:
        raise PermanentJobError(f"payload: {field_error_sentence(error)}") from None


def document_handlers(
    search: SearchProvider, extraction: ExtractionProvider
) -> dict[str, JobHandler]:
    """
    Make the handlers of the four ``TaskType``s, the async functions that run one job each.

    They enumerate the units of a search space, search a unit, extract a page, and search for a
    missing attribute. The coordinator's job timeout (300 s by default) applies to each.

    Args:
        search: Finds and returns pages; 25 for a search job, unless its payload has another
            ``limit`` from 1 to 1,000, and 10 to fill a gap.
        extraction: Extracts entities from pages; leniently from a job's second attempt on.

    Returns:
        The handlers by task type. Each takes a ``QueuedJob`` and returns a JSON object. For a
        payload with wrong fields, or a page that does not exist, it raises ``PermanentJobError``,
        and the job fails at once; what the providers raise passes, and the job is retried.
    """

    async def read_page(page_id: str) -> bytes:
        try:
            return await search.read(page_id)
        except KeyError:
            raise PermanentJobError(
                f"page {page_id!r} is not in this worker's corpus; give all workers the same one"
            ) from None

    async def enumerate_units(job: QueuedJob) -> Mapping[str, Any]:
        payload = _read(_Enumerate, job)
        return {"units": list(await search.units(payload.search_space))}

    async def search_unit(job: QueuedJob) -> Mapping[str, Any]:
        payload = _read(_Search, job)
        hits = await search.search(
            search_words(payload.entity), phrase=payload.unit, limit=payload.limit
        )
        return {"unit": payload.unit, "hits": [list(hit) for hit in hits]}

    async def extract_page(job: QueuedJob) -> Mapping[str, Any]:
        payload = _read(_Extract, job)
        records = await extraction.extract(
            payload.page_id,
            await read_page(payload.page_id),
            entities=payload.entities,
            attributes=payload.attributes,
            is_lenient=job.retry_count > 0,
        )
        return {"page_id": payload.page_id, "records": [record._asdict() for record in records]}

    async def fill_gap(job: QueuedJob) -> Mapping[str, Any]:
        """Search for one attribute of one entity, on pages that were not extracted for it yet."""
        payload = _read(_Gap, job)
        core = name_core(payload.name)
        labels = attribute_named(payload.attribute).labels
        found: list[Record] = []
        # The rarest word of a name also finds its other spellings: "Saint Tansyholt" for
        # "St. Tansyholt's".
        rarest = max(core.split(), key=len)
        for hit in await search.search([*labels, rarest], phrase=rarest, limit=10):
            if hit.page_id in payload.known_pages:
                continue
            records = await extraction.extract(
                hit.page_id,
                await read_page(hit.page_id),
                entities=payload.entities,
                attributes=[payload.attribute],
                is_lenient=job.retry_count > 0,
            )
            found.extend(
                record
                for record in records
                if is_same_core(name_core(record.name), core) and payload.attribute in record.values
            )
        return {"is_found": bool(found), "records": [record._asdict() for record in found]}

    return {
        TaskType.SEARCH_SPACE_ENUM: enumerate_units,
        TaskType.DATA_AGGREGATION_SEARCH: search_unit,
        TaskType.DATA_AGGREGATION_EXTRACT: extract_page,
        TaskType.SEARCH: fill_gap,
    }
