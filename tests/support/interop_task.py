"""
One whole research task for real backends: ``python -m tests.support.interop_task``.

Two phases, jobs with a retry and a failure, exported by OTLP as the environment says; its live
events go nowhere. Says its trace id and ends.
"""

from __future__ import annotations

import otel_bridge
from otel_bridge.settings import BridgeSettings


def main() -> None:
    settings = BridgeSettings(bus_url="memory://interop")
    bridge = otel_bridge.configure(service_name="researcher", settings=settings)
    with otel_bridge.research_task("r1", title="Private schools GA", project_id="alpha"):
        for name in ("search", "extraction"):
            with otel_bridge.phase(name, total=2):
                for number in range(2):
                    _run(f"r1_{name}_{number}", number)
    bridge.shutdown()
    print("done", flush=True)


def _run(task_id: str, number: int) -> None:
    with otel_bridge.enqueue(task_id=task_id, task_type="fetch", queue="nexus:tasks") as carrier:
        queued = dict(carrier)
    if number == 0:
        with otel_bridge.job(task_id=task_id, task_type="fetch", carrier=queued) as job:
            again = job.retry_carrier
            job.retry("HTTP 429")
        with otel_bridge.job(
            task_id=task_id, task_type="fetch", carrier=again, retry_count=1, worker_id="w1"
        ):
            pass
        return
    with otel_bridge.job(task_id=task_id, task_type="fetch", carrier=queued) as job:
        job.fail("no such school")


if __name__ == "__main__":
    main()
