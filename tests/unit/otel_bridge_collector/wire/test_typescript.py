"""The generator of the dashboard's types: they match the models; a check for stale files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from otel_bridge_collector.views.catalog import CATALOG
from otel_bridge_collector.wire import messages, typescript
from otel_bridge_collector.wire.typescript import (
    VIEW_TYPES_TS,
    VIEWS,
    WIRE_TS,
    main,
    render,
    render_views,
)

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType


def interfaces(text: str | None = None) -> dict[str, dict[str, str]]:
    """Every interface of a generated text: its name -> its members -> their types."""
    return {
        name: dict(re.findall(r"^  (\w+\??): (.*);$", body, re.MULTILINE))
        for name, body in re.findall(
            r"export interface (\w+) \{\n(.*?)\n\}", text or render(), re.DOTALL
        )
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
        ("SnapshotMessage", "partial?"),
        *(("SpanBar", name) for name in bar),
        *(("TaskCard", name) for name in ("stalled?", "reason?", "not_held?")),
        *(("PhaseProgress", name) for name in ("stalled?", "runs?", "not_held?")),
        ("WorkerState", "incarnation?"),
        ("GapMessage", "shards?"),
    }


@pytest.mark.parametrize(
    ("model", "member", "kind"),
    [
        ("MonitoringEvent", "worker_id?", "number | string"),
        ("MonitoringEvent", "counts?", "Record<string, number>"),
        ("MonitoringEvent", "meta?", "Record<string, unknown>"),
        ("TaskCard", "status", "Status"),
        ("TaskCard", "spans", "readonly SpanBar[]"),
        ("TaskCard", "eta_sec", "number | null"),
        ("SpanBar", "depth?", "number"),
        ("SpanBar", "ended_by?", '"self" | "other" | "rule" | "snapshot"'),
        ("WorkerState", "worker_id", "number | string"),
        ("FailureGroup", "task_ids", "readonly string[]"),
        ("GlobalStats", "queue_depth", "Record<string, number>"),
        ("SnapshotMessage", "type", '"snapshot"'),
        ("SnapshotMessage", "events", "readonly MonitoringEvent[]"),
    ],
)
def test_python_types_as_typescript(model: str, member: str, kind: str) -> None:
    """Unions, lists, dicts, literals and named types are translated to TypeScript's own."""
    assert interfaces()[model][member] == kind


@pytest.mark.parametrize(
    ("model", "member", "kind"),
    [
        ("TreeParams", "task", "string"),
        ("TreeParams", "except?", "readonly string[]"),
        ("TreeParams", "zoom?", "readonly [number, number] | null"),
        ("TreeParams", "at?", "Anchor"),
        ("TasksParams", "status?", "readonly Status[] | null"),
        ("OverviewHead", "tasks", "Partial<Record<Status, number>>"),
        ("OverviewHead", "queued", "Record<string, number> | null"),
        ("TreeRow", "kind", "RowKind"),
        ("TaskRow", "phases", "readonly PhasePart[]"),
        ("EventRow", "event", "MonitoringEvent"),
    ],
)
def test_what_views_take_and_show(model: str, member: str, kind: str) -> None:
    """A parameter with a default is optional, by its wire name; all of a row is there, or null."""
    assert interfaces(render_views())[model][member] == kind


def test_every_view_of_the_catalog_is_typed() -> None:
    """``Views`` names each view that the collector computes, with the parameters it checks."""
    listed = interfaces(render_views())["Views"]
    assert listed.keys() == VIEWS.keys()
    assert {name: VIEWS[name].params for name in CATALOG} == {
        name: view.params for name, view in CATALOG.items()
    }
    named = set(re.findall(r"(?:params|head|row): (\w+)", " ".join(listed.values())))
    assert named - {"never"} <= interfaces(render_views()).keys()


def test_comments_say_what_a_field_means() -> None:
    """What a docstring says of a field stands above it, in JavaScript's words."""
    assert "  /** When it ended, ms; null while it is open. */\n  end: " in render_views()


def test_every_event_type_is_listed_at_run_time() -> None:
    """``EVENT_TYPES`` lists exactly the event types of the model, in its order."""
    listed = re.search(r"EVENT_TYPES.*?= \[(.*?)\]", render(), re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(\w+)"', listed[1]) == [str(kind) for kind in MonitoringEventType]


def test_the_files_in_the_tree_are_up_to_date() -> None:
    """The committed files equal what is generated from the models."""
    assert WIRE_TS.read_text(encoding="utf-8") == render()
    assert VIEW_TYPES_TS.read_text(encoding="utf-8") == render_views()
    assert main(["--check"]) == 0


@pytest.mark.parametrize("name", ["WIRE_TS", "VIEW_TYPES_TS"])
def test_a_stale_file_fails_the_check_and_is_written_anew(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--check`` writes nothing, fails and names the command; without it the files are written."""
    stale = tmp_path / "stale.ts"
    monkeypatch.setattr(typescript, "WIRE_TS", tmp_path / "wire.ts")
    monkeypatch.setattr(typescript, "VIEW_TYPES_TS", tmp_path / "view-types.ts")
    assert main([]) == 0
    monkeypatch.setattr(typescript, name, stale)
    assert main(["--check"]) == 1
    assert not stale.exists()
    stale.write_text("old", encoding="utf-8")
    assert main(["--check"]) == 1
    assert "python -m otel_bridge_collector.wire.typescript" in capsys.readouterr().err
    assert (main([]), main(["--check"])) == (0, 0)
    assert stale.read_text(encoding="utf-8") in (render(), render_views())
