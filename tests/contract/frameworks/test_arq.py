"""arq: who ran it, which run, how it ended, whose it is; with real workers on a real Redis."""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.worker import Worker as ArqWorker
from arq.worker import create_worker
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.arq import ArqAdapter
from otel_bridge.bridge import Bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.rig_model import (
    Attempt,
    assert_no_error_of_ours,
    attempts,
    can_restart_pids,
    kill_worker,
    start_worker_as_in_a_container,
)
from tests.support.task_rig import TaskRig
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(180)]

_names = itertools.count()
RETRIED = [Attempt(0, "retrying", None), Attempt(1, "completed", None)]
LOST = Attempt(0, "stalled", "worker_lost")


def name(what: str) -> str:
    return f"{what}-{next(_names)}"


@pytest.fixture(scope="module")
def rig(redis_server: RedisServer) -> Iterator[TaskRig]:
    """One worker for the tests that need no set-up of their own."""
    with TaskRig("arq", f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}") as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        yield rig


def end_of(rig: TaskRig, job: str, kind: str = "task_failed") -> tuple[str | None, str | None]:
    """Error and reason of a job's only end, once that of a later job is in the log as well."""
    rig.wait_for(kind, job)
    later = rig.submit("add", 1)
    rig.wait_for("task_completed", later)
    ends = [k for k in rig.kinds(job) if k not in ("task_enqueued", "task_started")]
    assert ends == [kind]
    (end,) = rig.events(job, kind)
    return end["error"], end["reason"]


# --- how it ended --------------------------------------------------------------------------------


def test_a_result_that_cannot_be_serialized(rig: TaskRig) -> None:
    """Arq stores a failure in its place, so the job has failed; an exception is a result too."""
    error, reason = end_of(rig, rig.submit("unserialisable"))
    assert error is not None
    assert error.startswith("the result could not be stored: ")
    assert reason is None
    assert end_of(rig, rig.submit("error_as_result"), "task_completed") == (None, None)


@pytest.mark.parametrize("function", ["slow", "slow_unkept"])
def test_a_time_limit_has_a_reason(rig: TaskRig, function: str) -> None:
    """Also where no result is kept; a TimeoutError of the job's own is no time limit."""
    limit = "TimeoutError: time limit of 1 s exceeded"
    assert end_of(rig, rig.submit(function)) == (limit, "time_limit")
    assert end_of(rig, rig.submit("own_timeout")) == ("TimeoutError: the page took too long", None)


def test_aborted_jobs_are_revoked(rig: TaskRig) -> None:
    """Before they begin and while they run: failed once, in their research task."""
    task = name("task")
    waiting = rig.submit("add@late", 1, research_task=task)
    rig.submit("revoke", waiting)
    assert end_of(rig, waiting) == ("aborted before it began", "revoked")
    assert rig.kinds(waiting) == ["task_enqueued", "task_failed"]
    running = rig.submit("hold", rig.path(name("marker")), research_task=task)
    rig.wait_for("task_started", running)
    rig.submit("revoke", running)
    assert end_of(rig, running) == ("aborted", "revoked")
    assert {e["parent_task_id"] for job in (waiting, running) for e in rig.events(job)} == {task}


def test_an_expired_job(rig: TaskRig) -> None:
    """Arq has lost its data: it failed as expired, in its research task, phase and run."""
    task = name("task")
    job = rig.submit("add@expired", 1, research_task=task)
    assert end_of(rig, job) == ("job expired", "expired")
    enqueued, failed = rig.events(job)
    for field in ("parent_task_id", "project_id", "phase", "run_id", "trace_id", "task_type"):
        assert failed[field] == enqueued[field]
    assert attempts(rig, task, job) == [Attempt(0, "failed", "expired")]
    done = rig.submit("add@soon", 1)
    rig.wait_for("task_completed", done)
    with redis.Redis.from_url(rig.redis_url) as client:
        wait_until(lambda: not client.keys("arq:otel_bridge:*"), "the kept carriers to be deleted")


def test_a_job_that_expires_between_its_attempts(rig: TaskRig) -> None:
    """``Retry`` for longer than the job lives: its last attempt was a retry, then it expired."""
    task = name("task")
    job = rig.submit("keep_trying@short", research_task=task)
    failed = rig.wait_for("task_failed", job)
    assert (failed["reason"], failed["retry_count"], failed["parent_task_id"]) == (
        "expired",
        1,
        task,
    )
    assert attempts(rig, task, job) == [
        Attempt(0, "retrying", None),
        Attempt(1, "failed", "expired"),
    ]


