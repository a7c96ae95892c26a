"""``otel_bridge_collector.model.queues``: depths in every spelling, and emptied queues."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from otel_bridge_collector.model.events import Event
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.liveness import Verdict

from tests.support.histories import event, fold, fold_every_way, moment, span


def depth(seconds: float, number: int) -> Event:
    """A report of the depth of queue ``q``."""
    return event(seconds, "queue_depth_update", counts={"q": number})


def job(seconds: float, event_type: str, job_id: str = "j", **fields: Any) -> Event:
    """An event of a job of queue ``q``."""
    return event(
        seconds, event_type, parent_task_id="t", task_id=job_id, **{"queue": "q", **fields}
    )


def verdict(model: Fold, job_id: str = "j") -> Verdict | None:
    """Why a job of the story is stalled."""
    return model.liveness.job_verdict(model.tasks.by_id["t"].jobs[job_id])


@pytest.mark.parametrize(
    "fields",
    [
        {"counts": {"q": 3}},
        {"queue": {"q": 3}},
        {"meta": {"queue_depth": {"q": 3}}},
        {"queue": {"q": 3, "bad": "x", "worse": -1}},
    ],
)
def test_every_spelling_of_depths(fields: dict[str, Any]) -> None:
    """Depths stand in counts, in queue as a dict, or in meta; what is no depth is passed by."""
    model = fold([event(0, "queue_depth_update", **fields)])
    assert {name: queue.depth for name, queue in model.queues.by_name.items()} == {
        "q": (moment(0), 3)
    }


def test_latest_depth_counts() -> None:
    """Of two reports the later one counts, in any order."""
    model = fold_every_way([depth(5, 2), depth(9, 7), depth(1, 9)], 10)
    assert model.queues.by_name["q"].depth == (moment(9), 7)


def test_emptied_queue_stalls_what_waited() -> None:
    """Reported empty twice, a queue has lost a job that has waited in it for a minute."""
    story = [job(0, "task_enqueued"), depth(10, 0)]
    assert verdict(fold_every_way(story, 100)) is None
    story.append(depth(20, 0))
    assert verdict(fold_every_way(story, 60)) is None
    assert verdict(fold_every_way(story, 61)) == Verdict("queue_emptied", moment(10))
    assert verdict(fold_every_way([*story, depth(30, 4)], 61)) is None
    run = job(70, "task_started", span_id=span(1))
    assert verdict(fold_every_way([*story, run], 71)) is None


def test_jobs_enqueued_after_it_was_empty_wait() -> None:
    """A job that was enqueued after the queue was empty was not lost by that."""
    story = [depth(0, 0), job(5, "task_enqueued"), depth(10, 0)]
    assert verdict(fold_every_way(story, 100)) is None


@pytest.mark.parametrize("name", ["eta", "delay", "countdown"])
def test_delayed_jobs_are_not_lost(name: str) -> None:
    """A job with a delay or an ETA is not in its queue yet."""
    story = [job(0, "task_enqueued", meta={name: 600}), depth(10, 0), depth(20, 0)]
    assert verdict(fold_every_way(story, 100)) is None


def test_prefetched_jobs_are_not_lost() -> None:
    """While a job of the queue runs, or its worker is busy, others may be held by that worker."""
    story = [job(0, "task_enqueued"), depth(10, 0), depth(20, 0)]
    running = job(1, "task_started", "k", worker_id="w", span_id=span(2))
    assert verdict(fold_every_way([*story, running], 100)) is None
    elsewhere = job(30, "task_started", "m", worker_id="w", span_id=span(3), queue="other")
    done = job(9, "task_completed", "k", worker_id="w", span_id=span(2))
    assert verdict(fold_every_way([*story, running, done, elsewhere], 100)) is None
    idle = job(40, "task_completed", "m", worker_id="w", span_id=span(3), queue="other")
    model = fold_every_way([*story, running, done, elsewhere, idle], 100)
    assert verdict(model) == Verdict("queue_emptied", moment(10))


def test_a_busy_worker_that_names_the_queue_may_hold_its_jobs() -> None:
    """A worker says which queues it takes from, so it counts before it has run a job of them."""
    meta = {"host": "h", "pid": 1, "queues": ["q"]}
    story = [
        event(90, "worker_heartbeat", worker_id="w", incarnation="i", meta=meta),
        job(0, "task_enqueued"),
        depth(10, 0),
        depth(20, 0),
        job(30, "task_started", "m", worker_id="w", span_id=span(3), queue="other"),
    ]
    assert verdict(fold_every_way(story, 100)) is None
    done = job(40, "task_completed", "m", worker_id="w", span_id=span(3), queue="other")
    assert verdict(fold_every_way([*story, done], 100)) == Verdict("queue_emptied", moment(10))


@pytest.mark.parametrize(
    ("meta", "since"),
    [
        (None, 1),
        ({"delay": 30_000}, 31),
        ({"countdown": 30.5}, 31.5),
        ({"eta": "2026-11-24T12:00:40+00:00"}, 40),
        ({"eta": "2026-11-24T12:00:40"}, 40),
        ({"eta": moment(40) / 1e6}, 40),
        ({"eta": moment(40) // 1000}, 40),
        ({"eta": "tomorrow"}, None),
        ({"delay": [1]}, None),
        ({"delay": 1e300}, None),
    ],
)
def test_oldest_job_that_waits(meta: dict[str, Any] | None, since: float | None) -> None:
    """A job waits from its enqueue on, a delayed one from its due time; unknown is left out."""
    story = [job(1, "task_enqueued", meta=meta)]
    oldest = fold_every_way(story, 99).queues.by_name["q"].oldest(moment(99))
    assert oldest == (None if since is None else moment(since))
    if since is not None:
        assert fold(story).queues.by_name["q"].oldest(moment(since) - 1) is None


def test_oldest_follows_jobs_that_come_and_go() -> None:
    """Whatever jobs come, start or are learnt to be earlier, the oldest is the earliest pending."""
    chooser = random.Random(7)
    model = Fold()
    starts: dict[str, float] = {}
    for step in range(600):
        name = f"j{chooser.randrange(80)}"
        if chooser.random() < 0.5:
            at = chooser.uniform(0, 50)
            model.apply(job(at, "task_enqueued", name, span_id=span(int(name[1:]) + 1)), moment(60))
            starts[name] = min(at, starts.get(name, 99)) if starts.get(name) != -1 else -1
        elif name in starts:
            model.apply(
                job(55, "task_started", name, span_id=span(int(name[1:]) + 500)), moment(60)
            )
            starts[name] = -1
        queue = model.queues.by_name.get("q")
        if step % 7 == 0:
            model.sweep(moment(60))
        if step % 5 == 0 and queue is not None:
            known = [moment(at) for at in starts.values() if at >= 0]
            assert queue.oldest(moment(60)) == min(known, default=None)


def test_queues_are_bounded() -> None:
    """Past the limit further queues are passed by."""
    model = Fold(Limits(queues=2))
    model.apply(event(0, "queue_depth_update", counts={"a": 1, "b": 2, "c": 3}), moment(0))
    assert list(model.queues.by_name) == ["a", "b"]


def test_the_trend_of_a_depth() -> None:
    """The latest report of each 10 s, in any order, and of ten minutes at most."""
    reports = [depth(seconds, seconds % 7) for seconds in range(0, 800, 4)]
    queue = fold_every_way(reports, 800, ways=6).queues.by_name["q"]
    points = queue.trend(0)
    assert len(points) == 60
    assert points[-1] == (moment(796), 796 % 7)
    assert all(b[0] - a[0] <= 12_000_000 for a, b in pairwise(points))
    assert [point[0] for point in queue.trend(moment(780))] == [moment(788), moment(796)]


def test_since_when_a_queue_is_filled() -> None:
    """Since the first report after the latest empty one; and when something was taken last."""
    queue = fold([depth(0, 3), depth(11, 0), depth(22, 5), depth(33, 4), depth(44, 4)]).queues
    assert queue.by_name["q"].filled_since() == moment(22)
    assert queue.by_name["q"].fell_at() == moment(33)
    assert fold([depth(0, 0)]).queues.by_name["q"].filled_since() is None
