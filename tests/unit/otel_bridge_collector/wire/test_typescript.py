"""The generator of ``wire.ts``: TypeScript that says what is sent, and a check that notices."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from otel_bridge_collector.wire import messages, typescript
from otel_bridge_collector.wire.typescript import WIRE_TS, main, render

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType


def interfaces() -> dict[str, dict[str, str]]:
    """Every interface of the text: name to members to their types."""
    return {
        name: dict(re.findall(r"^  (\w+\??): (.*);$", body, re.MULTILINE))
        for name, body in re.findall(r"export interface (\w+) \{\n(.*?)\n\}", render(), re.DOTALL)
    }


def test_every_model_that_travels_is_an_interface() -> None:
    """No model of the protocol is left out, for the dashboard would not know it."""
    models = {*messages.__all__} - {"Status"}
    assert set(interfaces()) == {"MonitoringEvent", *models}


def test_none_of_an_event_is_left_out_and_of_the_rest_null() -> None:
    """A field that an event may lack is optional; in a control message it is there, as null."""
    found = interfaces()
    event = found["MonitoringEvent"]
    assert {"event_id", "ts", "event_type"} == {name for name in event if not name.endswith("?")}
    assert set(event) == {
        name if field.is_required() or name in ("event_id", "ts") else f"{name}?"
        for name, field in MonitoringEvent.model_fields.items()
    }
    assert "null" not in " ".join(event.values())
    assert found["GapMessage"]["dropped"] == "number | null"
    assert not [name for name in found["TaskCard"] if name.endswith("?")]


@pytest.mark.parametrize(
    ("model", "member", "kind"),
    [
        ("MonitoringEvent", "worker_id?", "number | string"),
        ("MonitoringEvent", "counts?", "Record<string, number>"),
        ("MonitoringEvent", "meta?", "Record<string, unknown>"),
        ("TaskCard", "status", "Status"),
        ("TaskCard", "spans", "SpanBar[]"),
        ("TaskCard", "eta_sec", "number | null"),
        ("WorkerState", "worker_id", "number | string"),
        ("FailureGroup", "task_ids", "string[]"),
        ("GlobalStats", "queue_depth", "Record<string, number>"),
        ("SnapshotMessage", "type", '"snapshot"'),
        ("SnapshotMessage", "events", "MonitoringEvent[]"),
    ],
)
def test_python_types_as_typescript(model: str, member: str, kind: str) -> None:
    """Unions, lists, dicts, literals and named types are those that the browser will meet."""
    assert interfaces()[model][member] == kind


def test_every_event_type_is_listed_at_run_time() -> None:
    """The dashboard's filter offers exactly the types that exist."""
    listed = re.search(r"EVENT_TYPES.*?= \[(.*?)\]", render(), re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(\w+)"', listed[1]) == [str(kind) for kind in MonitoringEventType]


def test_the_file_in_the_tree_is_up_to_date() -> None:
    """The dashboard's types are generated from the models as they are."""
    assert WIRE_TS.read_text(encoding="utf-8") == render()
    assert main(["--check"]) == 0


def test_a_stale_file_is_noticed_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--check`` fails with the command that cures, and touches nothing; without it, it writes."""
    stale = tmp_path / "wire.ts"
    monkeypatch.setattr(typescript, "WIRE_TS", stale)
    assert main(["--check"]) == 1
    assert not stale.exists()
    stale.write_text("old", encoding="utf-8")
    assert main(["--check"]) == 1
    assert "python -m collector.protocol_ts" in capsys.readouterr().err
    assert (main([]), main(["--check"])) == (0, 0)
    assert stale.read_text(encoding="utf-8") == render()
