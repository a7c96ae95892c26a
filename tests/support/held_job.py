"""
A worker that runs one job until it is killed: ``python -m tests.support.held_job``.

Arguments: the URL of the Redis, the worker's id, the job's id. Says ``running`` on its standard
output once the start of the job is in the log.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import otel_bridge
from otel_bridge.settings import BridgeSettings

__all__ = ["start"]

ROOT = Path(__file__).parents[2]
HEARTBEAT_SEC = 0.2


def start(redis_url: str, worker_id: str, job_id: str) -> subprocess.Popen[bytes]:
    """Start such a process; returns when its job runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.held_job", redis_url, worker_id, job_id],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"running\n"
    process.stdout.close()
    return process


def main(redis_url: str, worker_id: str, job_id: str) -> None:
    settings = BridgeSettings(redis_url=redis_url, heartbeat_interval_sec=HEARTBEAT_SEC)
    bridge = otel_bridge.configure(service_name="held", settings=settings)
    with (
        otel_bridge.worker(worker_id),
        otel_bridge.job(
            task_id=job_id, task_type="held", parent_task_id="held", worker_id=worker_id
        ),
    ):
        assert bridge.flush()
        print("running", flush=True)
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
