"""Enqueues that fail or are slow, folded by the real model: no ghost, and no end before a start."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator

import pytest
import redis
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import COMPLETED, PENDING, STATUS_NAMES, microseconds
from otel_bridge_collector.model.fold import Fold
from redis.backoff import NoBackoff
from redis.retry import Retry

import otel_bridge
from otel_bridge.bridge import Bridge
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.fault]

QUEUE = "team:queue"
_names = itertools.count()


class Published:
    """A bridge with a log of its own, and what the model makes of it."""

    def __init__(self) -> None:
        self.name = f"enqueue-faults-{next(_names)}"
        settings = BridgeSettings(bus_url=f"memory://{self.name}")
        self.bridge: Bridge = otel_bridge.configure(settings=settings)

    def events(self) -> list[MonitoringEvent]:
        assert self.bridge.flush(20)
        newest = memory_log(self.name).newest(100_000, None)
        return [MonitoringEvent.model_validate_json(entry.data) for entry in reversed(newest)]

    def model(self) -> Fold:
        model = Fold()
        for event in self.events():
            folded = decode_event(event.to_json(1_000_000))
            model.apply(folded, microseconds(folded.ts))
        model.sweep(max(microseconds(event.ts) for event in self.events()))
        return model

    def statuses(self, task_id: str = "t") -> dict[str, str]:
        jobs = self.model().tasks.by_id[task_id].jobs
        return {name: STATUS_NAMES[job.st] for name, job in jobs.items()}


@pytest.fixture
def published() -> Iterator[Published]:
    made = Published()
    yield made
    made.bridge.shutdown()


def test_an_enqueue_that_raises_is_no_job_that_waits(published: Published) -> None:
    """It has failed, nothing is pending, and its completed research task is not held open."""
    with otel_bridge.research_task("t", project_id="p"):
        for name in ("a", "b"):
            with (
                pytest.raises(ConnectionError),
                otel_bridge.enqueue(task_id=name, task_type="search"),
            ):
                raise ConnectionError("refused")
    assert published.statuses() == {"a": "failed", "b": "failed"}
    model = published.model()
    task = model.tasks.by_id["t"]
    assert model.cards.status(task)[0] == COMPLETED
    assert PENDING not in [job.st for job in task.jobs.values()]
    failed = [event for event in published.events() if event.event_type == "task_failed"]
    assert [(one.task_id, one.error) for one in failed] == [
        (name, "ConnectionError: refused") for name in ("a", "b")
    ]
    assert "task_enqueued" not in {event.event_type for event in published.events()}


def test_an_outage_while_jobs_are_submitted_leaves_no_ghost(
    published: Published, own_redis: RedisServer
) -> None:
    """What Redis took completes, what it refused has failed; nothing is pending in the end."""
    client = own_redis.client(decode_responses=True, retry=Retry(NoBackoff(), 0))
    queued, refused = set(), set()
    with otel_bridge.research_task("t"):
        for number in range(60):
            if number == 20:
                own_redis.kill()
            if number == 40:
                own_redis.start()
            name = f"j{number}"
            try:
                with otel_bridge.enqueue(task_id=name, task_type="search", queue=QUEUE) as carrier:
                    client.lpush(QUEUE, json.dumps({"id": name, "carrier": carrier}))
                queued.add(name)
            except redis.ConnectionError:
                refused.add(name)
    assert len(refused) >= 20
    assert set(published.statuses().values()) == {"pending", "failed"}
    lost = queued - {json.loads(item)["id"] for item in client.lrange(QUEUE, 0, -1)}
    with otel_bridge.worker("w"):
        while (item := client.rpop(QUEUE)) is not None:
            taken = json.loads(str(item))
            carrier = taken["carrier"]
            with otel_bridge.job(task_id=taken["id"], task_type="search", carrier=carrier):
                pass
    client.close()
    expected = dict.fromkeys(queued - lost, "completed") | dict.fromkeys(refused, "failed")
    # The server that was killed had no file, so what it had taken before is gone for everyone.
    assert {n: s for n, s in published.statuses().items() if n not in lost} == expected


def test_no_job_is_started_before_it_was_enqueued(
    published: Published, own_redis: RedisServer
) -> None:
    """A fast worker starts a job before its sender's block ends: by their times, it is later."""
    count = 24
    started = threading.Semaphore(0)

    def work() -> None:
        with own_redis.client() as client, otel_bridge.worker("fast"):
            for _ in range(count):
                found = client.brpop([QUEUE], timeout=20)
                assert found is not None
                taken = json.loads(found[1])
                carrier = taken["carrier"]
                with otel_bridge.job(task_id=taken["id"], task_type="search", carrier=carrier):
                    started.release()

    worker = threading.Thread(target=work)
    worker.start()
    with own_redis.client() as client, otel_bridge.research_task("t"):
        for number in range(count):
            with otel_bridge.enqueue(task_id=f"j{number}", task_type="search") as carrier:
                client.lpush(QUEUE, json.dumps({"id": f"j{number}", "carrier": carrier}))
                # The block goes on until the job runs.
                assert started.acquire(timeout=20)
    worker.join(20)
    times: dict[str, dict[str, float]] = {}
    for event in published.events():
        if event.task_id is not None and event.task_id.startswith("j"):
            times.setdefault(event.task_id, {})[event.event_type] = event.ts.timestamp()
    assert len(times) == count
    for name, at in times.items():
        assert at["task_enqueued"] < at["task_started"] <= at["task_completed"], name
    assert set(published.statuses().values()) == {"completed"}
    assert not worker.is_alive()
