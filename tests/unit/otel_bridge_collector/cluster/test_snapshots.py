"""``cluster.snapshots``: a snapshot of many states is the snapshot of one that has all tasks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otel_bridge_collector.cluster.parts import PartError
from otel_bridge_collector.cluster.snapshots import (
    encode_cards,
    encode_filter,
    encode_numbers,
    encode_snapshot,
    encode_tasks,
    merge_numbers,
    merge_snapshots,
    merge_tasks,
    read_filter,
    shown_ids,
    snapshot_message,
)
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.cards import shown_tasks, task_cards
from otel_bridge_collector.model.snapshot.header import Header
from otel_bridge_collector.model.snapshot.panels import failure_groups, queue_depths, worker_states
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter

from tests.support.cluster_views import histories, one_state, partition_states
from tests.support.histories import moment

SHOWN = ("tasks", "workers", "queues", "failures", "stats")
QUEUES = ("q1", "q0")
FILTERS = (
    ALL_EVENTS,
    EventFilter(project_id="p"),
    EventFilter(projects=frozenset({"p", "q"})),
    EventFilter(projects=frozenset({"q"}), project_id="p"),
    EventFilter(task_id="t0.0"),
)
RATES = {"throughput_per_sec", "events_per_sec", "error_rate_1m", "error_rate_5m"}


def merged(models: list[Fold], event_filter: EventFilter) -> dict[str, Any]:
    """What three members say, each of the states that it holds."""
    members = [models[:9], models[9:10], models[10:]]
    event_filter = read_filter(encode_filter(event_filter))
    part = merge_snapshots([encode_snapshot(own, event_filter, QUEUES) for own in members])
    cards = [encode_cards(own, event_filter, shown_ids(part)) for own in members]
    found = snapshot_message(part, cards, event_filter, position="p", server_time="", events=())
    return {
        **{name: getattr(found, name) for name in SHOWN},
        "listed": merge_tasks([encode_tasks(own, event_filter, 3) for own in members], 3),
    }


def of_one(model: Fold, event_filter: EventFilter) -> dict[str, Any]:
    """The same of one state, as ``Snapshots`` makes it."""
    is_limited = event_filter.projects is not None
    header = Header(model)
    found = shown_tasks(model, event_filter)
    return {
        "tasks": task_cards(model, event_filter),
        "workers": worker_states(model, event_filter),
        "queues": [] if is_limited else queue_depths(model, QUEUES),
        "failures": failure_groups(model, event_filter),
        "stats": (
            header.limited_stats(event_filter)
            if is_limited
            else header.stats(event_filter.project_id)
        ),
        "listed": (
            [
                {
                    "task_id": task.id,
                    "title": model.cards.card(task).title,
                    "status": card.status,
                    "project_id": task.project,
                }
                for (_, task), card in zip(found[:3], task_cards(model, event_filter), strict=False)
            ],
            len(found),
        ),
    }


def comparable(found: dict[str, Any], *, has_rates: bool) -> dict[str, Any]:
    """Without what depends on when a model was swept, or a project was learnt."""
    left_out = set() if has_rates else RATES
    cards = [
        card.model_dump(exclude={"eta_sec": True, "phases": {"__all__": {"rate_per_sec"}}})
        for card in found["tasks"]
    ]
    return {**found, "tasks": cards, "stats": found["stats"].model_dump(exclude=left_out)}


@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
    seconds=st.sampled_from((20, 100, 400, 2000)),
)
@settings(max_examples=6)
def test_a_snapshot_of_many_states_is_that_of_one(seeds: list[int], seconds: int) -> None:
    """Cards, workers, queues, failures and numbers, for all filters and readers."""
    events, now = histories(*seeds), moment(seconds)
    alone = one_state(events, now).model
    models = [state.model for state in partition_states(events, now).held.values()]
    for event_filter in FILTERS:
        has_rates = event_filter is ALL_EVENTS
        found = comparable(merged(models, event_filter), has_rates=has_rates)
        assert found == comparable(of_one(alone, event_filter), has_rates=has_rates)
    together = merge_numbers([encode_numbers(models[:9]), encode_numbers(models[9:])])
    assert together.stats() == Header(alone).stats()
    assert together.events_in == alone.stats.events_in


def test_what_is_no_part_is_refused() -> None:
    """Bytes of another release, and random bytes, are one error that names what was read."""
    for read in (merge_numbers, merge_snapshots, lambda parts: merge_tasks(parts, 3)):
        with pytest.raises(PartError, match="no part of a snapshot"):
            read([b"\x93nothing of that"])
    with pytest.raises(PartError, match="filter"):
        read_filter('{"project":3}')
