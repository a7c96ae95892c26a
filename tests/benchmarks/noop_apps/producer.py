"""
Enqueues no-op jobs and prints the CPU of each: ``python -m ... <framework> <warm-up> <jobs>``.

The warm-up jobs connect and import what the first job needs; they are not measured. What waits in
the event bus is flushed before the clock is read, for its thread's CPU belongs to the jobs as well.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time


def _flush() -> None:
    bridge = sys.modules.get("otel_bridge.bridge")
    if bridge is not None:
        bridge.current_bridge().flush(10)


async def main(framework: str, warm_up: int, jobs: int) -> None:
    app = importlib.import_module(f"tests.benchmarks.noop_apps.{framework}_app")
    await app.enqueue(warm_up)
    _flush()
    started = time.process_time()
    await app.enqueue(jobs)
    _flush()
    print((time.process_time() - started) / jobs * 1e6)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
