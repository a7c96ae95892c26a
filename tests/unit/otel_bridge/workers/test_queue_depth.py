"""Queue depths: when they are sampled, by which process, and what is published."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import threading
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fakeredis
import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from otel_bridge.suppression import suppress_instrumentation
from otel_bridge.workers.otel_metrics import OtelMetrics
from otel_bridge.workers.queue_depth import LoopCaller, QueueDepthSampler, publish_queue_depth
from otel_bridge.workers.timer import TimerThread
from tests.support.faults import FakeClock
from tests.support.waiting import wait_until

LOCK = "nexus:queue_depth:turn"
Read = Callable[[Sequence[str]], Mapping[str, int] | None]

_names = itertools.count()


class Rig:
    """Samplers of one process on one Redis, with a clock that the test moves."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._log = settings.bus_url.removeprefix("memory://")
        self.bus = EventBus.connect(settings)
        self.clock = FakeClock()
        self.timer = TimerThread(self.clock)
        self.redis = fakeredis.FakeRedis(decode_responses=True)

    def sampler(
        self, read: Read, names: Sequence[str] = ("a", "b"), **options: Any
    ) -> QueueDepthSampler:
        defaults: dict[str, Any] = {
            "names": lambda: names,
            "read": read,
            "set_if_absent": self.set_if_absent,
            "keys": DEFAULT_KEYS,
            "locks_each_queue": False,
            "may_block": False,
            "timer": self.timer,
            "bus": self.bus,
            "otel_metrics": None,
        }
        return QueueDepthSampler(**(defaults | options))

    def set_if_absent(self, key: str, ttl_ms: int) -> bool:
        return bool(self.redis.set(key, "1", nx=True, px=ttl_ms))

    def run_due(self, seconds: float = 0) -> None:
        """Move the clock, and wait until the timer has run what is due."""
        self.clock.advance(seconds)
        has_run = threading.Event()
        self.timer.call_later(0, has_run.set)
        assert has_run.wait(10)

    def locks(self) -> list[str]:
        return sorted(str(key) for key in self.redis.scan_iter())

    def events(self) -> list[dict[str, Any]]:
        assert self.bus.flush(10)
        entries = memory_log(self._log).newest(100, None)
        return [json.loads(entry.data) for entry in reversed(entries)]

    def published(self) -> list[dict[str, int]]:
        events = self.events()
        assert all(event["queue"] == event["counts"] for event in events)
        return [event["counts"] for event in events]


def is_reading() -> bool:
    """Whether a thread of any sampler runs in this process."""
    return "otel-bridge-depth" in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def rig(make_settings: Callable[..., BridgeSettings]) -> Iterator[Rig]:
    made = Rig(make_settings(bus_url=f"memory://depth-{next(_names)}"))
    yield made
    made.timer.close()
    made.bus.shutdown(5)
    made.redis.close()


# --- publishing ----------------------------------------------------------------------------------


def test_depths_are_an_event_and_a_gauge(rig: Rig) -> None:
    """One event holds the depths of all queues twice; the OpenTelemetry gauge has them as well."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    publish_queue_depth(
        {"a": 3, "b": 0}, rig.bus, OtelMetrics(provider.get_meter("test"), lambda: 0)
    )
    assert rig.published() == [{"a": 3, "b": 0}]
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    points: Any = metrics["otel_bridge.queue.depth"].data.data_points
    assert {point.attributes["messaging.destination.name"]: point.value for point in points} == {
        "a": 3,
        "b": 0,
    }


def test_depths_by_priority_are_summed_and_kept(rig: Rig) -> None:
    """The event counts all that waits, and says by priority what waits, unless all is in 0."""
    publish_queue_depth({"a": {"0": 3, 9: 1, 6: 0}, "b": {"0": 2}, "c": {}}, rig.bus, None)
    assert rig.published() == [{"a": 4, "b": 2, "c": 0}]
    (event,) = rig.events()
    assert event["meta"] == {"priorities": {"a": {"0": 3, "9": 1}}}


def test_a_depth_as_text_is_its_number(rig: Rig) -> None:
    """The text of a whole number is a number in the event and in the OpenTelemetry gauge."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    depths: Any = {"a": "5"}
    publish_queue_depth(depths, rig.bus, OtelMetrics(provider.get_meter("test"), lambda: 0))
    assert rig.published() == [{"a": 5}]
    data = reader.get_metrics_data()
    assert data is not None
    values = {
        metric.name: metric.data.data_points[0]
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    point: Any = values["otel_bridge.queue.depth"]
    assert point.value == 5


class UnreadableDepths(UserDict[str, int]):
    """A user's mapping that raises an error of its own."""

    def keys(self) -> Any:
        raise RuntimeError("the connection is closed")


@pytest.mark.parametrize(
    "depths", [{"a": object()}, {"a": "many"}, object(), UnreadableDepths(a=1)]
)
def test_depths_that_are_no_numbers_are_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture, depths: Any
) -> None:
    """Anything but whole numbers by queue name is one error in the log and no event."""
    publish_queue_depth(depths, rig.bus, None)
    assert rig.published() == []
    (record,) = caplog.records
    assert record.getMessage().startswith("queue_depth() takes whole numbers by queue name; got ")