def test_a_job_that_no_worker_knows(rig: TaskRig) -> None:
    """A name that the worker has no function for was refused, in its research task."""
    task = name("task")
    job = rig.submit("unknown", research_task=task)
    assert end_of(rig, job) == ("function 'unknown' not found", "refused")
    assert rig.events(job, "task_failed")[0]["parent_task_id"] == task
    assert rig.kinds(job) == ["task_enqueued", "task_failed"]


# --- which run -----------------------------------------------------------------------------------


def test_retries_are_numbered_and_end(rig: TaskRig) -> None:
    """``Retry`` says what it was raised for; after ``max_tries`` the job has failed."""
    task = name("task")
    job = rig.submit("flaky", rig.path(name("marker")), research_task=task)
    rig.wait_for("task_completed", job)
    assert attempts(rig, task, job) == RETRIED
    (retry,) = rig.events(job, "task_retry")
    assert retry["error"] == "ConnectionError: try again (retry in 0.1 s)"
    exhausted = rig.submit("never", research_task=task)
    failed = rig.wait_for("task_failed", exhausted)
    assert (failed["error"], failed["retry_count"]) == ("max 2 retries exceeded", 2)
    assert [each.status for each in attempts(rig, task, exhausted)] == [
        *("retrying", "retrying", "failed")
    ]


def test_an_id_that_is_used_again_is_a_further_run(rig: TaskRig) -> None:
    """Where no result is kept, an id is free again at once: two runs with an end each."""
    task, own = name("task"), name("id")
    for number in (1, 2):
        rig.submit(f"add_unkept~{own}", 1, research_task=task)
        rig.wait_for("task_completed", own, number)
        with redis.Redis.from_url(rig.redis_url) as client:
            wait_until(lambda: not client.exists(f"arq:job:{own}"), "arq to forget the job")
    assert attempts(rig, task, own) == [Attempt(0, "completed", None)] * 2
    runs = [event["run_id"] for event in rig.events(own, "task_enqueued")]
    assert len({*runs}) == 2
    assert [event["run_id"] for event in rig.events(own, "task_completed")] == runs


def test_a_worker_that_is_shut_down_gives_its_job_back(redis_url: str) -> None:
    """A retry, before the worker has stopped; the next worker completes it as attempt 1."""
    with TaskRig("arq", redis_url) as rig:
        rig.start_worker()
        task = name("task")
        job = rig.submit("hold", rig.path("marker"), research_task=task)
        rig.wait_for("task_started", job)
        rig.stop_worker()
        retry = rig.wait_for("task_retry", job)
        assert (retry["error"], retry["reason"]) == (
            *("the worker was shut down while it ran", "worker_lost"),
        )
        kinds = [event["event_type"] for event in rig.events()]
        assert kinds.index("task_retry") < kinds.index("worker_stopped")
        rig.start_worker()
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job) == [
            Attempt(0, "retrying", "worker_lost"),
            Attempt(1, "completed", None),
        ]
        assert len({event["run_id"] for event in rig.events(job)}) == 1
        assert_no_error_of_ours(rig)


@pytest.mark.frameworks
def test_a_worker_that_is_killed(redis_url: str) -> None:
    """Its attempt is lost with it; once arq's own limit has passed, another worker goes on."""
    with TaskRig("arq", redis_url) as rig:
        rig.start_worker()
        task, gate = name("task"), rig.path("gate")
        job = rig.submit("nap", gate, research_task=task)
        rig.wait_for("task_started", job)
        kill_worker(rig)
        Path(gate).touch()
        assert attempts(rig, task, job, later_sec=60) == [LOST]
        give_up(redis_url, job)
        rig.start_worker()
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job, later_sec=60) == [LOST, Attempt(1, "completed", None)]


