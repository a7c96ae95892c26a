"""
What one collector carries: folding, memory at its own limits, publishing again after a failover.

``python -m tests.benchmarks collector``; the failover needs a redis-server. Folding is counted in
the processor's time, so a busy machine changes little; memory is that of a fresh process.
"""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import psutil
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.clock import SYSTEM_CLOCK, iso_utc
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import Outgoing
from otel_bridge.publish.transports.redis import RedisSender
from otel_bridge.settings import BridgeSettings
from tests.support.redis_groups import SentinelGroup
from tests.support.redis_server import RedisServer

TASKS: Final = 1000
JOBS_PER_TASK: Final = 50
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
    spent_us = _fold_all(collector)
    assert sum(len(task.jobs) for task in collector.model.tasks.by_id.values()) == 50_000
    gc.collect()
    grown = process.memory_info().rss - before
    later_us = [_fold_all(collector) for _ in range(4)][-1]
    print(json.dumps({"us": spent_us, "later": later_us, "grown": grown, "rss": before + grown}))


def _fold_all(collector: Collector) -> float:
    """Fold all these; microseconds of the processor each."""
    now = SYSTEM_CLOCK.time_ns() // 1000
    spent = 0.0
    count = 0
    chunk: list[bytes] = []
    for data in _events():
        chunk.append(data)
        if len(chunk) == 1000:
            begun = time.process_time()
            for one in chunk:
                count += collector.feed._fold(one, None, now) is not None
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


def main() -> None:
    logging.getLogger("otel_bridge").setLevel(logging.ERROR)  # it says that Redis is away
    command = [sys.executable, "-c", "import tests.benchmarks.bench_collector as b; b.fill()"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    print("one collector, 200,000 events of 50,000 jobs")
    _row("folding one event, us of the processor", f"{found['us']:.1f}")
    _row("the same after 800,000 more, ratio", f"{found['later'] / found['us']:.2f}")
    _row("events/s of one core", f"{1e6 / found['us']:,.0f}")
    _row("memory for 1,000 research tasks, 50,000 jobs, 200,000 ids, MiB", _mib(found["grown"]))
    _row("the whole process, MiB", _mib(found["rss"]))
    _row("the log in Redis, bytes an event", f"{_logged_bytes():.0f}")
    print("failover by Sentinel, down-after-milliseconds 500")
    _row("publishing again after, s", f"{min(_failover() for _ in range(3)):.1f}")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}"


if __name__ == "__main__":
    main()