# --- when ----------------------------------------------------------------------------------------


def test_a_sample_at_once_and_one_each_interval(rig: Rig) -> None:
    """The first sample is taken at the start, the next ones every 5 s, none after the stop."""
    depths = iter(range(10))
    sampler = rig.sampler(lambda names: {name: next(depths) for name in names}, ["q"])
    sampler.start()
    sampler.start()
    rig.run_due()
    assert rig.published() == [{"q": 0}]
    for seconds in (4.9, 0.1):
        rig.redis.delete(LOCK)
        rig.run_due(seconds)
    assert rig.published() == [{"q": 0}, {"q": 1}]
    sampler.stop()
    rig.redis.delete(LOCK)
    rig.run_due(100)
    assert rig.published() == [{"q": 0}, {"q": 1}]


def test_a_sampler_that_starts_again_samples_once_each_interval(rig: Rig) -> None:
    """A start soon after a stop takes one sample each interval, not one for each start."""
    reads: list[Sequence[str]] = []
    sampler = rig.sampler(reads.append, set_if_absent=lambda key, ttl_ms: True)
    sampler.start()
    rig.run_due()
    sampler.stop()
    sampler.start()
    rig.run_due()
    assert len(reads) == 2
    rig.run_due(5)
    assert len(reads) == 3


def test_a_read_that_blocks_delays_no_other_call(rig: Rig) -> None:
    """With ``may_block`` a sample has its own thread, and a second one is not started meanwhile."""
    started, released = threading.Event(), threading.Event()
    threads: list[tuple[str, bool, object]] = []

    def read(names: Sequence[str]) -> dict[str, int]:
        thread = threading.current_thread()
        threads.append((thread.name, thread.daemon, get_value(_SUPPRESS_INSTRUMENTATION_KEY)))
        started.set()
        assert released.wait(10)
        return dict.fromkeys(names, 1)

    rig.sampler(read, may_block=True).start()
    assert started.wait(10)
    rig.redis.delete(LOCK)
    rig.run_due(5)
    rig.run_due(5)
    released.set()
    wait_until(lambda: rig.published(), "the sample")
    assert threads == [("otel-bridge-depth", True, True)]
    wait_until(lambda: not is_reading(), "the end of its thread")
    rig.run_due(5)
    wait_until(lambda: len(threads) == 2, "the next sample")