@pytest.mark.frameworks
@pytest.mark.skipif(not can_restart_pids(), reason="needs the right to make a pid namespace")
def test_a_killed_worker_that_starts_again_under_its_id(redis_url: str) -> None:
    """As in a container, where each is process 1: what the former one ran is lost at once."""
    with TaskRig("arq", redis_url) as rig:
        start_worker_as_in_a_container(rig)
        rig.wait_for("worker_started")
        task, gate = name("task"), rig.path("gate")
        job = rig.submit("nap", gate, research_task=task)
        rig.wait_for("task_started", job)
        kill_worker(rig)
        assert attempts(rig, task, job) == [Attempt(0, "processing", None)]
        start_worker_as_in_a_container(rig)
        rig.wait_for("worker_started", count=2)
        started = rig.events(kind="worker_started")
        assert len({event["worker_id"] for event in started}) == 1
        assert len({event["incarnation"] for event in started}) == 2
        assert attempts(rig, task, job) == [LOST]
        give_up(redis_url, job)
        Path(gate).touch()
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job) == [LOST, Attempt(1, "completed", None)]
        kill_worker(rig)


def give_up(redis_url: str, job: str) -> None:
    """What the time limit of ``arq:in-progress`` does 310 s later."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.delete(f"arq:in-progress:{job}") == 1


@pytest.mark.frameworks
@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end", "after_job_end"])
def test_a_hook_that_raises(redis_url: str, hook: str) -> None:
    """It ends arq's worker: what arq has not recorded runs again, and is a retry; else it stays."""
    with TaskRig("arq", redis_url, RIG_RAISES=hook) as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        task = name("task")
        job = rig.submit("add", 1, research_task=task)
        assert rig.worker is not None
        assert rig.worker.wait(30) != 0
        rig.wait_for("worker_stopped")
        if hook == "after_job_end":
            assert attempts(rig, task, job) == [Attempt(0, "completed", None)]
            return
        (retry,) = rig.events(job, "task_retry")
        assert retry["error"] == f"RuntimeError: {hook} raises"
        give_up(redis_url, job)
        rig.start_worker()
        rig.wait_for("task_completed", job)
        assert attempts(rig, task, job) == RETRIED
        assert_no_error_of_ours(rig)


# --- whose it is, its progress -------------------------------------------------------------------


def test_progress_from_inside_of_a_job(rig: TaskRig) -> None:
    """``job_progress()`` in a coroutine and in a thread reaches the job."""
    done = rig.submit("steps")
    assert rig.wait_for("task_completed", done)["progress"] == {"done": 5, "total": 5}
    gate = rig.path(name("gate"))
    in_thread = rig.submit("steps_in_thread", gate)
    assert rig.wait_for("task_progress", in_thread)["progress"] == {"done": 3, "total": 5}
    Path(gate).touch()
    rig.wait_for("task_completed", in_thread)
    assert_no_error_of_ours(rig)


@pytest.mark.frameworks
@pytest.mark.parametrize("order", ["before", "after"])
def test_beside_sentry_and_with_cron_jobs(redis_url: str, order: str) -> None:
    """Sentry before or after ours: a nested job keeps its research task, jobs beside it theirs."""
    with TaskRig("arq", redis_url, RIG_SENTRY=order, RIG_CRON="1") as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        task = name("task")
        outer = rig.submit("nest", research_task=task)
        rig.wait_for("task_completed", outer)
        alone = rig.submit("nest")
        rig.wait_for("task_completed", alone)
        wait_until(lambda: len(enqueued(rig, task)) == 2, "the nested job")
        (started,) = rig.events(outer, "task_started")
        (inner,) = [event for event in enqueued(rig, task) if event["task_id"] != outer]
        assert (inner["parent_span_id"], inner["phase"]) == (started["span_id"], "search")
        trace = rig.events(alone, "task_started")[0]["trace_id"]
        wait_until(lambda: len(enqueued(rig, trace)) == 2, "the jobs of no research task")
        (cron,) = [e for e in rig.events(kind="task_enqueued") if e["task_type"].startswith("cron")]
        rig.wait_for("task_completed", cron["task_id"])
        assert {e["parent_task_id"] for e in rig.events(cron["task_id"])} == {cron["trace_id"]}
        gate = rig.path("gate")
        beside = {name("task"): "", name("task"): ""}
        for own in beside:
            beside[own] = rig.submit("nap", gate, research_task=own)
        for job in beside.values():
            rig.wait_for("task_started", job)
        Path(gate).touch()
        for own, job in beside.items():
            rig.wait_for("task_completed", job)
            assert {event["parent_task_id"] for event in rig.events(job)} == {own}
        failed = rig.submit("boom")
        assert rig.wait_for("task_failed", failed)["error"] == "ValueError: no such school"
        assert_no_error_of_ours(rig)


