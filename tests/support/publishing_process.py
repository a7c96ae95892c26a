"""
A program that publishes, for tests of what happens at a process's birth and death.

``python -m tests.support.publishing_process SCENARIO BUS_URL COUNT``; each scenario publishes
numbered events under worker names that say which process they came from.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from tests.support.spans import job_attributes, tracer_with


def publish(bus: EventBus, name: str, count: int) -> None:
    """Publish events 0 to ``count - 1`` of one worker."""
    for number in range(count):
        bus.publish(
            MonitoringEvent(
                event_type=MonitoringEventType.TASK_STARTED, worker_id=name, task_id=str(number)
            )
        )


def exits(bus: EventBus, count: int) -> None:
    """Publish, and come to the end of the program."""
    publish(bus, "main", count)


def raises(bus: EventBus, count: int) -> None:
    """Publish, and die of an exception."""
    publish(bus, "main", count)
    raise SystemExit(3)


def terminated(bus: EventBus, count: int) -> None:
    """Publish, and be ended by SIGTERM as a service is: its handler leaves through sys.exit."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    publish(bus, "main", count)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def forks(bus: EventBus, count: int) -> None:
    """Fork ``count`` children while another thread keeps publishing; each publishes 20 events."""
    is_done = threading.Event()

    def keep_publishing() -> None:
        number = 0
        while not is_done.wait(0.0005):
            bus.publish(
                MonitoringEvent(
                    event_type=MonitoringEventType.TASK_STARTED,
                    worker_id="main",
                    task_id=str(number),
                )
            )
            number += 1

    thread = threading.Thread(target=keep_publishing)
    thread.start()
    for child in range(count):
        pid = os.fork()
        if pid == 0:
            publish(bus, f"child{child}", 20)
            os._exit(0 if bus.flush(20) else 1)
        _, status = os.waitpid(pid, 0)
        if status:
            raise SystemExit(f"child {child} ended with {status}")
    is_done.set()
    thread.join()
    print(bus.counters.queued)


def fork_inside_span(bus: EventBus, count: int) -> None:
    """Fork inside an open span; parent and child both leave it and each run spans of their own."""
    tracer = tracer_with(MonitoringSpanProcessor(bus))
    with tracer.start_as_current_span("outer", attributes=dict(job_attributes("outer"))):
        pid = os.fork()
        name = "parent" if pid else "child"
        for number in range(count):
            tracer.start_span("x", attributes=dict(job_attributes(f"{name}{number}"))).end()
    if pid == 0:
        os._exit(0 if bus.flush(20) else 1)
    _, status = os.waitpid(pid, 0)
    raise SystemExit(status)


def _publish_in_child(bus: EventBus, count: int) -> None:
    publish(bus, "child", count)


def multiprocesses(bus: EventBus, count: int) -> None:
    """Publish in a child of multiprocessing, which leaves without atexit."""
    publish(bus, "main", count)
    child = multiprocessing.get_context("fork").Process(target=_publish_in_child, args=(bus, count))
    child.start()
    child.join()


SCENARIOS = {
    function.__name__: function
    for function in (exits, raises, terminated, forks, fork_inside_span, multiprocesses)
}


def main() -> None:
    scenario, url, count = sys.argv[1:4]
    bus = EventBus.connect(BridgeSettings(bus_url=url))
    SCENARIOS[scenario](bus, int(count))


if __name__ == "__main__":
    main()
