"""
What one collector carries: folding, memory at its own limits, publishing again after a failover.

``python -m tests.benchmarks collector``; the failover needs a redis-server. Folding is counted in
the processor's time beside the code of 8f5d6be, in turn and in fresh processes, so that a busy
machine changes the ratio little. Without git, or that commit, that is not measured.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import psutil
from otel_bridge_collector.log.blocks import BLOCK_ENTRIES
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.clock import SYSTEM_CLOCK, iso_utc
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import LogEntry, Outgoing, splice_position
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.benchmarks import folding
from tests.benchmarks.results import ROOT, row
from tests.support.redis_groups import SentinelGroup
from tests.support.redis_server import RedisServer

TASKS: Final = 1000
JOBS_PER_TASK: Final = 50
_OLD: Final = "8f5d6be"
"""The first code with the whole of the collector: what folding is measured beside."""
_ROUNDS: Final = 5
_WORKERS: Final = 200
_OPEN_JOBS: Final = 5000
STEPS: Final = (
    ("task_enqueued", "pending"),
    ("task_started", "processing"),
    ("task_retry", "retrying"),
    ("task_completed", "completed"),
)


def _row(what: str, value: str, goal: str = "") -> None:
    print(f"  {what:<66} {value:>14}  {goal}", flush=True)


def _events() -> Iterator[bytes]:
    """The events of 50,000 jobs of 1,000 research tasks, 200,000 in all, with new ids each time."""
    now = SYSTEM_CLOCK.time_ns()
    for job in range(JOBS_PER_TASK):
        for task in range(TASKS):
            for kind, status in STEPS:
                event = MonitoringEvent.model_validate(
                    {
                        "event_id": str(uuid.uuid4()),
                        "ts": iso_utc(now),
                        "event_type": kind,
                        "status": status,
                        "project_id": f"proj_{task % 100}",
                        "parent_task_id": f"research-{task}",
                        "task_id": f"research-{task}-search-{job}",
                        "task_type": "data_aggregation_search",
                        "phase": "search",
                        "worker_id": job % 16,
                        "duration_ms": 123.4 if kind == "task_completed" else None,
                    }
                )
                yield event.to_json()


def fill() -> None:
    """Print what the fold of all these costs and keeps, as JSON."""
    collector = Collector(CollectorSettings(), BridgeSettings(bus_url="memory://bench-collector"))
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    spent_us = _fold_all(collector, 0)
    assert sum(len(task.jobs) for task in collector.model.tasks.by_id.values()) == 50_000
    gc.collect()
    grown = process.memory_info().rss - before
    later_us = [_fold_all(collector, part) for part in range(1, 5)][-1]
    print(json.dumps({"us": spent_us, "later": later_us, "grown": grown, "rss": before + grown}))


def _fold_all(collector: Collector, part: int) -> float:
    """Fold all these as the next part of the log; microseconds of the processor each."""
    now = SYSTEM_CLOCK.time_ns() // 1000
    spent = 0.0
    count = 0
    chunk: list[LogEntry] = []
    for number, data in enumerate(_events()):
        position = f"bench:{part}-{number}"
        chunk.append(LogEntry(position, splice_position(position, data)))
        if len(chunk) == 1000:
            begun = time.process_time()
            for start in range(0, len(chunk), BLOCK_ENTRIES):
                count += len(collector.feed._fold(chunk[start : start + BLOCK_ENTRIES], now))
            spent += time.process_time() - begun
            chunk.clear()
    assert count == TASKS * JOBS_PER_TASK * len(STEPS)
    return spent / count * 1e6


def _failover() -> float:
    """Seconds from the master's SIGKILL until an event is acknowledged by the next one."""
    with SentinelGroup() as group:
        bus = EventBus.connect(BridgeSettings(redis_url=group.url))
        beat = MonitoringEvent.model_validate({"event_type": "worker_heartbeat", "worker_id": 1})
        bus.publish(beat)
        assert bus.flush(10)
        old = group.master()
        begun = time.perf_counter()
        next(server for server in group.servers if server.port == old).kill()
        bus.publish(beat.model_copy(update={"event_id": str(uuid.uuid4())}))
        assert bus.flush(60)
        found = time.perf_counter() - begun
        assert bus.counters.dropped == 0
        bus.shutdown(2)
        return found


def _logged_bytes() -> float:
    """What Redis keeps for one of 50,000 logged events."""
    with RedisServer() as server, server.client() as client:
        sender = RedisSender(server.url, BridgeSettings(redis_url=server.url))
        batch: list[Outgoing] = []
        for number, data in enumerate(islice(_events(), 50_000), start=1):
            batch.append(Outgoing(data, None))
            if len(batch) == 250:
                sender.send("bench", number - 249, batch)
                batch.clear()
        sender.close()
        used: Any = client.execute_command(
            "MEMORY", "USAGE", DEFAULT_KEYS.log_stream(), "SAMPLES", 0
        )
        return float(used) / 50_000


# --- folding beside the first release's code -----------------------------------------------------


