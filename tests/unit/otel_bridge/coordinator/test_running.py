"""Attempts at jobs: how each ended, by what the coordinator records, without any Redis."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

import otel_bridge
from otel_bridge.coordinator.jobs import InstrumentedCoordinator, InstrumentedCoordinators
from otel_bridge.coordinator.running import Attempt, failure_in
from otel_bridge.coordinator.shape import read_task
from otel_bridge.coordinator.submission import Submission
from otel_bridge.events import semconv
from otel_bridge.settings import BridgeSettings
from tests.support.raised import look_up, raised_by
from tests.support.spans import SpanRecorder

_names = itertools.count()


class Coordinator:
    """A user's coordinator that shows no Redis client."""

    redis_client: Any = None
    TASK_STATUS_PREFIX = "job:"


@pytest.fixture
def recorder(make_settings: Callable[..., BridgeSettings]) -> Iterator[SpanRecorder]:
    found = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(found)
    bridge = otel_bridge.configure(
        tracer_provider=provider,
        settings=make_settings(bus_url=f"memory://coordinator-running-{next(_names)}"),
    )
    yield found
    bridge.shutdown()


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def state(recorder: SpanRecorder, coordinator: Coordinator) -> Iterator[InstrumentedCoordinator]:
    states = InstrumentedCoordinators("redis_client", None, 5.0)
    found = states.get(coordinator)
    assert found is not None
    yield found
    states.close()


def task(task_id: str = "j1", **fields: Any) -> SimpleNamespace:
    defaults: dict[str, Any] = {"id": task_id, "type": "find", "payload": {}, "retry_count": 0}
    return SimpleNamespace(**(defaults | fields))


def attempt_at(state: InstrumentedCoordinator, source: Any, **options: Any) -> Attempt:
    read = read_task(source)
    assert read is not None
    return Attempt(state, source, read, None, 3, **options)


def attributes(recorder: SpanRecorder) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in recorder.ended]


def end_of(
    state: InstrumentedCoordinator,
    recorder: SpanRecorder,
    change: Callable[[Attempt, SimpleNamespace], object],
    failure: BaseException | None = None,
    **fields: Any,
) -> tuple[str, str | None]:
    """Outcome and error of an attempt in which the coordinator does ``change``."""
    each = task(**fields)
    attempt = attempt_at(state, each)
    with attempt.running.span:
        change(attempt, each)
        attempt.set_outcome(failure)
    (found,) = attributes(recorder)
    return found[semconv.OUTCOME], found.get(semconv.ERROR)


def change_task(**fields: Any) -> Callable[[Attempt, SimpleNamespace], object]:
    return lambda _, each: vars(each).update(fields)


def write(key: str, value: Any) -> Callable[[Attempt, SimpleNamespace], object]:
    return lambda attempt, _: attempt.running.record_write(key, value)


def push(key: str, value: str) -> Callable[[Attempt, SimpleNamespace], object]:
    return lambda attempt, _: attempt.running.record_push(key, (value,), False)


def mark(description: str) -> Callable[[Attempt, SimpleNamespace], object]:
    return lambda *_: trace.get_current_span().set_status(StatusCode.ERROR, description)


NO_REASON = "the coordinator gave no reason"
DEAD = "the coordinator put it into a list of failed jobs"
DONE = ("completed", None)


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
        (write("job:j1", {"status": "failed", "last_error": "bad"}), None, ("failed", "bad")),
        (write("job:j1:error", "bad page"), ValueError("x"), ("failed", "bad page")),
        (write("job:j2:status", "failed"), None, ("completed", None)),
        (write("job:j1:error", "no page"), None, ("failed", "no page")),
        (write("job:j1", {"title": "failed", "result": '{"status": "failed"}'}), None, DONE),
        (write("job:j1", {"data": '{"status": "failed", "error": "no"}'}), None, ("failed", "no")),
        (change_task(error="no page"), None, ("failed", "no page")),
        (push("nexus:dead", "j1"), None, ("failed", DEAD)),
        (push("shop:failed_jobs", '{"id": "j1"}'), None, ("failed", DEAD)),
        (push("nexus:dead", "j2"), None, DONE),
        (push("nexus:tasks:processing", "j1"), None, DONE),
        (push("nexus:tasks:low", "j1"), None, ("retrying", NO_REASON)),
        (push("nexus:retry:delayed", "j1"), None, ("retrying", NO_REASON)),
        (push("audit", "j1"), None, DONE),
        (mark("no page"), None, ("failed", "no page")),
        (write("job:j1:status", "processing"), None, DONE),
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
        attempt.running.record_write("job:j1:status", "completed")

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
    with attempt_at(state, slotted).running.span:
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
    attempt = attempt_at(state, Broken())
    with attempt.running.span:
        attempt.set_outcome(None)
    assert "could not read how a job ended" in caplog.text
    assert len(recorder.ended) == 1


