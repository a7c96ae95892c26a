"""
The dashboard in Chromium at 50, 500, 5,000 and 20,000 events a second: what its page costs.

``python -m tests.benchmarks dashboard`` needs Chromium, a redis-server, and ``ss`` for the bytes.
The page shows the end of a running task of 50,000 spans; up to 20 jobs a second start and end in
its last rows, the other events are everywhere. At 50 and 500 a producer publishes through Redis; at
5,000 and 20,000 it would take the processor from the page, so the collector's process feeds itself
(``view_server.py``). Events that were not taken in at the rate asked for are shown as such.

Each rate is measured for ``DASHBOARD_SECONDS`` (15), in three rounds. Measured are:

- main thread busy: CDP ``TaskDuration`` for each second of wall time. Where other programs take the
  processor it counts their time too, so ``ThreadTime``, processor time only, is beside it. Both
  include the animation frame that the probe asks for 60 times a second: "an empty page" has nothing
  else.
- received: what the kernel sent on the page's connections (``ss``), compressed, without headers of
  TCP and IP; and characters of messages, which is not compressed.
- event to painted row: from the event's ``ts`` to after the frame in which the visible row has its
  time in the DOM, for the start and the end of each job in the last rows.
- DOM nodes and heap: after garbage collection, at the end.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.benchmarks.bench_views import Child
from tests.benchmarks.results import row
from tests.benchmarks.view_server import BIG, NODES, Load
from tests.support.app_server import AppProcess, fetch
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_PUBLISHED_RATES: Final = (50, 500)
_FED_RATES: Final = (5_000, 20_000)
_MAIN_GOALS: Final = {50: "<= 20", 20_000: "<= 30"}
_PAINT_GOALS: Final = {5_000: ("<= 100", "<= 250")}
_LAST_EVENTS_PER_SEC: Final = 40
"""Starts and ends in the last rows, at most; at low rates half of all events."""
_SECONDS: Final = float(os.environ.get("DASHBOARD_SECONDS", "15"))
_ROUNDS: Final = 3
_WARM_UP_SEC: Final = 4.0
_FRAME_MS: Final = 1000 / 60
_CHUNK: Final = 10_000

_PROBE: Final = """
(() => {
  const empty = () => ({ frames: [], ages: [], longTasks: 0, chars: 0 });
  const probe = (window.probe = empty());
  window.takeProbe = () => {
    const taken = { ...probe };
    Object.assign(probe, empty());
    return taken;
  };
  let last = 0;
  const changed = new Set();
  const seen = new Map();
  let t0 = null;
  let since = 0;
  window.watchRows = (start) => {
    t0 = start;
    since = Date.now();
  };
  const add = (bar) => {
    const row = bar.closest(".wf-space .wf-row.is-job");
    if (row) changed.add(row);
  };
  const look = (row, now) => {
    const bar = row.querySelector(".wf-bar:not(.is-queued)");
    const list = row.closest(".wf-body")?.getBoundingClientRect();
    const place = row.getBoundingClientRect();
    if (!bar || !list || place.top < list.top - 1 || place.bottom > list.bottom + 1) return;
    const start = t0 + Number(bar.dataset.s);
    const key = `${row.title.split("\\n", 1)[0]} ${start}`;
    if (!seen.has(key) && start >= since) probe.ages.push(now - start);
    const hadEnd = seen.get(key) ?? false;
    const end = bar.dataset.e === undefined ? null : t0 + Number(bar.dataset.e);
    if (!hadEnd && end !== null && end >= since) probe.ages.push(now - end);
    seen.set(key, end !== null);
  };
  // A message that is posted in an animation frame comes after it was painted.
  const painted = new MessageChannel();
  painted.port1.onmessage = () => {
    const now = Date.now();
    if (t0 !== null) for (const row of changed) look(row, now);
    changed.clear();
  };
  const onFrame = (now) => {
    if (last) probe.frames.push(now - last);
    last = now;
    painted.port2.postMessage(0);
    requestAnimationFrame(onFrame);
  };
  requestAnimationFrame(onFrame);
  new MutationObserver((records) => {
    for (const { target, addedNodes } of records) {
      if (target.classList.contains("wf-bar")) add(target);
      for (const node of addedNodes)
        if (node instanceof Element) {
          if (node.matches(".wf-bar")) add(node);
          for (const bar of node.querySelectorAll(".wf-bar")) add(bar);
        }
    }
  }).observe(document, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-s", "data-e"],
  });
  new PerformanceObserver((list) => {
    probe.longTasks += list.getEntries().length;
  }).observe({ entryTypes: ["longtask"] });
  const Native = window.WebSocket;
  window.WebSocket = class extends Native {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        probe.chars += data.length;
      });
    }
  };
})();
"""


# --- the producer, in a process of its own -------------------------------------------------------


def publish(url: str) -> None:
    """Publish the tasks, then events at the rate that each JSON line on stdin asks for."""
    bus = EventBus.connect(BridgeSettings(bus_url=url, buffer_max_events=2 * _CHUNK))
    load = Load("x")
    events = 0
    for _, text in load.beginning():
        bus.publish(_event(text))
        events += 1
        if events % _CHUNK == 0:
            assert bus.flush(60)
    assert bus.flush(60)
    print(json.dumps({"events": events}), flush=True)
    asked = {"rate": 0, "last": 0.0}
    is_done = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            asked.update(json.loads(line))
            print(json.dumps({"wall": time.monotonic(), "events": events}), flush=True)
        is_done.set()

    threading.Thread(target=listen, daemon=True).start()
    due, last = 0.0, time.monotonic()
    while not is_done.wait(0.005):
        now = time.monotonic()
        due += asked["rate"] * (now - last)
        last, count = now, int(due)
        due -= count
        for _, text in load.some(count, asked["last"]):
            bus.publish(_event(text))
            events += 1
    bus.shutdown()


def _event(text: bytes) -> MonitoringEvent:
    """An event of the load as a producer publishes it: the log gives it its position."""
    return MonitoringEvent.model_validate_json(text).model_copy(update={"position": None})


@contextmanager
def _published() -> Iterator[tuple[Child, str]]:
    """A producer that publishes through Redis, and the URL of the collector that reads it."""
    with (
        RedisServer() as redis,
        AppProcess({"bus_url": redis.url}) as collector,
        Child("bench_dashboard", redis.url) as producer,
    ):
        producer.read()
        wait_until(lambda: _seen(collector.url) >= NODES, "the whole task", 60, 0.2)
        yield producer, collector.url


@contextmanager
def _fed() -> Iterator[tuple[Child, str]]:
    """A collector that feeds itself, and its URL."""
    with Child("view_server") as server:
        yield server, f"http://127.0.0.1:{server.read()['port']}"


# --- what is measured ----------------------------------------------------------------------------


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 for none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _head(url: str) -> dict[str, Any] | None:
    """The head of the large task's tree; None: it is not known yet."""
    params = urllib.parse.quote(json.dumps({"task": BIG, "count": 1}))
    answer = fetch(f"{url}/monitor/views/tree?params={params}")
    found: dict[str, Any] | None = answer.json()["head"] if answer.status == 200 else None
    return found


