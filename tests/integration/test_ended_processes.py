"""Children that are ended by a signal, and other ends of processes: their last events arrive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.fault]

ROOT = Path(__file__).parents[2]


def run(
    scenario: str, url: str, *, method: str = "fork", count: int = 1, may_warn: bool = False
) -> tuple[int, Any]:
    """Run one program to its end; return its exit code and what it printed, or its warnings."""
    done = subprocess.run(
        # Python 3.12 warns of fork() in a program with threads; that is what is tested here.
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning"),
            *("-m", "tests.support.ended_processes", scenario, method, str(count)),
        ],
        env={**os.environ, "MONITORING_BUS_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if may_warn and not done.stdout:
        return done.returncode, done.stderr.splitlines()
    assert may_warn or done.stderr == ""
    return done.returncode, json.loads(done.stdout or "null")


def events_in(server: RedisServer) -> list[dict[str, Any]]:
    with server.client() as client:
        return [json.loads(f[b"e"]) for _, f in client.xrange(DEFAULT_KEYS.log_stream())]


def ids_of(events: list[dict[str, Any]], event_type: str) -> set[str]:
    return {event["task_id"] for event in events if event["event_type"] == event_type}


@pytest.mark.parametrize(
    ("scenario", "method", "count"),
    [
        ("pool", "fork", 20),
        pytest.param("pool", "fork", 300, marks=pytest.mark.chaos),
        pytest.param("pool", "spawn", 30, marks=pytest.mark.chaos),
        pytest.param("pool", "forkserver", 30, marks=pytest.mark.chaos),
        pytest.param("executor", "fork", 50, marks=pytest.mark.chaos),
        pytest.param("executor", "spawn", 10, marks=pytest.mark.chaos),
    ],
)
def test_no_job_of_a_pool_is_lost(
    own_redis: RedisServer, scenario: str, method: str, count: int
) -> None:
    """A pool is terminated when its block is left: start and end of each job are in the log."""
    assert run(scenario, own_redis.url, method=method, count=count) == (0, None)
    expected = {f"{pool}-{job}" for pool in range(count) for job in range(10)}
    found = events_in(own_redis)
    assert ids_of(found, "task_started") == expected
    assert ids_of(found, "task_completed") == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_terminated_child_reports_its_end_and_keeps_its_exit_code(
    own_redis: RedisServer, method: str
) -> None:
    """Jobs that had ended are complete, the open one was killed, its worker has stopped."""
    code, codes = run("terminated", own_redis.url, method=method)
    assert (code, codes) == (0, {"sleeping": -15, "in_c": -15, "handled": 7})
    found = events_in(own_redis)
    jobs = {f"{how}-{number}" for how in codes for number in range(5)}
    assert ids_of(found, "task_completed") == jobs
    ends = {
        event["task_id"]: [event.get(name) for name in ("reason", "ended_by", "progress")]
        for event in found
        if event["event_type"] == "task_failed"
    }
    killed = ["killed", "other", {"done": 3, "total": 10}]
    # The handler of the child's own leaves by sys.exit: the job itself has ended.
    assert ends == {
        "sleeping-open": killed,
        "in_c-open": killed,
        "handled-open": [None, None, {"done": 3, "total": 10}],
    }
    stopped = {one["worker_id"] for one in found if one["event_type"] == "worker_stopped"}
    assert stopped == {f"w-{how}" for how in codes}


def test_nothing_waits_for_a_log_that_is_away(own_redis: RedisServer) -> None:
    """Children are ended by SIGTERM with the same exit codes while Redis cannot be reached."""
    url = own_redis.url
    own_redis.kill()
    ended = run("terminated", url, may_warn=True)
    assert ended == (0, {"sleeping": -15, "in_c": -15, "handled": 7})


def test_a_thread_of_a_child_may_end_after_its_function(own_redis: RedisServer) -> None:
    """What a thread that is no daemon does after multiprocessing's finalizers arrives too."""
    assert run("threaded", own_redis.url) == (0, 0)
    assert ids_of(events_in(own_redis), "task_completed") == {"main", "late"}


def test_a_worker_that_is_no_child_is_flushed_and_other_programs_are_left_alone(
    own_redis: RedisServer,
) -> None:
    """The handler is that of worker() blocks and their process only, not of what it forks."""
    assert run("plain", own_redis.url) == (-15, -15)
    found = events_in(own_redis)
    assert ids_of(found, "task_completed") == {"before", "after"}
    assert [one["event_type"] for one in found][-1] == "worker_stopped"


def test_spawned_children_without_configure_warn_once(own_redis: RedisServer) -> None:
    """They have nothing of their parent's: one line says so and where the call belongs."""
    code, warnings = run("unconfigured", own_redis.url, method="spawn", count=3, may_warn=True)
    assert (code, warnings) == (
        0,
        [
            "this child of multiprocessing (spawn) publishes nothing, because it has not called "
            "otel_bridge.configure(); call it in each child, such as by Pool(initializer=...)"
        ],
    )


@pytest.mark.parametrize(
    ("scenario", "method", "jobs"),
    [
        ("configured_again", "fork", {"again-0", "again-1"}),
        pytest.param("unconfigured", "fork", {"0", "1"}, marks=pytest.mark.chaos),
        pytest.param("configured_again", "spawn", {"again-0", "again-1"}, marks=pytest.mark.chaos),
    ],
)
def test_a_child_has_its_parents_bridge_or_its_own(
    own_redis: RedisServer, scenario: str, method: str, jobs: set[str]
) -> None:
    """A forked child needs no configure(), and one that calls it, as gunicorn's, logs nothing."""
    assert run(scenario, own_redis.url, method=method, count=2) == (0, None)
    assert ids_of(events_in(own_redis), "task_completed") == jobs
