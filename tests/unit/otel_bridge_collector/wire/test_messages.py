"""Messages to a client: closed models, never confused with events."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from otel_bridge_collector.wire import messages
from pydantic import BaseModel, ValidationError

from otel_bridge.events.model import MonitoringEvent

CONTROLS: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (messages.SnapshotMessage, {"position": "e:1", "server_time": "t"}),
    (messages.GapMessage, {"reason": "slow"}),
    (messages.TickMessage, {"position": "e:1", "server_time": "t"}),
]


@pytest.mark.parametrize(("model", "fields"), CONTROLS)
def test_a_control_message_cannot_be_taken_for_an_event(
    model: type[BaseModel], fields: dict[str, Any]
) -> None:
    """Every control message carries ``type``, and no model has the events' ``event_type``."""
    sent = model(**fields).model_dump(mode="json")
    assert sent["type"] == model.model_fields["type"].default
    assert "event_type" not in sent
    assert "type" not in MonitoringEvent.model_fields


def test_each_control_message_has_a_type_of_its_own() -> None:
    """No two kinds of control message share a type."""
    kinds = [model.model_fields["type"].default for model, _ in CONTROLS]
    assert sorted(kinds) == ["gap", "snapshot", "tick"]


@pytest.mark.parametrize(("model", "fields"), CONTROLS)
def test_a_message_holds_no_unknown_field(model: type[BaseModel], fields: dict[str, Any]) -> None:
    """A field unknown to ``wire.ts`` is rejected, and no field can be changed afterwards."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model(**fields, secret="x")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model(**fields), next(iter(fields)), "other")


@pytest.mark.parametrize("reason", ["slow", "trimmed", "epoch", "malformed", "overflow"])
def test_a_gap_has_a_reason(reason: Any) -> None:
    """A gap has one of five reasons; what is unknown is sent as null."""
    sent = messages.GapMessage(reason=reason).model_dump(mode="json")
    assert sent == {"type": "gap", "reason": reason, "position": None, "dropped": None}


def test_an_empty_snapshot_is_complete() -> None:
    """An empty snapshot still contains every list and every number."""
    sent = messages.SnapshotMessage(position="e:0", server_time="t").model_dump(mode="json")
    lists = [name for name, value in sent.items() if value == []]
    assert lists == ["tasks", "workers", "queues", "failures", "events"]
    assert set(sent["stats"]) == set(messages.GlobalStats.model_fields)


BAR: dict[str, Any] = {"span_id": "a", "kind": "job", "name": "j", "status": "completed"}
ADDED: list[tuple[type[BaseModel], dict[str, Any], dict[str, Any]]] = [
    (
        messages.SpanBar,
        BAR,
        {
            "depth": 0,
            "run": 1,
            "runs": 2,
            "incarnation": "0" * 16,
            "ended_by": "self",
            "reason": "silent",
        },
    ),
    (
        messages.TaskCard,
        {"task_id": "t", "status": "processing"},
        {"stalled": 0, "reason": "silent", "not_held": 0},
    ),
    (
        messages.PhaseProgress,
        {"name": "p", "status": "pending"},
        {"stalled": 0, "runs": 0, "not_held": 0},
    ),
    (
        messages.WorkerState,
        {"worker_id": 1, "status": "online"},
        {"incarnation": "0" * 16},
    ),
]


@pytest.mark.parametrize(("model", "fields", "added"), ADDED)
def test_an_added_field_is_left_out_while_it_is_none(
    model: type[BaseModel], fields: dict[str, Any], added: dict[str, Any]
) -> None:
    """A message without the added fields is what it was before them; zero is sent, None is not."""
    before = set(model.model_fields) - set(added)
    assert set(model(**fields).model_dump(mode="json")) == before
    sent = model(**fields, **added).model_dump(mode="json")
    assert {name: sent[name] for name in added} == added


@pytest.mark.parametrize(("model", "fields", "added"), ADDED)
def test_an_added_field_need_not_come(
    model: type[BaseModel], fields: dict[str, Any], added: dict[str, Any]
) -> None:
    """A message of a collector that knows no added field is read; what it lacks is None."""
    read = model.model_validate(model(**fields).model_dump(mode="json"))
    assert [getattr(read, name) for name in added] == [None] * len(added)


def test_the_readme_lists_the_added_fields() -> None:
    """README.md names exactly the fields of a snapshot that are left out where they are None."""
    text = (Path(__file__).parents[4] / "README.md").read_text(encoding="utf-8")
    table = text.partition("| on | field | says |\n")[2].partition("\n\n")[0]
    cells = [line.split("|")[2] for line in table.splitlines()[1:]]
    models = [getattr(messages, name) for name in messages.__all__]
    optional = {
        name
        for model in models
        for name, field in getattr(model, "model_fields", {}).items()
        if field.exclude_if is not None
    }
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == optional
