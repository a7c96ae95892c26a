"""One contract for the five adapters: real workers, started by their own commands, on a Redis."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.otlp_sink import OtlpSink
from tests.support.patched_members import adapter_of
from tests.support.redis_server import RedisServer, next_module_database
from tests.support.task_rig import ARQ_BIN, FRAMEWORKS, TaskRig, bin_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

ROOT = Path(__file__).parents[2]
_numbers = itertools.count()

MakeRig = Callable[..., TaskRig]


def test_arq_is_the_one_that_pip_gives() -> None:
    """The tests of arq run the versions that requirements/arq.txt locks, arq 0.26 or newer."""
    if not ARQ_BIN.is_dir():
        reason = f"NOT PROVED: arq as pip gives it, no {ARQ_BIN.parent.name}; make test creates it"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    code = "import importlib.metadata as m; print(m.version('arq'), m.version('redis'))"
    python = bin_of("arq") / "python"
    found = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    locked = (ROOT / "requirements" / "arq.txt").read_text(encoding="utf-8")
    versions = re.findall(r"^(?:arq|redis)==(\S+)", locked, flags=re.MULTILINE)
    assert found.stdout.split() == versions
    assert int(versions[0].split(".")[1]) >= 26


@pytest.fixture(scope="module", params=FRAMEWORKS)
def rig(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[TaskRig]:
    """Producer and worker of one framework, for all tests of the module."""
    url = f"redis://127.0.0.1:{redis_server.port}/{next_module_database()}"
    with TaskRig(request.param, url) as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        yield rig


def name(kind: str) -> str:
    return f"{kind}-{next(_numbers)}"


def test_a_job_in_a_phase(rig: TaskRig) -> None:
    """Enqueued, started and completed under one id, in one trace, with the ids around it."""
    task = name("task")
    job = rig.submit("add", 1, research_task=task)
    rig.wait_for_kinds(job, ["task_completed", "task_enqueued", "task_started"])
    events = {event["event_type"]: event for event in rig.events(job)}
    for event in events.values():
        assert (event["parent_task_id"], event["project_id"]) == (task, "alpha")
        assert event["phase"] == "search"
        assert event["task_type"].rpartition(".")[2] == "add"
        assert event["queue"] == rig_queue(rig)
    enqueued, started = events["task_enqueued"], events["task_started"]
    assert started["trace_id"] == enqueued["trace_id"]
    assert started["parent_span_id"] == enqueued["span_id"]
    assert events["task_completed"]["duration_ms"] >= 0
    workers = {str(event["worker_id"]) for event in rig.events(kind="worker_started")}
    assert str(started["worker_id"]) in workers


def rig_queue(rig: TaskRig) -> str:
    names = {"celery": "celery", "rq": "default", "arq": "arq:queue", "taskiq": "taskiq"}
    return names.get(rig.framework, "default")


def test_a_job_is_live_while_it_runs(rig: TaskRig) -> None:
    """Its start is in the log while it works; its worker's beats name it where it runs one."""
    gate = rig.path(name("gate"))
    job = rig.submit("nap", gate)
    try:
        rig.wait_for("task_started", job)
        wait_until(
            lambda: rig.events(job, "worker_heartbeat"),
            "a heartbeat that names the job",
        )
        assert "task_completed" not in rig.kinds(job)
    finally:
        Path(gate).touch()
    rig.wait_for("task_completed", job)


def test_a_retry_is_a_retry(rig: TaskRig) -> None:
    """One enqueued, a start for each attempt, a retry that says why, one completion."""
    job = rig.submit("flaky", rig.path(name("marker")), research_task=name("task"))
    completed = rig.wait_for("task_completed", job)
    rig.wait_for_kinds(
        job,
        [
            "task_completed",
            "task_enqueued",
            "task_retry",
            "task_started",
            "task_started",
        ],
    )
    (retry,) = rig.events(job, "task_retry")
    assert retry["error"]
    if rig.framework != "arq":
        assert "try again" in retry["error"]
        assert "try again" in rig.stack_of(retry).splitlines()[0]
    assert (retry["retry_count"] or 0, retry["status"]) == (0, "retrying")
    starts = sorted(event["retry_count"] or 0 for event in rig.events(job, "task_started"))
    assert starts == [0, 1]
    assert completed["retry_count"] == 1
    assert len({event["trace_id"] for event in rig.events(job)}) == 1


def test_a_failure_says_why(rig: TaskRig) -> None:
    """A job that raises has failed once, with its error, and never completed."""
    job = rig.submit("boom")
    failed = rig.wait_for("task_failed", job)
    assert failed["error"] == "ValueError: no such school"
    # Of the job's own code, from a worker that may have run it in a process of its own.
    assert re.fullmatch("[0-9a-f]{16}", failed["error_key"])
    stack = rig.stack_of(failed)
    assert stack.startswith("ValueError: no such school\n")
    assert 'raise ValueError("no such school")' in stack
    rig.wait_for_kinds(job, ["task_enqueued", "task_failed", "task_started"])


