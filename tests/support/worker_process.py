"""
Workers in a process of their own, to be killed: ``python -m tests.support.worker_process``.

Arguments: ``jobs|research <redis url> <id> <workers> <lease s> [data dir]``. ``jobs`` runs the
handlers below; ``research`` is what ``otel-bridge worker`` runs. Says ``ready`` on its standard
output, stops in good order on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otel_bridge.bridge import configure
from otel_bridge.orchestration.queue.task_types import QueuedJob
from otel_bridge.orchestration.worker_pool import run_workers
from otel_bridge.settings import BridgeSettings
from tests.support.coordinator import running
from tests.support.queue_clients import connect

__all__ = ["start"]

ROOT = Path(__file__).parents[2]


def start(
    kind: str, url: str, name: str, *, workers: int, lease_sec: float, data_dir: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start such a process; returns when it is ready."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.worker_process", kind, url, name),
            *(str(workers), str(lease_sec), str(data_dir or "")),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


async def _main(kind: str, url: str, name: str, workers: int, lease_sec: float, data: str) -> None:
    client = connect(url)

    async def work(job: QueuedJob) -> Mapping[str, Any]:
        await client.hincrby("test:executions", job.id, 1)
        await asyncio.sleep(job.payload["ms"] / 1000)
        return {"by": name, "attempt": job.retry_count}

    async def poison(job: QueuedJob) -> Mapping[str, Any]:
        await client.hincrby("test:executions", job.id, 1)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    if kind == "research":
        settings = BridgeSettings(redis_url=url, shutdown_timeout_sec=1)
        bridge = configure(service_name=name, settings=settings)
        await run_workers(
            client,
            settings,
            workers=workers,
            data_dir=Path(data),
            stop=stop,
            worker_ids=[f"{name}-{number}" for number in range(workers)],
            lease_sec=lease_sec,
            pace_sec=0.05,
        )
        await asyncio.to_thread(bridge.shutdown)
    else:
        async with running(
            client,
            {"work": work, "poison": poison},
            workers=workers,
            lease_sec=lease_sec,
            prefix=f"{name}-",
            stop=stop,
        ):
            await stop.wait()
    await client.aclose()


if __name__ == "__main__":
    kind, url, name, workers, lease_sec, data = sys.argv[1:]
    asyncio.run(_main(kind, url, name, int(workers), float(lease_sec), data))
