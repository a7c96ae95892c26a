"""What all adapters share: patching and restoring, off, workers and their queues."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.adapters.base import (
    Adapter,
    DepthSampler,
    framework,
    is_off,
    safely,
    start_worker,
    stop_worker,
    this_process,
)
from otel_bridge.bridge import Bridge
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.hostile import HOSTILE
from tests.support.waiting import wait_until

_names = itertools.count()


class Seen:
    def __init__(self, bridge: Bridge, provider: TracerProvider, log_name: str) -> None:
        self.bridge = bridge
        self.provider = provider
        self._log_name = log_name

    def events(self) -> list[dict[str, Any]]:
        assert self.bridge.flush(10)
        entries = reversed(memory_log(self._log_name).newest(100, None))
        return [json.loads(entry.data) for entry in entries]

    def types(self) -> list[str]:
        return [event["event_type"] for event in self.events()]


@pytest.fixture
def seen(make_settings: Callable[..., BridgeSettings]) -> Iterator[Seen]:
    name = f"adapters-{next(_names)}"
    provider = TracerProvider(shutdown_on_exit=False)
    bridge = otel_bridge.configure(
        tracer_provider=provider, settings=make_settings(bus_url=f"memory://{name}")
    )
    yield Seen(bridge, provider, name)
    bridge.shutdown()


@pytest.fixture
def switched_off(make_settings: Callable[..., BridgeSettings]) -> Iterator[None]:
    bridge = otel_bridge.configure(settings=make_settings(enabled=False))
    yield
    bridge.shutdown()


class Queue:
    """A class of a framework."""

    def put(self, job: str) -> str:
        """Put a job."""
        return f"put {job}"


class PriorityQueue(Queue):
    """A class that inherits the method to be patched."""

    def __init__(self, name: str) -> None:
        self.name = name


class ShoutingAdapter(Adapter):
    """An adapter of this framework that changes what its methods return."""

    requirement = "pytest >= 8"
    duplicate_scopes = ("queues.tracing",)

    def _attach(self, **kwargs: Any) -> None:
        self.created: list[str] = []
        self.is_detached = False
        self._patch(Queue, "put", self._shouting)
        self._patch(PriorityQueue, "put", self._shouting)
        self._patch_init(PriorityQueue, lambda queue: self.created.append(queue.name))

    def _shouting(self, original: Callable[..., str]) -> Callable[..., str]:
        return lambda queue, job: original(queue, job).upper()

    def _detach(self) -> None:
        self.is_detached = True


@pytest.fixture
def adapter() -> Iterator[ShoutingAdapter]:
    made = ShoutingAdapter()
    yield made
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()


def test_methods_are_patched_and_restored(adapter: ShoutingAdapter) -> None:
    """Own, inherited and construction methods are wrapped, and afterwards are what they were."""
    before = dict(vars(Queue)), dict(vars(PriorityQueue))
    adapter.instrument()
    assert Queue().put("a") == "PUT A"
    assert Queue.put.__doc__ == "Put a job."
    assert PriorityQueue("high").put("a") == "PUT A"
    assert adapter.created == ["high"]
    adapter.uninstrument()
    assert (dict(vars(Queue)), dict(vars(PriorityQueue))) == before
    assert adapter.is_detached
    PriorityQueue("low")
    assert adapter.created == ["high"]
    assert adapter.instrumentation_dependencies() == ("pytest >= 8",)


def test_spans_of_the_frameworks_own_instrumentation_are_left_out(
    seen: Seen, adapter: ShoutingAdapter
) -> None:
    """While the adapter is active, spans of the duplicate scopes make no events."""

    def make_span() -> int:
        before = len(seen.events())
        tracer = seen.provider.get_tracer("queues.tracing")
        with tracer.start_as_current_span("run", kind=trace.SpanKind.CONSUMER):
            pass
        return len(seen.events()) - before

    adapter.instrument()
    assert make_span() == 0
    adapter.uninstrument()
    assert make_span() == 2


def test_a_missing_framework_names_the_extra() -> None:
    """The import error says what to install; another missing module is reported as it is."""
    with (
        pytest.raises(ModuleNotFoundError, match=r"needs celery: pip install 'otel-bridge\[celery"),
        framework("celery"),
    ):
        raise ModuleNotFoundError("No module named 'celery.app'", name="celery.app")
    with pytest.raises(ModuleNotFoundError, match="kombu") as raised, framework("celery"):
        raise ModuleNotFoundError("No module named 'kombu'", name="kombu")
    assert raised.value.name == "kombu"


def test_a_folder_of_the_frameworks_name_is_not_the_framework(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of that name in the working directory is no framework; an old version is one."""
    (tmp_path / "queues").mkdir()
    (tmp_path / "older.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="needs queues: pip"), framework("queues"):
        importlib.import_module("queues.worker")
    with pytest.raises(ModuleNotFoundError, match="needs queues: pip"), framework("queues"):
        exec("from queues import Worker")
    with pytest.raises(ImportError, match="cannot import name 'Worker'"), framework("older"):
        exec("from older import Worker")


def test_nothing_of_ours_raises_into_the_framework(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a ``safely`` function is one log entry with the function's name."""

    @safely
    def divide(value: int) -> None:
        1 // value  # type: ignore[unused-ignore]

    divide(1)
    divide(0)
    (record,) = caplog.records
    assert "divide failed; this part of the work is not shown" in record.getMessage()


def test_off_is_what_the_settings_say(switched_off: None) -> None:
    """With NEXUS_MONITORING_ENABLED=false there is no heartbeat and no sample."""
    assert is_off()
    depths = DepthSampler(lambda: pytest.fail("sampled"), lambda name: 0)
    depths.start()
    assert start_worker("w") is None
    stop_worker(None, depths)


def test_before_configure_nothing_is_off() -> None:
    """Before ``configure()`` monitoring is not off, but there is nothing to publish with."""
    assert not is_off()
    assert start_worker("w") is None
    stop_worker(None)


def test_a_worker_starts_and_stops(seen: Seen) -> None:
    """``worker_started`` and ``worker_stopped`` have the id and the meta; all is flushed."""
    heartbeat = start_worker(this_process(), {"framework": "queues"})
    stop_worker(heartbeat)
    assert seen.bridge.bus is not None
    assert seen.bridge.bus.counters.waiting == 0
    started, stopped = seen.events()
    assert [started["event_type"], stopped["event_type"]] == ["worker_started", "worker_stopped"]
    assert started["worker_id"] == f"{socket.gethostname()}:{os.getpid()}"
    assert started["meta"]["framework"] == "queues"


def test_queues_are_read_one_by_one(seen: Seen) -> None:
    """Each queue of the worker is read from the broker; all depths are in one event."""
    depths = DepthSampler(lambda: ["a", "bb"], len)
    depths.start()
    depths.start()
    wait_until(lambda: "queue_depth_update" in seen.types(), "a sample")
    stop_worker(None, depths)
    assert [event["counts"] for event in seen.events()] == [{"a": 1, "bb": 2}]


def test_queues_are_read_each_interval_of_the_settings(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """Ten samples come within the deadline, in which the default of 5 s allows five."""
    name = f"adapters-{next(_names)}"
    settings = make_settings(bus_url=f"memory://{name}", queue_depth_interval_sec=0.01)
    bridge = otel_bridge.configure(tracer_provider=TracerProvider(), settings=settings)
    depths = DepthSampler(lambda: ["a"], lambda name: 1)
    depths.start()
    wait_until(lambda: len(memory_log(name).newest(100, None)) >= 10, "ten samples")
    stop_worker(None, depths)
    bridge.shutdown()


def test_a_queue_is_read_by_priority(seen: Seen) -> None:
    """A broker with priorities gives a mapping; the event has the sum and the mapping."""
    depths = DepthSampler(lambda: ["a"], lambda name: {"0": 1, "9": 2})
    depths.start()
    wait_until(lambda: "queue_depth_update" in seen.types(), "a sample")
    stop_worker(None, depths)
    (event,) = seen.events()
    assert (event["counts"], event["meta"]) == ({"a": 3}, {"priorities": {"a": {"0": 1, "9": 2}}})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_worker_runs_whatever_its_name_and_meta_are(seen: Seen, name: str) -> None:
    """Any id is shown as text unless it is too long; a meta that cannot be read shows nothing."""
    heartbeat = start_worker(HOSTILE[name]())
    assert heartbeat is not None
    stop_worker(heartbeat)
    is_too_long = len(str(heartbeat.worker_id)) > 8192
    assert seen.types() == ([] if is_too_long else ["worker_started", "worker_stopped"])
    stop_worker(start_worker("w", HOSTILE[name]()))
