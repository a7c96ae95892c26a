"""How a Taskiq job ended, from what its receiver did; contract/frameworks has the real workers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from taskiq.exceptions import NoResultError, TaskRejectedError

from otel_bridge.adapters.runs import Run
from otel_bridge.adapters.taskiq.delivery import Delivery, attempts_of


def delivery_of(timeout: object = None, executor: object = None) -> Delivery:
    receiver = SimpleNamespace(executor=executor, known_tasks={"add"})
    made = Delivery(receiver, b"")
    labels = {} if timeout is None else {"timeout": timeout}
    made.started(Run("j1", cast(Any, None), None), SimpleNamespace(task_id="j1", labels=labels))
    return made


def outcome(made: Delivery) -> tuple[Any, str | None]:
    made.set_outcome()
    assert made.run is not None
    return made.run.error, made.run.reason


def result(error: BaseException | None = None) -> SimpleNamespace:
    return SimpleNamespace(error=error)


def test_attempts_are_counted_over_all_that_sends_again() -> None:
    """Retries of a middleware, requeues of the job, deliveries of the broker; nonsense is 0."""
    assert attempts_of({}) == 0
    assert attempts_of({"_retries": "2", "X-Taskiq-requeue": 1}, 3) == 6
    assert attempts_of({"_retries": "many", "X-Taskiq-requeue": None}) == 0


def test_a_result_is_the_end() -> None:
    """None and NoResultError have completed; what the task raised is its error."""
    done = delivery_of()
    done.ended(result())
    assert outcome(done) == (None, None)
    silent = delivery_of()
    silent.ended(result(NoResultError()))
    assert outcome(silent) == (None, None)
    failed, error = delivery_of(), ValueError("no such school")
    failed.ended(result(error))
    assert outcome(failed) == (error, None)
    rejected = delivery_of()
    rejected.ended(result(TaskRejectedError()))
    assert outcome(rejected)[1] == "refused"


async def test_the_tasks_own_error_comes_first() -> None:
    """Before what a middleware raises after it, and what is stored in place of it."""
    made = delivery_of()

    async def fail() -> None:
        assert made.is_function_running
        raise ValueError("no such school")

    with pytest.raises(ValueError, match="no such school"):
        await made.observing(fail, "add")()
    assert not made.is_function_running
    made.ended(result(NoResultError()))
    made.raised = RuntimeError("a middleware")
    error, reason = outcome(made)
    assert (str(error), reason) == ("no such school", None)


def test_what_comes_after_a_success_makes_it_fail() -> None:
    """A middleware that raises before the result is stored, and a result that is not."""
    made, error = delivery_of(), RuntimeError("a middleware")
    made.ended(result())
    made.raised = error
    assert outcome(made) == (error, None)
    lost = delivery_of()
    lost.ended(result())
    lost.store_error = TypeError("no JSON")
    assert outcome(lost) == ("the result could not be stored: TypeError: no JSON", None)
    ended = delivery_of()
    ended.raised = KeyboardInterrupt()
    assert outcome(ended) == ("the worker was shut down while it ran", "worker_lost")


@pytest.mark.parametrize("error", [TimeoutError(), asyncio.CancelledError()])
def test_a_time_limit_is_one_that_was_reached(error: BaseException) -> None:
    """Not without a limit, not before it, and not if the limit is no number."""
    reached = delivery_of(timeout="0")
    reached.ended(result(error))
    limit = "TimeoutError: time limit of 0 s exceeded"
    assert outcome(reached) == (limit, "time_limit")
    for timeout in (None, 60, "soon"):
        made = delivery_of(timeout=timeout)
        made.ended(result(error))
        assert outcome(made) == (error, None)


def test_what_is_the_same_job() -> None:
    """A middleware sends the next attempt; the job itself, under its own id, a further run."""
    made = delivery_of()
    assert made.is_retrying("j1")
    assert not made.is_retrying("j2")
    made.is_function_running = True
    assert not made.is_retrying("j1")
    assert not made.is_to_be_stored("j1")
    made.ended(result())
    assert made.is_to_be_stored("j1")
    assert not made.is_to_be_stored("j2")


def test_a_function_of_another_process_is_left_alone() -> None:
    """It has to be pickled; one that runs in a thread has the attempt's context there."""

    def add(x: int) -> int:
        return x + 1

    with ProcessPoolExecutor(1) as pool:
        assert delivery_of(executor=pool).observing(add, "add") is add
    assert delivery_of().observing(add, "add")(1) == 2