def test_a_sample_under_way_at_the_stop_is_not_published(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """After ``stop()`` neither the depths nor an error of a read under way are reported."""
    stopped: list[QueueDepthSampler] = []

    def read(names: Sequence[str]) -> dict[str, int]:
        stopped[-1].stop()
        if len(stopped) == 2:
            raise OSError("away")
        return dict.fromkeys(names, 1)

    for _ in range(2):
        rig.redis.delete(LOCK)
        stopped.append(rig.sampler(read))
        stopped[-1].start()
        rig.run_due()
    assert (rig.published(), caplog.records) == ([], [])


def test_nothing_is_read_after_a_stop_while_the_lock_is_taken(rig: Rig) -> None:
    """The application may have closed the client of the queues by then."""
    made: list[QueueDepthSampler] = []
    read: list[Sequence[str]] = []

    def set_if_absent(key: str, ttl_ms: int) -> bool:
        made[0].stop()
        return True

    made.append(rig.sampler(read.append, set_if_absent=set_if_absent))
    made[0].start()
    rig.run_due()
    assert read == []


# --- which process -------------------------------------------------------------------------------


def test_one_process_samples_for_all(rig: Rig) -> None:
    """Of several processes that see the same queues, one publishes in each interval."""
    for _ in range(3):
        rig.sampler(lambda names: dict.fromkeys(names, 7)).start()
    rig.run_due()
    assert rig.published() == [{"a": 7, "b": 7}]
    assert rig.locks() == [LOCK]
    assert 0 < rig.redis.pttl(LOCK) <= 4500


def test_each_queue_may_have_a_lock_of_its_own(rig: Rig) -> None:
    """Workers that serve different queues each publish the queues that no other has sampled."""
    asked: list[Sequence[str]] = []

    def read(names: Sequence[str]) -> dict[str, int]:
        asked.append(names)
        return dict.fromkeys(names, 7)

    for names in (["a", "b"], ["b", "c"], ["a", "c"]):
        rig.sampler(read, names, locks_each_queue=True, interval_sec=1).start()
    rig.run_due()
    assert asked == [["a", "b"], ["c"]]
    assert rig.published() == [{"a": 7, "b": 7}, {"c": 7}]
    assert rig.locks() == [f"{LOCK}:a", f"{LOCK}:b", f"{LOCK}:c"]
    assert 0 < rig.redis.pttl(f"{LOCK}:a") <= 900


def test_without_queues_no_lock_is_taken(rig: Rig) -> None:
    """A process that has seen no queue yet leaves the sample to the others."""
    rig.sampler(lambda names: pytest.fail("nothing to read"), []).start()
    rig.run_due()
    assert rig.locks() == []


# --- failures ------------------------------------------------------------------------------------


def test_a_failure_is_logged_once_in_a_row(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """The first failure is a warning, the next ones are silent until a sample has worked."""
    answers: Iterator[Any] = iter([OSError("away"), OSError("away"), {"a": 1}, OSError("again")])

    def read(names: Sequence[str]) -> dict[str, int]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, int] = answer
        return found

    rig.sampler(read).start()
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            rig.redis.delete(LOCK)
            rig.run_due(5)
    assert rig.published() == [{"a": 1}]
    assert [record.getMessage() for record in caplog.records] == [
        "the depth of the queues cannot be read: away",
        "the depth of the queues cannot be read: again",
    ]


def test_a_caller_that_has_logged_why_publishes_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """``read`` may return None: no event and no further log line."""
    rig.sampler(lambda names: None).start()
    rig.run_due()
    assert (rig.published(), caplog.records) == ([], [])


# --- calls on an event loop ----------------------------------------------------------------------


async def test_a_thread_gets_what_the_coroutine_returns() -> None:
    """Result and exception reach the calling thread, and so does its suppression of spans."""
    caller = LoopCaller(asyncio.get_running_loop())

    async def suppressed(value: int) -> tuple[int, object]:
        return value, get_value(_SUPPRESS_INSTRUMENTATION_KEY)

    async def failing() -> None:
        raise LookupError("no such queue")

    def call_both() -> tuple[int, object]:
        with pytest.raises(LookupError, match="no such queue"):
            caller.call(failing)
        with suppress_instrumentation():
            return caller.call(suppressed, 3)

    assert await asyncio.to_thread(call_both) == (3, True)


async def test_a_call_that_takes_too_long_is_cancelled() -> None:
    """After the timeout the thread gets TimeoutError and the coroutine ends."""
    caller = LoopCaller(asyncio.get_running_loop(), timeout_sec=0.01)
    is_cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(caller.call, hang)
    await is_cancelled.wait()


async def test_closing_cancels_calls_and_refuses_further_ones() -> None:
    """``aclose()`` returns when no call uses the loop any more; later calls raise."""
    caller = LoopCaller(asyncio.get_running_loop())
    is_running, is_cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        is_running.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    calling = asyncio.create_task(asyncio.to_thread(_error_of, caller, hang))
    await is_running.wait()
    await caller.aclose()
    assert is_cancelled.is_set()
    assert await calling == "CancelledError"
    assert await asyncio.to_thread(_error_of, caller, hang) == "RuntimeError"


def _error_of(caller: LoopCaller, function: Callable[[], Any]) -> str:
    try:
        caller.call(function)
    except Exception as error:
        return type(error).__name__
    return "none"


def test_a_closed_loop_is_an_error_and_no_warning() -> None:
    """A call on a loop that is closed raises at once and leaves no coroutine behind."""
    loop = asyncio.new_event_loop()
    loop.close()

    async def never() -> None: ...

    assert _error_of(LoopCaller(loop), never) == "RuntimeError"
