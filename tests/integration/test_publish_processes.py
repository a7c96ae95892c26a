"""Publishing across fork, exit, SIGTERM and multiprocessing: real processes, a real Redis."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from tests.support.load import numbers_in_log
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.fault]

ROOT = Path(__file__).parents[2]


def run(scenario: str, server: RedisServer, count: int) -> subprocess.CompletedProcess[str]:
    """Run one scenario to its end; a deadlock is a failure after a minute."""
    return subprocess.run(
        # Python 3.12 warns of fork() in a program with threads; that is what is tested here.
        [
            *(sys.executable, "-W", "ignore::DeprecationWarning"),
            *("-m", "tests.support.publishing_process", scenario, server.url, str(count)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(("scenario", "code"), [("exits", 0), ("raises", 3), ("terminated", 0)])
def test_what_is_queued_at_the_end_is_flushed(
    own_redis: RedisServer, scenario: str, code: int
) -> None:
    """The end of a program, sys.exit and a SIGTERM handler that exits all flush."""
    done = run(scenario, own_redis, 2000)
    assert (done.returncode, done.stderr) == (code, "")
    assert numbers_in_log(own_redis) == {"main": list(range(2000))}


@pytest.mark.parametrize(
    "children", [15, pytest.param(100, marks=pytest.mark.chaos)], ids=["short", "long"]
)
def test_forked_children_publish_their_own_events_only(
    own_redis: RedisServer, children: int
) -> None:
    """Forks under load: no deadlock, each child's 20 events and all of the parent's, once."""
    done = run("forks", own_redis, children)
    assert (done.returncode, done.stderr) == (0, "")
    found = numbers_in_log(own_redis)
    assert found.pop("main") == list(range(int(done.stdout)))
    assert found == {f"child{child}": list(range(20)) for child in range(children)}


def test_a_span_open_at_the_fork_ends_once(own_redis: RedisServer) -> None:
    """Parent and child both leave a span opened before the fork; one end is published."""
    done = run("fork_inside_span", own_redis, 3)
    assert (done.returncode, done.stderr) == (0, "")
    with own_redis.client() as client:
        events = [json.loads(f[b"e"]) for _, f in client.xrange(DEFAULT_KEYS.log_stream())]
    told = sorted((event["task_id"], event["event_type"]) for event in events)
    jobs = ["outer", *(f"{name}{n}" for name in ("parent", "child") for n in range(3))]
    expected = [(job, kind) for job in jobs for kind in ("task_completed", "task_started")]
    assert told == sorted(expected)
    assert len({event["event_id"] for event in events}) == len(events)


def test_a_multiprocessing_child_flushes(own_redis: RedisServer) -> None:
    """A child that leaves through os._exit after multiprocessing's finalizers loses nothing."""
    done = run("multiprocesses", own_redis, 500)
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers_in_log(own_redis) == {"main": list(range(500)), "child": list(range(500))}
