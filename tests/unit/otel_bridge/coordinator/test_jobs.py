"""The state of a coordinator, its submissions and its attempts, without any Redis."""

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
    Attempt,
    InstrumentedCoordinator,
    InstrumentedCoordinators,
    Submission,
)
from otel_bridge.coordinator.observer import RUNNING_JOB
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.shape import PAYLOAD_KEY
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
    with otel_bridge.research_task("t1", project_id="around"):
        assert state.project_of(task(**fields), None) == project_id


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


def test_a_task_without_an_id_is_skipped(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """What has no id is no job; it is submitted as it is."""
    submission = Submission(state)
    submission.add(task(None))  # type: ignore[arg-type]
    submission.add("text")
    submission.close(None)
    assert recorder.started == []


def test_a_job_that_is_queued_again_has_no_second_enqueue(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """A task with retries, or the running one, gets the carrier of its next attempt."""
    state.keep_carrier("j1", {"kept": "carrier"})
    retried = task("j1", retry_count=1)
    submission = Submission(state)
    submission.add(retried)
    assert json.loads(retried.payload[PAYLOAD_KEY]) == {"kept": "carrier"}
    attempt = Attempt(state, task("j2"), "j2", None, 3)
    again = task("j2")
    token = RUNNING_JOB.set(attempt.running)
    with attempt.running.span:
        submission.add(again)
    RUNNING_JOB.reset(token)
    assert semconv.CARRIER_PREVIOUS_ATTEMPT in json.loads(again.payload[PAYLOAD_KEY])
    assert attempt.running.is_queued_again
    submission.close(None)
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
        submission.count_new_jobs()
        submission.close(None)
        PHASE_COUNTER.reset(token)
    assert attributes(recorder)[-1]["nexus.count.total"] == 2


# --- attempts ------------------------------------------------------------------------------------


def end_of(
    state: InstrumentedCoordinator,
    recorder: SpanRecorder,
    change: Callable[[Attempt, SimpleNamespace], object],
    failure: BaseException | None = None,
    **fields: Any,
) -> tuple[str, str | None]:
    """Outcome and error of an attempt in which the coordinator does ``change``."""
    each = task(**fields)
    attempt = Attempt(state, each, "j1", None, 3)
    with attempt.running.span:
        change(attempt, each)
        attempt.set_outcome(failure)
    (found,) = attributes(recorder)
    return found[semconv.OUTCOME], found.get(semconv.ERROR)


def change_task(**fields: Any) -> Callable[[Attempt, SimpleNamespace], object]:
    return lambda _, each: vars(each).update(fields)


def write(key: str, *values: Any) -> Callable[[Attempt, SimpleNamespace], object]:
    return lambda attempt, _: attempt.running.record_write(key, values)


NO_REASON = "the coordinator gave no reason"


@pytest.mark.parametrize(
    ("change", "failure", "expected"),
    [
        (change_task(), None, ("completed", None)),
        (change_task(), ValueError("x"), ("failed", "ValueError: x")),
        (
            change_task(),
            KeyboardInterrupt(),
            ("failed", "interrupted: the worker was cancelled before the job ended"),
        ),
        (change_task(status="failed"), None, ("failed", NO_REASON)),
        (change_task(status="failed", error="bad page"), None, ("failed", "bad page")),
        (change_task(status="completed"), ValueError("late"), ("completed", None)),
        (change_task(status="retrying", error="slow"), None, ("retrying", "slow")),
        (change_task(retry_count=1), None, ("retrying", NO_REASON)),
        (write("job:j1:status", "failed"), None, ("failed", NO_REASON)),
        (write("job:j1:status", "pending"), None, ("retrying", NO_REASON)),
        (write("job:j1:status", "completed"), ValueError("late"), ("completed", None)),
        (write("job:j1", "status", "failed", "last_error", "bad"), None, ("failed", "bad")),
        (write("job:j1:error", "bad page"), ValueError("x"), ("failed", "bad page")),
        (write("job:j2:status", "failed"), None, ("completed", None)),
    ],
)
def test_the_outcome_is_what_the_coordinator_recorded(
    state: InstrumentedCoordinator,
    recorder: SpanRecorder,
    change: Callable[[Attempt, SimpleNamespace], object],
    failure: BaseException | None,
    expected: tuple[str, str | None],
) -> None:
    """Statuses in Redis and on the task come before the exception; so does a recorded error."""
    assert end_of(state, recorder, change, failure) == expected


def test_a_status_in_redis_outranks_the_tasks_own(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """What was written to Redis is what other processes read, so it counts first."""

    def change(attempt: Attempt, each: SimpleNamespace) -> None:
        each.status = "failed"
        attempt.running.record_write("job:j1:status", ("completed",))

    assert end_of(state, recorder, change) == ("completed", None)


@pytest.mark.parametrize(
    ("before", "outcome"), [(None, "completed"), ("pending", "completed"), ("running", "retrying")]
)
def test_a_task_that_becomes_pending_is_a_retry(
    state: InstrumentedCoordinator, recorder: SpanRecorder, before: str | None, outcome: str
) -> None:
    """Pending on the task means a retry only if the task had another status before."""
    assert end_of(state, recorder, change_task(status="pending"), status=before)[0] == outcome


def test_a_job_that_was_queued_again_is_a_retry(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """A job that is back in a queue is a retry, whatever status was recorded."""

    def change(attempt: Attempt, each: SimpleNamespace) -> None:
        each.status = "failed"
        attempt.running.is_queued_again = True

    assert end_of(state, recorder, change)[0] == "retrying"
    assert semconv.CARRIER_PREVIOUS_ATTEMPT in state.carriers["j1"]


def test_an_attempt_takes_the_carrier_that_was_kept(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """A task whose payload holds no carrier is a child of the span that enqueued it here."""
    submission = Submission(state)
    slotted = task("j1", payload="text")
    submission.add(slotted)
    submission.close(None)
    assert slotted.payload == "text"
    with Attempt(state, slotted, "j1", None, 3).running.span:
        pass
    produced, consumed = recorder.ended
    assert consumed.parent is not None
    assert produced.context is not None
    assert consumed.parent.span_id == produced.context.span_id
    assert state.carriers == {}


class Broken:
    """A task whose error cannot be read."""

    id = "j1"
    status = "failed"

    @property
    def error(self) -> str:
        raise RuntimeError("no error")


def test_an_outcome_that_cannot_be_read_is_logged(
    state: InstrumentedCoordinator, recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of the task's own stays out of the coordinator, and the span ends."""
    attempt = Attempt(state, Broken(), "j1", None, 3)
    with attempt.running.span:
        attempt.set_outcome(None)
    assert "could not read how a job ended" in caplog.text
    assert len(recorder.ended) == 1


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
