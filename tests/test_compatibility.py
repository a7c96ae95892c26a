"""docs/COMPATIBILITY.md lists what is public and says what versions do to each other; both hold."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from otel_bridge_collector.app import create_app
from otel_bridge_collector.commands.cli import main as cli_main
from otel_bridge_collector.log.decoding import UnreadableEventError, decode_entry, decode_event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.wire import close_codes

import otel_bridge
from otel_bridge.commands.command_line import main as library_main
from otel_bridge.publish.transports.http import FIRST_N_HEADER, PRODUCER_HEADER, decode_push
from otel_bridge.settings import BridgeSettings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "COMPATIBILITY.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

EVENT = {"event_id": "a", "ts": "2026-01-01T00:00:00Z", "event_type": "task_started"}


def row(part: str) -> str:
    """The text beside one name in the table of public parts."""
    section = TEXT.partition("\n## What is not public")[0]
    (found,) = re.findall(rf"^\| {re.escape(part)} \| (.+) \|$", section, flags=re.MULTILINE)
    return str(found)


def named(part: str) -> list[str]:
    """What that text has in backticks."""
    return re.findall(r"`([^`]+)`", row(part))


def test_exported_names() -> None:
    """The page names exactly what ``import otel_bridge`` exports."""
    assert set(named("Python")) - {"import otel_bridge"} == set(otel_bridge.__all__)


def test_further_public_paths_import() -> None:
    """The instrumentor and each adapter are at the path that the page gives."""
    assert "`otel_bridge.instrumentor.CoordinatorInstrumentor`" in TEXT
    importlib.import_module("otel_bridge.instrumentor").CoordinatorInstrumentor  # noqa: B018
    adapters = re.findall(r"`(\w+)\.(\w+Adapter)`", TEXT)
    assert len(adapters) == 5
    for module, name in adapters:
        assert hasattr(importlib.import_module(f"otel_bridge.adapters.{module}"), name)


def test_entry_points_and_extras() -> None:
    """The page names every entry point and every extra but those for development."""
    ours = {
        point.name
        for group in ("opentelemetry_pre_instrument", "opentelemetry_instrumentor")
        for point in entry_points(group=group)
        if point.value.startswith("otel_bridge.")
    }
    assert set(named("Entry points")) == ours
    assert set(named("Extras")) == set(PROJECT["optional-dependencies"]) - {"dev", "bench"}


@pytest.mark.parametrize(
    ("program", "run"), [("otel-bridge", cli_main), ("python -m otel_bridge", library_main)]
)
def test_commands(program: str, run: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Both programs have the commands that the page gives them, and no others."""
    assert callable(run)
    with pytest.raises(SystemExit):
        run(["--help"])
    offered = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, flags=re.MULTILINE))
    names = named("Commands")
    split = names.index("python -m otel_bridge")
    shown = names[1:split] if program == "otel-bridge" else names[split + 1 :]
    assert set(shown) == offered


def test_routes() -> None:
    """The page has every route of the collector but those of the page's own files."""
    app = create_app(CollectorSettings(), BridgeSettings(bus_url="memory://"))
    routes = {path for path in app.openapi()["paths"] if "." not in path and "assets" not in path}
    not_public = {"/v1/events", "/v1/stacks", "/v1/lines"}
    with_coordinator = {"/tasks", "/tasks/{task_id}"}
    assert set(named("HTTP")) == routes - not_public | with_coordinator
    assert not_public & set(named("HTTP")) == set()


def test_raw_stream() -> None:
    """The close codes on the page are those that the collector closes with."""
    codes = {
        value.code
        for value in vars(close_codes).values()
        if isinstance(value, close_codes.CloseCode)
    }
    assert {int(code) for code in re.findall(r"\b(\d{4})\b", row("Raw stream"))} == codes


def test_versions_are_those_of_the_package() -> None:
    """Frameworks have the lower bounds of their adapters, Python and the SDK of pyproject.toml."""
    extras = PROJECT["optional-dependencies"].values()
    requirements = " ".join([*PROJECT["dependencies"], *(" ".join(extra) for extra in extras)])
    for name in ("celery", "rq", "arq", "dramatiq", "taskiq"):
        adapters = importlib.import_module(f"otel_bridge.adapters.{name}")
        bound = getattr(adapters, f"{name.capitalize()}Adapter").requirement.partition(" >= ")[2]
        assert re.search(rf"\| {name} \| {re.escape(bound)} or newer", TEXT, re.IGNORECASE), name
    (sdk,) = re.findall(r"opentelemetry-sdk>=([\d.]+)", requirements)
    assert f"| OpenTelemetry SDK | {sdk} or newer" in TEXT
    assert PROJECT["requires-python"] == ">=" + re.findall(r"\| Python \| ([\d.]+),", TEXT)[0]


def test_unknown_field_passes_unchanged() -> None:
    """An older collector passes a field that it does not know on to clients, byte by byte."""
    data = json.dumps({"position": "e:1-0", **EVENT, "new": 1}).encode()
    assert decode_entry(data, "e:1-0", 8192)[1].data == data


def test_unknown_field_of_an_external_publisher_passes() -> None:
    """An event that did not come through the log reaches clients with its unknown fields."""
    entry = decode_entry(json.dumps({**EVENT, "new": {"a": 1}}).encode(), None, 8192)[1]
    assert json.loads(entry.data)["new"] == {"a": 1}


def test_unknown_field_of_a_truncated_event_is_removed() -> None:
    """An external event that does not fit keeps its known fields before its unknown ones."""
    large = {**EVENT, "message": "m" * 8192, "new": 1}
    entry = decode_entry(json.dumps(large).encode(), None, 8192)[1]
    sent = json.loads(entry.data)
    assert (sent.keys() - {"meta"}, sent["meta"]) == (
        EVENT.keys() | {"message"},
        {"truncated": True},
    )


@pytest.mark.parametrize("position", ["e:1-0", None])
@pytest.mark.parametrize("newer", [{"event_type": "new_type"}, {"status": "new_status"}])
def test_unknown_type_and_status_pass(newer: dict[str, str], position: str | None) -> None:
    """A type or a status that a collector does not know reaches clients as it is."""
    sent = EVENT | newer | ({} if position is None else {"position": position})
    event, entry = decode_entry(json.dumps(sent).encode(), position, 8192)
    (name,) = newer
    assert (getattr(event, name), json.loads(entry.data)[name]) == (newer[name], newer[name])


def test_unknown_type_changes_no_state() -> None:
    """An event of an unknown type is counted by the reader and folded by nothing."""
    newer = EVENT | {"event_type": "new_type", "parent_task_id": "t", "worker_id": 3}
    model = Fold()
    is_new = model.apply(decode_event(json.dumps(newer).encode()), 0)
    assert (is_new, model.tasks.by_id, model.workers.by_id, model.skipped) == (True, {}, {}, 1)


def test_another_type_of_value_is_unreadable() -> None:
    """A known field whose value has another shape makes an event unreadable."""
    with pytest.raises(UnreadableEventError, match="not an event"):
        decode_entry(json.dumps({**EVENT, "counts": ["a"]}).encode(), None, 8192)


def test_unknown_type_is_pushed_with_its_batch() -> None:
    """Pushed over HTTP, an event of an unknown type is accepted like every other one."""
    lines = [json.dumps(EVENT), json.dumps({**EVENT, "event_type": "new_type"})]
    headers = {PRODUCER_HEADER: "p", FIRST_N_HEADER: "1"}
    push = decode_push("\n".join(lines).encode(), headers, 8192)
    assert [outgoing.data.decode() for outgoing in push.batch] == lines