@pytest.mark.parametrize("status", ["failed", "retrying", "completed"])
def test_a_status_that_was_there_before_says_nothing(
    state: InstrumentedCoordinator, recorder: SpanRecorder, status: str
) -> None:
    """A task that comes with the status of an attempt before, and keeps it, has completed."""
    assert end_of(state, recorder, change_task(), status=status) == DONE


def test_a_last_status_that_other_jobs_have_is_missed(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """A job left at ``processing`` has not completed where the coordinator records such ends."""
    running = write("job:j1:status", "processing")
    assert end_of(state, recorder, running) == DONE
    recorder.ended.clear()
    end_of(state, recorder, write("job:j1:status", "completed"))
    recorder.ended.clear()
    assert end_of(state, recorder, running)[0] == "failed"
    recorder.ended.clear()
    assert end_of(state, recorder, change_task()) == DONE


def test_an_exception_that_the_method_caught_is_noted(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """Only one that the processing method itself caught counts, not one of its callees."""

    def fails() -> None:
        raise LookupError("no page")

    def inner(attempt: Attempt) -> None:
        try:
            fails()
        except LookupError as error:
            attempt.running.note_handled(error)

    def process(attempt: Attempt, hides: bool) -> None:
        inner(attempt)
        if not hides:
            try:
                fails()
            except LookupError as error:
                attempt.running.note_handled(error)

    for hides, expected in ((True, DONE), (False, ("failed", "LookupError: no page"))):
        recorder.ended.clear()
        each = task()
        attempt = attempt_at(state, each, codes=(process.__code__,))
        with attempt.running.span:
            process(attempt, hides)
            attempt.set_outcome(None)
        (found,) = attributes(recorder)
        assert (found[semconv.OUTCOME], found.get(semconv.ERROR)) == expected
        stacks = stacks_of(recorder)
        assert len(stacks) == (not hides)
        assert all("in fails" in stack for stack in stacks)


def stacks_of(recorder: SpanRecorder) -> list[str]:
    """The stacks that the ended spans would export."""
    events = [event for span in recorder.ended for event in span.events]
    return [str((event.attributes or {})["exception.stacktrace"]) for event in events]


def test_the_stack_of_what_was_raised_or_returned_is_kept(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """Beside a reason that the coordinator recorded as text; a job that completed has none."""
    error = raised_by(lambda: look_up("page"))
    assert isinstance(error, KeyError)
    end_of(state, recorder, write("job:j1:error", "bad page"), error)
    attempt = attempt_at(state, task("j2"))
    with attempt.running.span:
        attempt.set_outcome(None, error)
    assert ["in look_up" in stack for stack in stacks_of(recorder)] == [True, True]
    recorder.ended.clear()
    end_of(state, recorder, write("job:j1:status", "completed"), error)
    assert stacks_of(recorder) == []


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, None),
        (False, None),
        ("completed", None),
        ({"data": "failed", "error": None}, None),
        ("failed", "it returned failed"),
        ({"status": "failed"}, "it returned a status of failed"),
        ({"state": "error", "error": "no page"}, "no page"),
        ({"success": False}, "it returned success=False"),
        (SimpleNamespace(ok=False, last_error="no page"), "no page"),
        (ValueError("no page"), "ValueError: no page"),
        (SimpleNamespace(error=print), None),
    ],
)
def test_what_a_result_says(result: Any, reason: str | None) -> None:
    """A result that is a failure by its own words is one; any other says nothing."""
    assert failure_in(result) == reason


def test_in_a_worker_a_job_without_a_carrier_belongs_to_nothing(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """What encloses the worker is another research task's, and so is its project."""
    for is_inline, expected in ((False, (None, None)), (True, ("t1", "p1"))):
        recorder.ended.clear()
        with otel_bridge.research_task("t1", project_id="p1"):
            with attempt_at(state, task(), is_inline=is_inline).running.span:
                pass
            (found,) = attributes(recorder)
        assert (found.get(semconv.PARENT_TASK_ID), found.get(semconv.PROJECT_ID)) == expected
