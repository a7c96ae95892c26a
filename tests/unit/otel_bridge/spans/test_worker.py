"""A worker's block: its current job, and ids that cannot be shown."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.bridge import current_bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.worker import Worker

_names = itertools.count()


class MuteError(Exception):
    """An object that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.fixture
def log_name(make_settings: Callable[..., BridgeSettings]) -> Iterator[str]:
    """A configured bridge; the name of its log in memory."""
    provider = TracerProvider(shutdown_on_exit=False)
    name = f"worker-{next(_names)}"
    bridge = otel_bridge.configure(
        tracer_provider=provider, settings=make_settings(bus_url=f"memory://{name}")
    )
    yield name
    bridge.shutdown()
    provider.shutdown()


def test_a_worker_knows_its_current_job(log_name: str) -> None:
    """A job sets itself as its worker's current one; its end does not remove a later one."""
    with otel_bridge.worker(3) as worker:
        assert isinstance(worker, Worker)
        heartbeat = worker._heartbeat
        assert heartbeat is not None
        current = [heartbeat.current_task_id]
        later = otel_bridge.job(task_id="j2", task_type="find")
        with otel_bridge.job(task_id="j1", task_type="find"):
            current.append(heartbeat.current_task_id)
            later.__enter__()
        current.append(heartbeat.current_task_id)
        later.__exit__(None, None, None)
        current.append(heartbeat.current_task_id)
    assert current == [None, "j1", "j2", None]
    bridge = current_bridge()
    assert bridge is not None
    assert bridge.flush(10)
    events = [json.loads(entry.data) for entry in memory_log(log_name).newest(1000, None)]
    started = [event["worker_id"] for event in events if event["event_type"] == "task_started"]
    assert started == [3, 3]
    assert repr(worker) == "<worker 3>"


def test_a_worker_id_without_text_is_logged(
    log_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If the id's ``__str__`` raises, the worker runs without being shown, and a line says so."""
    worker_id: Any = MuteError()
    ran = []
    with otel_bridge.worker(worker_id):
        ran.append(True)
    assert ran == [True]
    assert "could not open <worker <MuteError>>; the work runs, but is not shown" in caplog.text


def test_a_configure_inside_a_workers_block_warns(
    make_settings: Callable[..., BridgeSettings], caplog: pytest.LogCaptureFixture
) -> None:
    """Its heartbeats would need a bridge at the block's start; a block that was left is no case."""
    with otel_bridge.worker("early"):
        pass
    provider = TracerProvider(shutdown_on_exit=False)
    with otel_bridge.worker("late"):
        bridge = otel_bridge.configure(
            tracer_provider=provider, settings=make_settings(bus_url=f"memory://w-{next(_names)}")
        )
    bridge.shutdown()
    provider.shutdown()
    assert [record.getMessage() for record in caplog.records] == [
        "worker late is not shown: its block began before otel_bridge.configure(), which has to "
        "come first; its jobs are shown, but name no worker"
    ]
