"""Messages whose context another program has spoilt: the framework runs the job all the same."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any, Final

import dramatiq
import pytest
import redis
from arq.connections import RedisSettings, create_pool
from arq.worker import Worker as ArqWorker
from dramatiq.brokers.stub import StubBroker
from dramatiq.worker import Worker as DramatiqWorker
from opentelemetry.sdk.trace import TracerProvider
from rq import Queue, SimpleWorker
from taskiq import InMemoryBroker

import otel_bridge
from otel_bridge.adapters.arq import ArqAdapter
from otel_bridge.adapters.base import MESSAGE_KEY, Adapter
from otel_bridge.adapters.dramatiq import DramatiqAdapter
from otel_bridge.adapters.rq import RqAdapter
from otel_bridge.adapters.taskiq import TaskiqAdapter
from otel_bridge.bridge import Bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.hostile import HALF_OF_A_PAIR, failing_propagation

pytestmark = pytest.mark.redis

_names = itertools.count()

SPOILT: Final[dict[str, Any]] = {
    "nested JSON": '{"a":' * 100_000,
    "trace id in capitals": {"traceparent": f"00-{'A' * 32}-{'b' * 16}-01"},
    "half of a pair": {"nexus-project-id": HALF_OF_A_PAIR, "traceparent": "--"},
    "numbers": {"traceparent": 3, "nexus-run-id": 4, "nexus-previous-attempt": 5},
    "list": [1],
}


@pytest.fixture
def failing_propagator() -> Iterator[None]:
    with failing_propagation():
        yield


@pytest.fixture
def bridge(redis_url: str) -> Iterator[Bridge]:
    made = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=BridgeSettings(bus_url=f"memory://hostile-{next(_names)}", redis_url=redis_url),
    )
    yield made
    made.shutdown()


@pytest.fixture
def instrument() -> Iterator[Callable[[Adapter], None]]:
    instrumented: list[Adapter] = []

    def call(adapter: Adapter) -> None:
        adapter.instrument()
        instrumented.append(adapter)

    yield call
    for adapter in instrumented:
        adapter.uninstrument()


def kinds(bridge: Bridge) -> list[str]:
    """The types of the events of jobs, in order."""
    assert bridge.flush(10)
    log = memory_log(bridge.settings.bus_url.removeprefix("memory://"))
    found = [json.loads(entry.data)["event_type"] for entry in reversed(log.newest(100, None))]
    return [kind for kind in found if kind.startswith("task_")]


def add(x: int) -> int:
    return x + 1


RAN: Final = ["task_started", "task_completed"]
SENT_AND_RAN: Final = ["task_enqueued", *RAN]


# --- RQ ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoilt", SPOILT)
def test_rq_runs_a_job_with_a_spoilt_context(
    bridge: Bridge, redis_url: str, instrument: Callable[[Adapter], None], spoilt: str
) -> None:
    """Another program has overwritten what is kept with a job: it runs and is shown."""
    instrument(RqAdapter())
    text = json.dumps({"carrier": SPOILT[spoilt], "attempt": SPOILT[spoilt]})
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("there", connection=client)
        jobs = [queue.enqueue(add, 1), queue.enqueue(add, 1, meta={MESSAGE_KEY: SPOILT[spoilt]})]
        for field in ("otel_bridge", "otel_bridge_started"):
            client.hset(jobs[0].key, field, text)
        client.hdel(jobs[1].key, "otel_bridge")
        queue.enqueue(add, 1)
        client.hset(queue.enqueue(add, 1).key, "otel_bridge", b"\xff{")
        worker = SimpleWorker([queue], connection=client)
        for job in queue.jobs:
            execution = worker.prepare_execution(job)
            assert worker.perform_job(job, queue, execution)
            assert job.return_value() == 2
        jobs[0].cancel()
    assert sorted(kinds(bridge)) == sorted(4 * SENT_AND_RAN)


def test_rq_works_with_a_failing_propagator(
    bridge: Bridge,
    redis_url: str,
    instrument: Callable[[Adapter], None],
    failing_propagator: None,
) -> None:
    """An error of the application's propagator is logged; the job is sent, runs and is shown."""
    instrument(RqAdapter())
    with redis.Redis.from_url(redis_url) as client:
        here = Queue("here", connection=client, is_async=False)
        assert here.enqueue(add, 1).return_value() == 2
    assert sorted(kinds(bridge)) == sorted(SENT_AND_RAN)


