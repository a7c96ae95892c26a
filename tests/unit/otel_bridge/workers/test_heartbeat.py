"""A worker's start, heartbeats and stop; the clock is the test's, the log is real, in memory."""

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.forking import current_incarnation
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.workers.heartbeat import HeartbeatKeys, WorkerHeartbeat
from otel_bridge.workers.timer import TimerThread
from tests.support.faults import FakeClock
from tests.support.waiting import wait_until

MakeSettings = Callable[..., BridgeSettings]

_names = itertools.count()


class Rig:
    """A worker whose events can be read; its clock is moved by the test."""

    def __init__(self, settings: BridgeSettings, *, bus_class: type[EventBus] = EventBus) -> None:
        self.name = settings.bus_url.removeprefix("memory://")
        self.clock = FakeClock()
        self.bus = bus_class.connect(settings)
        self.timer = TimerThread(self.clock)
        self.worker = WorkerHeartbeat(
            3,
            bus=self.bus,
            timer=self.timer,
            settings=settings,
            heartbeat_keys=HeartbeatKeys(settings),
            meta={"queue": "fast"},
        )

    def run_due(self) -> None:
        """Make the timer read the clock, and wait until it has run what is due."""
        has_run = threading.Event()
        self.timer.call_later(0, has_run.set)
        assert has_run.wait(10)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.run_due()

    def events(self) -> list[dict[str, Any]]:
        assert self.bus.flush(10)
        return [json.loads(one.data) for one in reversed(memory_log(self.name).newest(100, None))]

    def types(self) -> list[str]:
        return [event["event_type"] for event in self.events()]


@pytest.fixture
def rig(make_settings: MakeSettings) -> Iterator[Rig]:
    made = Rig(make_settings(bus_url=f"memory://heartbeat-{next(_names)}"))
    yield made
    made.timer.close()
    made.bus.shutdown(5)


def closed_port() -> int:
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_queues_that_a_worker_learns_of_are_published_at_once(rig: Rig) -> None:
    """A heartbeat follows with their names, and later events have them too; none after the stop."""
    rig.worker.start()
    rig.worker.takes_from({"q:b", "q:a"})
    rig.run_due()
    rig.worker.stop()
    rig.worker.takes_from({"q:c"})
    rig.run_due()
    found = [(event["event_type"], event["meta"].get("queues")) for event in rig.events()]
    assert found == [
        ("worker_started", None),
        ("worker_heartbeat", ["q:a", "q:b"]),
        ("worker_stopped", ["q:a", "q:b"]),
    ]
    assert rig.events()[-1]["meta"]["queue"] == "fast"


def test_a_worker_publishes_its_start_heartbeats_and_stop(rig: Rig) -> None:
    """A worker starts, sends a heartbeat every 10 s and stops once, also if stopped twice."""
    rig.worker.start()
    rig.advance(9)
    assert rig.types() == ["worker_started"]
    rig.advance(1)
    rig.advance(10)
    rig.worker.stop()
    rig.worker.stop()
    rig.advance(100)
    assert rig.types() == [
        "worker_started",
        "worker_heartbeat",
        "worker_heartbeat",
        "worker_stopped",
    ]


class HeldBus(EventBus):
    """Holds a heartbeat until the test releases it."""

    is_holding = threading.Event()
    released = threading.Event()

    def publish(self, event: MonitoringEvent, project_id: str | None = None) -> bool:
        if event.event_type == MonitoringEventType.WORKER_HEARTBEAT:
            self.is_holding.set()
            assert self.released.wait(10)
        return super().publish(event, project_id)


def test_no_heartbeat_follows_the_stop(make_settings: MakeSettings) -> None:
    """A heartbeat under way when the worker stops is published before the stop, never after it."""
    rig = Rig(make_settings(bus_url=f"memory://heartbeat-{next(_names)}"), bus_class=HeldBus)
    rig.worker.start()
    rig.clock.advance(10)
    rig.timer.call_later(0, lambda: None)
    assert HeldBus.is_holding.wait(10)
    stopping = threading.Thread(target=rig.worker.stop)
    stopping.start()
    stopping.join(0.2)  # without a lock it would have ended by now
    HeldBus.released.set()
    stopping.join(10)
    rig.run_due()
    assert rig.types() == ["worker_started", "worker_heartbeat", "worker_stopped"]
    rig.timer.close()
    rig.bus.shutdown(5)


