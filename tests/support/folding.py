"""Folding events into a state, and looking at it at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from otel_bridge_collector.model.old.judge import Judge
from otel_bridge_collector.model.old.records import microseconds
from otel_bridge_collector.model.old.snapshot import (
    failure_groups,
    global_stats,
    queue_depths,
    task_card,
    task_cards,
    worker_states,
)
from otel_bridge_collector.model.old.state import LiveState, StateLimits
from otel_bridge_collector.model.stats import RollingStats
from otel_bridge_collector.wire.messages import SnapshotMessage, TaskCard

from otel_bridge.clock import iso_utc
from otel_bridge.events.model import MonitoringEvent

__all__ = ["FIXTURES", "START", "at", "card", "event", "fold", "fold_fixture", "judge", "snapshot"]

FIXTURES = Path(__file__).parents[1] / "fixtures"
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
TTL_SEC = 30.0


def at(seconds: float) -> datetime:
    """That many seconds after the story's start."""
    return START + timedelta(seconds=seconds)


def event(seconds: float, event_type: str, **fields: Any) -> MonitoringEvent:
    """An event of the story."""
    return MonitoringEvent.model_validate({"ts": at(seconds), "event_type": event_type, **fields})


def fold(
    events: Iterable[MonitoringEvent], limits: StateLimits | None = None
) -> tuple[LiveState, RollingStats]:
    """Fold events as read back from the log: seen at their own time."""
    state, stats = LiveState(limits), RollingStats()
    for one in events:
        seen = microseconds(one.ts)
        if state.apply(one, seen):
            stats.observe(one, seen)
    return state, stats


def judge(state: LiveState, seconds: float) -> Judge:
    """The rules at a moment of the story."""
    return Judge(state, microseconds(at(seconds)), TTL_SEC)


def card(state: LiveState, task_id: str, seconds: float) -> TaskCard:
    """One card at a moment of the story."""
    return task_card(state.tasks[task_id], judge(state, seconds))


def snapshot(state: LiveState, stats: RollingStats, now: Judge, position: str) -> dict[str, Any]:
    """The whole snapshot, without recent events."""
    return SnapshotMessage(
        position=position,
        server_time=iso_utc(now.now * 1000),
        tasks=task_cards(now),
        workers=worker_states(now),
        queues=queue_depths(state),
        failures=failure_groups(state),
        stats=global_stats(now, stats),
    ).model_dump(mode="json")


def fold_fixture(name: str, order: list[int] | None = None) -> tuple[dict[str, Any], Any]:
    """The snapshot of a fixture's events in some order (indexes, may repeat); and the expected."""
    lines = (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    expected = json.loads((FIXTURES / f"{name}.snapshot.json").read_text(encoding="utf-8"))
    events = [MonitoringEvent.model_validate_json(line) for line in lines]
    state, stats = fold(events if order is None else [events[index] for index in order])
    now = datetime.fromisoformat(expected["server_time"])
    rules = Judge(state, microseconds(now), TTL_SEC)
    return snapshot(state, stats, rules, expected["position"]), expected
