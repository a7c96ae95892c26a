"""Two applications with two key prefixes in one database of one Redis: neither sees the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from otel_bridge_collector.commands.demo import DEMO_REQUEST

from otel_bridge.orchestration.queue.errors import SharedQueueError
from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.queue_clients import connect
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.fault]

SHOP = RedisKeys("shop:eu")
INTERVAL_SEC = 0.2
TTL_SEC = 1.0
WORKER = (sys.executable, "-m", "otel_bridge", "worker", "--workers", "2")


def user_of(keys: RedisKeys) -> str:
    return f"app-{keys.prefix.partition(':')[0]}"


class Application:
    """A collector, and the workers of ``otel-bridge worker``."""

    def __init__(self, server: RedisServer, keys: RedisKeys, data_dir: Path) -> None:
        self.keys = keys
        # A user that Redis limits to the keys and channels of this prefix.
        self._url = f"redis://{user_of(keys)}:pass@127.0.0.1:{server.port}/0"
        with server.client() as admin:
            # A subscription by a pattern needs that very pattern.
            channels = (f"&{keys.prefix}:*", f"&{keys.prefix}:event[s]")
            own = ("resetchannels", f"~{keys.prefix}:*", *channels)
            admin.execute_command("ACL", "SETUSER", user_of(keys), "on", ">pass", "+@all", *own)
        self._data_dir = data_dir
        settings = BridgeSettings(
            redis_url=self._url,
            key_prefix=keys.prefix,
            heartbeat_interval_sec=INTERVAL_SEC,
            heartbeat_ttl_sec=TTL_SEC,
        )
        self.site = AppServer(settings, stats_interval_sec=0.1, stalled_action="requeue")
        self.worker: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "REDIS_"))}
        return {
            **kept,
            "REDIS_URL": self._url,
            "MONITORING_KEY_PREFIX": self.keys.prefix,
            "MONITORING_HEARTBEAT_INTERVAL_SEC": str(INTERVAL_SEC),
            "MONITORING_HEARTBEAT_TTL_SEC": str(TTL_SEC),
            "MONITORING_QUEUE_DEPTH_INTERVAL_SEC": "0.1",
        }

    def start_workers(self, *, pace_sec: float) -> None:
        self.worker = subprocess.Popen(
            [*WORKER, "--pace", str(pace_sec), "--data-dir", str(self._data_dir)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill_workers(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait()

    def tasks_of_events(self) -> set[str | None]:
        """The research tasks of all raw events, which are what ``otel-bridge tail`` prints."""
        events = fetch(f"{self.site.url}/monitor/events?limit=1000").json()["events"]
        assert events
        return {event.get("parent_task_id") for event in events}

    async def submit(self) -> str:
        """Queue a research task, as ``POST /tasks`` does."""
        request = ResearchTaskRequest.model_validate(DEMO_REQUEST)
        async with connect(self._url) as client:
            return await ResearchGateway(client, keys=self.keys).submit(request)

    def snapshot(self) -> dict[str, Any]:
        found: dict[str, Any] = fetch(f"{self.site.url}/monitor/snapshot").json()
        return found

    def has_completed(self, task_id: str) -> bool:
        return self.status_of(task_id) == "completed"

    def has_depths(self) -> bool:
        return bool(self.snapshot()["queues"])

    def has_external_message(self) -> bool:
        return self.site.collector.feed.counters.external == 1

    def runs_two_jobs(self) -> bool:
        # As the collector has it: a job that was claimed a moment ago may not be published yet.
        return len(self.site.collector.model.running) == 2

    def status_of(self, task_id: str) -> str | None:
        cards = {card["task_id"]: card["status"] for card in self.snapshot()["tasks"]}
        return cards.get(task_id)


@pytest.fixture
def two(own_redis: RedisServer, tmp_path: Path) -> Iterator[list[Application]]:
    """One application with the default prefix, one with a prefix of its own."""
    with contextlib.ExitStack() as stack:
        made = [Application(own_redis, keys, tmp_path) for keys in (DEFAULT_KEYS, SHOP)]
        for application in made:
            stack.enter_context(application.site)
        try:
            yield made
        finally:
            for application in made:
                if application.worker is not None:
                    application.kill_workers()


def test_two_applications_do_not_see_each_other(
    own_redis: RedisServer, two: list[Application]
) -> None:
    """
    Events, queues, workers, statistics, leaders and raw messages stay with their application.

    Redis lets each one use the keys and channels of its own prefix only, and denies nothing.
    """
    tasks = [asyncio.run(application.submit()) for application in two]
    with own_redis.client(decode_responses=True) as client:
        for application in two:
            assert client.llen(application.keys.research_queue) == 1
        for application in two:
            application.start_workers(pace_sec=0.01)
        for application, task_id in zip(two, tasks, strict=True):
            wait_until(partial(application.has_completed, task_id), "the task")
            wait_until(application.has_depths, "the depth of its queues")
        for application, task_id in zip(two, tasks, strict=True):
            found = application.snapshot()
            assert [card["task_id"] for card in found["tasks"]] == [task_id]
            assert [queue["queue"] for queue in found["queues"]] == [
                *application.keys.queues,
                application.keys.research_queue,
            ]
            assert {str(one["worker_id"]).split("-")[-2] for one in found["workers"]} == {
                str(application.worker.pid if application.worker else 0)
            }
            # Each leads: there is one lease for each application.
            assert application.site.collector.leader.is_leader
        published = {}
        for application in two:
            message = {"event_type": "task_started", "task_id": application.keys.prefix}
            client.publish(f"{application.keys.prefix}:events", json.dumps(message))
        for application in two:
            wait_until(application.has_external_message, "the raw message")
            published[application.keys.prefix] = application.site.collector.stats.events_in
        assert min(published.values()) > 100
        for application, task_id in zip(two, tasks, strict=True):
            assert application.tasks_of_events() <= {task_id, None}
        names = list(client.scan_iter("*"))
        denials = client.acl_log()
    kinds: dict[str, set[str]] = {application.keys.prefix: set() for application in two}
    for name in names:
        (owner,) = [prefix for prefix in kinds if name.startswith(f"{prefix}:")]
        kinds[owner].add(name.removeprefix(f"{owner}:").partition(":")[0])
    assert denials == []
    stay = {"{0}", "collector", "task", "task_group", "task_meta", "worker"}
    assert [found & stay for found in kinds.values()] == [stay, stay]


def test_a_stalled_job_is_taken_back_from_its_own_application(
    own_redis: RedisServer, two: list[Application]
) -> None:
    """The workers of one are killed: its collector alone reports and requeues their jobs."""
    nexus, shop = two
    tasks = [asyncio.run(application.submit()) for application in two]
    for application in two:
        application.start_workers(pace_sec=2)
    with own_redis.client() as client:
        for application in two:
            wait_until(application.runs_two_jobs, "a job on each worker")
        held = {one.decode() for one in client.zrange(SHOP.leases, 0, -1)}
        assert tasks[1] in held
        jobs = held - {tasks[1]}
        assert len(jobs) == 2
        shop.kill_workers()
        reporter = shop.site.collector.stalled_reporter
        wait_until(lambda: reporter.reported > 0, "the stalled jobs")
        shop.start_workers(pace_sec=0.01)

        def have_completed() -> bool:
            return all(client.get(SHOP.task_status(job)) == b"completed" for job in jobs)

        # Not the whole task: the dead process's lease of it lasts 15 s.
        wait_until(have_completed, "the jobs")
    assert nexus.site.collector.stalled_reporter.reported == 0
    assert nexus.status_of(tasks[0]) in ("processing", "completed")


def test_workers_leave_another_programs_jobs_alone(
    own_redis: RedisServer, two: list[Application], tmp_path: Path
) -> None:
    """
    A coordinator of the user's own has the same names: `worker` takes nothing, says so and stops.

    `POST /tasks` queues nothing beside its jobs. With a prefix (the tests above) both can work.
    """
    worker, _ = two
    queue = DEFAULT_KEYS.queue("normal")
    theirs = [json.dumps({"task_id": f"t{number}", "type": "search"}) for number in range(20)]
    problem = f"{queue} holds an item of another program, which was left there: {theirs[0]}; set "
    with own_redis.client(decode_responses=True) as client:
        client.lpush(queue, *theirs)
        ended = subprocess.run(
            [*WORKER, "--data-dir", str(tmp_path)],
            env=worker.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 2
        (line,) = (one for one in ended.stderr.splitlines() if one.startswith("otel-bridge: "))
        assert line.startswith(f"otel-bridge: {problem}MONITORING_KEY_PREFIX to ")
        with pytest.raises(SharedQueueError):
            asyncio.run(worker.submit())
        assert client.lrange(queue, 0, -1) == theirs[::-1]
        found = {name for name in client.scan_iter("nexus:*") if ":worker:" not in name}
    assert not {name for name in found if name.startswith(("nexus:task:", "nexus:dead"))}
    assert DEFAULT_KEYS.research_queue not in found
