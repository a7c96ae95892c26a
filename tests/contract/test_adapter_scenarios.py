"""What users do beyond the common contract: jobs run in place, called off, rejected, scheduled."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker as ArqWorker
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.arq import ArqAdapter
from otel_bridge.bridge import Bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.task_rig import TaskRig

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


def test_celerys_rejected_jobs(redis_url: str) -> None:
    """Dropped by ``Reject`` it failed, once and for good; given back to the queue it runs again."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker()
        dropped = rig.submit("reject", rig.path("dropped"), False)
        given_back = rig.submit("reject", rig.path("given back"), True)
        rig.wait_for_kinds(
            given_back,
            ["task_completed", "task_enqueued", "task_retry", "task_started", "task_started"],
        )
        rig.wait_for("task_failed", dropped)
        rig.stop_worker()
        assert rig.kinds(dropped) == ["task_enqueued", "task_started", "task_failed"]


@pytest.mark.parametrize("framework", ["arq", "celery", "dramatiq"])
def test_a_job_that_no_worker_knows(framework: str, redis_url: str) -> None:
    """A name that the worker has no function for: the job failed, in its research task."""
    with TaskRig(framework, redis_url) as rig:
        rig.start_worker()
        task = name("task")
        job = rig.submit("unknown", research_task=task)
        failed = rig.wait_for("task_failed", job)
        assert (failed["parent_task_id"], failed["project_id"]) == (task, "alpha")
        assert "unknown" in failed["error"]
        known = rig.submit("add", 1)
        rig.wait_for("task_completed", known)
        assert rig.kinds(job) == ["task_enqueued", "task_failed"]


def test_arqs_jobs_aborted_before_they_begin(redis_url: str) -> None:
    """A job that is put off and aborted has failed, and says why."""
    with TaskRig("arq", redis_url) as rig:
        rig.start_worker()
        task = name("task")
        job = rig.submit("add@late", 1, research_task=task)
        rig.submit("revoke", job)
        failed = rig.wait_for("task_failed", job)
        assert (failed["error"], failed["parent_task_id"]) == ("aborted before it began", task)
        assert rig.kinds(job) == ["task_enqueued", "task_failed"]


# --- arq in this process -------------------------------------------------------------------------


async def add(ctx: dict[str, Any], x: int) -> int:
    return x + 1


async def boom(ctx: dict[str, Any], x: int) -> None:
    raise ValueError("no such school")


class FixedFields:
    """A job as a user's own serializer reads it back: no mapping, and arq's own keys only."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __getitem__(self, key: str) -> Any:
        return self._data[key]


def read_fixed_fields(data: bytes) -> Any:
    return FixedFields(pickle.loads(data))


def only_arqs_keys(data: dict[str, Any]) -> bytes:
    if set(data) - {"t", "f", "a", "k", "et", "s", "r", "st", "ft", "q", "id"}:
        raise ValueError("unknown field")
    return pickle.dumps(data)


@pytest.fixture
def arq_bridge(redis_url: str) -> Iterator[Bridge]:
    made = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=BridgeSettings(bus_url=f"memory://{name('arq')}", redis_url=redis_url),
    )
    yield made
    if ArqAdapter().is_instrumented_by_opentelemetry:
        ArqAdapter().uninstrument()
    made.shutdown()


@pytest.fixture
async def arq_pool(redis_url: str) -> AsyncIterator[ArqRedis]:
    pool = await create_pool(RedisSettings.from_dsn(redis_url))
    yield pool
    await pool.aclose()


def arq_worker(pool: ArqRedis, **options: Any) -> ArqWorker:
    return ArqWorker(
        [add, boom],
        redis_pool=pool,
        burst=True,
        handle_signals=False,
        poll_delay=0.01,
        **options,
    )


def arq_ends(bridge: Bridge) -> dict[str, list[tuple[str, str | None]]]:
    """Type and error of the events of each job, but for its enqueue, by its id."""
    assert bridge.flush(10)
    found: dict[str, list[tuple[str, str | None]]] = {}
    log = memory_log(bridge.settings.bus_url.removeprefix("memory://"))
    for entry in reversed(log.newest(100, None)):
        event = json.loads(entry.data)
        if event["event_type"].startswith("task_") and event["event_type"] != "task_enqueued":
            found.setdefault(event["task_id"], []).append((event["event_type"], event.get("error")))
    return found


async def test_an_arq_worker_may_be_older_than_its_adapter(
    arq_bridge: Bridge, arq_pool: ArqRedis
) -> None:
    """Jobs of a worker that was created before ``instrument()`` end as arq says they ended."""
    started: list[str] = []

    async def on_job_start(ctx: dict[str, Any]) -> None:
        started.append(ctx["job_id"])

    older = arq_worker(arq_pool, on_job_start=on_job_start)
    ArqAdapter().instrument()
    for job_id, function in (("j1", "add"), ("j2", "boom"), ("j3", "absent")):
        await arq_pool.enqueue_job(function, 1, _job_id=job_id)
    await older.async_run()
    await arq_pool.enqueue_job("add", 1, _job_id="j4")
    await older.async_run()
    assert arq_ends(arq_bridge) == {
        "j1": [("task_started", None), ("task_completed", None)],
        "j2": [("task_started", None), ("task_failed", "ValueError: no such school")],
        "j3": [("task_failed", "function 'absent' not found")],
        "j4": [("task_started", None), ("task_completed", None)],
    }
    assert sorted(started) == ["j1", "j2", "j4"]


async def test_an_arq_serializer_may_accept_no_carrier(
    redis_url: str, arq_bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs whose serializer knows only arq's own keys are sent and run, without a link."""
    ArqAdapter().instrument()
    pool = await create_pool(
        RedisSettings.from_dsn(redis_url),
        job_serializer=only_arqs_keys,
        job_deserializer=read_fixed_fields,
    )
    worker = arq_worker(
        pool,
        job_serializer=only_arqs_keys,
        job_deserializer=read_fixed_fields,
    )
    await pool.enqueue_job("add", 1, _job_id="j1")
    await worker.async_run()
    await pool.aclose()
    assert arq_ends(arq_bridge) == {"j1": [("task_started", None), ("task_completed", None)]}
    assert "the job serializer accepts no carrier" in caplog.text
