"""
What an event costs a collector that shares the fold: routing, and folding its part of the tasks.

``python -m tests.benchmarks cluster``, two minutes; no network. Each case is a fresh process that
reads the same log of 120,000 events the reader's whole way (decode, route, fold, count,
ring), as one collector by itself, and as a member that holds all, a half, a quarter, an eighth or
none of the partitions. Cases alternate; microseconds are the processor's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.cluster.shared_fold import ClusterOptions, SharedFold
from otel_bridge_collector.commands.serve import _tune_garbage_collector
from otel_bridge_collector.log.blocks import BLOCK_ENTRIES
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.publish.transports.base import LogEntry
from otel_bridge.settings import BridgeSettings
from tests.benchmarks import folding
from tests.benchmarks.results import ROOT, row

_ROUNDS: Final = 3
_CHUNK: Final = 1000
_EVENTS: Final = 120_000
_WORKLOADS: Final[dict[str, Callable[[], Iterator[tuple[bytes, str]]]]] = {
    "plain": folding.plain,
    "spans": folding.spans,
}
_HELD: Final[dict[str, int | None]] = {
    "one collector": None,
    "all": PARTITIONS,
    "1/2": PARTITIONS // 2,
    "1/4": PARTITIONS // 4,
    "1/8": PARTITIONS // 8,
    "none": 0,
}


def _collector(held: int | None) -> Collector:
    settings = BridgeSettings(bus_url="redis://127.0.0.1:1", redis_url="redis://127.0.0.1:1")
    options = None if held is None else ClusterOptions("bench")
    made = Collector(CollectorSettings(), settings, cluster=options)
    if isinstance(made.fold, SharedFold):
        for partition in range(held or 0):
            made.fold.states.open(partition).is_ready = True
        made.fold.router.note_block("k3f9a1:0-0")
    made.feed._is_rebuilt = True  # live: what was there at the start has been read
    _tune_garbage_collector()
    return made


def measure(case: str, workload: str) -> float:
    """Microseconds of the processor for an event."""
    made = _collector(_HELD[case])
    entries = (LogEntry(position, data) for data, position in _WORKLOADS[workload]())
    events = islice(entries, _EVENTS)
    fold, spent, count = made.feed._fold, 0.0, 0
    now = int(folding._EPOCH.timestamp()) * 1_000_000
    while chunk := list(islice(events, _CHUNK)):
        begun = time.process_time()
        for start in range(0, len(chunk), BLOCK_ENTRIES):
            fold(chunk[start : start + BLOCK_ENTRIES], now)
        spent += time.process_time() - begun
        count += len(chunk)
        now += len(chunk) * folding._STEP_US
    assert made.stats.events_in == count
    return spent / count * 1e6


def _measure_apart(case: str, workload: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.bench_cluster", case, workload]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "collector")))}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return float(found["us"])


def main() -> None:
    """Print what an event costs each member, and how near to linear that is."""
    print("A member's share of the fold, CPU of an event:")
    for workload in _WORKLOADS:
        found: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(_ROUNDS):
            for case in _HELD:
                found[case].append(_measure_apart(case, workload))
        for case, values in found.items():
            row(f"cluster, {workload}: {case}, us an event", values, digits=1)
        for case, members in (("all", 1), ("1/2", 2), ("1/4", 4), ("1/8", 8)):
            pairs = zip(found["one collector"], found[case], strict=True)
            ratios = [one / each for one, each in pairs]
            row(f"cluster, {workload}: {members} members carry, times one collector", ratios)


if __name__ == "__main__":
    print(json.dumps({"us": measure(*sys.argv[1:])}))
