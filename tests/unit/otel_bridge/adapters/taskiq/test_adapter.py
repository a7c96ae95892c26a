"""``otel_bridge.adapters.taskiq.adapter`` with brokers in memory; real ones: tests/contract."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from taskiq import BrokerMessage, InMemoryBroker, SimpleRetryMiddleware, TaskiqMessage
from taskiq.exceptions import SendTaskError
from taskiq.kicker import AsyncKicker

import otel_bridge
from otel_bridge.adapters.taskiq import TaskiqAdapter
from otel_bridge.bridge import Bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings

_names = itertools.count()


def name(what: str) -> str:
    return f"{what}-unit-{next(_names)}"


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=BridgeSettings(bus_url=f"memory://{name('taskiq')}"),
    )
    TaskiqAdapter().instrument()
    yield made
    TaskiqAdapter().uninstrument()
    made.shutdown()


def events_of(bridge: Bridge) -> list[dict[str, Any]]:
    assert bridge.flush(10)
    log = memory_log(bridge.settings.bus_url.removeprefix("memory://"))
    return [json.loads(entry.data) for entry in reversed(log.newest(100, None))]


@pytest.mark.parametrize("await_inplace", [True, False])
async def test_a_broker_in_memory_runs_jobs_in_place(bridge: Bridge, await_inplace: bool) -> None:
    """In the task that sends or beside it: no worker, the right task, and nothing left behind."""
    broker = InMemoryBroker(await_inplace=await_inplace)

    @broker.task(task_name="inner")
    async def inner() -> None:
        otel_bridge.job_progress(1, 2)

    @broker.task(task_name="outer")
    async def outer() -> None:
        await inner.kiq()

    await broker.startup()
    with otel_bridge.research_task("t1"), otel_bridge.phase("search"):
        around = otel_context.get_current()
        await outer.kiq()
        await broker.wait_all()
        await broker.wait_all()
        assert otel_context.get_current() is around
    await broker.receiver.callback(message_without_carrier(broker))
    await broker.shutdown()
    found = events_of(bridge)
    ends = [event for event in found if event["event_type"] == "task_completed"]
    inside = [e for e in ends if e["task_id"] != "t1" and e.get("parent_task_id") == "t1"]
    assert sorted((e["task_type"], e["phase"]) for e in inside) == [
        ("inner", "search"),
        ("outer", "search"),
    ]
    assert {event.get("worker_id") for event in found} == {None}
    (alone,) = [e for e in ends if e["task_id"] == "alone"]
    assert alone["parent_task_id"] == alone["trace_id"]


async def test_a_message_in_place_without_a_carrier(bridge: Bridge) -> None:
    """It belongs to the research task around the call, as the caller runs it."""
    broker = InMemoryBroker()

    @broker.task(task_name="inner")
    async def inner() -> None:
        pass

    with otel_bridge.research_task("t1"):
        await broker.receiver.callback(message_without_carrier(broker))
    (end,) = [e for e in events_of(bridge) if e["task_id"] == "alone" and "duration_ms" in e]
    assert end["parent_task_id"] == "t1"
    await broker.shutdown()


def message_without_carrier(broker: InMemoryBroker) -> bytes:
    message = TaskiqMessage(task_id="alone", task_name="inner", labels={}, args=[], kwargs={})
    return broker.formatter.dumps(message).message


async def test_a_broker_that_refuses_is_no_job(bridge: Bridge) -> None:
    """A ``kiq()`` that raises: nothing was enqueued; a retry that cannot be sent has failed."""
    broker = InMemoryBroker(await_inplace=True).with_middlewares(SimpleRetryMiddleware())
    sent: list[str] = []

    @broker.task(task_name="inner", retry_on_error=True)
    async def inner() -> None:
        raise ValueError("no such school")

    with pytest.raises(SendTaskError):
        await AsyncKicker("unknown", broker, {}).kiq()
    kick = broker.kick

    async def kick_once(message: BrokerMessage) -> None:
        if sent:
            raise ConnectionError("the broker is gone")
        sent.append(message.task_id)
        await kick(message)

    broker.kick = kick_once  # type: ignore[method-assign]
    with pytest.raises(SendTaskError):
        await inner.kiq()
    ends = [e for e in events_of(bridge) if e["event_type"] not in ("task_started",)]
    assert [(e["event_type"], e.get("error")) for e in ends] == [
        ("task_failed", "ValueError: no such school")
    ]
    await broker.shutdown()
