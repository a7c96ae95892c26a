"""
``DataAggregationOrchestrator``: runs a research task through its seven phases.

enumeration -> search -> extraction -> enrichment -> resolution -> persistence -> csv_generation.
The work of the first four phases is jobs, which any worker may run; the orchestrator does the rest
itself. The ids of the jobs are derived from the research task's id and the phase. So when another
orchestrator takes over, the jobs that have ended are known, and only the others are queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from otel_bridge.errors import OtelBridgeError
from otel_bridge.orchestration.queue.parallel_task_coordinator import ParallelTaskCoordinator
from otel_bridge.orchestration.queue.task_queue import Progress
from otel_bridge.orchestration.queue.task_types import (
    Priority,
    QueuedJob,
    ResearchTaskRequest,
    TaskType,
)
from otel_bridge.orchestration.research.documents import Record
from otel_bridge.orchestration.research.resolution import Entity, resolve
from otel_bridge.orchestration.research.result_store import ResultStore
from otel_bridge.spans.context_managers import phase, research_task
from otel_bridge.spans.work_spans import Phase

__all__ = ["PHASES", "DataAggregationOrchestrator", "OrchestrationError"]

logger = logging.getLogger(__name__)

PHASES: Final = (
    "enumeration",
    "search",
    "extraction",
    "enrichment",
    "resolution",
    "persistence",
    "csv_generation",
)

_MIN_COUNT_INTERVAL_SEC: Final = 0.2
"""Each ended job sends a notification; counting after each one would be needlessly often."""
_MAX_COUNTING_SHARE: Final = 0.1
"""Counting takes at most this share of the time, however large the group is."""
_MAX_COUNT_INTERVAL_SEC: Final = 2.0
"""The jobs are counted after this time even without a notification, which may be lost."""
MAX_PAGES: Final = 5000
MAX_GAPS: Final = 2000
_INTERRUPTED: Final = "interrupted: its orchestrator is stopping, another one continues"


class OrchestrationError(OtelBridgeError):
    """
    Raised by ``DataAggregationOrchestrator.run`` when a research task cannot continue.

    It has no units to search, or all searches failed. The arguments are kept as attributes.

    Args:
        phase_name: Name of the phase that failed: ``enumeration`` or ``search``.
        reason: Why it failed.
    """

    def __init__(self, phase_name: str, reason: str) -> None:
        super().__init__(phase_name, reason)
        self.phase_name = phase_name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.phase_name}: {self.reason}"


class DataAggregationOrchestrator:
    """
    Runs a research task through its seven phases, the first four as jobs of a coordinator.

    The phases are enumeration, search, extraction, enrichment, resolution, persistence and
    csv_generation. ``run`` raises ``OrchestrationError`` if there is nothing to search or no search
    succeeds. ``run_workers`` creates it, and a ``ResearchRunner`` calls ``run``; several tasks may
    run at the same time on one event loop. There is nothing to start or close. Creating it never
    raises.

    Args:
        coordinator: Queues the jobs; its workers, or those of other processes, run them.
        store: Stores the results.
        progress_interval_sec: Seconds between two counts of a running phase's jobs, which are
            published as ``stats_snapshot``; default 5.
    """

    def __init__(
        self,
        coordinator: ParallelTaskCoordinator,
        store: ResultStore,
        *,
        progress_interval_sec: float = 5.0,
    ) -> None:
        self._coordinator = coordinator
        self._queue = coordinator.queue
        self._ended = coordinator.notifications.ended
        self._redis_retry = coordinator.redis_retry
        self._store = store
        self._progress_interval_sec = progress_interval_sec

    async def run(
        self,
        task_id: str,
        request: ResearchTaskRequest,
        *,
        project_id: str | None = None,
        on_root: Callable[[str], Awaitable[None]] | None = None,
    ) -> dict[str, Any]:
        """
        Run one research task to its end; there is no timeout.

        At most 5,000 pages and 2,000 missing attributes are worked on; further ones are left out.
        Jobs that fail do not end it. It may run again under the same id, which uses the results of
        the jobs that have ended. If it is cancelled, the task is shown as failed.

        Args:
            task_id: Id of the research task, the ``parent_task_id`` of its jobs.
            request: What to collect.
            project_id: Default: the project of the request.
            on_root: Awaited with ``task_id`` inside the root span, before the first phase.

        Returns:
            ``csv_path`` and ``database_path``; the numbers
            ``units pages records entities complete_entities``; and ``phases``, which has
            ``{completed, failed}`` for each phase with jobs.

        Raises:
            OrchestrationError: The search space has no units, or every search failed.
            redis.RedisError, OSError: Redis was unavailable for over a minute; or (``OSError``,
                ``sqlite3.Error``) the results cannot be stored.
            Exception: What ``on_root`` raised.
        """
        config = request.data_aggregation_config
        async with research_task(
            task_id,
            title=request.title,
            project_id=project_id or request.project_id,
            task_type=request.research_type,
            domain=config.domain_hint,
            message=request.research_query,
        ) as root:
            try:
                if on_root is not None:
                    await on_root(task_id)
                return await _Run(self, task_id, request, project_id or request.project_id).run()
            except asyncio.CancelledError:
                root.fail(_INTERRUPTED)
                raise

    async def run_jobs(
        self, block: Phase, name: str, task_id: str, jobs: Sequence[QueuedJob]
    ) -> tuple[Progress, dict[str, Any]]:
        """
        Queue the jobs of a phase and wait until all have ended, publishing their counts meanwhile.

        Waits for ever for a job that no worker runs; jobs that fail do not raise. The jobs are
        counted every 0.2 to 2 s, and the counts published every 5 s (by default).

        Args:
            block: The open phase, which publishes the counts.
            name: Name of the phase; the ids of its jobs start with ``{task_id}:{name}:``.
            task_id: Id of the research task.
            jobs: The jobs; those whose id is known already are not queued again. No limit.

        Returns:
            The final counts, and the results of the completed jobs by job id.

        Raises:
            redis.RedisError, OSError: Redis was unavailable for over a minute.
        """
        await self._coordinator.submit_tasks(jobs)
        block.submitted(len(jobs))
        progress = await self._wait_until_ended(block, task_id, f"{task_id}:{name}:")
        block.progress(
            completed=progress.completed, failed=progress.failed, pending=0, total=len(jobs)
        )
        results = await self._redis_retry.call(
            lambda: self._queue.results([job.id for job in jobs])
        )
        return progress, results

    async def _wait_until_ended(self, block: Phase, task_id: str, prefix: str) -> Progress:
        loop = asyncio.get_running_loop()
        publish_at = loop.time() + self._progress_interval_sec
        while True:
            seen, started = self._ended.count, loop.time()
            progress = await self._redis_retry.call(lambda: self._queue.progress(task_id, prefix))
            if progress.is_done:
                return progress
            if loop.time() >= publish_at:
                publish_at += self._progress_interval_sec
                block.progress(**progress._asdict())
            counting_sec = loop.time() - started
            await asyncio.sleep(max(_MIN_COUNT_INTERVAL_SEC, counting_sec / _MAX_COUNTING_SHARE))
            await self._ended.wait(seen, min(_MAX_COUNT_INTERVAL_SEC, publish_at - loop.time()))

    async def save(self, task_id: str, entities: Sequence[Entity]) -> str:
        """Store a task's entities with ``ResultStore.save``, in a thread; return the path."""
        return str(await asyncio.to_thread(self._store.save, task_id, entities))

    async def write_csv(self, task_id: str, attributes: Sequence[str]) -> str:
        """Write a task's CSV with ``ResultStore.write_csv``, in a thread; return the path."""
        return str(await asyncio.to_thread(self._store.write_csv, task_id, attributes))