def test_a_time_limit_is_a_failure(rig: TaskRig) -> None:
    """The framework's own limit ends the job: failed once, and its error says that time ran out."""
    job = rig.submit("slow", research_task=name("task"))
    failed = rig.wait_for("task_failed", job)
    assert "time" in failed["error"].lower()
    rig.wait_for_kinds(job, ["task_enqueued", "task_failed", "task_started"])


def test_a_job_of_no_research_task(rig: TaskRig) -> None:
    """The trace is the research task, and what the job enqueues belongs to it."""
    job = rig.submit("nest")
    rig.wait_for("task_completed", job)
    enqueued = rig.wait_for("task_enqueued", job)
    assert enqueued["parent_task_id"] == enqueued["trace_id"]
    wait_until(
        lambda: len({e["task_id"] for e in inside(rig, enqueued["trace_id"], "completed")}) == 2,
        "the job inside",
    )
    inner = [e for e in inside(rig, enqueued["trace_id"], "enqueued") if e["task_id"] != job]
    (started,) = rig.events(job, "task_started")
    assert [event["parent_span_id"] for event in inner] == [started["span_id"]]


def inside(rig: TaskRig, task: str, what: str) -> list[dict[str, str]]:
    return [event for event in rig.events(kind=f"task_{what}") if event["parent_task_id"] == task]


def test_waiting_jobs_are_counted(rig: TaskRig) -> None:
    """The framework's own broker says how many jobs wait in the queue."""
    gate = rig.path(name("gate"))
    jobs = [rig.submit("nap", gate) for _ in range(8)]
    try:
        wait_until(
            lambda: any(
                event["counts"].get(rig_queue(rig), 0) >= 3
                for event in rig.events(kind="queue_depth_update")
            ),
            f"{rig.framework}: the queue's depth",
        )
    finally:
        Path(gate).touch()
    for job in jobs:
        rig.wait_for("task_completed", job)


@pytest.mark.parametrize("framework", ["rq"])
def test_a_killed_process_is_told_of(framework: str, redis_url: str) -> None:
    """SIGKILL of the process that runs the job: its parent says that it failed."""
    with TaskRig(framework, redis_url) as rig:
        rig.start_worker()
        rig.wait_for("worker_started")
        task = name("task")
        job = rig.submit("die", research_task=task)
        failed = rig.wait_for("task_failed", job)
        assert (failed["parent_task_id"], failed["project_id"]) == (task, "alpha")
        assert failed["error"]
        assert "task_completed" not in rig.kinds(job)
        enqueued = rig.wait_for("task_enqueued", job)
        assert (failed["ended_by"], failed["run_id"]) == ("other", enqueued["run_id"])
        # The process that was killed may not have published its start.
        if framework == "rq":
            assert failed["span_id"] is not None
        for started in rig.events(job, "task_started"):
            assert failed["span_id"] in (None, started["span_id"])
        again = rig.submit("add", 1)
        rig.wait_for("task_completed", again)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_backend_has_one_tree(framework: str, redis_url: str) -> None:
    """
    Exported by OTLP, whatever process a job ran in: one trace, every parent in it, metrics.

    SIGTERM, which flushes it: also ``worker_stopped`` for each worker that started.
    """
    with OtlpSink() as sink:
        otlp = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url}
        with TaskRig(framework, redis_url, **otlp) as rig:
            rig.start_worker()
            job = rig.submit("flaky", rig.path("marker"), research_task=name("task"))
            rig.wait_for("task_completed", job)
            # The depth's metric is of the same reading, which may come after a short job.
            rig.wait_for("queue_depth_update")
            rig.stop_worker()
            started = {str(event["worker_id"]) for event in rig.events(kind="worker_started")}
            stopped = {str(event["worker_id"]) for event in rig.events(kind="worker_stopped")}
        assert started
        assert stopped == started
        spans = {span.span_id: span for span in sink.spans()}
        assert len({span.trace_id for span in spans.values()}) == 1
        parents = sorted(
            (span.name.split()[0], spans[span.parent_span_id].name.split()[0])
            for span in spans.values()
            if span.parent_span_id
        )
        assert parents == [
            *(("enqueue", "phase"), ("job", "enqueue"), ("job", "enqueue")),
            ("phase", "research_task"),
        ]
        assert sink.metrics() >= {
            *("messaging.client.sent.messages", "messaging.client.consumed.messages"),
            *("messaging.process.duration", "otel_bridge.workers", "otel_bridge.queue.depth"),
        }


