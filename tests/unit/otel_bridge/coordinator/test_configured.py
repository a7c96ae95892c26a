"""A coordinator named in the environment is instrumented once its module is imported."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_bridge.coordinator.configured import ConfiguredCoordinator

SOURCE = """
class Outer:
    class Coordinator:
        redis_client = None
        TASK_QUEUE_PREFIX = TASK_STATUS_PREFIX = "x:"
        async def submit_tasks(self, tasks): return tasks
        async def _worker(self, worker_id): ...
        async def _process_task(self, task, worker_id): ...

class Orchestrator:
    async def run(self, task_id):
        await self.run_search()
    async def run_search(self): ...

class Bare: ...

value = 3
"""


class Modules:
    """Source files of a user, not imported yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: list[str] = []

    def write(self, name: str, source: str = SOURCE) -> str:
        (self._folder / f"{name}.py").write_text(source, encoding="utf-8")
        self.names.append(name)
        return name


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Modules(tmp_path)
    yield made
    for name in made.names:
        sys.modules.pop(name, None)


@pytest.fixture
def instrument() -> Iterator[Any]:
    """Instrument as ``opentelemetry-instrument`` does, and undo it."""
    made = ConfiguredCoordinator()
    yield made.instrument
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()


def is_wrapped(method: Any) -> bool:
    return hasattr(method, "__wrapped__")


def test_a_coordinator_is_instrumented_once_it_is_imported(
    modules: Modules, instrument: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class is wrapped when its module has been imported; it may be nested in another class."""
    name = modules.write("configured_alone")
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", f" {name}:Outer.Coordinator ")
    instrument()
    assert name not in sys.modules
    module = importlib.import_module(name)
    assert is_wrapped(module.Outer.Coordinator.submit_tasks)


def test_a_module_that_is_imported_already_is_instrumented_at_once(
    modules: Modules, instrument: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the module has been imported before, the class is wrapped at once."""
    module = importlib.import_module(modules.write("configured_there"))
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_there:Outer.Coordinator")
    instrument()
    assert is_wrapped(module.Outer.Coordinator._process_task)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_coordinator_and_orchestrator_are_wrapped_together(
    modules: Modules, instrument: Any, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    """If an orchestrator is named too, both are wrapped once both modules have been imported."""
    names = [modules.write(f"configured_{role}{order[0]}") for role in ("c", "o")]
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", f"{names[0]}:Outer.Coordinator")
    monkeypatch.setenv("MONITORING_ORCHESTRATOR_CLASS", f"{names[1]}:Orchestrator")
    monkeypatch.setenv("MONITORING_ORCHESTRATOR_PHASES", "run_search = search,")
    instrument()
    first = importlib.import_module(names[order[0]])
    assert not is_wrapped(first.Outer.Coordinator.submit_tasks)
    importlib.import_module(names[order[1]])
    coordinator, orchestrator = (sys.modules[name] for name in names)
    assert is_wrapped(coordinator.Outer.Coordinator.submit_tasks)
    assert is_wrapped(orchestrator.Orchestrator.run_search)
    assert is_wrapped(orchestrator.Orchestrator.run)


def test_uninstrumenting_restores_the_class(
    modules: Modules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards the class has its original methods."""
    module = importlib.import_module(modules.write("configured_back"))
    original = module.Outer.Coordinator.__dict__["submit_tasks"]
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_back:Outer.Coordinator")
    ConfiguredCoordinator().instrument()
    ConfiguredCoordinator().uninstrument()
    assert module.Outer.Coordinator.__dict__["submit_tasks"] is original


def test_without_a_name_nothing_happens(instrument: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Most applications name no coordinator: nothing is logged and nothing is wrapped."""
    instrument()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"MONITORING_COORDINATOR_CLASS": "app.Coordinator"},
            "MONITORING_COORDINATOR_CLASS=app.Coordinator names no class; "
            "write package.module:Class",
        ),
        (
            {
                "MONITORING_COORDINATOR_CLASS": "app:C",
                "MONITORING_ORCHESTRATOR_CLASS": ":O",
            },
            "MONITORING_ORCHESTRATOR_CLASS=:O names no class; write package.module:Class",
        ),
        (
            {
                "MONITORING_COORDINATOR_CLASS": "app:C",
                "MONITORING_ORCHESTRATOR_PHASES": "run_search",
            },
            "MONITORING_ORCHESTRATOR_PHASES: 'run_search' names no phase; "
            "write run_search=search,run_extract=extract",
        ),
        (
            {"MONITORING_ORCHESTRATOR_CLASS": "app:O"},
            "MONITORING_ORCHESTRATOR_CLASS=app:O is set without MONITORING_COORDINATOR_CLASS; "
            "name the coordinator too",
        ),
    ],
)
def test_a_wrong_setting_is_logged_and_raises_nothing(
    instrument: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environ: dict[str, str],
    sentence: str,
) -> None:
    """A setting that cannot work is one line in the log, with the fix."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    instrument()
    assert [record.getMessage() for record in caplog.records] == [
        f"the coordinator is not instrumented: {sentence}"
    ]


def test_the_value_of_another_setting_is_left_to_configure(
    instrument: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that cannot work is reported by ``configure()`` alone, so that there is one line."""
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_later:C")
    monkeypatch.setenv("MONITORING_HEARTBEAT_TTL_SEC", "5")
    instrument()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("qualified", "part"),
    [
        ("Absent", "configured_wrong has no class Absent; see .env.example"),
        ("Outer.Absent", "configured_wrong has no class Outer.Absent"),
        ("value", "configured_wrong has no class value"),
        ("Bare", "submit_tasks"),
    ],
)
def test_a_class_that_is_not_there_does_not_break_the_import(
    modules: Modules,
    instrument: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    qualified: str,
    part: str,
) -> None:
    """A class that cannot be instrumented is logged at the import; the import succeeds."""
    modules.write("configured_wrong")
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", f"configured_wrong:{qualified}")
    instrument()
    assert importlib.import_module("configured_wrong").value == 3
    (record,) = caplog.records
    assert (record.levelno, part in record.getMessage()) == (logging.ERROR, True)


def test_a_module_whose_lookup_raises_does_not_break_the_import(
    modules: Modules,
    instrument: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception of the user's module while its class is looked up does not leave the import."""
    modules.write(
        "configured_rude", "value = 3\ndef __getattr__(name):\n    raise RuntimeError(name)\n"
    )
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_rude:C")
    instrument()
    assert importlib.import_module("configured_rude").value == 3
    assert "the coordinator is not instrumented" in caplog.text
