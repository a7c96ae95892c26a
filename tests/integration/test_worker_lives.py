"""What a collector shows when real worker processes die, start again, or run a job again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.commanded_worker import CommandedWorker, can_be_pid_1
from tests.support.ordering_site import ORDERS
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]

TTL_SEC = 1.0
NEVER_SEC = 600.0
"""A TTL that no test waits for: what is stalled before it is stalled for another reason."""
TASK = "t"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(redis_url: str, request: pytest.FixtureRequest) -> BridgeSettings:
    """A TTL after which a killed worker is gone within the test."""
    ttl_sec = getattr(request, "param", TTL_SEC)
    return BridgeSettings(
        redis_url=redis_url, heartbeat_interval_sec=0.2, heartbeat_ttl_sec=ttl_sec
    )


@pytest.fixture
def site(settings: BridgeSettings) -> Iterator[AppServer]:
    with AppServer(settings, stats_interval_sec=0.2) as server:
        yield server


def cards(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return found


def bars(site: AppServer) -> dict[str, dict[str, Any]]:
    """The bars of the jobs, by job."""
    return {bar["task_id"]: bar for card in cards(site) for bar in card["spans"]}


def statuses(site: AppServer) -> dict[str, str]:
    return {job_id: bar["status"] for job_id, bar in bars(site).items()}


def events(site: AppServer, kind: str) -> list[dict[str, Any]]:
    """Events of one type, the newest first."""
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/events?types={kind}").json()["events"]
    return found


def last_evidence(site: AppServer, job_id: str) -> str:
    """When the process that ran a job last reported that it lives, or that the job started."""
    (started,) = [e for e in events(site, "task_started") if e["task_id"] == job_id]
    alive = events(site, "worker_started,worker_heartbeat")
    times = [str(e["ts"]) for e in alive if e["incarnation"] == started["incarnation"]]
    return max(str(started["ts"]), *times)


def stalled_reports(site: AppServer) -> list[tuple[Any, ...]]:
    return [(e["task_id"], e.get("worker_id"), e["reason"]) for e in events(site, "task_stalled")]


def start(worker: CommandedWorker, job_id: str, **fields: Any) -> None:
    worker.start(job_id, **{"parent_task_id": TASK, **fields})


# --- workers that are killed ----------------------------------------------------------------------


def test_a_killed_workers_job_ends_at_its_last_heartbeat(site: AppServer, redis_url: str) -> None:
    """The job's bar ends at the last heartbeat of its process; the next one of its id works on."""
    with CommandedWorker(redis_url, "w") as first, CommandedWorker(redis_url, "other") as other:
        start(other, "of the other")
        start(first, "former")
        wait_until(lambda: statuses(site).get("former") == "processing", "the job")
        first.kill()
        with CommandedWorker(redis_url, "w") as second:
            start(second, "later")
            wait_until(lambda: statuses(site)["former"] == "stalled", "the job to be stalled")
            assert bars(site)["former"]["ended_at"] == last_evidence(site, "former")
            report = ("former", "w", "worker_lost")
            wait_until(lambda: stalled_reports(site) == [report], "the leader's report")
            second.complete()
            start(second, "last")
            wait_until(lambda: statuses(site).get("last") == "processing", "the next job")
            assert statuses(site) == {
                "of the other": "processing",
                "former": "stalled",
                "later": "completed",
                "last": "processing",
            }
            assert bars(site)["former"]["ended_at"] == last_evidence(site, "former")


@pytest.mark.parametrize("settings", [NEVER_SEC], indirect=True)
@pytest.mark.parametrize("is_pid_1", [True, False], ids=["pid-1", "reported-pid"])
def test_a_restarted_container_ends_what_it_ran_at_once(
    site: AppServer, redis_url: str, is_pid_1: bool
) -> None:
    """A process with the host and the pid of a killed one ends its job, long before the TTL."""
    if is_pid_1 and not can_be_pid_1():
        # Not even in CI is this a failure: a container may not make one, and what it proves beyond
        # the reported pid is only that the kernel gives the same one.
        pytest.skip("NOT PROVED: no new pid namespace can be made here (unshare of util-linux)")
    # Where no namespace can be made, a worker reports what a container's would.
    meta = {} if is_pid_1 else {"host": "box", "pid": 1}
    with CommandedWorker(redis_url, "w", is_pid_1=is_pid_1, meta=meta) as first:
        start(first, "former")
        wait_until(lambda: statuses(site) == {"former": "processing"}, "the job")
        first.kill()
    with CommandedWorker(redis_url, "w", is_pid_1=is_pid_1, meta=meta) as second:
        assert [e["meta"]["pid"] for e in events(site, "worker_started")] == [1, 1]
        start(second, "later")
        expected = {"former": "stalled", "later": "processing"}
        wait_until(lambda: statuses(site) == expected, "the former job to be stalled")
        assert bars(site)["former"]["ended_at"] == last_evidence(site, "former")
        second.complete()
        expected["later"] = "completed"
        wait_until(lambda: statuses(site) == expected, "the later job's end")