@pytest.mark.parametrize("framework", ["celery", "rq", "dramatiq", "taskiq"])
def test_a_worker_that_stops_ends_its_job_first(framework: str, redis_url: str) -> None:
    """SIGTERM while it works: it beats on, completes the job, and only then has stopped."""
    with TaskRig(framework, redis_url) as rig:
        rig.start_worker()
        gate = rig.path("gate")
        job = rig.submit("nap", gate)
        rig.wait_for("task_started", job)
        assert rig.worker is not None
        rig.worker.terminate()
        beats = len(rig.events(job, "worker_heartbeat"))
        rig.wait_for("worker_heartbeat", job, beats + 3)
        runner = {rig.events(job, "task_started")[0]["worker_id"]}
        stopped = {event["worker_id"] for event in rig.events(kind="worker_stopped")}
        assert not runner & stopped
        Path(gate).touch()
        # A second signal would be an order to drop the job.
        rig.worker.wait(30)
        completed = rig.wait_for("task_completed", job)
        rig.wait_for("worker_stopped")
        ends = [e["ts"] for e in rig.events(kind="worker_stopped") if e["worker_id"] in runner]
        assert ends
        assert completed["ts"] <= ends[0]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_uninstrument_restores(framework: str) -> None:
    """Twice on is once on, off is as before: the same functions in the same classes."""
    subprocess.run(
        [bin_of(framework) / "python", "-m", "tests.support.patched_members", framework],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )


def test_uninstrument_leaves_brokers_and_signals() -> None:
    """Brokers made while it was on lose its middleware, Celery's signals its receivers."""
    from celery import signals
    from dramatiq.brokers.stub import StubBroker
    from taskiq import InMemoryBroker

    names = ("task_prerun", "task_postrun", "task_revoked", "worker_ready")
    before = {name: len(getattr(signals, name).receivers or []) for name in names}
    adapters = [adapter_of(framework) for framework in ("celery", "dramatiq", "taskiq")]
    for adapter in adapters:
        adapter.instrument()
    assert all(len(getattr(signals, name).receivers) > count for name, count in before.items())
    stub, memory = StubBroker(), InMemoryBroker()
    assert ("enqueue" in vars(stub), len(ours(memory.middlewares))) == (True, 1)
    for adapter in adapters:
        adapter.uninstrument()
    assert before == {name: len(getattr(signals, name).receivers or []) for name in names}
    assert {"enqueue", "flush", "emit_before", "emit_after"} & vars(stub).keys() == set()
    assert ours(memory.middlewares) == []


def ours(middlewares: list[Any]) -> list[Any]:
    return [each for each in middlewares if "otel_bridge" in type(each).__module__]


_WITHOUT = """
import sys, importlib
names = sys.argv[1:]
sys.modules |= dict.fromkeys([*names, "billiard", "kombu"])
for name in names:
    try:
        importlib.import_module(f"otel_bridge.adapters.{name}")
    except ModuleNotFoundError as error:
        print(error)
"""


def test_frameworks_that_are_not_there() -> None:
    """Each adapter's import says which extra to install, and names no requirement of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *FRAMEWORKS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        f"otel_bridge.adapters.{name} needs {name}: pip install 'otel-bridge[{name}]'"
        for name in FRAMEWORKS
    ], done.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_switched_off_nothing_changes(framework: str, redis_url: str) -> None:
    """``NEXUS_MONITORING_ENABLED=false``: the jobs run and no event is published."""
    with TaskRig(framework, redis_url, NEXUS_MONITORING_ENABLED="false") as rig:
        rig.start_worker()
        marker = rig.path("marker")
        gate = Path(rig.path("gate"))
        gate.touch()
        rig.submit("flaky", marker)
        wait_until(Path(marker).exists, "the job to run", timeout_sec=40)
        rig.submit("nap", str(gate))
        rig.stop_worker()
        assert rig.events() == []


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_celery_without_processes(pool: str, redis_url: str) -> None:
    """Pools without child processes: the node is the worker, its jobs and retries are the same."""
    with TaskRig("celery", redis_url) as rig:
        rig.start_worker("--pool", pool)
        rig.wait_for("worker_started")
        job = rig.submit("flaky", rig.path("marker"), research_task=name("task"))
        rig.wait_for_kinds(
            job,
            ["task_completed", "task_enqueued", "task_retry", "task_started", "task_started"],
        )
        (worker,) = {event["worker_id"] for event in rig.events(kind="worker_started")}
        assert {event["worker_id"] for event in rig.events(job, "task_started")} == {worker}
        rig.stop_worker()
        assert rig.events(kind="worker_stopped")
