"""The worker of a process: when it starts, under which id, and what it warns of."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.celery.lost import LostJobs
from otel_bridge.adapters.celery.workers import CeleryWorker
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.waiting import wait_until

_names = itertools.count()


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Callable[[], list[Any]]]:
    """Events in the log so far."""
    name = f"celery-workers-{next(_names)}"
    bridge = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=make_settings(bus_url=f"memory://{name}"),
    )

    def events() -> list[Any]:
        assert bridge.flush(10)
        return [json.loads(entry.data) for entry in reversed(memory_log(name).newest(100, None))]

    yield events
    bridge.shutdown()


@pytest.fixture
def attached() -> list[int]:
    return []


@pytest.fixture
def worker(attached: list[int]) -> CeleryWorker:
    return CeleryWorker(LostJobs(), lambda: attached.append(1))


class ThreadPool:
    """A pool without processes."""


def node(app: Celery) -> Any:
    return SimpleNamespace(hostname="celery@h", pool=ThreadPool(), app=app)


def test_the_main_process_names_the_node_before_it_forks(
    worker: CeleryWorker, attached: list[int], seen: Callable[[], list[Any]]
) -> None:
    """Both of Celery's signals give the name; the table is made once, and ends are reported."""
    worker.on_init(sender="celery@h")
    lost = worker._lost
    table = lost.table
    worker.on_init(sender=SimpleNamespace(hostname="celery@other"))
    assert (lost.node, lost.table, attached) == ("celery@other", table, [1])
    assert worker.is_watched
    worker.on_pool_process_init()
    assert worker.id == "celery@other"
    worker.on_shutdown()


def test_a_node_without_pool_processes_is_a_worker(
    worker: CeleryWorker, seen: Callable[[], list[Any]]
) -> None:
    """It starts once, names its queues, samples them, and has stopped after its shutdown."""
    app = Celery("app", broker="memory://")
    app.set_current()
    worker.on_ready(sender=node(app))
    worker.start_with_job(app, "celery@h")
    wait_until(
        lambda: any(event["event_type"] == "queue_depth_update" for event in seen()), "a depth"
    )
    worker.on_shutdown()
    worker.start_with_job(app, "celery@h")
    events = [event for event in seen() if event.get("worker_id")]
    assert [event["event_type"] for event in events] == ["worker_started", "worker_stopped"]
    assert events[0]["meta"]["queues"] == ["celery"]
    assert events[0]["worker_id"] == "celery@h"


def test_a_worker_without_configure_warns_once(
    worker: CeleryWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names the right place; no job starts anything."""
    app = Celery("app", broker="memory://")
    worker.on_init(sender="celery@h")
    assert not worker.is_watched
    worker.on_ready(sender=node(app))
    worker.start_with_job(app, "celery@h")
    worker.start_late()
    (record,) = caplog.records
    assert "in the module that creates the app" in record.getMessage()
    assert worker.heartbeat is None


def test_configure_after_celerys_signals(
    worker: CeleryWorker, seen: Callable[[], list[Any]]
) -> None:
    """The first job starts the worker."""
    app = Celery("app", broker="memory://")
    app.set_current()
    worker.start_with_job(app, "celery@h")
    worker.start_with_job(app, "celery@h")
    worker.on_shutdown()
    kinds = [event["event_type"] for event in seen() if event.get("worker_id")]
    assert kinds == ["worker_started", "worker_stopped"]
