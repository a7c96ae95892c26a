"""``opentelemetry-instrument`` with the package installed: spans of plain code are live."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.task_rig import bin_of
from tests.support.waiting import wait_until

_names = itertools.count()
ROOT = Path(__file__).parents[2]

APP = """
import sys
from opentelemetry import trace
start = trace.get_tracer("app").start_as_current_span
with start("plan a trip"):
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps"}
    with start("execute_tool maps", attributes=tool):
        print("running", flush=True)
        sys.stdin.readline()
print("done", flush=True)
"""

THREADS = """
import threading
from opentelemetry import trace
tracer = trace.get_tracer("app")
barrier = threading.Barrier(8)
def run(number):
    barrier.wait()
    tracer.start_span(f"run {number}").end()
threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
"""


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://zero-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


def start(site: AppServer, app: Path, first: str = "", **environ: str) -> subprocess.Popen[str]:
    """The application under ``opentelemetry-instrument``, as its user would start it."""
    app.write_text(first + APP, encoding="utf-8")
    command = Path(sys.executable).with_name("opentelemetry-instrument")
    environment = {
        **os.environ,
        "MONITORING_BUS_URL": site.url,
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        **environ,
    }
    return subprocess.Popen(
        [command, sys.executable, str(app)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def cards(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return found


def statuses(site: AppServer) -> dict[str, str]:
    return {card["title"]: card["status"] for card in cards(site)}


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    return output


LATE_PROVIDER = (
    """
from opentelemetry import trace
with trace.get_tracer("early").start_as_current_span("too early"):
    pass
"""
    + OWN_PROVIDER
)


@pytest.mark.parametrize(
    ("own", "environ"),
    [
        ("", {}),
        ("", {"OTEL_PYTHON_CONFIGURATOR": "none"}),
        (OWN_PROVIDER, {"OTEL_PYTHON_CONFIGURATOR": "none"}),
        (LATE_PROVIDER, {"OTEL_PYTHON_CONFIGURATOR": "none"}),
    ],
    ids=["distro", "nobody", "own", "late"],
)
def test_plain_code_is_live(
    site: AppServer, tmp_path: Path, own: str, environ: dict[str, str]
) -> None:
    """Under a distro's provider, nobody's or the application's own, also one set after a span."""
    process = start(site, tmp_path / "app.py", own, **environ)
    try:
        wait_until(lambda: cards(site), "the run to be shown while it runs")
        wait_until(lambda: "maps" in str(fetch(f"{site.url}/monitor/events").body), "its tool")
        wait_until(lambda: statuses(site).get("plan a trip") == "processing", "the card")
    finally:
        output = finish(process)
    assert output.endswith("done\n")
    wait_until(lambda: statuses(site)["plan a trip"] == "completed", "its end")
    assert ("too early" in statuses(site)) == (own == LATE_PROVIDER)


def test_the_first_spans_of_many_threads(site: AppServer, tmp_path: Path) -> None:
    """Nobody has set a provider and eight threads begin at once: no root is missing."""
    app = tmp_path / "threads.py"
    app.write_text(THREADS, encoding="utf-8")
    environ = {
        **os.environ,
        "MONITORING_BUS_URL": site.url,
        "OTEL_PYTHON_CONFIGURATOR": "none",
        # There is no server at the exporters' default address; at the end they retry for 13 s.
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
    }
    command = Path(sys.executable).with_name("opentelemetry-instrument")
    subprocess.run([command, sys.executable, str(app)], env=environ, check=True, timeout=60)
    wait_until(lambda: set(statuses(site)) == {f"run {n}" for n in range(8)}, "all eight")


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"NEXUS_MONITORING_ENABLED": "false"},
        {"MONITORING_BUS_URL": "nonsense://x"},
    ],
)
def test_the_application_runs_whatever_is_set(
    site: AppServer, tmp_path: Path, environ: dict[str, str]
) -> None:
    """Switched off, disabled or misconfigured: the application works and nothing is shown."""
    assert "done" in finish(start(site, tmp_path / "app.py", **environ))
    assert cards(site) == []


def instrumented(
    *command: str, redis_url: str, framework: str = "celery", **environ: str
) -> dict[str, Any]:
    """Options of a process under ``opentelemetry-instrument``, spans going nowhere else."""
    program, *arguments = command
    found = bin_of(framework)
    return {
        "args": [f"{found}/opentelemetry-instrument", f"{found}/{program}", *arguments],
        "cwd": ROOT,
        "env": {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis_url,
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **environ,
        },
    }


