"""Queues of messages, their depths, and progress by Celery's own state."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from kombu import entity

from otel_bridge.adapters.celery.queues import depth_of, progress_of, queue_names, queue_of
from tests.support.hostile import HOSTILE

Exchange: Any = entity.Exchange
Queue: Any = entity.Queue


@pytest.fixture
def app() -> Celery:
    made = Celery("app", broker="memory://")
    made.conf.task_queues = [
        Queue("celery"),
        Queue("high", Exchange("tasks"), routing_key="urgent"),
        Queue("media", Exchange("media", type="topic"), routing_key="media.#"),
        Queue("one", Exchange("lonely"), routing_key="one"),
    ]
    return made


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queue"),
    [
        ("", "celery", "celery"),
        (None, "not configured", "not configured"),
        ("tasks", "urgent", "high"),
        ("media", "media.video", "media"),
        ("media", "media.video.short", "media"),
        ("lonely", "other", "one"),
        ("absent", "key", "key"),
        ("absent", None, None),
    ],
)
def test_the_queue_of_a_message(
    app: Celery, exchange: str | None, routing_key: str | None, queue: str | None
) -> None:
    """The default exchange's key is the queue; else the queue that is bound to exchange and key."""
    assert queue_of(app, exchange, routing_key) == queue


def test_a_declared_queue_comes_first(app: Celery) -> None:
    """A queue that only the message declares is known, unless it is of another exchange."""
    own = Queue("own", Exchange("tasks"), routing_key="urgent")
    assert queue_of(app, "tasks", "urgent", [own]) == "own"
    assert queue_of(app, "media", "media.a", [Queue("celery"), own]) == "media"


def test_queues_and_depths_of_a_worker(app: Celery) -> None:
    """The selected queues are those of ``-Q``; a queue that does not exist is empty."""
    assert sorted(queue_names(app)) == ["celery", "high", "media", "one"]
    app.amqp.queues.select(["high"])
    assert queue_names(app) == ["high"]
    assert depth_of(app, "absent") == 0
    app.send_task("add", queue="celery")
    app.send_task("add", queue="celery")
    assert depth_of(app, "celery") == 2


@pytest.mark.redis
def test_depths_by_priority_on_redis(redis_url: str) -> None:
    """On Redis the depth is by priority step, from 0; a deleted queue is empty in each."""
    app = Celery("app", broker=redis_url)
    app.conf.broker_transport_options = {
        "priority_steps": [0, 5],
        "queue_order_strategy": "priority",
    }
    assert depth_of(app, "celery") == {"0": 0, "5": 0}
    for priority in (0, 5, 7):
        app.send_task("add", priority=priority)
    assert depth_of(app, "celery") == {"0": 1, "5": 2}


@pytest.mark.parametrize(
    ("meta", "progress"),
    [
        ({"current": 3, "total": 10}, (3, 10)),
        ({"done": 3, "total": 10, "percent": 30}, (3, 10)),
        ({"completed": 2}, (2, None)),
        ({"processed": 4.9, "total": Decimal(5)}, (4, 5)),
        ({"percent": Decimal("42.50")}, (42, 100)),
        ({"progress": 7}, (7, 100)),
        ({"progress": {"current": 1, "total": 2}}, (1, 2)),
        ({"progress": 700}, None),
        ({"current": True}, None),
        ({"current": -1}, None),
        ({"current": "3"}, None),
        ({"phase": "reading"}, None),
        ({}, None),
        (None, None),
        ([3, 10], None),
        ({"current": float("nan")}, None),
    ],
)
def test_progress_by_a_states_meta(meta: Any, progress: tuple[int, int | None] | None) -> None:
    """Done and total, or percents, by the names that are in use; anything else says nothing."""
    assert progress_of(meta) == progress


@pytest.mark.parametrize("name", HOSTILE)
def test_a_meta_that_cannot_be_read_says_nothing(name: str) -> None:
    """A user's own mapping or number may raise anything."""
    assert progress_of(HOSTILE[name]()) is None
    assert progress_of({"current": HOSTILE[name]()}) is None or name