def enqueued(rig: TaskRig, task: str) -> list[dict[str, Any]]:
    return [e for e in rig.events(kind="task_enqueued") if e["parent_task_id"] == task]


# --- who, and how many wait ----------------------------------------------------------------------


@pytest.mark.frameworks
def test_each_process_is_a_worker_that_names_its_queue(redis_url: str) -> None:
    """Two processes are two workers, with host, pid, incarnation and queue; its depth is known."""
    with TaskRig("arq", redis_url) as rig:
        rig.start_worker()
        rig.start_beside("arq", "tests.support.task_apps.arq_app.WorkerSettings")
        rig.wait_for("worker_started", count=2)
        started = rig.events(kind="worker_started")
        assert len({event["worker_id"] for event in started}) == 2
        assert len({event["incarnation"] for event in started}) == 2
        for event in started:
            meta = event["meta"]
            assert event["worker_id"] == f"arq@{meta['host']}:{meta['pid']}"
            assert meta["queues"] == ["arq:queue"]
        assert rig.wait_for("queue_depth_update")["counts"] == {"arq:queue": 0}
        rig.submit("add@late", 1)
        seen = len(rig.events(kind="queue_depth_update"))
        assert rig.wait_for("queue_depth_update", count=seen + 1)["counts"] == {"arq:queue": 1}
        with redis.Redis.from_url(redis_url) as client:
            client.delete("arq:queue")
        seen += 1
        assert rig.wait_for("queue_depth_update", count=seen + 1)["counts"] == {"arq:queue": 0}


@pytest.mark.frameworks
def test_set_up_in_on_startup(redis_url: str) -> None:
    """``configure()`` and ``instrument()`` in on_startup: worker, depths and jobs are shown."""
    with TaskRig("arq", redis_url, RIG_SETUP="startup") as rig:
        rig.start_worker()
        started = rig.wait_for("worker_started")
        task = name("task")
        job = rig.submit("flaky", rig.path("marker"), research_task=task)
        assert rig.wait_for("task_completed", job)["worker_id"] == started["worker_id"]
        assert attempts(rig, task, job) == RETRIED
        rig.wait_for("queue_depth_update")
        assert_no_error_of_ours(rig)


# --- in this process -----------------------------------------------------------------------------


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


def arq_events(bridge: Bridge) -> list[dict[str, Any]]:
    assert bridge.flush(10)
    log = memory_log(bridge.settings.bus_url.removeprefix("memory://"))
    return [json.loads(entry.data) for entry in reversed(log.newest(100, None))]


def arq_ends(bridge: Bridge) -> dict[str, list[tuple[str, str | None]]]:
    """Type and error of the events of each job, but for its enqueue, by its id."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for event in arq_events(bridge):
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


async def test_a_worker_that_is_set_up_in_on_startup_stops(
    arq_bridge: Bridge, arq_pool: ArqRedis
) -> None:
    """Its main loop began before ``instrument()``, and its end is known all the same."""

    async def on_startup(ctx: dict[str, Any]) -> None:
        ArqAdapter().instrument()

    await arq_pool.enqueue_job("add", 1, _job_id="j1")
    await arq_worker(arq_pool, on_startup=on_startup).async_run()
    await asyncio.sleep(0)
    assert arq_ends(arq_bridge)["j1"] == [("task_started", None), ("task_completed", None)]
    kinds = [event["event_type"] for event in arq_events(arq_bridge)]
    assert [kind for kind in kinds if kind.startswith("worker_s")] == [
        *("worker_started", "worker_stopped")
    ]


async def test_a_worker_of_settings_in_a_dict(arq_bridge: Bridge, arq_pool: ArqRedis) -> None:
    """Arq takes its settings as a dict as well as from a class."""
    ArqAdapter().instrument()
    settings = {"functions": [boom], "redis_pool": arq_pool, "burst": True, "handle_signals": False}
    await arq_pool.enqueue_job("boom", 1, _job_id="j1")
    await create_worker(settings, poll_delay=0.01).async_run()
    assert arq_ends(arq_bridge)["j1"] == [
        ("task_started", None),
        ("task_failed", "ValueError: no such school"),
    ]


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
