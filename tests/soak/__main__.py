"""
A collector under load for an hour: ``make soak``, or ``python -m tests.soak --minutes 6``.

A real collector process reads from a real Redis what coordinators and workers publish: research
tasks of three projects, their phases and jobs with a model call each; some jobs fail, some are
retried, and every few seconds a worker is killed in the middle of a job and started again under its
id. A dashboard is open in a browser all the time. It passes if the memory of the collector, and the
heap and the DOM nodes of the page, at the end are at most 1.1 times those at one sixth of the time,
if nothing is open at the end, and if every event of the log is accounted for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
from prometheus_client.parser import text_string_to_metric_families

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.soak.figures import Figures, Sample
from tests.soak.jobs import (
    DROPPED,
    EVENTS_PER_JOB,
    HEARTBEAT_SEC,
    HEARTBEAT_TTL_SEC,
    KILLS,
    PUBLISHED,
)
from tests.soak.page import OpenPage
from tests.support.app_server import Answer, fetch
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
_SAMPLES: Final = 60
_MIN_SAMPLES: Final = 6
_MIB: Final = 1024 * 1024
_REPLAY_EVENTS: Final = 20_000
_END_TIMEOUT_SEC: Final = 300.0
_LOOK_EVERY_SEC: Final = 0.2

_Processes = dict[str, subprocess.Popen[bytes]]


def number_of_samples(minutes: float) -> int:
    """One a minute, and a multiple of six, so that one of them is at one sixth of the time."""
    return max(_MIN_SAMPLES, int(minutes) // _MIN_SAMPLES * _MIN_SAMPLES)


class Soak:
    """
    One run.

    Args:
        options: ``minutes``, ``rate``, ``workers``, ``coordinators``, ``scale``.
        server: Has the log and the queue.
    """

    def __init__(self, options: argparse.Namespace, server: RedisServer) -> None:
        self.figures = Figures()
        self._options = options
        self._server = server
        self._client: Any = server.client()
        self._port = free_port()
        self._workers: _Processes = {}

    def run(self) -> None:
        """Start everything, put load on it, stop it, and count."""
        options, url, module = self._options, self._server.url, "tests.soak.coordinator"
        jobs = options.rate / EVENTS_PER_JOB / options.coordinators
        with contextlib.ExitStack() as stack:
            address = ("--port", str(self._port), "--workers", "0")
            collector = stack.enter_context(
                self._process("tests.soak.collector", str(options.scale), "serve", *address)
            )
            wait_until(
                lambda: collector.poll() is not None or self._is_ready(),
                "the collector to answer",
                every_sec=0.05,
            )
            for number in range(options.workers):
                self._start_worker(f"soak-{number}")
            stack.callback(self._kill_workers)
            coordinators = [
                stack.enter_context(self._process(module, url, f"c{number}", jobs))
                for number in range(options.coordinators)
            ]
            page = stack.enter_context(OpenPage(f"http://127.0.0.1:{self._port}"))
            self._load(psutil.Process(collector.pid), coordinators, page)
            self._stop(coordinators)
            self._stop(list(self._workers.values()))
            self._count()
            self.figures.page_errors = page.errors

    # --- processes -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _process(self, module: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        process = self._start(module, *arguments)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def _start(self, module: str, *arguments: object) -> subprocess.Popen[bytes]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MONITORING_", "OTEL_", "NEXUS_"))
        }
        environ = {
            **kept,
            "REDIS_URL": self._server.url,
            "MONITORING_HEARTBEAT_INTERVAL_SEC": str(HEARTBEAT_SEC),
            "MONITORING_HEARTBEAT_TTL_SEC": str(HEARTBEAT_TTL_SEC),
            "MONITORING_REPLAY_EVENTS": str(max(100, int(_REPLAY_EVENTS * self._options.scale))),
            "OTEL_TRACES_EXPORTER": "none",
        }
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL)

    def _start_worker(self, worker_id: str) -> None:
        self._workers[worker_id] = self._start("tests.soak.worker", self._server.url, worker_id)

    def _kill_workers(self) -> None:
        for process in self._workers.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def _restart_killed(self) -> None:
        for worker_id, process in list(self._workers.items()):
            if process.poll() is not None:
                self.figures.restarts += 1
                self._start_worker(worker_id)

    def _stop(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Let them end what they have; a worker that dies meanwhile is started again."""
        for process in processes:
            process.terminate()
        is_workers = any(process in processes for process in self._workers.values())

        def has_ended() -> bool:
            if not is_workers:
                self._restart_killed()
            return all(process.poll() is not None for process in processes)

        wait_until(has_ended, "a process to stop", _END_TIMEOUT_SEC, _LOOK_EVERY_SEC)
        codes = [process.returncode for process in processes]
        assert not any(codes), f"exit codes {codes}"

    # --- the load --------------------------------------------------------------------------------

    def _load(
        self,
        collector: psutil.Process,
        coordinators: list[subprocess.Popen[bytes]],
        page: OpenPage,
    ) -> None:
        count = number_of_samples(self._options.minutes)
        step_sec = self._options.minutes * 60 / count
        started = time.monotonic()
        for number in range(1, count + 1):
            due = started + number * step_sec

            def is_due(due: float = due) -> bool:
                self._restart_killed()
                ended = [process.args for process in coordinators if process.poll() is not None]
                assert not ended, f"ended before its time: {ended}"
                return time.monotonic() >= due

            wait_until(is_due, "the next sample", step_sec + 60, _LOOK_EVERY_SEC)
            self._sample(collector, page, number * step_sec / 60)

    def _sample(self, collector: psutil.Process, page: OpenPage, minute: float) -> None:
        size = page.size()
        sample = Sample(
            minute=minute,
            rss_mib=collector.memory_info().rss / _MIB,
            events=self._in_log(),
            open_tasks=int(self._metrics()["otel_bridge_open_tasks"]),
            redis_mib=psutil.Process(self._server.pid).memory_info().rss / _MIB,
            heap_mib=size.heap_mib,
            dom_nodes=size.dom_nodes,
            event_rows=size.event_rows,
        )
        self.figures.samples.append(sample)
        print(sample, flush=True)

    # --- what became of it -----------------------------------------------------------------------

    def _count(self) -> None:
        figures = self.figures

        def is_settled() -> bool:
            self._count_once()
            return not any(figures.still_open.values()) and (
                figures.in_log == figures.folded + figures.left_out
            )

        # What does not become true in time is what the figures say.
        with contextlib.suppress(AssertionError):
            wait_until(is_settled, "nothing to be open", HEARTBEAT_TTL_SEC + 90, 1.0)

    def _count_once(self) -> None:
        figures, metrics = self.figures, self._metrics()
        own = int(metrics["otel_bridge_own_events_published_total"])
        stalled = int(metrics["otel_bridge_jobs_stalled_total"])
        figures.in_log = self._in_log()
        figures.kills = self._number(KILLS)
        figures.published = self._number(PUBLISHED) + own
        figures.dropped = self._number(DROPPED) + int(
            metrics["otel_bridge_own_events_dropped_total"]
        )
        # The collector's statistics are folded and not counted: each would change the next.
        figures.folded = int(metrics["otel_bridge_events_in_total"]) + own - stalled
        figures.left_out = sum(
            int(value)
            for name, value in metrics.items()
            if name.startswith("otel_bridge_events_dropped_total")
        )
        cards = self._get("/monitor/snapshot").json()["tasks"]
        figures.still_open = {
            "tasks": int(metrics["otel_bridge_open_tasks"]),
            "running jobs": int(metrics["otel_bridge_jobs_processing"]),
            "bars of the newest cards": sum(
                bar["ended_at"] is None for card in cards for bar in card["spans"]
            ),
        }

    def _number(self, key: str) -> int:
        return int(self._client.get(key) or 0)

    def _in_log(self) -> int:
        return int(self._client.xinfo_stream(DEFAULT_KEYS.log_stream())["entries-added"])

    def _metrics(self) -> dict[str, float]:
        """Values by name; of several with labels, each with its labels in the name."""
        return {
            sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self._get("/metrics").body.decode())
            for sample in family.samples
        }

    def _get(self, path: str) -> Answer:
        return fetch(f"http://127.0.0.1:{self._port}{path}")

    def _is_ready(self) -> bool:
        try:
            return self._get("/readyz").status == 200
        except OSError:
            return False


def main() -> int:
    """Run, print the figures, and return 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of load (default: 60)")
    parser.add_argument("--rate", type=int, default=5000, help="events a second (default: 5000)")
    parser.add_argument("--workers", type=int, default=3, help="processes (default: 3)")
    parser.add_argument("--coordinators", type=int, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1,
        help="factor of the collector's limits (default: 1): a short run must fill them within its "
        "first sixth",
    )
    options = parser.parse_args()
    with RedisServer() as server:
        soak = Soak(options, server)
        soak.run()
    figures = soak.figures
    seconds = options.minutes * 60
    print(
        f"{figures.samples[-1].events / seconds:,.0f} of {options.rate:,} events a second; "
        f"{figures.in_log:,} events in the log, {figures.folded:,} folded, "
        f"{figures.left_out:,} counted as left out, {figures.dropped:,} counted as dropped; "
        f"{figures.kills} workers killed; open at the end: {figures.still_open}"
    )
    failures = figures.failures()
    for failure in failures:
        print(f"FAILED: {failure}")
    print("soak: failed" if failures else "soak: passed")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
