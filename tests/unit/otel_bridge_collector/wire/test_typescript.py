"""The generator of ``wire.ts``: types that match the messages, and a check for a stale file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from otel_bridge_collector.wire import messages, typescript
from otel_bridge_collector.wire.typescript import WIRE_TS, main, render

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType


def interfaces() -> dict[str, dict[str, str]]:
    """Every interface of the generated text: its name -> its members -> their types."""
    return {
        name: dict(re.findall(r"^  (\w+\??): (.*);$", body, re.MULTILINE))
        for name, body in re.findall(r"export interface (\w+) \{\n(.*?)\n\}", render(), re.DOTALL)
    }


def test_every_model_that_travels_is_an_interface() -> None:
    """Every model of ``messages`` is generated, so that the dashboard knows each message."""
    models = {*messages.__all__} - {"EndedBy", "Status"}
    assert set(interfaces()) == {"MonitoringEvent", *models}


def test_an_events_none_is_optional_and_a_messages_none_is_null() -> None:
    """A field that may be None is optional in an event, and null in a control message."""
    found = interfaces()
    event = found["MonitoringEvent"]
    assert {"event_id", "ts", "event_type"} == {name for name in event if not name.endswith("?")}
    assert set(event) == {
        name if field.is_required() or name in ("event_id", "ts") else f"{name}?"
        for name, field in MonitoringEvent.model_fields.items()
    }
    assert "null" not in " ".join(event.values())
    assert found["GapMessage"]["dropped"] == "number | null"


def test_a_field_that_is_left_out_while_none_is_optional() -> None:
    """What a message need not carry is optional in it, and no other field of a message is."""
    optional = {
        (model, name)
        for model, members in interfaces().items()
        for name in members
        if name.endswith("?") and model != "MonitoringEvent"
    }
    bar = {"depth?", "run?", "runs?", "incarnation?", "ended_by?", "reason?"}
    assert optional == {
        *(("SpanBar", name) for name in bar),
        *(("TaskCard", name) for name in ("stalled?", "reason?", "not_held?")),
        *(("PhaseProgress", name) for name in ("stalled?", "runs?", "not_held?")),
        ("WorkerState", "incarnation?"),
    }


@pytest.mark.parametrize(
    ("model", "member", "kind"),
    [
        ("MonitoringEvent", "worker_id?", "number | string"),
        ("MonitoringEvent", "counts?", "Record<string, number>"),
        ("MonitoringEvent", "meta?", "Record<string, unknown>"),
        ("TaskCard", "status", "Status"),
        ("TaskCard", "spans", "SpanBar[]"),
        ("TaskCard", "eta_sec", "number | null"),
        ("SpanBar", "depth?", "number"),
        ("SpanBar", "ended_by?", '"self" | "other" | "rule" | "snapshot"'),
        ("WorkerState", "worker_id", "number | string"),
        ("FailureGroup", "task_ids", "string[]"),
        ("GlobalStats", "queue_depth", "Record<string, number>"),
        ("SnapshotMessage", "type", '"snapshot"'),
        ("SnapshotMessage", "events", "MonitoringEvent[]"),
    ],
)
def test_python_types_as_typescript(model: str, member: str, kind: str) -> None:
    """Unions, lists, dicts, literals and named types are translated to TypeScript's own."""
    assert interfaces()[model][member] == kind


def test_every_event_type_is_listed_at_run_time() -> None:
    """``EVENT_TYPES`` lists exactly the event types of the model, in its order."""
    listed = re.search(r"EVENT_TYPES.*?= \[(.*?)\]", render(), re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(\w+)"', listed[1]) == [str(kind) for kind in MonitoringEventType]


def test_the_file_in_the_tree_is_up_to_date() -> None:
    """The committed ``wire.ts`` equals what is generated from the models."""
    assert WIRE_TS.read_text(encoding="utf-8") == render()
    assert main(["--check"]) == 0


def test_a_stale_file_fails_the_check_and_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--check`` writes nothing, fails and names the command; without it the file is written."""
    stale = tmp_path / "wire.ts"
    monkeypatch.setattr(typescript, "WIRE_TS", stale)
    assert main(["--check"]) == 1
    assert not stale.exists()
    stale.write_text("old", encoding="utf-8")
    assert main(["--check"]) == 1
    assert "python -m otel_bridge_collector.wire.typescript" in capsys.readouterr().err
    assert (main([]), main(["--check"])) == (0, 0)
    assert stale.read_text(encoding="utf-8") == render()
