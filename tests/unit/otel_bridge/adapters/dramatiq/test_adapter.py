"""``otel_bridge.adapters.dramatiq.adapter`` with a broker in memory; real ones: tests/contract."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Retries, SkipMessage
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.dramatiq import DramatiqAdapter
from otel_bridge.bridge import Bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings

_names = itertools.count()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=BridgeSettings(bus_url=f"memory://dramatiq-unit-{next(_names)}"),
    )
    DramatiqAdapter().instrument()
    yield made
    DramatiqAdapter().uninstrument()
    made.shutdown()


def work(broker: StubBroker, *queues: str) -> None:
    """Run a worker until its queues are empty."""
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    for queue in queues or ("default",):
        broker.join(queue, fail_fast=False)
    worker.join()
    worker.stop()


def story(bridge: Bridge, job: str) -> list[tuple[Any, ...]]:
    """Type, error and reason of each event of a job, oldest first."""
    assert bridge.flush(10)
    log = memory_log(bridge.settings.bus_url.removeprefix("memory://"))
    events = [json.loads(entry.data) for entry in reversed(log.newest(1000, None))]
    return [
        (event["event_type"], event.get("error"), event.get("reason"))
        for event in events
        if event.get("task_id") == job and event["event_type"].startswith("task_")
    ]


def test_a_job_belongs_to_what_enqueued_it(bridge: Bridge) -> None:
    """Enqueued, started and completed in its research task and phase, on a worker."""
    broker = StubBroker(middleware=[])

    @dramatiq.actor(broker=broker)
    def add(number: int) -> None:
        otel_bridge.job_progress(number, 2)

    with otel_bridge.research_task("t1"), otel_bridge.phase("search"):
        job = add.send(1).message_id
    work(broker)
    assert [kind for kind, _, _ in story(bridge, job)] == [
        "task_enqueued",
        "task_started",
        "task_completed",
    ]
    log = memory_log(bridge.settings.bus_url.removeprefix("memory://"))
    events = [json.loads(entry.data) for entry in log.newest(1000, None)]
    of_job = [e for e in events if e.get("task_id") == job and e["event_type"].startswith("task_")]
    assert {(e["parent_task_id"], e["phase"]) for e in of_job} == {("t1", "search")}
    assert [e for e in events if e["event_type"] == "worker_started"] != []


def test_a_retry_is_a_retry_and_the_last_one_a_failure(bridge: Bridge) -> None:
    """Each attempt has its end, and the job fails once its retries are used up."""
    broker = StubBroker(middleware=[Retries(max_retries=1, min_backoff=1, max_backoff=1)])

    @dramatiq.actor(broker=broker)
    def boom() -> None:
        raise ValueError("no such school")

    job = boom.send().message_id
    work(broker, "default")
    error = "ValueError: no such school"
    assert [one for one in story(bridge, job) if one[0] != "task_started"] == [
        ("task_enqueued", None, None),
        ("task_retry", error, None),
        ("task_failed", error, None),
    ]


def test_a_skipped_message_is_refused(bridge: Bridge) -> None:
    """A middleware that skips a message ends its job without a start."""

    class Skips(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise SkipMessage("not today")

    broker = StubBroker(middleware=[Skips()])

    @dramatiq.actor(broker=broker)
    def add() -> None:
        pass

    job = add.send().message_id
    work(broker)
    kinds = [(kind, reason) for kind, _, reason in story(bridge, job)]
    assert kinds == [("task_enqueued", None), ("task_failed", "refused")]
