"""``run_workers`` assembles a worker process; for the commands worker, serve and demo."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from otel_bridge.cancellation import cancel
from otel_bridge.orchestration.queue.leases import LeaseKeeper, synchronous_client
from otel_bridge.orchestration.queue.parallel_task_coordinator import (
    ParallelTaskCoordinator,
    Throttle,
)
from otel_bridge.orchestration.queue.task_queue import DEFAULT_LEASE_SEC, TaskQueue
from otel_bridge.orchestration.queue.task_types import JobHandler, QueuedJob
from otel_bridge.orchestration.queue.wake import WakeUpNotifications
from otel_bridge.orchestration.research.data_aggregation_orchestrator import (
    DataAggregationOrchestrator,
)
from otel_bridge.orchestration.research.documents import (
    CorpusSearch,
    ExtractionProvider,
    SearchProvider,
    load_corpus,
)
from otel_bridge.orchestration.research.extraction import PageExtraction
from otel_bridge.orchestration.research.handlers import document_handlers
from otel_bridge.orchestration.research.research_runner import ResearchRunner
from otel_bridge.orchestration.research.result_store import ResultStore
from otel_bridge.projects.postgres import knowledge_base_of
from otel_bridge.projects.resolver import KnowledgeBase, ProjectIdResolver
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.settings import BridgeSettings

__all__ = ["run_workers"]


async def run_workers(
    redis: Redis,
    settings: BridgeSettings,
    *,
    workers: int,
    corpus_dir: Path | None = None,
    data_dir: Path,
    pace_sec: float = 0.0,
    stop: asyncio.Event,
    worker_ids: Sequence[int | str] | None = None,
    search: SearchProvider | None = None,
    extraction: ExtractionProvider | None = None,
    handlers: Mapping[str, JobHandler] | None = None,
    throttle: Throttle | None = None,
    knowledge_base: KnowledgeBase | None = None,
    lease_sec: float = DEFAULT_LEASE_SEC,
) -> None:
    """
    Run workers and a research runner on this event loop until ``stop`` is set.

    Running jobs then have ``settings.shutdown_timeout_sec`` (5 s by default) to end, before they
    are released to other workers; it returns at most about 10 s later. An outage of Redis does not
    end it. A job may take 300 s; up to 4 research tasks run at the same time. Call ``configure()``
    before, or nothing is published.

    Args:
        redis: The queue's Redis; may be a fakeredis client (an embedded Redis).
        settings: Key prefix, intervals and the shutdown timeout.
        workers: Number of workers, each running one job at a time; ignored when ``worker_ids`` is
            given.
        corpus_dir: Directory of pages to search; None: the generated corpus.
        data_dir: Directory for results; created when needed.
        pace_sec: Delay before each job in seconds, so that a person can watch; default 0: none.
        stop: Set it to stop.
        worker_ids: Unique among all workers; default ``<host>-<pid>-<n>``.
        search: Finds pages instead of the corpus, which is then not read.
        extraction: Extracts entities instead of ``PageExtraction``.
        handlers: Handlers by task type; they replace those of the same type or are added.
        throttle: Async function that waits until a job may run, e.g. for a rate limit of a provider
            or model; what it raises fails the attempt, as if the handler had raised it.
        knowledge_base: Asked for project ids that neither a job nor Redis has; default: the
            database of the settings, if there is one.
        lease_sec: A process that does not renew its leases (its rights to claimed jobs) for this
            many seconds loses its jobs; default 15.

    Raises:
        ConfigurationError: The corpus directory is missing, unreadable or empty, or the settings of
            the knowledge base cannot work.
        SharedQueueError: A queue holds an item of another program, which is left there. Jobs that
            ran were finished first, and research tasks released to other processes.
        ExceptionGroup: An error that is none of Redis or a job, which ended the work.
    """
    if search is None:
        pages = await asyncio.to_thread(load_corpus, corpus_dir)
        search = await asyncio.to_thread(CorpusSearch, pages)
    known = {**document_handlers(search, extraction or PageExtraction()), **(handlers or {})}
    process_id = f"{socket.gethostname()}-{os.getpid()}"
    ids = worker_ids or [f"{process_id}-{number}" for number in range(1, workers + 1)]

    keys = RedisKeys(settings.key_prefix)
    queue = TaskQueue(redis, keys=keys, lease_sec=lease_sec)
    keeper = LeaseKeeper(synchronous_client(redis), lease_sec, keys)
    notifications = WakeUpNotifications(redis, keys)
    resolver = ProjectIdResolver(redis, knowledge_base or knowledge_base_of(settings), keys=keys)
    coordinator = ParallelTaskCoordinator(
        queue,
        {task_type: _paced(handler, pace_sec) for task_type, handler in known.items()},
        worker_ids=ids,
        keeper=keeper,
        notifications=notifications,
        resolver=resolver,
        throttle=throttle,
        depth_interval_sec=settings.queue_depth_interval_sec,
        grace_sec=settings.shutdown_timeout_sec,
    )
    orchestrator = DataAggregationOrchestrator(
        coordinator,
        ResultStore(data_dir),
        progress_interval_sec=settings.progress_interval_sec,
    )
    runner = ResearchRunner(coordinator, orchestrator, keeper=keeper, runner_id=process_id)

    listening = asyncio.create_task(notifications.listen(), name="wake-up-notifications")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(coordinator.run(stop), name="coordinator")
            group.create_task(runner.run(stop), name="research-runner")
    finally:
        await cancel([listening])
        await resolver.close()
        await asyncio.to_thread(keeper.close)
    if coordinator.guard.error is not None:
        raise coordinator.guard.error


def _paced(handler: JobHandler, pace_sec: float) -> JobHandler:
    if pace_sec <= 0:
        return handler

    async def paced(job: QueuedJob) -> Mapping[str, Any]:
        await asyncio.sleep(pace_sec)
        return await handler(job)

    return paced