def events(client: Any) -> list[dict[str, Any]]:
    return [json.loads(fields[b"e"]) for _, fields in client.xrange(DEFAULT_KEYS.log_stream())]


@pytest.mark.redis
@pytest.mark.parametrize(
    "environ", [{}, {"OTEL_PYTHON_CONFIGURATOR": "none"}], ids=["distro", "no"]
)
def test_a_celery_app_is_told_of_once(
    redis_url: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    """Its OpenTelemetry instrumentation and our adapter are both on: each job is shown once."""
    module = "tests.support.task_apps.plain_celery"
    client = redis.Redis.from_url(redis_url)
    worker = subprocess.Popen(
        **instrumented(
            *("celery", "-A", module, "worker"),
            *("--concurrency", "1", "--loglevel", "warning"),
            redis_url=redis_url,
            **environ,
        ),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        marker = str(tmp_path / "marker")
        subprocess.run(
            **instrumented(
                "python", "-m", module, "charge", marker, redis_url=redis_url, **environ
            ),
            check=True,
            timeout=60,
        )

        def kinds() -> list[str]:
            found = (event["event_type"] for event in events(client) if event.get("task_id"))
            return sorted(kind for kind in found if kind.startswith("task_"))

        wait_until(lambda: "task_completed" in kinds(), "the job", timeout_sec=40)
        expected = ["completed", "enqueued", "retry", "started", "started"]
        wait_until(lambda: kinds() == [f"task_{kind}" for kind in expected], "each event once")
        types = {event.get("task_type") for event in events(client) if event.get("task_type")}
        assert types == {"charge"}
        assert [e for e in events(client) if e["event_type"] == "worker_started"]
    finally:
        worker.terminate()
        worker.wait(30)
        client.close()


APPS = "tests.support.task_apps"
WORKERS = {
    "rq": ["rq", "worker", "--url"],
    "arq": ["arq", f"{APPS}.plain_arq.WorkerSettings"],
    "dramatiq": ["dramatiq", f"{APPS}.plain_dramatiq", "-p", "1", "-t", "1"],
    "taskiq": ["taskiq", "worker", f"{APPS}.plain_taskiq:broker", "--workers", "1"],
}


@pytest.mark.redis
@pytest.mark.parametrize("framework", WORKERS)
def test_every_frameworks_app_is_live(redis_url: str, framework: str) -> None:
    """Its own command under ``opentelemetry-instrument``, no line of ours: jobs and workers."""
    client = redis.Redis.from_url(redis_url)
    command = WORKERS[framework] + ([redis_url] if framework == "rq" else [])
    worker = subprocess.Popen(
        **instrumented(*command, redis_url=redis_url, framework=framework),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        module = f"{APPS}.plain_{framework}"
        subprocess.run(
            **instrumented("python", "-m", module, redis_url=redis_url, framework=framework),
            check=True,
            timeout=60,
        )

        def told() -> set[tuple[str, str | None]]:
            found = events(client)
            return {(e["event_type"], e.get("task_id")) for e in found if e.get("task_type")}

        kinds = {"task_enqueued", "task_started", "task_completed"}
        wait_until(lambda: {kind for kind, _ in told()} == kinds, "the job", timeout_sec=40)
        assert len({task_id for _, task_id in told()}) == 1
        assert [e for e in events(client) if e["event_type"] == "worker_started"]
    finally:
        worker.terminate()
        worker.wait(30)
        client.close()


@pytest.mark.redis
@pytest.mark.parametrize(
    "name",
    [
        "tests.support.plain_coordinators:StrictCoordinator",
        "tests.support.plain_coordinators:Nobody",
        "nonsense",
    ],
)
def test_a_coordinator_named_in_the_environment(redis_url: str, name: str) -> None:
    """It is followed when its module is imported; a wrong name is logged and the work is done."""
    client = redis.Redis.from_url(redis_url)
    done = subprocess.run(
        **instrumented(
            *("python", "-m", "tests.support.task_apps.plain_coordinator_app"),
            redis_url=redis_url,
            MONITORING_COORDINATOR_CLASS=name,
        ),
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    kinds = {event["event_type"] for event in events(client) if event.get("task_id") == "job-1"}
    client.close()
    if name.endswith("StrictCoordinator"):
        assert {"task_enqueued", "task_started", "task_completed"} <= kinds
    else:
        assert "the coordinator is not instrumented" in done.stderr
        assert kinds == set()
