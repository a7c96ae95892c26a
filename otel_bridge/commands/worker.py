"""``otel-bridge worker``: runs workers of the reference coordinator and one research runner."""

from __future__ import annotations

import asyncio
from pathlib import Path

from otel_bridge.bridge import configure
from otel_bridge.commands.startup import (
    check_directories,
    no_queues_error,
    open_redis,
    stop_on_signals,
)
from otel_bridge.errors import ConfigurationError
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.settings import BridgeSettings
from otel_bridge.urls import redact_url

__all__ = ["run_worker_process"]


async def run_worker_process(
    *, workers: int, corpus_dir: Path | None, data_dir: Path | None, pace_sec: float
) -> int:
    """
    Run workers and one research runner on ``REDIS_URL`` until SIGINT, SIGTERM or SIGHUP.

    Workers run the queued jobs; the runner runs up to 4 research tasks, each as such jobs. Call it
    with ``asyncio.run`` on the main thread. It calls ``configure()`` and, at the end,
    ``shutdown()`` of the bridge. Running jobs have the shutdown timeout of the settings (5 s by
    default) to end; then other workers run them. An outage of Redis while it runs is logged and
    does not end it.

    Args:
        workers: Number of workers, not limited here; 0: only the research runner.
        corpus_dir: Directory of pages; None: ``MONITORING_CORPUS_DIR``, else the generated corpus.
        data_dir: Directory for results; None: ``MONITORING_DATA_DIR``, else ``otel-bridge-data``.
        pace_sec: Delay before each job, in seconds; 0: none.

    Returns:
        The exit code, 0.

    Raises:
        ConfigurationError: ``REDIS_URL`` is missing, unreachable (2 s) or a Cluster; or a directory
            or another setting is wrong.
        SharedQueueError: A queue holds an item of another program (exit code 2): it is left there,
            and running jobs are finished first.
        RuntimeError: This is not the main thread.
    """
    stop = stop_on_signals()
    settings = BridgeSettings.load(corpus_dir=corpus_dir, data_dir=data_dir)
    if settings.redis_url is None:
        raise ConfigurationError(
            "otel-bridge worker needs REDIS_URL",
            "set it, e.g. REDIS_URL=redis://localhost:6379/0, or run otel-bridge demo",
        )
    check_directories(settings, workers)
    async with open_redis(settings) as redis_client:
        if redis_client is None:
            raise no_queues_error(settings)
        bridge = configure(service_name="otel-bridge-worker", settings=settings, strict=True)
        print(f"{workers} workers on {redact_url(settings.redis_url)}; Ctrl-C stops them")
        try:
            await run_workers(
                redis_client,
                settings,
                workers=workers,
                corpus_dir=settings.corpus_dir,
                data_dir=settings.data_dir,
                pace_sec=pace_sec,
                stop=stop,
            )
        finally:
            await asyncio.to_thread(bridge.shutdown)
    return 0
