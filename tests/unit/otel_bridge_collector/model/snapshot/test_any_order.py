"""A snapshot is the same in whatever order, and how often, its events came."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.cards import task_cards
from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.model.snapshot.panels import failure_groups, queue_depths, worker_states

from tests.support.histories import fold, history


def shown(model: Fold) -> list[Any]:
    """All parts but what depends on when events came: rates."""
    header = Header(model)
    cards = [card.model_dump() for card in task_cards(model)]
    for card in cards:
        card.pop("eta_sec")
        for phase in card["phases"]:
            phase.pop("rate_per_sec")
    running = sum(job.st == 1 for task in model.tasks.by_id.values() for job in task.jobs.values())
    assert len(model.running) == running
    return [
        cards,
        worker_states(model),
        queue_depths(model),
        failure_groups(model),
        (header.open_tasks, header.running, header.workers_online),
    ]


@given(seed=st.integers(0, 2**32), judged=st.sampled_from((20, 100, 400, 2000)))
@settings(max_examples=100)
def test_a_snapshot_does_not_depend_on_order(seed: int, judged: int) -> None:
    """A random history, backwards or shuffled and half repeated, gives one snapshot."""
    events = history(seed)
    expected = shown(fold(events, judged))
    assert shown(fold(events[::-1], judged)) == expected
    chooser = random.Random(seed)
    order = [*events, *chooser.sample(events, len(events) // 2)]
    chooser.shuffle(order)
    assert shown(fold(order, judged)) == expected
