"""
What publishing costs, as ratios taken in one run: hooks, whole spans, the way to Redis, an outage.

``python -m tests.benchmarks.bench_publish``; rounds of all cases alternate, rows are medians, so
that a noisy neighbour hits every case alike. Needs a redis-server; redis-benchmark and logfire add
a row each when they are there.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis.asyncio as redis_asyncio
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.base import AppendResult, Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from tests.support.redis_cpu import main_thread_sec
from tests.support.redis_server import RedisServer
from tests.support.spans import SpanRecorder, job_attributes

EVENTS = 5120
PROJECTS = 7
_BENCHMARK_CALLS = 100_000


class _NullExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _NullSender:
    """Where bench buses send to when only the caller's side is measured."""

    def send(self, producer_id: str, first_n: int, batch: Sequence[Outgoing]) -> AppendResult:
        return AppendResult("0:0", 0, 0)

    def close(self) -> None:
        pass


def _row(what: str, value: str, goal: str = "") -> None:
    print(f"  {what:<66} {value:>12}  {goal}", flush=True)


def _medians(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run all cases once a round, in turn; the median of each."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            gc.disable()
            try:
                found[name].append(case())
            finally:
                gc.enable()
    return {name: statistics.median(values) for name, values in found.items()}


# --- the caller's side --------------------------------------------------------------------------
def _hook_case(processor: SpanProcessor) -> Callable[[], float]:
    recorder = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    provider.get_tracer("x").start_span("x", attributes=dict(job_attributes())).end()
    live, ended = recorder.started[0], recorder.ended[0]
    chain = TracerProvider(shutdown_on_exit=False)
    chain.add_span_processor(processor)
    multi = chain._active_span_processor

    def case() -> float:
        # Fewer than a batch, so that no drain thread is woken and no queue overflows.
        count = 200
        began = time.perf_counter_ns()
        for _ in range(count):
            multi.on_start(live, parent_context=None)
            multi.on_end(ended)
        spent = time.perf_counter_ns() - began
        chain.force_flush()
        return spent / count

    return case


def _span_case(*processors: SpanProcessor) -> Callable[[], float]:
    provider = TracerProvider(shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    tracer = provider.get_tracer("x")
    attributes = dict(job_attributes())

    def case() -> float:
        times = []
        for _ in range(400):
            began = time.perf_counter_ns()
            tracer.start_span("x", attributes=attributes).end()
            times.append(time.perf_counter_ns() - began)
        provider.force_flush()
        # The median of single spans: what the caller pays. What the drain threads take of the
        # second core and the GIL is in the outage row, with a worker that does work.
        return statistics.median(times)

    return case


def _logfire_processor(inner: SpanProcessor) -> SpanProcessor | None:
    """The peer's way to show a span that runs: a second, finished span at every start."""
    try:
        tracer: Any = importlib.import_module("logfire._internal.tracer")
    except ImportError:
        return None
    made: SpanProcessor = tracer.PendingSpanProcessor(RandomIdGenerator(), inner)
    return made


def _bus() -> EventBus:
    return EventBus(_NullSender(), BridgeSettings(bus_url="memory://bench"))


def bench_caller() -> None:
    """Hooks alone, then whole spans."""
    buses = [_bus() for _ in range(3)]
    batch = [BatchSpanProcessor(_NullExporter()) for _ in range(4)]
    cases = {
        "none": _hook_case(SpanProcessor()),
        "ours": _hook_case(MonitoringSpanProcessor(buses[0])),
        "batch": _hook_case(batch[0]),
    }
    hooks = _medians(cases, 101)
    print("hooks (start + end of one span, in the caller's thread)")
    _row("a processor that does nothing, ns", f"{hooks['none']:.0f}")
    _row("MonitoringSpanProcessor, ns", f"{hooks['ours']:.0f}")
    _row("BatchSpanProcessor, ns", f"{hooks['batch']:.0f}")
    _row("ours / BatchSpanProcessor", f"{hooks['ours'] / hooks['batch']:.2f}", "<= 0.5")
    cases = {
        "batch": _span_case(batch[1]),
        "ours": _span_case(MonitoringSpanProcessor(buses[1])),
        "both": _span_case(batch[2], MonitoringSpanProcessor(buses[2])),
    }
    pending = _logfire_processor(batch[3])
    if pending is not None:
        cases["logfire"] = _span_case(pending, batch[3])
    spans = _medians(cases, 25)
    print("whole span with 9 attributes")
    _row("BatchSpanProcessor alone, us", f"{spans['batch'] / 1000:.2f}")
    _row("ours alone / BatchSpanProcessor alone", f"{spans['ours'] / spans['batch']:.2f}")
    _row("both / BatchSpanProcessor alone", f"{spans['both'] / spans['batch']:.2f}", "<= 1.05")
    if pending is None:
        _row("Logfire's pending spans", "not installed")
    else:
        _row("Logfire's pending spans / alone", f"{spans['logfire'] / spans['batch']:.2f}")
    for bus in buses:
        bus.shutdown(5)
    for processor in batch:
        processor.force_flush()


# --- the way to Redis ---------------------------------------------------------------------------
def _outgoing() -> list[Outgoing]:
    batch = []
    for number in range(EVENTS):
        project = f"proj_{number % PROJECTS}"
        event = MonitoringEvent(
            event_type=MonitoringEventType.TASK_COMPLETED,
            project_id=project,
            parent_task_id="6ba529d4",
            task_id=f"6ba5_search_{number}",
            task_type="data_aggregation_search",
            phase="search",
            worker_id=3,
            duration_ms=123.4,
        )
        batch.append(Outgoing(event.to_json(), project))
    return batch


class _Cost:
    """Wall time and this process's CPU time of each case, microseconds an event."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def measure(self, work: Callable[[], int]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        count = work()
        self.wall.append((time.perf_counter() - wall) * 1e6 / count)
        self.cpu.append((time.process_time() - cpu) * 1e6 / count)

    def medians(self) -> tuple[float, float]:
        return statistics.median(self.wall), statistics.median(self.cpu)


def bench_redis(rounds: int = 5) -> None:
    """One script a batch against awaited PUBLISHes, and against Redis's own benchmark."""
    events = _outgoing()
    with RedisServer() as server:
        settings = BridgeSettings(bus_url=server.url)
        sender = RedisSender(server.url, settings)
        producer, next_n = "bench", 1

        def send(size: int) -> int:
            nonlocal next_n
            for first in range(0, EVENTS, size):
                sender.send(producer, next_n, events[first : first + size])
                next_n += size
            return EVENTS

        def naive(channels: int) -> int:
            count = EVENTS // 8
            asyncio.run(_publish_awaited(server.url, events[:count], channels))
            return count

        cases: dict[str, tuple[_Cost, Callable[[], int]]] = {
            "script, 64 a batch": (_Cost(), lambda: send(64)),
            "script, 128 a batch": (_Cost(), lambda: send(128)),
            "script, 256 a batch": (_Cost(), lambda: send(256)),
            "awaited PUBLISH, global channel only": (_Cost(), lambda: naive(1)),
            "awaited PUBLISH, global and project": (_Cost(), lambda: naive(2)),
        }
        ceilings: list[float] = []
        cpu_ratios: list[float] = []
        send(256)
        with server.client() as client:
            for _ in range(rounds):
                for cost, work in cases.values():
                    cost.measure(work)
                started = main_thread_sec(client)
                send(256)
                script_cpu = (main_thread_sec(client) - started) * 1e6 / EVENTS
                composed = _redis_benchmark(server.port, len(events[0].data), client)
                if composed is not None:
                    ceilings.append(composed[0])
                    cpu_ratios.append(composed[1] / script_cpu)
        sender.close()
        print(f"publish path: {len(events[0].data)} bytes, stream + 2 channels + dedupe")
        found = {name: cost.medians() for name, (cost, _) in cases.items()}
        for name, (wall, cpu) in found.items():
            _row(f"{name}: wall / client CPU, us an event", f"{wall:.2f} / {cpu:.2f}")
        script, awaited = found["script, 128 a batch"], found["awaited PUBLISH, global and project"]
        _row("awaited PUBLISHes / script of 128, wall", f"{awaited[0] / script[0]:.1f}")
        _row("awaited PUBLISHes / script of 128, client CPU", f"{awaited[1] / script[1]:.0f}")
        large = found["script, 256 a batch"]
        _row("awaited PUBLISHes / script of 256, wall", f"{awaited[0] / large[0]:.1f}", ">= 35")
        _row(
            "awaited PUBLISHes / script of 256, client CPU",
            f"{awaited[1] / large[1]:.0f}",
            ">= 100",
        )
        if ceilings:
            ceiling = statistics.median(ceilings)
            _row("redis-benchmark, XADD + 2 PUBLISH composed, us", f"{ceiling:.2f}")
            _row("composed ceiling / script of 128", f"{ceiling / script[0]:.2f}")
            # 256 is the default's full batch, which is what a publisher at the ceiling sends.
            _row("composed ceiling / script of 256", f"{ceiling / large[0]:.2f}", ">= 1.4")
            _row("the same in Redis' CPU", f"{statistics.median(cpu_ratios):.2f}")
        else:
            _row("redis-benchmark", "not found")


async def _publish_awaited(url: str, events: Sequence[Outgoing], channels: int) -> None:
    client = redis_asyncio.Redis.from_url(url)
    for data, project_id, *_ in events:
        await client.publish("nexus:events", data)
        if channels == 2:
            await client.publish(f"nexus:events:project:{project_id}", data)
    await client.aclose()


def _redis_benchmark(port: int, size: int, client: Any) -> tuple[float, float] | None:
    """Microseconds for one XADD and two PUBLISHes at -c 1 -P 64: wall, and Redis' CPU."""
    program = shutil.which("redis-benchmark")
    if program is None:
        return None
    per_sec, cpu = [], []
    payload = "x" * size
    for command in (
        ["XADD", "bench:stream", "MAXLEN", "~", "100000", "*", "e", payload],
        ["PUBLISH", "bench:channel", payload],
    ):
        started = main_thread_sec(client)
        done = subprocess.run(
            [
                program,
                "-p",
                str(port),
                *("-c", "1", "-P", "64", "-n", str(_BENCHMARK_CALLS), "--csv"),
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        cpu.append((main_thread_sec(client) - started) * 1e6 / _BENCHMARK_CALLS)
        per_sec.append(float(done.stdout.strip().splitlines()[-1].split('","')[1].strip('"')))
    return 1e6 / per_sec[0] + 2e6 / per_sec[1], cpu[0] + 2 * cpu[1]


# --- a worker while Redis is away ---------------------------------------------------------------
def bench_outage(rounds: int = 9) -> None:
    """Jobs a second of one busy worker, with Redis well and with Redis stopped, in turn."""
    with RedisServer() as server:
        bus = EventBus.connect(BridgeSettings(bus_url=server.url))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(MonitoringSpanProcessor(bus))
        tracer = provider.get_tracer("x")
        attributes = dict(job_attributes())
        payload = os.urandom(1024 * 1024)

        def jobs_per_sec(seconds: float = 0.6) -> float:
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                span = tracer.start_span("job", attributes=attributes)
                # About a millisecond of work in small steps: the GIL stays with the worker.
                for first in range(0, len(payload), 2048):
                    hashlib.md5(payload[first : first + 2000], usedforsecurity=False).digest()
                span.end()
                count += 1
            return count / (time.perf_counter() - began)

        jobs_per_sec()
        healthy, stopped = [], []
        for _ in range(rounds):
            healthy.append(jobs_per_sec())
            server.stop()
            stopped.append(jobs_per_sec())
            server.resume()
            bus.flush(10)
        ratio = statistics.median(s / h for s, h in zip(stopped, healthy, strict=True))
        print("worker throughput, jobs of about 1 ms")
        _row("Redis well, jobs/s", f"{statistics.median(healthy):.0f}")
        _row("Redis stopped / well", f"{ratio:.3f}", ">= 0.98")
        _row("events lost", str(bus.counters.dropped), "0")
        bus.shutdown(5)


def bench_conversion(rounds: int = 9) -> None:
    """Span to JSON in the drain thread, against validating and dumping the model."""
    recorder = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    provider.get_tracer("x").start_span("x", attributes=dict(job_attributes())).end()
    live: Span = recorder.started[0]
    publisher = _bus()._publisher
    outgoing = publisher._encode(live)
    assert outgoing is not None
    fields = json.loads(outgoing.data)

    def fast() -> float:
        began = time.perf_counter_ns()
        for _ in range(2000):
            publisher._encode(live)
        return (time.perf_counter_ns() - began) / 2000

    def validated() -> float:
        began = time.perf_counter_ns()
        for _ in range(2000):
            MonitoringEvent.model_validate(fields).model_dump_json(exclude_none=True)
        return (time.perf_counter_ns() - began) / 2000

    found = _medians({"fast": fast, "validated": validated}, rounds)
    print("conversion, span to JSON with masking, in the drain thread")
    _row("one event, us", f"{found['fast'] / 1000:.2f}")
    _row("validate + dump of ready fields / ours", f"{found['validated'] / found['fast']:.2f}")


def main() -> None:
    """Print all rows, with the machine they were taken on."""
    version = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"publish, commit {version}, Python {platform.python_version()}, {os.cpu_count()} cores")
    bench_caller()
    bench_conversion()
    bench_redis()
    bench_outage()


if __name__ == "__main__":
    main()
