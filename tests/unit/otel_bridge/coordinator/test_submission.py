"""Submissions of tasks: which jobs they make, with which spans, without any Redis."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

import otel_bridge
from otel_bridge.coordinator.jobs import InstrumentedCoordinator, InstrumentedCoordinators
from otel_bridge.coordinator.phase_counter import PhaseCounter
from otel_bridge.coordinator.running import RUNNING_JOB, Attempt
from otel_bridge.coordinator.shape import PAYLOAD_KEY, read_task
from otel_bridge.coordinator.submission import PHASE_COUNTER, Submission
from otel_bridge.events import semconv
from tests.support.spans import SpanRecorder


class Coordinator:
    """A user's coordinator that shows no Redis client."""

    redis_client: Any = None
    TASK_STATUS_PREFIX = "job:"


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
    before = attempt.running.is_queued_again
    submission.close(None)
    assert (before, attempt.running.is_queued_again) == (False, True)
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


def ends_of(recorder: SpanRecorder) -> dict[str, tuple[str, str | None]]:
    """Outcome and queue of each enqueue, by the job's id."""
    return {
        found[semconv.TASK_ID]: (found[semconv.OUTCOME], found.get(semconv.QUEUE))
        for found in attributes(recorder)
    }


LOST = ConnectionError("no Redis")


def test_only_what_redis_has_taken_is_a_job(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """Of a submission that raises in the middle, what was pushed before is in its queue."""
    submission = Submission(state)
    for name in ("j1", "j2", "j3"):
        submission.add(task(name))
    submission.note_push("q:a", ('{"id": "j1"}',), None)
    submission.note_push("q:a", (b"j2",), LOST)
    submission.close(LOST)
    assert ends_of(recorder) == {
        "j1": ("completed", "q:a"),
        "j2": ("failed", None),
        "j3": ("failed", None),
    }


def test_a_failure_that_the_coordinator_swallows_makes_no_job(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """A push that succeeded when it was repeated makes a job; one that only failed does not."""
    submission = Submission(state)
    for name in ("j1", "j2", "j3"):
        submission.add(task(name))
    submission.note_push("q:a", ("j1",), LOST)
    submission.note_push("q:a", ("j1",), None)
    submission.note_push("q:a", ('{"task_id": "j2"}',), LOST)
    submission.close(None)
    assert {name: end for name, (end, _) in ends_of(recorder).items()} == {
        "j1": "completed",
        "j2": "failed",
        "j3": "failed",
    }


@pytest.mark.parametrize(
    ("pushed", "end"), [(None, "failed"), (b"\x80\x04pickled", "completed"), (b"j2", "failed")]
)
def test_a_job_is_not_pushed_after_another_command_failed(
    state: InstrumentedCoordinator, recorder: SpanRecorder, pushed: bytes | None, end: str
) -> None:
    """Unless an element was pushed that may hold the job, in a form that is not read."""
    submission = Submission(state)
    submission.add(task("j1"))
    submission.add(task("j2"))
    submission.note_failure(LOST)
    if pushed is not None:
        submission.note_push("q:a", (pushed,), None)
    submission.close(None)
    assert ends_of(recorder)["j1"][0] == end


def test_pushes_that_cannot_be_read_fail_together(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """If no push names a job, and all failed, none of the jobs is in a queue."""
    submission = Submission(state)
    submission.add(task("j1"))
    submission.note_push("q:a", (b"\x80\x04pickled",), LOST)
    submission.close(None)
    assert ends_of(recorder) == {"j1": ("failed", None)}


def test_each_job_names_the_queue_that_it_went_to(
    state: InstrumentedCoordinator, recorder: SpanRecorder
) -> None:
    """With several queues the pushed elements say which; a list that is no queue says nothing."""
    submission = Submission(state)
    for name in ("j1", "j2", "j3"):
        submission.add(task(name))
    submission.note_push(None, ("j1",), None)
    submission.note_push("q:high", ('{"id": "j1"}', "j2"), None)
    submission.note_push("q:low", ("j3",), None)
    submission.close(None)
    assert ends_of(recorder) == {
        "j1": ("completed", "q:high"),
        "j2": ("completed", "q:high"),
        "j3": ("completed", "q:low"),
    }


def test_a_job_has_the_phase_of_its_type(recorder: SpanRecorder, coordinator: Coordinator) -> None:
    """Where phases are no methods, a table names the phase of each type of job."""
    states = InstrumentedCoordinators("redis_client", None, 5.0, {"find": "search"})
    state = states.get(coordinator)
    assert state is not None
    submission = Submission(state)
    submission.add(task("j1"))
    submission.add(task("j2", type="other"))
    submission.close(None)
    with attempt_at(state, task("j1")).running.span:
        pass
    states.close()
    assert [found.get(semconv.PHASE) for found in attributes(recorder)] == [
        "search",
        None,
        "search",
    ]
