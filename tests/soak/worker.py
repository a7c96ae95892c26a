"""
Runs the jobs of the soak test until it is stopped: ``python -m tests.soak.worker URL ID``.

A job that is to die kills its own process by SIGKILL, once its start is in the log. SIGTERM lets
the job that runs end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any, Final

import msgspec
import redis
from opentelemetry import trace
from opentelemetry.trace import SpanKind

import otel_bridge
from otel_bridge.bridge import Bridge
from tests.soak.jobs import (
    KILLS,
    QUEUE,
    SoakJob,
    counters_of,
    done_key,
    left_key,
)

_WAIT_SEC: Final = 0.5
_KEEP_SEC: Final = 600
_CHAT: Final = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "soak-model"}
_CAUSES: Final = ("HTTP 503", "timed out", "no such page", "bad JSON")


class Worker:
    """
    Takes one job after the other.

    Args:
        client: Has the queue.
        bridge: Of this process.
        worker_id: Its name; the process that follows it after a kill has the same.
    """

    def __init__(self, client: redis.Redis, bridge: Bridge, worker_id: str) -> None:
        self.is_stopping = False
        self._client: Any = client
        self._bridge = bridge
        self._id = worker_id
        self._tracer = trace.get_tracer("soak")

    def run(self) -> None:
        """Take jobs until ``is_stopping``."""
        with otel_bridge.worker(self._id):
            while not self.is_stopping:
                found = self._client.blpop([QUEUE], timeout=_WAIT_SEC)
                if found is not None:
                    self._run_job(msgspec.json.decode(found[1], type=SoakJob))

    def _run_job(self, job: SoakJob) -> None:
        outcome = job.outcome if job.attempt == 0 else "completes"
        with (
            contextlib.suppress(ValueError),
            otel_bridge.job(
                task_id=job.id,
                task_type="soak_step",
                queue=QUEUE,
                carrier=job.carrier,
                retry_count=job.attempt,
            ) as span,
        ):
            with self._tracer.start_as_current_span(
                "chat soak-model", kind=SpanKind.CLIENT, attributes=_CHAT
            ):
                pass
            if outcome in ("dies", "dies_and_is_requeued"):
                self._die(job, is_requeued=outcome != "dies")
            elif outcome == "retries":
                span.retry("HTTP 429")
                self._requeue(job)
            elif outcome == "fails":
                raise ValueError(_CAUSES[hash(job.id) % len(_CAUSES)])
        if outcome != "retries":
            self._end(job)

    def _requeue(self, job: SoakJob) -> None:
        job.attempt += 1
        self._client.rpush(QUEUE, msgspec.json.encode(job))

    def _end(self, job: SoakJob) -> None:
        if self._client.decr(left_key(job.batch)) == 0:
            self._client.rpush(done_key(job.batch), 1)
            self._client.expire(done_key(job.batch), _KEEP_SEC)

    def _die(self, job: SoakJob, *, is_requeued: bool) -> None:
        assert self._bridge.flush(30)
        if is_requeued:
            self._requeue(job)
        else:
            self._end(job)
        self._client.incr(KILLS)
        self.add_counters()
        os.kill(os.getpid(), signal.SIGKILL)

    def add_counters(self) -> None:
        """Add what this process published to the sums."""
        for key, count in counters_of(self._bridge).items():
            self._client.incrby(key, count)


def main(url: str, worker_id: str) -> None:
    bridge = otel_bridge.configure(service_name="soak-worker")
    worker = Worker(redis.Redis.from_url(url, socket_timeout=60), bridge, worker_id)

    def stop(*_: object) -> None:
        worker.is_stopping = True

    signal.signal(signal.SIGTERM, stop)
    worker.run()
    bridge.shutdown(30)
    worker.add_counters()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
