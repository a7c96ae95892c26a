"""
5,000 events a second of four research tasks: ``python -m tests.support.full_load URL SECONDS``.

32 workers run jobs that end at once; one in about a hundred fails.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings

__all__ = ["publish"]

_PER_SEC: Final = 5_000
_TASKS: Final = 4
_WORKERS: Final = 32


def publish(url: str, seconds: float) -> None:
    """Publish for so long, then what is still queued."""
    bus = EventBus.connect(BridgeSettings(bus_url=url, buffer_max_events=100_000))
    for task in range(_TASKS):
        bus.publish(_event("task_started", task, f"load-{task}", meta={"title": f"Load {task}"}))
        bus.publish(_event("phase_started", task, None, counts={"total": 100_000}))
    started = time.monotonic()
    sent = 0
    while True:
        elapsed = time.monotonic() - started
        if elapsed > seconds:
            break
        while sent < elapsed * _PER_SEC:
            task = sent // 2 % _TASKS
            job = f"load-{task}:{sent}"
            span = f"{sent + 1:016x}"
            worker = f"worker-{sent // 2 % _WORKERS}"
            bus.publish(_event("task_started", task, job, span_id=span, worker_id=worker))
            end = "task_failed" if sent % 202 == 0 else "task_completed"
            error = "TimeoutError: the source did not answer" if sent % 202 == 0 else None
            bus.publish(
                _event(end, task, job, span_id=span, worker_id=worker, duration_ms=1.0, error=error)
            )
            sent += 2
        time.sleep(0.01)
    bus.shutdown()


def _event(kind: str, task: int, task_id: str | None, **fields: Any) -> MonitoringEvent:
    return MonitoringEvent.model_validate(
        {
            "event_type": kind,
            "project_id": "load",
            "parent_task_id": f"load-{task}",
            "task_id": task_id,
            "task_type": "search",
            "phase": "search",
            **fields,
        }
    )


if __name__ == "__main__":
    publish(sys.argv[1], float(sys.argv[2]))
