"""The state of a coordinator and its submissions, without any Redis."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.coordinator.jobs import (
    PHASE_COUNTER,
    InstrumentedCoordinator,
    InstrumentedCoordinators,
    Submission,
)
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.running import RUNNING_JOB, Attempt
from otel_bridge.coordinator.shape import PAYLOAD_KEY, read_task
from otel_bridge.events import semconv
from otel_bridge.settings import BridgeSettings
from tests.support.spans import SpanRecorder

_names = itertools.count()


class Coordinator:
    """A user's coordinator that shows no Redis client."""

    redis_client: Any = None
    TASK_STATUS_PREFIX = "job:"


class NamelessCoordinator:
    """A coordinator that does not say how its keys begin."""

    redis_client: Any = None


@pytest.fixture
def recorder(make_settings: Callable[..., BridgeSettings]) -> Iterator[SpanRecorder]:
    found = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(found)
    bridge = otel_bridge.configure(
        tracer_provider=provider,
        settings=make_settings(bus_url=f"memory://coordinator-jobs-{next(_names)}"),
    )
    yield found
    bridge.shutdown()


@pytest.fixture
def states() -> Iterator[InstrumentedCoordinators]:
    made = InstrumentedCoordinators("redis_client", None, 5.0)
    yield made
    made.close()


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


def attempt_at(state: InstrumentedCoordinator, source: Any) -> Attempt:
    read = read_task(source)
    assert read is not None
    return Attempt(state, source, read, None, 3)


def attributes(recorder: SpanRecorder) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in recorder.ended]


# --- the state -----------------------------------------------------------------------------------


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
    """An object that refuses weak references gives None and one log entry, and raises nothing."""
    assert states.get(3) is None
    assert "could not observe 3; its jobs are not shown" in caplog.text


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


# --- submissions ---------------------------------------------------------------------------------


def test_a_submitted_task_has_a_span_and_a_carrier(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """While it is submitted its payload has the carrier of its own PRODUCER span."""
    tasks = [task("j1"), task("j2", payload={"url": "x"}, type=SimpleNamespace)]
    submission = Submission(state)
    with otel_bridge.research_task("t1", project_id="p1"):
        for each in tasks:
            submission.add(each)
        carriers = [json.loads(each.payload[PAYLOAD_KEY]) for each in tasks]
        assert [dict(span.attributes or {})[semconv.TASK_ID] for span in recorder.started] == [
            *("t1", "j1", "j2")
        ]
        assert recorder.ended == []
        submission.close(None)
    assert [each.payload for each in tasks] == [{}, {"url": "x"}]
    spans = recorder.ended[:2]
    assert [carrier["traceparent"].split("-")[2] for carrier in carriers] == [
        f"{span.context.span_id:016x}" for span in spans if span.context
    ]
    root = recorder.started[0].context
    assert [span.parent.span_id for span in spans if span.parent] == [root.span_id] * 2
    assert {
        (a[semconv.PARENT_TASK_ID], a[semconv.PROJECT_ID]) for a in attributes(recorder)[:2]
    } == {("t1", "p1")}


def test_a_failed_submission_is_no_job(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """If the submit method raises, the payload is restored and the span ends as failed."""
    each = task("j1")
    submission = Submission(state)
    submission.add(each)
    submission.close(ConnectionError("no Redis"))
    assert each.payload == {}
    (span,) = attributes(recorder)
    assert (span[semconv.OUTCOME], span[semconv.ERROR]) == ("failed", "ConnectionError: no Redis")


def test_a_task_without_an_id_is_one_warning(
    state: InstrumentedCoordinator, recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """What has no id is no job; it is submitted as it is, and the log names its type once."""
    submission = Submission(state)
    for _ in range(2):
        submission.add(task(None))  # type: ignore[arg-type]
        submission.add({"payload": {}})
    submission.close(None)
    assert recorder.started == []
    assert [record.getMessage().partition(" has no id")[0] for record in caplog.records] == [
        "otel-bridge: a task of type SimpleNamespace",
        "otel-bridge: a task of type dict",
    ]


def test_a_job_that_is_queued_again_has_no_second_enqueue(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """A task with retries, or the running one, gets the carrier of its next attempt."""
    state.keep_carrier("j1", {"kept": "carrier"})
    retried = task("j1", retry_count=1)
    submission = Submission(state)
    submission.add(retried)
    assert json.loads(retried.payload[PAYLOAD_KEY]) == {"kept": "carrier"}
    attempt = attempt_at(state, task("j2"))
    again = task("j2")
    token = RUNNING_JOB.set(attempt.running)
    with attempt.running.span:
        submission.add(again)
    RUNNING_JOB.reset(token)
    assert semconv.CARRIER_PREVIOUS_ATTEMPT in json.loads(again.payload[PAYLOAD_KEY])
    assert not attempt.running.is_queued_again
    submission.close(None)
    assert attempt.running.is_queued_again
    assert [a[semconv.SPAN_KIND] for a in attributes(recorder)] == [semconv.KIND_JOB]


def test_new_jobs_count_for_the_enclosing_phase(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """The phase's total grows by the new jobs of a submission, not by retries."""
    state.keep_carrier("old", {"kept": "carrier"})
    with otel_bridge.phase("search") as phase:
        token = PHASE_COUNTER.set(PhaseCounter(phase, state.status_key, 3600))
        submission = Submission(state)
        for each in (task("j1"), task("j2"), task("old", retry_count=1)):
            submission.add(each)
        submission.close(None)
        PHASE_COUNTER.reset(token)
    assert attributes(recorder)[-1]["nexus.count.total"] == 2


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
