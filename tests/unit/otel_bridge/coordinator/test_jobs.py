"""The state of a coordinator's instances, without any Redis."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.coordinator.jobs import (
    InstrumentedCoordinator,
    InstrumentedCoordinators,
)
from otel_bridge.coordinator.shape import read_task
from otel_bridge.settings import BridgeSettings
from tests.support.spans import SpanRecorder


class Coordinator:
    """A user's coordinator that shows no Redis client."""

    redis_client: Any = None
    TASK_STATUS_PREFIX = "job:"


class NamelessCoordinator:
    """A coordinator that does not say how its keys begin."""

    redis_client: Any = None


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def state(
    recorder: SpanRecorder, states: InstrumentedCoordinators, coordinator: Coordinator
) -> InstrumentedCoordinator:
    found = states.get(coordinator)
    assert found is not None
    return found


def task(task_id: str = "j1", **fields: Any) -> SimpleNamespace:
    defaults: dict[str, Any] = {"id": task_id, "type": "find", "payload": {}, "retry_count": 0}
    return SimpleNamespace(**(defaults | fields))


def test_an_instance_has_one_state(
    recorder: SpanRecorder, states: InstrumentedCoordinators, coordinator: Coordinator
) -> None:
    """The state stays until the instance gets another Redis client."""
    first = states.get(coordinator)
    assert states.get(coordinator) is first
    assert states.get(Coordinator()) is not first
    coordinator.redis_client = object()
    assert states.get(coordinator) is not first


def test_a_collected_instance_leaves_no_state(
    recorder: SpanRecorder, states: InstrumentedCoordinators
) -> None:
    """The state of an instance that no longer exists is dropped."""
    states.get(Coordinator())
    gc.collect()
    assert states._by_id == {}


def test_while_monitoring_is_off_there_is_no_state(
    make_settings: Callable[..., BridgeSettings],
    states: InstrumentedCoordinators,
    coordinator: Coordinator,
) -> None:
    """With NEXUS_MONITORING_ENABLED=false a coordinator costs one look-up and nothing more."""
    bridge = otel_bridge.configure(settings=make_settings(enabled=False))
    try:
        assert states.get(coordinator) is None
    finally:
        bridge.shutdown()


def test_a_coordinator_that_cannot_be_observed_is_logged(
    recorder: SpanRecorder, states: InstrumentedCoordinators, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that is no coordinator gives None and one log entry, and raises nothing."""
    assert states.get(3) is None
    assert "could not observe 3; its jobs are not shown" in caplog.text


class Slotted:
    """A coordinator that does not allow weak references."""

    __slots__ = ("redis_client",)


def test_a_coordinator_without_weak_references_is_watched(
    recorder: SpanRecorder, states: InstrumentedCoordinators, caplog: pytest.LogCaptureFixture
) -> None:
    """An instance of a class with slots has one state, and nothing is logged."""
    slotted = Slotted()
    slotted.redis_client = None  # type: ignore[attr-defined]
    found = states.get(slotted)
    assert found is not None
    assert states.get(slotted) is found
    assert caplog.text == ""


def test_carriers_kept_are_bounded(state: InstrumentedCoordinator) -> None:
    """Of more than 4,096 carriers the oldest are dropped."""
    for number in range(5000):
        state.keep_carrier(f"j{number}", {"n": str(number)})
    assert len(state.carriers) == 4096
    assert "j4999" in state.carriers
    assert "j0" not in state.carriers


@pytest.mark.parametrize(
    ("fields", "project_id"),
    [
        ({"project_id": "own", "payload": {"project_id": "payload"}}, "own"),
        ({"payload": {"project_id": "payload"}}, "payload"),
        ({"payload": "text"}, "around"),
        ({}, "around"),
    ],
)
def test_a_task_names_its_project(
    state: InstrumentedCoordinator, fields: dict[str, Any], project_id: str
) -> None:
    """A task's own project comes first, then its payload's, then that of the enclosing work."""
    read = read_task(task(**fields))
    assert read is not None
    assert state.project_of(read, "around") == project_id


def test_a_coordinator_that_names_no_keys_has_those_of_the_prefix(
    make_settings: Callable[..., BridgeSettings], states: InstrumentedCoordinators
) -> None:
    """Its own names come first, else ``MONITORING_KEY_PREFIX``; before ``configure()`` nexus."""
    before = InstrumentedCoordinator(NamelessCoordinator(), None, None, None, 5.0)
    assert before.status_key("j") == "nexus:task:j:status"
    bridge = otel_bridge.configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        settings=make_settings(bus_url="memory://coordinator-prefix", key_prefix="shop"),
    )
    try:
        nameless, named = NamelessCoordinator(), Coordinator()
        found = [states.get(nameless), states.get(named)]
        keys = [state.status_key("j") for state in found if state is not None]
        assert keys == ["shop:task:j:status", "job:j:status"]
    finally:
        bridge.shutdown()
