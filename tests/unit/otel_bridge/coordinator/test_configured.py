"""A coordinator named in the environment: followed once imported, never to anyone's cost."""

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
    """Modules of the user's that are not imported yet."""

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
def follow() -> Iterator[Any]:
    """Instrument as ``opentelemetry-instrument`` does, and undo it."""
    made = ConfiguredCoordinator()
    yield made.instrument
    if made.is_instrumented_by_opentelemetry:
        made.uninstrument()


def is_followed(method: Any) -> bool:
    return hasattr(method, "__wrapped__")


def test_a_coordinator_is_followed_once_it_is_imported(
    modules: Modules, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class is wrapped when its module has been imported, nested as it may be."""
    name = modules.write("configured_alone")
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", f" {name}:Outer.Coordinator ")
    follow()
    assert name not in sys.modules
    module = importlib.import_module(name)
    assert is_followed(module.Outer.Coordinator.submit_tasks)


def test_a_module_that_is_there_already_is_followed_at_once(
    modules: Modules, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for an import that has happened."""
    module = importlib.import_module(modules.write("configured_there"))
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_there:Outer.Coordinator")
    follow()
    assert is_followed(module.Outer.Coordinator._process_task)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_both_are_waited_for(
    modules: Modules, follow: Any, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    """With an orchestrator named too, both are wrapped when both modules have been imported."""
    names = [modules.write(f"configured_{role}{order[0]}") for role in ("c", "o")]
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", f"{names[0]}:Outer.Coordinator")
    monkeypatch.setenv("MONITORING_ORCHESTRATOR_CLASS", f"{names[1]}:Orchestrator")
    monkeypatch.setenv("MONITORING_ORCHESTRATOR_PHASES", "run_search = search,")
    follow()
    first = importlib.import_module(names[order[0]])
    assert not is_followed(first.Outer.Coordinator.submit_tasks)
    importlib.import_module(names[order[1]])
    coordinator, orchestrator = (sys.modules[name] for name in names)
    assert is_followed(coordinator.Outer.Coordinator.submit_tasks)
    assert is_followed(orchestrator.Orchestrator.run_search)
    assert is_followed(orchestrator.Orchestrator.run)


def test_uninstrumenting_gives_the_class_back(
    modules: Modules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards the class is what it was."""
    module = importlib.import_module(modules.write("configured_back"))
    original = module.Outer.Coordinator.__dict__["submit_tasks"]
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_back:Outer.Coordinator")
    ConfiguredCoordinator().instrument()
    ConfiguredCoordinator().uninstrument()
    assert module.Outer.Coordinator.__dict__["submit_tasks"] is original


def test_without_a_name_nothing_happens(follow: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Most applications have no coordinator: not a word, and no class is looked for."""
    follow()
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
        (
            {"MONITORING_COORDINATOR_CLASS": "app:C", "MONITORING_HEARTBEAT_TTL_SEC": "5"},
            "MONITORING_HEARTBEAT_TTL_SEC=5 must exceed MONITORING_HEARTBEAT_INTERVAL_SEC=10; "
            "use at least 20",
        ),
    ],
)
def test_a_wrong_name_is_told_and_the_application_goes_on(
    follow: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environ: dict[str, str],
    sentence: str,
) -> None:
    """A setting that cannot work is one line in the log with the cure."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    follow()
    assert [record.getMessage() for record in caplog.records] == [
        f"the coordinator is not followed: {sentence}"
    ]


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
    follow: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    qualified: str,
    part: str,
) -> None:
    """What is found wrong when the module is imported is told; the import succeeds."""
    modules.write("configured_wrong")
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", f"configured_wrong:{qualified}")
    follow()
    assert importlib.import_module("configured_wrong").value == 3
    (record,) = caplog.records
    assert (record.levelno, part in record.getMessage()) == (logging.ERROR, True)


def test_a_module_that_refuses_to_be_asked_does_not_break_the_import(
    modules: Modules, follow: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the user's own while its class is looked for stays out of the import."""
    modules.write(
        "configured_rude", "value = 3\ndef __getattr__(name):\n    raise RuntimeError(name)\n"
    )
    monkeypatch.setenv("MONITORING_COORDINATOR_CLASS", "configured_rude:C")
    follow()
    assert importlib.import_module("configured_rude").value == 3
    assert "the coordinator is not followed" in caplog.text
