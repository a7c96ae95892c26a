"""
The dashboard under load: 5,000 events a second for a minute in Chromium, and what a frame costs.

Prints what the page receives, dropped frames, long tasks, the age of views when a frame has been
drawn after them, and the heap after garbage collection early and late. ``DASHBOARD_SECONDS``
shortens it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import CDPSession, sync_playwright

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppProcess
from tests.support.redis_server import RedisServer

PER_SEC: Final = 5_000
TASKS: Final = 4
WORKERS: Final = 32
_WARM_UP_SEC: Final = 5.0
_SECONDS: Final = float(os.environ.get("DASHBOARD_SECONDS", "60"))
_FRAME_MS: Final = 1000 / 60
_PICTURE: Final = Path(__file__).parents[2] / "docs" / "dashboard-load.png"

_PROBE: Final = """
(() => {
  const probe = (window.probe = { frames: [], ages: [], longTasks: 0, longMs: 0, chars: 0 });
  let newest = 0;
  let last = 0;
  const onFrame = (now) => {
    if (last) probe.frames.push(now - last);
    last = now;
    if (newest) {
      const at = newest;
      newest = 0;
      // After this frame's work, so that drawing counts.
      setTimeout(() => probe.ages.push(Date.now() - at));
    }
    requestAnimationFrame(onFrame);
  };
  requestAnimationFrame(onFrame);
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      probe.longTasks++;
      probe.longMs += entry.duration;
    }
  }).observe({ entryTypes: ["longtask"] });
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        probe.chars += data.length;
        const at = /^\\{"t":"change","s":\\d+,"v":\\d+,"at":(\\d+)/.exec(data);
        if (at) newest = Number(at[1]);
      });
    }
  };
})();
"""

_RECEIVE: Final = """
() => {
  const socket = new WebSocket(`ws://${location.host}/ws/monitor?batch_ms=50`);
  socket.addEventListener("message", ({ data }) => JSON.parse(data));
}
"""


def produce(url: str, seconds: float) -> None:
    """Jobs of a few research tasks as a fleet would publish them, from this process."""
    bus = EventBus.connect(BridgeSettings(bus_url=url, buffer_max_events=100_000))
    for task in range(TASKS):
        bus.publish(_event("task_started", task, f"load-{task}", meta={"title": f"Load {task}"}))
        bus.publish(_event("phase_started", task, None, counts={"total": 100_000}))
    began = time.monotonic()
    sent = 0
    while True:
        elapsed = time.monotonic() - began
        if elapsed > seconds:
            break
        while sent < elapsed * PER_SEC:
            task = sent // 2 % TASKS
            job = f"load-{task}:{sent}"
            span = f"{sent + 1:016x}"
            worker = f"worker-{sent // 2 % WORKERS}"
            bus.publish(_event("task_started", task, job, span_id=span, worker_id=worker))
            end = "task_failed" if sent % 202 == 0 else "task_completed"
            error = "TimeoutError: the source did not answer" if sent % 202 == 0 else None
            bus.publish(
                _event(end, task, job, span_id=span, worker_id=worker, duration_ms=1.0, error=error)
            )
            sent += 2
        time.sleep(0.01)
    bus.shutdown()
    print(sent / seconds)


def _event(kind: str, task: int, task_id: str | None, **fields: Any) -> MonitoringEvent:
    return MonitoringEvent.model_validate(
        {
            "event_type": kind,
            "project_id": "load",
            "parent_task_id": f"load-{task}",
            "task_id": task_id,
            "task_type": "search",
            "phase": "search",
            **fields,
        }
    )


def heap_mb(cdp: CDPSession) -> float:
    cdp.send("HeapProfiler.collectGarbage")
    return float(cdp.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def dropped_share(frames: list[float]) -> float:
    """Frames that were not drawn of those that 60 Hz would have had."""
    dropped = sum(max(0, round(frame / _FRAME_MS) - 1) for frame in frames)
    return dropped / (_SECONDS * 1000 / _FRAME_MS)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def main() -> None:
    """Print the row; needs Chromium and a redis-server."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        print("dashboard: NO BROWSER on PATH, nothing measured")
        return
    with (
        RedisServer() as redis,
        AppProcess({"bus_url": redis.url}) as collector,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(_PROBE)
        total = 2 * _SECONDS + _WARM_UP_SEC + 5
        producer = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.bench_dashboard", redis.url, str(total)],
            stdout=subprocess.PIPE,
            text=True,
        )
        # A page that only receives, beside the same servers: what this machine drops by itself.
        page.goto(f"{collector.url}/healthz")
        page.evaluate(_RECEIVE)
        page.wait_for_timeout(_SECONDS * 1000)
        bare: dict[str, Any] = page.evaluate("() => probe")
        page.goto(collector.url)
        cdp = page.context.new_cdp_session(page)
        page.wait_for_timeout(_WARM_UP_SEC * 1000)
        early = heap_mb(cdp)
        page.evaluate(
            "() => Object.assign(probe, {frames: [], ages: [], longTasks: 0, longMs: 0, chars: 0})"
        )
        page.wait_for_timeout(_SECONDS * 1000)
        probe: dict[str, Any] = page.evaluate("() => probe")
        late = heap_mb(cdp)
        page.screenshot(path=_PICTURE)
        sent, _ = producer.communicate()
        browser.close()
    dropped, alone = dropped_share(probe["frames"]), dropped_share(bare["frames"])
    print(f"dashboard, {float(sent):,.0f} events/s sent, {_SECONDS:.0f} s, 1440 x 900")
    print(f"  received            {probe['chars'] / _SECONDS / 1000:,.0f} kB/s, not compressed")
    print(f"  dropped frames      {dropped:.2%} (goal 1 %); a page that only receives {alone:.2%}")
    print(f"  long tasks          {probe['longTasks']}, {probe['longMs']:.0f} ms (goal 0)")
    ages = probe["ages"]
    print(
        f"  view age when drawn p50 {percentile(ages, 0.5):.0f} ms, "
        f"p95 {percentile(ages, 0.95):.0f} ms (goal 100)"
    )
    print(f"  heap after GC       {early:.1f} MB early, {late:.1f} MB late")


if __name__ == "__main__":
    produce(sys.argv[1], float(sys.argv[2]))
