"""
A research task with many jobs, as spans of a process: ``python -m tests.support.large_task``.

Arguments: the URL of the Redis and the number of jobs. Each job is enqueued, runs and makes two
model calls. One job in 20 fails in the second call, about one in 25 does so in its first attempt
only.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer

import otel_bridge
from otel_bridge.settings import BridgeSettings

__all__ = ["TASK_ID", "LargeTask", "publish"]

ROOT: Final = Path(__file__).parents[2]
TASK_ID: Final = "large"
_FAILS_EVERY: Final = 20
_RETRIES_EVERY: Final = 25
_FLUSH_EVERY: Final = 1000
_MAX_LOG_EVENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class LargeTask:
    """
    What must be counted of such a task.

    Attributes:
        jobs: Without model calls, each of which is a job of its own.
    """

    jobs: int

    @property
    def failed_ids(self) -> list[str]:
        """Ids of the jobs that fail for good."""
        return [_id(number) for number in range(self.jobs) if fails(number)]

    @property
    def retries(self) -> int:
        """Attempts that are retried."""
        return sum(retries(number) for number in range(self.jobs))

    @property
    def completed(self) -> int:
        """Completed jobs and model calls."""
        failed = len(self.failed_ids)
        # Of a failed attempt the first call has completed.
        return (self.jobs - failed) * 3 + failed + self.retries

    @property
    def failed(self) -> int:
        """Failed jobs and model calls: also the call of an attempt that was retried."""
        return 2 * len(self.failed_ids) + self.retries

    @property
    def nodes(self) -> int:
        """Root, phase, enqueues, attempts and model calls."""
        return 2 + 4 * self.jobs + 3 * self.retries


def _id(number: int) -> str:
    return f"{TASK_ID}_{number}"


def fails(number: int) -> bool:
    """Whether a job fails."""
    return number % _FAILS_EVERY == 0


def retries(number: int) -> bool:
    """Whether a job completes in its second attempt."""
    return number % _RETRIES_EVERY == 1 and not fails(number)


def publish(redis_url: str, jobs: int) -> LargeTask:
    """Publish such a task from a process of its own; returns when all of it is in the log."""
    command = [sys.executable, "-m", "tests.support.large_task", redis_url, str(jobs)]
    subprocess.run(command, cwd=ROOT, check=True)
    return LargeTask(jobs)


def _attempt(tracer: Tracer, number: int, attempt: int, carrier: dict[str, str]) -> None:
    is_bad = fails(number) or (retries(number) and attempt == 0)
    with (
        contextlib.suppress(ValueError),
        otel_bridge.job(
            task_id=_id(number),
            task_type="step",
            carrier=carrier,
            retry_count=attempt,
            worker_id="w",
        ) as job,
    ):
        for call in range(2):
            with tracer.start_as_current_span(
                "chat large-model",
                kind=SpanKind.CLIENT,
                attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "large"},
            ):
                if is_bad and call == 1:
                    if retries(number):
                        job.retry("HTTP 503")
                    raise ValueError("HTTP 503")


def main(redis_url: str, jobs: str) -> None:
    settings = BridgeSettings(redis_url=redis_url, stream_max_events=_MAX_LOG_EVENTS)
    bridge = otel_bridge.configure(service_name="large", settings=settings)
    tracer = trace.get_tracer("calls")
    with otel_bridge.research_task(TASK_ID), otel_bridge.phase("all", total=int(jobs)):
        for number in range(int(jobs)):
            with otel_bridge.enqueue(task_id=_id(number), task_type="step", queue="q") as carrier:
                pass
            for attempt in range(1 + retries(number)):
                _attempt(tracer, number, attempt, dict(carrier))
            if number % _FLUSH_EVERY == 0:
                assert bridge.flush(60)
    assert bridge.flush(60)
    assert bridge.bus is not None
    assert bridge.bus.counters.dropped == 0
    bridge.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