def _run_folding(tree: Path, what: str, workload: str) -> dict[str, float]:
    """One fresh process with the code of ``tree``."""
    paths = [str(tree), str(tree / "collector")]
    done = subprocess.run(
        [sys.executable, str(Path(folding.__file__)), what, workload],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _unpack_old(directory: Path) -> Path | None:
    """The code of 8f5d6be; None where it cannot be had."""
    git = shutil.which("git")
    if git is None:
        return None
    archive = directory / "old.tar"
    command = [git, "-C", str(ROOT), "archive", "-o", str(archive), _OLD]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        return None
    with tarfile.open(archive) as packed:
        packed.extractall(directory / "old", filter="data")
    return directory / "old"


def bench_folding() -> None:
    """Both workloads, in turn with the code of 8f5d6be."""
    print("decoding, folding, counting one event of the log, and noting it in the ring")
    with tempfile.TemporaryDirectory() as directory:
        old = _unpack_old(Path(directory))
        for workload in ("plain", "spans"):
            ours: list[float] = []
            ratios: list[float] = []
            for _ in range(_ROUNDS):
                theirs = None if old is None else _run_folding(old, "time", workload)["us"]
                ours.append(_run_folding(ROOT, "time", workload)["us"])
                if theirs is not None:
                    ratios.append(theirs / ours[-1])
            row(f"folding one event, {workload}, us of the processor", ours, "<= 12", 1)
            if ratios:
                row(f"folding one event, {workload}, 8f5d6be / now", ratios, ">= 2.5")
            held = _run_folding(ROOT, "memory", workload)["bytes"]
            row(f"memory of a job, {workload}, bytes", [held], digits=0)
            if old is None:
                _row(f"8f5d6be / now, {workload}", "not measured")
                continue
            before = _run_folding(old, "memory", workload)["bytes"]
            row(f"memory of a job, {workload}, now / 8f5d6be", [held / before], "<= 0.6", 3)


# --- what is read each second --------------------------------------------------------------------


def _event(at_us: int, kind: str, **fields: Any) -> Event:
    ts = datetime.fromtimestamp(at_us / 1e6, UTC)
    return Event(ts=ts, event_type=kind, event_id=str(uuid.uuid4()), **fields)


def _busy_model(at_us: int) -> Fold:
    """200 workers with heartbeats, 5,000 jobs that run in 500 research tasks."""
    model = Fold()
    for worker in range(_WORKERS):
        model.apply(_event(at_us, "worker_started", worker_id=worker), at_us)
    for job in range(_OPEN_JOBS):
        fields = {"parent_task_id": f"t{job % 500}", "task_id": f"j{job}", "phase": "search"}
        span_id = f"{job + 1:016x}"
        event = _event(at_us, "task_started", worker_id=job % _WORKERS, span_id=span_id, **fields)
        model.apply(event, at_us)
    model.sweep(at_us)
    return model


def _spent_ms(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return (time.process_time() - begun) * 1e3


def bench_views() -> None:
    """The sweep of each second, and one card."""
    print("200 workers and 5,000 jobs that run in 500 research tasks")
    start_us = SYSTEM_CLOCK.time_ns() // 1000
    rest: list[float] = []
    busy: list[float] = []
    stalled: list[float] = []
    card: list[float] = []
    for _ in range(_ROUNDS):
        model = _busy_model(start_us)
        now = start_us
        for _ in range(10):
            now += 1_000_000
            rest.append(_spent_ms(lambda: model.sweep(now)))  # noqa: B023
        for _ in range(10):
            now += 1_000_000
            for worker in range(_WORKERS):
                model.apply(_event(now, "worker_heartbeat", worker_id=worker), now)
            busy.append(_spent_ms(lambda: model.sweep(now)))  # noqa: B023
        tasks = list(model.tasks.by_id.values())
        cards = model.cards
        card.append(
            _spent_ms(lambda: [cards.card(task) for task in tasks])  # noqa: B023
            / len(tasks)
            * 1e3
        )
        stalled.append(_spent_ms(lambda: model.sweep(now + 60_000_000)))  # noqa: B023
        assert not model.running
    row("sweep when nothing came, ms", rest, "<= 1", 3)
    row("sweep after a heartbeat of each worker, ms", busy, "<= 1", 3)
    row("sweep in which all 5,000 stall, us a job", [1e3 * ms / _OPEN_JOBS for ms in stalled])
    row("a card from its aggregates, us", card, digits=1)


def main() -> None:
    logging.getLogger("otel_bridge").setLevel(logging.ERROR)  # it says that Redis is away
    bench_folding()
    bench_views()
    command = [sys.executable, "-c", "import tests.benchmarks.bench_collector as b; b.fill()"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    print("one collector, 200,000 events of 50,000 jobs")
    _row("folding one event after 800,000 more / before, ratio", _ratio(found))
    _row("memory for 1,000 research tasks, 50,000 jobs, 200,000 ids, MiB", _mib(found["grown"]))
    _row("the whole process, MiB", _mib(found["rss"]))
    _row("the log in Redis, bytes an event", f"{_logged_bytes():.0f}")
    print("failover by Sentinel, down-after-milliseconds 500")
    _row("publishing again after, s", f"{min(_failover() for _ in range(3)):.1f}")


def _ratio(found: dict[str, float]) -> str:
    return f"{found['later'] / found['us']:.2f}"


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}"


if __name__ == "__main__":
    main()