def _seen(url: str) -> int:
    """How many spans of the large task the collector has taken in."""
    head = _head(url)
    return int(head["nodes"]["seen"]) if head else 0


def _sent_bytes(url: str) -> dict[str, int] | None:
    """Bytes that the kernel has sent on each of the collector's connections; None without ss."""
    program = shutil.which("ss", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return None
    port = url.rpartition(":")[2]
    command = [program, "-tinOH", "state", "established", "sport", "=", f":{port}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for line in lines:
        sent = re.search(r"\bbytes_sent:(\d+)", line)
        found[line.split()[3]] = int(sent[1]) if sent else 0
    return found


class _Rounds:
    """What was measured of one page, a value for each round."""

    def __init__(self) -> None:
        self.busy: list[float] = []
        self.cpu: list[float] = []
        self.frames: list[float] = []
        self.dropped: list[float] = []
        self.kb: list[float] = []
        self.plain_kb: list[float] = []
        self.events: list[float] = []
        self.p50: list[float] = []
        self.p95: list[float] = []
        self.long_tasks = 0
        self.ages = 0
        self.nodes = 0.0
        self.heap_mb = 0.0
        self.load = 0.0


def _metrics(cdp: CDPSession) -> dict[str, float]:
    found = cdp.send("Performance.getMetrics")["metrics"]
    return {each["name"]: each["value"] for each in found}


def _measure(page: Page, source: Child, url: str) -> _Rounds:
    rounds = _Rounds()
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    page.wait_for_timeout(_WARM_UP_SEC * 1000)
    head = _head(url)
    assert head is not None, "the task left"
    page.evaluate("start => watchRows(start)", head["start"])
    page.evaluate("() => takeProbe()")
    for _ in range(_ROUNDS):
        sent, before, taken = _sent_bytes(url), _metrics(cdp), source.ask({})
        page.wait_for_timeout(_SECONDS / _ROUNDS * 1000)
        after, later, now = _metrics(cdp), source.ask({}), _sent_bytes(url)
        probe: dict[str, Any] = page.evaluate("() => takeProbe()")
        wall = after["Timestamp"] - before["Timestamp"]
        rounds.busy.append((after["TaskDuration"] - before["TaskDuration"]) / wall * 100)
        rounds.cpu.append((after["ThreadTime"] - before["ThreadTime"]) / wall * 100)
        frames = probe["frames"]
        rounds.frames.append(len(frames) / wall)
        dropped = sum(max(0, round(frame / _FRAME_MS) - 1) for frame in frames)
        rounds.dropped.append(dropped / (wall * 1000 / _FRAME_MS) * 100)
        if sent is not None and now is not None:
            more = sum(count - sent[each] for each, count in now.items() if each in sent)
            rounds.kb.append(more / wall / 1e3)
        rounds.plain_kb.append(probe["chars"] / wall / 1e3)
        rounds.events.append((later["events"] - taken["events"]) / (later["wall"] - taken["wall"]))
        ages = probe["ages"]
        rounds.ages += len(ages)
        rounds.long_tasks += probe["longTasks"]
        if ages:
            rounds.p50.append(percentile(ages, 0.5))
            rounds.p95.append(percentile(ages, 0.95))
    rounds.load = os.getloadavg()[0]
    cdp.send("HeapProfiler.collectGarbage")
    rounds.heap_mb = float(cdp.send("Runtime.getHeapUsage")["usedSize"]) / 1e6
    rounds.nodes = _metrics(cdp)["Nodes"]
    return rounds


def _page(browser: Browser, source: Child, url: str, path: str) -> _Rounds:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(_PROBE)
    page.goto(url + path)
    try:
        return _measure(page, source, url)
    finally:
        context.close()


def _bench(browser: Browser, source: Child, url: str, rate: int) -> None:
    """The rows of one rate."""
    last = min(0.5, _LAST_EVENTS_PER_SEC / rate)
    source.ask({"rate": rate, "last": last})
    found = _page(browser, source, url, f"/?task={BIG}")
    name = f"page at {rate:,} events/s"
    print(
        f"{name}: load average {found.load:.1f}, {found.ages} of about "
        f"{rate * last * _SECONDS:.0f} events seen painted, "
        f"{found.long_tasks} long tasks, not compressed {max(found.plain_kb):.0f} kB/s"
    )
    row(f"{name}, events/s taken in", found.events, digits=0)
    row(f"{name}, main thread busy, %", found.busy, _MAIN_GOALS.get(rate, ""), 1)
    row(f"{name}, main thread, % of a processor", found.cpu, digits=1)
    row(f"{name}, frames/s", found.frames, digits=1)
    row(f"{name}, dropped frames, %", found.dropped, digits=1)
    if found.kb:
        row(f"{name}, received, compressed, kB/s", found.kb, digits=1)
    row(f"{name}, DOM nodes", [found.nodes], digits=0)
    row(f"{name}, heap, MB", [found.heap_mb], digits=1)
    row(f"{name}, load average beside it", [found.load], digits=1)
    if found.p50:
        p50, p95 = _PAINT_GOALS.get(rate, ("", ""))
        row(f"{name}, event to painted row of the tree, p50 ms", found.p50, p50, 0)
        row(f"{name}, event to painted row of the tree, p95 ms", found.p95, p95, 0)


def _bench_limits(browser: Browser, server: Child, url: str) -> None:
    """An empty page, and one whose visible rows are all new at each tick."""
    rate = max(_FED_RATES)
    empty = _page(browser, server, url, "/healthz")
    print(f"an empty page beside {rate:,} events/s: load average {empty.load:.1f}")
    row(f"page, empty, beside {rate:,} events/s, main thread busy, %", empty.busy, digits=1)
    row(f"page, empty, beside {rate:,} events/s, dropped frames, %", empty.dropped, digits=1)
    server.ask({"rate": rate, "last": 0.5})
    found = _page(browser, server, url, f"/?task={BIG}")
    name = f"page at {rate:,} events/s, half of them in its last rows"
    print(f"{name}: load average {found.load:.1f}, {found.long_tasks} long tasks")
    row(f"{name}, main thread busy, %", found.busy, digits=1)
    row(f"{name}, dropped frames, %", found.dropped, digits=1)
    if found.kb:
        row(f"{name}, received, compressed, kB/s", found.kb, digits=1)


def main() -> None:
    """Print the rows."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        print("dashboard: NO BROWSER on PATH, nothing measured")
        return
    print(f"the page, {_SECONDS:.0f} s at each rate, 1440 x 900, a task of 50,000 spans")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        with _published() as (producer, url):
            for rate in _PUBLISHED_RATES:
                _bench(browser, producer, url, rate)
        with _fed() as (server, url):
            for rate in _FED_RATES:
                _bench(browser, server, url, rate)
            _bench_limits(browser, server, url)
        browser.close()


if __name__ == "__main__":
    publish(sys.argv[1])