@pytest.mark.parametrize("killed", [0, 1], ids=["the-elder", "the-younger"])
def test_of_two_living_processes_of_one_id_the_killed_ones_job_is_stalled(
    site: AppServer, redis_url: str, killed: int
) -> None:
    """Two processes report one worker id: the job of the one that lives goes on and completes."""
    with CommandedWorker(redis_url, "w") as elder, CommandedWorker(redis_url, "w") as younger:
        workers = (elder, younger)
        for number, worker in enumerate(workers):
            start(worker, str(number))
        both = {"0": "processing", "1": "processing"}
        wait_until(lambda: statuses(site) == both, "both jobs")
        workers[killed].kill()
        living = 1 - killed
        expected = {str(killed): "stalled", str(living): "processing"}
        wait_until(lambda: statuses(site) == expected, "the killed one's job to be stalled")
        (worker_row,) = fetch(f"{site.url}/monitor/snapshot").json()["workers"]
        assert (worker_row["worker_id"], worker_row["status"]) == ("w", "online")
        workers[living].complete()
        expected[str(living)] = "completed"
        wait_until(lambda: statuses(site) == expected, "the living one's end")
        report = (str(killed), "w", "worker_lost")
        wait_until(lambda: stalled_reports(site) == [report], "the leader's report")


# --- jobs that run again --------------------------------------------------------------------------


def counts(site: AppServer) -> tuple[int, int, int]:
    """Completed, failed and pending jobs of the only card."""
    (card,) = cards(site)
    return card["completed"], card["failed"], card["pending"]


def test_a_second_run_in_another_process_is_live_and_fails(site: AppServer, redis_url: str) -> None:
    """A job that completed runs again elsewhere: it runs, and then its failure is its status."""
    with CommandedWorker(redis_url, "w1") as first, CommandedWorker(redis_url, "w2") as second:
        start(first, "again")
        first.complete()
        wait_until(lambda: cards(site) and counts(site) == (1, 0, 0), "the first run")
        start(second, "again")
        wait_until(lambda: counts(site) == (0, 0, 1), "the second run")
        ran = [(bar["status"], bar["worker_id"]) for bar in cards(site)[0]["spans"]]
        assert ran == [("processing", "w2"), ("completed", "w1")]
        second.fail("of the second run")
        wait_until(lambda: counts(site) == (0, 1, 0), "the second run's end")
        (failure,) = fetch(f"{site.url}/monitor/snapshot").json()["failures"]
        assert failure["count"] == 1


def test_a_second_run_without_spans_is_live_and_fails(
    site: AppServer, settings: BridgeSettings
) -> None:
    """The same reported by a publisher that has no spans."""
    bus = EventBus.connect(settings)
    try:
        steps = (
            ("task_started", (0, 0, 1)),
            ("task_completed", (1, 0, 0)),
            ("task_started", (0, 0, 1)),
            ("task_failed", (0, 1, 0)),
        )
        for kind, expected in steps:
            job = {"event_type": kind, "parent_task_id": TASK, "task_id": "again"}
            bus.publish(MonitoringEvent.model_validate(job))
            assert bus.flush(20)
            wait_until(lambda e=expected: cards(site) and counts(site) == e, kind)  # type: ignore[misc]
    finally:
        bus.shutdown(2)


# --- a web service that enqueues ------------------------------------------------------------------


@pytest.fixture
def web_url(redis_url: str) -> Iterator[str]:
    """A FastAPI service in a process of its own, which traces its requests."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.ordering_site", redis_url, str(port)], cwd=ROOT
    )

    def answers() -> bool:
        assert process.poll() is None, "the service ended"
        try:
            return fetch(f"{url}/flushed").status == 200
        except OSError:
            return False

    try:
        wait_until(answers, "the service")
        yield url
    finally:
        process.kill()
        process.wait()


def test_a_traced_request_makes_no_card_and_its_job_does(
    site: AppServer, redis_url: str, web_url: str
) -> None:
    """FastAPI traces the request, which is no card; the card is the job's, while it runs and on."""
    assert fetch(f"{web_url}/orders/1", method="POST").status == 200
    assert fetch(f"{web_url}/flushed").json() is True
    wait_until(lambda: events(site, "task_enqueued"), "the enqueue")
    wait_until(lambda: site.collector.stats.events_in >= 1, "its fold")
    (enqueued,) = events(site, "task_enqueued")
    assert enqueued["parent_span_id"], "FastAPI made no span of the request"
    assert cards(site) == []
    with redis.Redis.from_url(redis_url) as queue, CommandedWorker(redis_url, "w") as worker:
        order = json.loads(queue.rpop(ORDERS))
        worker.start(order["task_id"], task_type="ship", carrier=order["carrier"], queue=ORDERS)
        wait_until(lambda: cards(site), "the card of the job")
        (card,) = cards(site)
        assert (card["task_id"], card["task_type"], card["status"]) == (
            enqueued["trace_id"],
            "ship",
            "processing",
        )
        (bar,) = card["spans"]
        assert (bar["kind"], bar["task_id"], bar["parent_span_id"], bar["queued_at"]) == (
            "job",
            "order-1",
            enqueued["span_id"],
            enqueued["ts"],
        )
        worker.complete()
        wait_until(lambda: cards(site)[0]["status"] == "completed", "the card's end")
        assert counts(site) == (1, 0, 0)