class _Run:
    """One run of a research task: calls the phases in order and passes results between them."""

    def __init__(
        self,
        orchestrator: DataAggregationOrchestrator,
        task_id: str,
        request: ResearchTaskRequest,
        project_id: str | None,
    ) -> None:
        self._orchestrator = orchestrator
        self._task_id = task_id
        self._config = request.data_aggregation_config
        self._project_id = project_id
        self._counts: dict[str, dict[str, int]] = {}

    async def run(self) -> dict[str, Any]:
        units = await self._enumerate()
        pages = await self._search(units)
        records = await self._extract(pages)
        records += await self._enrich(records)
        async with _phase("resolution") as block:
            entities = await asyncio.to_thread(resolve, records)
            block.message(f"{len(entities)} entities from {len(records)} records")
        async with _phase("persistence") as block:
            database_path = await self._orchestrator.save(self._task_id, entities)
            block.message(f"{len(entities)} entities stored")
        async with _phase("csv_generation") as block:
            csv_path = await self._orchestrator.write_csv(self._task_id, self._config.attributes)
            block.message(f"{len(entities)} rows in {csv_path}")
        attributes = set(self._config.attributes)
        return {
            "csv_path": csv_path,
            "database_path": database_path,
            "units": len(units),
            "pages": len(pages),
            "records": len(records),
            "entities": len(entities),
            "complete_entities": sum(attributes <= entity.values.keys() for entity in entities),
            "phases": self._counts,
        }

    async def _jobs(self, block: Phase, name: str, jobs: Sequence[QueuedJob]) -> dict[str, Any]:
        progress, results = await self._orchestrator.run_jobs(block, name, self._task_id, jobs)
        self._counts[name] = {"completed": progress.completed, "failed": progress.failed}
        return results

    def _job(
        self,
        name: str,
        number: int,
        task_type: TaskType,
        payload: Mapping[str, Any],
        priority: Priority = Priority.NORMAL,
    ) -> QueuedJob:
        return QueuedJob(
            id=f"{self._task_id}:{name}:{number:04d}",
            type=task_type,
            payload={**payload, "task_id": self._task_id},
            priority=priority,
            parent_task_id=self._task_id,
            project_id=self._project_id,
        )

    async def _enumerate(self) -> list[str]:
        name = "enumeration"
        async with _phase(name) as block:
            payload = {"search_space": self._config.search_space}
            job = self._job(name, 0, TaskType.SEARCH_SPACE_ENUM, payload, Priority.HIGH)
            results = await self._jobs(block, name, [job])
            units = [str(unit) for unit in results.get(job.id, {}).get("units", ())]
            if not units:
                raise OrchestrationError(name, f"no units in {self._config.search_space!r}")
            block.message(f"{len(units)} units")
        return units

    async def _search(self, units: Sequence[str]) -> list[str]:
        name = "search"
        async with _phase(name) as block:
            pairs = [(entity, unit) for entity in self._config.entities for unit in units]
            jobs = [
                self._job(
                    name,
                    number,
                    TaskType.DATA_AGGREGATION_SEARCH,
                    {"entity": entity, "unit": unit},
                )
                for number, (entity, unit) in enumerate(pairs)
            ]
            results = await self._jobs(block, name, jobs)
            if not results:
                raise OrchestrationError(name, f"all {len(jobs)} searches failed")
            found = {hit[0] for result in results.values() for hit in result["hits"]}
            pages = sorted(found)[:MAX_PAGES]
            left_out = len(found) - len(pages)
            block.message(f"{len(pages)} pages" + (f", {left_out} left out" if left_out else ""))
        return pages

    async def _extract(self, pages: Sequence[str]) -> list[Record]:
        name = "extraction"
        async with _phase(name) as block:
            jobs = [
                self._job(
                    name,
                    number,
                    TaskType.DATA_AGGREGATION_EXTRACT,
                    {
                        "page_id": page_id,
                        "entities": self._config.entities,
                        "attributes": self._config.attributes,
                    },
                )
                for number, page_id in enumerate(pages)
            ]
            records = _records(await self._jobs(block, name, jobs))
            block.message(f"{len(records)} records from {len(pages)} pages")
        return records

    async def _enrich(self, records: Sequence[Record]) -> list[Record]:
        """Search for each missing attribute by the entity's name: on pages that name no unit."""
        name = "enrichment"
        async with _phase(name) as block:
            entities = await asyncio.to_thread(resolve, records)
            gaps = [
                (entity, attribute)
                for entity in entities
                for attribute in self._config.attributes
                if attribute not in entity.values
            ][:MAX_GAPS]
            jobs = [
                self._job(
                    name,
                    number,
                    TaskType.SEARCH,
                    {
                        "name": entity.name,
                        "attribute": attribute,
                        "entities": self._config.entities,
                        "known_pages": entity.sources,
                    },
                    Priority.LOW,
                )
                for number, (entity, attribute) in enumerate(gaps)
            ]
            results = await self._jobs(block, name, jobs)
            filled = sum(bool(result["is_found"]) for result in results.values())
            block.message(f"{filled} of {len(gaps)} gaps filled")
        return _records(results)


@asynccontextmanager
async def _phase(name: str) -> AsyncIterator[Phase]:
    async with phase(name) as block:
        try:
            yield block
        except asyncio.CancelledError:
            block.fail(_INTERRUPTED)
            raise


def _records(results: Mapping[str, Any]) -> list[Record]:
    """Return the records of all results in the order of the jobs, without duplicates."""
    records = {
        (row["page_id"], row["name"], tuple(sorted(row["values"].items()))): Record(**row)
        for _, result in sorted(results.items())
        for row in result["records"]
    }
    return list(records.values())