# --- Dramatiq ------------------------------------------------------------------------------------


def run_dramatiq(**options: Any) -> list[int]:
    """Send one message with these options and process it; what its actor got."""
    broker, got = StubBroker(), list[int]()
    actor = dramatiq.actor(actor_name="add", broker=broker)(got.append)
    worker = DramatiqWorker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    broker.enqueue(actor.message_with_options(args=(1,), **options))
    broker.join(actor.queue_name, timeout=20_000)
    worker.join()
    worker.stop()
    broker.close()
    return got


@pytest.mark.parametrize("spoilt", SPOILT)
def test_dramatiq_processes_a_message_with_a_spoilt_context(
    bridge: Bridge, instrument: Callable[[Adapter], None], spoilt: str
) -> None:
    """The actor is called and its message is shown, also if ``retries`` is no number."""
    instrument(DramatiqAdapter())
    assert run_dramatiq(**{MESSAGE_KEY: SPOILT[spoilt], "retries": "many"}) == [1]
    assert sorted(kinds(bridge)) == sorted(SENT_AND_RAN)


def test_dramatiq_works_with_a_failing_propagator(
    bridge: Bridge, instrument: Callable[[Adapter], None], failing_propagator: None
) -> None:
    """What the application's propagator raises is logged; the message is sent and shown."""
    instrument(DramatiqAdapter())
    assert run_dramatiq() == [1]
    assert sorted(kinds(bridge)) == sorted(SENT_AND_RAN)


def test_a_dramatiq_broker_may_have_further_arguments(
    bridge: Bridge, instrument: Callable[[Adapter], None]
) -> None:
    """``enqueue`` of a broker of the application's own keeps its signature."""
    instrument(DramatiqAdapter())
    given: list[Any] = []

    class PriorityBroker(StubBroker):
        def enqueue(self, message: Any, *, delay: int | None = None, priority: int = 0) -> Any:
            given.append(priority)
            return super().enqueue(message, delay=delay)

    broker: Any = PriorityBroker()
    actor = dramatiq.actor(broker=broker)(add)
    broker.enqueue(actor.message(1), priority=3)
    broker.close()
    assert given == [3]


# --- Taskiq --------------------------------------------------------------------------------------


async def run_taskiq(**labels: Any) -> Any:
    broker = InMemoryBroker(await_inplace=True)
    task = broker.register_task(add, task_name="add")
    sent = await task.kicker().with_labels(**labels).kiq(1)
    result = await sent.wait_result(timeout=20)
    await broker.shutdown()
    return result.return_value


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_taskiq_runs_a_task_with_a_spoilt_context(
    bridge: Bridge, instrument: Callable[[Adapter], None], spoilt: str
) -> None:
    """The task runs and is shown, also if the number of its retries is none."""
    instrument(TaskiqAdapter())
    assert await run_taskiq(**{MESSAGE_KEY: SPOILT[spoilt], "_retries": "many"}) == 2
    assert kinds(bridge) == RAN


async def test_taskiq_works_with_a_failing_propagator(
    bridge: Bridge, instrument: Callable[[Adapter], None], failing_propagator: None
) -> None:
    """What the application's propagator raises is logged; the task is sent and shown."""
    instrument(TaskiqAdapter())
    assert await run_taskiq() == 2
    assert sorted(kinds(bridge)) == sorted(SENT_AND_RAN)


# --- arq -----------------------------------------------------------------------------------------


async def add_later(ctx: dict[str, Any], x: int) -> int:
    return x + 1


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_arq_runs_a_job_with_a_spoilt_context(
    bridge: Bridge, redis_url: str, instrument: Callable[[Adapter], None], spoilt: str
) -> None:
    """A job that runs is shown; one of no known function has failed, and the worker goes on."""
    instrument(ArqAdapter())
    pool = await create_pool(
        RedisSettings.from_dsn(redis_url),
        job_serializer=lambda data: pickle.dumps({**data, MESSAGE_KEY: SPOILT[spoilt]}),
    )
    for function in ("absent", "add_later"):
        await pool.enqueue_job(function, 1)
    worker = ArqWorker(
        [add_later], redis_pool=pool, burst=True, handle_signals=False, poll_delay=0.01
    )
    await worker.async_run()
    assert (worker.jobs_complete, worker.jobs_failed) == (1, 1)
    await pool.aclose()
    assert sorted(kinds(bridge)) == sorted(["task_enqueued"] * 2 + ["task_failed", *RAN])
