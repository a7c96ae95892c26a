"""The clockwork of a worker's process; the clock is the test's, the log is real, in memory."""

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
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.workers.heartbeat import HeartbeatKeys, WorkerHeartbeat
from otel_bridge.workers.timer import TimerThread
from tests.support.faults import FakeClock, no_threads_left
from tests.support.waiting import wait_until

MakeSettings = Callable[..., BridgeSettings]

_names = itertools.count()


def is_beating() -> bool:
    """Whether a thread of any timer runs in this process."""
    return "otel-bridge-timer" in [thread.name for thread in threading.enumerate()]


class TestPulse:
    """A timer whose time moves when told."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def timer(self, clock: FakeClock) -> Iterator[TimerThread]:
        made = TimerThread(clock)
        yield made
        made.close()

    @staticmethod
    def nudge(timer: TimerThread) -> None:
        """Let the thread look at the clock, and wait until it has."""
        seen = threading.Event()
        timer.call_later(0, seen.set)
        assert seen.wait(10)

    def test_functions_run_when_they_are_due_and_in_order(
        self, timer: TimerThread, clock: FakeClock
    ) -> None:
        """A function runs at its time, once, and those of one time in the order they came."""
        ran: list[str] = []
        for delay_sec, name in ((2, "late"), (1, "a"), (1, "b")):
            timer.call_later(delay_sec, lambda name=name: ran.append(name))  # type: ignore[misc]
        self.nudge(timer)
        assert ran == []
        clock.advance(1)
        self.nudge(timer)
        assert ran == ["a", "b"]
        clock.advance(5)
        self.nudge(timer)
        assert ran == ["a", "b", "late"]

    def test_a_failing_function_does_not_stop_the_others(
        self, timer: TimerThread, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An exception is logged and the thread goes on: one bad call must not end the beats."""
        timer.call_later(0, lambda: 1 // 0)  # type: ignore[arg-type]
        self.nudge(timer)
        assert "a scheduled call of otel-bridge failed" in caplog.text

    def test_its_own_commands_make_no_spans(self, timer: TimerThread) -> None:
        """What runs on the thread is suppressed for the user's Redis instrumentation."""
        found: list[object] = []
        timer.call_later(0, lambda: found.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY)))
        self.nudge(timer)
        assert found == [True]

    def test_closing_runs_what_is_due_and_forgets_the_rest(
        self, timer: TimerThread, clock: FakeClock
    ) -> None:
        """At the end the due calls still run, in the thread; later ones and new ones do not."""
        ran: list[str] = []
        held, ended = threading.Event(), threading.Event()
        timer.call_later(0, lambda: ended.set() if held.wait(10) else None)
        timer.call_later(0, lambda: ran.append("due"))
        timer.call_later(60, lambda: ran.append("later"))
        timer.close(0)
        timer.call_later(0, lambda: ran.append("after"))
        clock.advance(100)
        held.set()
        assert ended.wait(10)
        wait_until(lambda: not is_beating(), "the thread's end")
        assert ran == ["due"]

    def test_a_process_can_end_without_closing_it(self, timer: TimerThread) -> None:
        """The thread is a daemon: a worker that forgets to shut down does not hang at its end."""
        self.nudge(timer)
        beating = [one for one in threading.enumerate() if one.name == "otel-bridge-timer"]
        assert [one.daemon for one in beating] == [True]

    def test_a_pulse_without_work_has_no_thread(self, timer: TimerThread) -> None:
        """A process that neither beats nor advances pays for no thread."""
        timer.close()
        assert not is_beating()

    def test_a_thread_that_cannot_start_is_tried_again(self, timer: TimerThread) -> None:
        """Where the system has no thread left, what is due waits until it has."""
        ran = threading.Event()
        with no_threads_left():
            timer.call_later(0, ran.set)
        self.nudge(timer)
        assert ran.is_set()

    def test_one_whose_thread_never_started_can_be_closed(self, timer: TimerThread) -> None:
        """The bus is shut down after it, so closing must not fail."""
        with no_threads_left():
            timer.call_later(0, threading.Event().set)
        timer.close()

    def test_it_needs_no_fork(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Windows has none, nor a hook for it."""
        monkeypatch.delattr(os, "register_at_fork")
        self.nudge(made := TimerThread())
        made.close()

    def test_a_call_may_schedule_itself_again(self, timer: TimerThread, clock: FakeClock) -> None:
        """A beat that schedules the next one beats once an interval, however late it is."""
        ran: list[float] = []

        def beat() -> None:
            ran.append(clock.monotonic())
            timer.call_later(10, beat)

        timer.call_later(0, beat)
        for seconds in (0, 9, 1, 35, 10):
            clock.advance(seconds)
            self.nudge(timer)
        assert ran == [1000, 1010, 1045, 1055]


class Rig:
    """A worker whose events can be read; its clock moves when told."""

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

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        TestPulse.nudge(self.timer)

    def events(self) -> list[dict[str, Any]]:
        assert self.bus.flush(10)
        return [json.loads(one.data) for one in reversed(memory_log(self.name).newest(100, None))]

    def kinds(self) -> list[str]:
        return [event["event_type"] for event in self.events()]


@pytest.fixture
def rig(make_settings: MakeSettings) -> Iterator[Rig]:
    made = Rig(make_settings(bus_url=f"memory://heartbeat-{next(_names)}"))
    yield made
    made.timer.close()
    made.bus.shutdown(5)


def test_a_worker_tells_of_its_life(rig: Rig) -> None:
    """A worker starts, beats every interval of 10 s and stops, each told once."""
    rig.worker.start()
    rig.advance(9)
    assert rig.kinds() == ["worker_started"]
    rig.advance(1)
    rig.advance(10)
    rig.worker.stop()
    rig.worker.stop()
    rig.advance(100)
    assert rig.kinds() == [
        "worker_started",
        "worker_heartbeat",
        "worker_heartbeat",
        "worker_stopped",
    ]


class HeldBus(EventBus):
    """Holds a beat on its way until the test lets it go."""

    began = threading.Event()
    released = threading.Event()

    def publish(self, event: MonitoringEvent, project_id: str | None = None) -> bool:
        if event.event_type == MonitoringEventType.WORKER_HEARTBEAT:
            self.began.set()
            assert self.released.wait(10)
        return super().publish(event, project_id)


def test_nothing_is_told_after_the_end(make_settings: MakeSettings) -> None:
    """A beat that is under way when the worker stops is told before the end, never after it."""
    rig = Rig(make_settings(bus_url=f"memory://heartbeat-{next(_names)}"), bus_class=HeldBus)
    rig.worker.start()
    rig.clock.advance(10)
    rig.timer.call_later(0, lambda: None)
    assert HeldBus.began.wait(10)
    stopping = threading.Thread(target=rig.worker.stop)
    stopping.start()
    stopping.join(0.2)  # without a lock it would be through by now
    HeldBus.released.set()
    stopping.join(10)
    TestPulse.nudge(rig.timer)
    assert rig.kinds() == ["worker_started", "worker_heartbeat", "worker_stopped"]
    rig.timer.close()
    rig.bus.shutdown(5)


def test_each_beat_says_who_and_where(rig: Rig) -> None:
    """Host, process and the user's own words are with every event, and what was dropped."""
    rig.worker.start()
    (started,) = rig.events()
    assert started["meta"] == {"host": socket.gethostname(), "pid": os.getpid(), "queue": "fast"}
    assert (started["worker_id"], started["counts"]) == (3, {"dropped": 0})
    assert "task_id" not in started


def test_a_beat_names_the_job_of_this_moment(rig: Rig) -> None:
    """The job that runs, and its project, are in the beat; when it has ended they are not."""
    rig.worker.start()
    rig.worker.current_task_id, rig.worker.current_project_id = "j", "p"
    rig.advance(10)
    rig.worker.current_task_id = rig.worker.current_project_id = None
    rig.advance(10)
    found = [(event.get("task_id"), event.get("project_id")) for event in rig.events()]
    assert found == [(None, None), ("j", "p"), (None, None)]


def test_a_worker_that_did_not_start_does_not_stop(rig: Rig) -> None:
    """Only a worker that was opened can end."""
    rig.worker.stop()
    assert rig.kinds() == []


def test_without_redis_there_are_no_keys(make_settings: MakeSettings) -> None:
    """Where the log is no Redis nothing is written and every turn is one's own."""
    found = HeartbeatKeys(make_settings(bus_url="memory://x"))
    found.beat(3)
    found.stop(3)
    assert [found.take_turn("q", 1000) for _ in range(2)] == [True, True]


def test_a_redis_that_is_away_is_told_once(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Beats into the void neither raise nor fill the log; the password is not in the line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = HeartbeatKeys(make_settings(redis_url=f"redis://:hunter2@127.0.0.1:{port}/0"))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            found.beat(3)
    assert found.take_turn("q", 1000)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"heartbeat keys cannot be written to redis://127.0.0.1:{port}/0: ")
    assert "hunter2" not in line


def test_the_worker_goes_on_while_redis_is_away(make_settings: MakeSettings) -> None:
    """Events of a worker do not depend on its keys."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    rig = Rig(
        make_settings(
            bus_url=f"memory://heartbeat-{next(_names)}", redis_url=f"redis://127.0.0.1:{port}/0"
        )
    )
    rig.worker.start()
    rig.advance(10)
    rig.worker.stop()
    wait_until(lambda: len(rig.kinds()) == 3, "all three")
    rig.timer.close()
    assert rig.bus.shutdown(5)
