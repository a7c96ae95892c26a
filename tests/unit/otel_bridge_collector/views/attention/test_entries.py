"""What the header says first, and what it leaves out."""

from __future__ import annotations

from typing import get_args

from otel_bridge_collector.views.attention.entries import (
    Entry,
    LostWorker,
    Said,
    add_up_lost,
    choose,
    of_queues,
    of_workers,
)
from otel_bridge_collector.views.attention.stuck import QueueFacts, Stuck
from otel_bridge_collector.wire.views.attention import AttentionKind

KINDS = get_args(AttentionKind)


def entry(kind: AttentionKind, number: int) -> Entry:
    shown = Said(kind=kind, name="n", number=0, since=None, key=f"{number}", task=None)
    return Entry((KINDS.index(kind), number, f"{number}"), shown)


def test_no_kind_hides_the_others() -> None:
    """Three of each kind at most, unless there is room; the most urgent first."""
    stalled = [entry("task_stalled", number) for number in range(60)]
    assert len(choose(stalled)) == 8
    found = choose([entry("slow_job", 0), entry("worker_lost", 0), *reversed(stalled)])
    assert [one.kind for one in found] == ["task_stalled"] * 6 + ["worker_lost", "slow_job"]
    assert [one.key for one in found[:6]] == list("012345")
    every = [entry(kind, number) for kind in KINDS for number in range(5)]
    assert [one.kind for one in choose(every)] == [
        *["task_stalled"] * 3,
        *["worker_lost"] * 3,
        *["queue_stuck"] * 2,
    ]


def test_a_worker_that_held_nothing() -> None:
    """It comes last, and only for five minutes; what other states know it held is added."""
    now = 1_000_000_000
    idle, busy = (LostWorker(f"{name}@", name, now - 1_000_000, 0) for name in ("idle", "busy"))
    old = LostWorker("old@", "old", now - 301_000_000, 0)
    parts = [[busy, idle, old], [busy._replace(held=2), idle, old]]
    found = list(of_workers(add_up_lost(parts), now))
    assert [(one.shown.name, one.shown.number) for one in found] == [("busy", 2), ("idle", 0)]
    assert found[0].order < entry("queue_stuck", 0).order < found[1].order


def test_a_stuck_queue() -> None:
    """With the depth that was reported, else the jobs that are known to wait."""
    facts = QueueFacts((9_000, 7), (), 2, 5_000, 0, 9_000, 0, True, False)
    queues = [
        ("deep", facts, Stuck("not_taken", 5_000)),
        ("unknown", facts._replace(depth=None), Stuck("no_workers", 6_000)),
        ("fine", facts, None),
    ]
    found = [one.shown for one in of_queues(queues)]
    assert [(one.key, one.number, one.since) for one in found] == [
        ("deep", 7, 5),
        ("unknown", 2, 6),
    ]