def test_each_event_has_host_process_and_drops(rig: Rig) -> None:
    """Host, process id, the user's own meta and the number of dropped events are in each event."""
    rig.worker.start()
    (started,) = rig.events()
    assert started["meta"] == {"host": socket.gethostname(), "pid": os.getpid(), "queue": "fast"}
    assert (started["worker_id"], started["counts"]) == (3, {"dropped": 0})
    assert started["incarnation"] == current_incarnation()
    assert "task_id" not in started


def test_dropped_log_lines_are_counted_in_each_event(make_settings: MakeSettings) -> None:
    """Once there are any: without ``MONITORING_LOGS`` the counts are as before."""
    rig = Rig(make_settings(bus_url=f"memory://heartbeat-{next(_names)}", logs="info"))
    rig.worker.start()
    assert rig.bus.line_queue is not None
    rig.bus.line_queue.failed = 3
    rig.advance(10)
    counts = [event["counts"] for event in rig.events()]
    assert counts == [{"dropped": 0}, {"dropped": 0, "lines_dropped": 3}]
    rig.timer.close()
    rig.bus.shutdown(5)


def test_a_heartbeat_names_the_job_that_runs(rig: Rig) -> None:
    """The job that runs, and its project, are in the heartbeat; after its end they are not."""
    rig.worker.start()
    rig.worker.current_task_id, rig.worker.current_project_id = "j", "p"
    rig.advance(10)
    rig.worker.current_task_id = rig.worker.current_project_id = None
    rig.advance(10)
    found = [(event.get("task_id"), event.get("project_id")) for event in rig.events()]
    assert found == [(None, None), ("j", "p"), (None, None)]


def test_a_worker_that_did_not_start_does_not_stop(rig: Rig) -> None:
    """``stop()`` without ``start()`` publishes nothing."""
    rig.worker.stop()
    assert rig.types() == []


def test_without_redis_no_keys_are_written(make_settings: MakeSettings) -> None:
    """If the log is no Redis, nothing is written, and every lock can be taken."""
    keys = HeartbeatKeys(make_settings(bus_url="memory://x"))
    keys.refresh(3)
    keys.delete(3)
    assert [keys.set_if_absent("q", 1000) for _ in range(2)] == [True, True]


def test_an_unreachable_redis_is_logged_once(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys that cannot be written raise nothing and make one log line, without the password."""
    port = closed_port()
    keys = HeartbeatKeys(make_settings(redis_url=f"redis://:hunter2@127.0.0.1:{port}/0"))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            keys.refresh(3)
    assert keys.set_if_absent("q", 1000)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"heartbeat keys cannot be written to redis://127.0.0.1:{port}/0: ")
    assert "hunter2" not in line


@pytest.mark.parametrize("url", ["redis://host:port", "redis://:hunter2@a..b:1", "redis://host/x"])
def test_a_url_that_cannot_be_used_is_logged_once(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """A URL that no ``configure()`` has checked raises nothing; one line has setting and cure."""
    keys = HeartbeatKeys(make_settings(redis_url=url))
    for _ in range(3):
        keys.refresh(3)
    assert keys.set_if_absent("q", 1000)
    (line,) = [record.getMessage() for record in caplog.records]
    assert ": REDIS_URL=" in line
    assert "use redis://[user:password@]host[:port][/database]" in line
    assert "hunter2" not in line


def test_events_do_not_depend_on_the_keys(make_settings: MakeSettings) -> None:
    """While the Redis of the keys is unreachable, start, heartbeat and stop are published."""
    rig = Rig(
        make_settings(
            bus_url=f"memory://heartbeat-{next(_names)}",
            redis_url=f"redis://127.0.0.1:{closed_port()}/0",
        )
    )
    rig.worker.start()
    rig.advance(10)
    rig.worker.stop()
    wait_until(lambda: len(rig.types()) == 3, "all three events")
    rig.timer.close()
    assert rig.bus.shutdown(5)
