"""Folding events into a model, judged at one moment of a story."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import microseconds
from otel_bridge_collector.model.eviction import Limits
from otel_bridge_collector.model.fold import Fold

from otel_bridge.events.model import MonitoringEvent

__all__ = ["START", "apply", "at", "event", "fold", "job", "judged", "looked_at", "root"]

START = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """That many seconds after the story's start."""
    return START + timedelta(seconds=seconds)


def event(seconds: float, event_type: str, **fields: Any) -> MonitoringEvent:
    """An event of the story."""
    return MonitoringEvent.model_validate({"ts": at(seconds), "event_type": event_type, **fields})


def apply(model: Fold, *events: MonitoringEvent) -> None:
    """Fold events as read back from the log: received at their own time."""
    for one in events:
        folded = decode_event(one.to_json(1_000_000))
        model.apply(folded, microseconds(folded.ts))


def fold(events: Iterable[MonitoringEvent], limits: Limits | None = None) -> Fold:
    """A model of these events, not judged yet."""
    model = Fold(limits)
    apply(model, *events)
    return model


def judged(model: Fold, seconds: float) -> Fold:
    """The model, judged at a moment of the story."""
    model.sweep(microseconds(at(seconds)))
    return model


def root(task: str, seconds: float, kind: str, **fields: Any) -> MonitoringEvent:
    """An event of a research task itself."""
    return event(seconds, kind, parent_task_id=task, task_id=task, **fields)


def job(task: str, seconds: float, kind: str, name: str = "j", **fields: Any) -> MonitoringEvent:
    """An event of a job of a research task."""
    return event(seconds, kind, parent_task_id=task, task_id=name, **fields)


def looked_at(seconds: float, events: list[MonitoringEvent]) -> Fold:
    """The model of a story, judged at a moment of it."""
    return judged(fold(events), seconds)
