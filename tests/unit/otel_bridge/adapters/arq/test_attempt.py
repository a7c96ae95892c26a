"""How an arq job ended, from what its worker did; contract/frameworks has the real workers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from arq.worker import Retry

from otel_bridge.adapters.arq.attempt import Attempt
from otel_bridge.adapters.runs import Run


def attempt_of(**facts: Any) -> Attempt:
    function = SimpleNamespace(timeout_s=None)
    owner = SimpleNamespace(
        functions={"add": function}, job_timeout_s=300, aborting_tasks=set(), main_task=None
    )
    made = Attempt(owner, "j1")
    made.task_type = "add"
    for fact, value in facts.items():
        setattr(made, fact, value)
    return made


def ended(made: Attempt, raised: BaseException | None = None) -> tuple[Any, str | None, bool]:
    """Error, reason and whether it runs again, of an attempt that has started."""
    run = Run("j1", cast(Any, None), None)
    made.started(run)
    if raised is not None:
        made.function_raised(raised)
    made.set_outcome()
    return run.error, run.reason, run.is_queued_again


def test_a_job_that_returns_has_completed() -> None:
    """Also with an exception as its result; not if arq could not store it, or not represent it."""
    assert ended(attempt_of(is_finished=True, result=ValueError("a result"))) == (None, None, False)
    lost = attempt_of(is_finished=True, store_error=TypeError("no pickle"))
    error = "the result could not be stored: TypeError: no pickle"
    assert ended(lost) == (error, None, False)
    failure = ValueError("no repr")
    assert ended(attempt_of(is_finished=True, is_success=False, result=failure)) == (
        *(failure, None, False),
    )


def test_what_its_function_raises_comes_first() -> None:
    """Before what a hook raises after it; a hook that raises before the end puts the job back."""
    own, hook = ValueError("own"), RuntimeError("hook")
    assert ended(attempt_of(is_finished=True), own) == (own, None, False)
    assert ended(attempt_of(raised=hook), own) == (own, None, True)
    assert ended(attempt_of(raised=hook)) == (hook, None, True)
    assert ended(attempt_of(is_finished=True, raised=hook)) == (None, None, False)


@pytest.mark.parametrize(
    ("error", "text"),
    [(Retry(), "Retry"), (Retry(defer=5), "Retry in 5 s"), (Retry(defer=0.25), "Retry in 0.25 s")],
)
def test_a_retry_says_when(error: Retry, text: str) -> None:
    """And what it was raised for, if it was."""
    assert ended(attempt_of(), error) == (text, None, True)
    error.__cause__ = ConnectionError("gone")
    described = f"ConnectionError: gone ({text.lower()})"
    assert ended(attempt_of(), error) == (described, None, True)


def test_cancellations_are_told_apart() -> None:
    """An abort, the time limit, the worker's shutdown, and one of the job's own."""
    cancelled = asyncio.CancelledError()
    aborted = attempt_of(is_finished=True)
    aborted.owner.aborting_tasks.add("j1")
    assert ended(aborted, cancelled) == ("aborted", "revoked", False)
    limited = attempt_of(is_finished=True)
    limited.owner.job_timeout_s = 1e-9
    error, reason, _ = ended(limited, cancelled)
    assert (error, reason) == ("TimeoutError: time limit of 1e-09 s exceeded", "time_limit")
    assert ended(attempt_of(is_finished=True), cancelled) == ("cancelled", None, False)
    for is_finished in (False, True):  # True: without ``retry_jobs``
        stopped = attempt_of(is_finished=is_finished)
        stopped.owner.main_task = SimpleNamespace(done=lambda: True, cancelling=lambda: 0)
        assert ended(stopped, cancelled) == (
            *("the worker was shut down while it ran", "worker_lost", not is_finished),
        )
    assert ended(attempt_of(), cancelled) == ("cancelled", None, True)


def test_a_job_that_never_started_has_a_reason() -> None:
    """Expired, aborted, unknown or unreadable; one out of tries has none of these reasons."""

    def why(**facts: Any) -> tuple[str, str | None]:
        return attempt_of(is_discarded=True, **facts).why_discarded()

    assert why(result=RuntimeError("job expired")) == ("job expired", "expired")
    aborted = why(is_read=True, result=asyncio.CancelledError())
    assert aborted == ("aborted before it began", "revoked")
    unknown = why(is_read=True, task_type="x", result=RuntimeError("function 'x' not found"))
    assert unknown == ("function 'x' not found", "refused")
    assert why(is_read=True, task_type="job") == ("the job cannot be read", "refused")
    exhausted = why(is_read=True, result=RuntimeError("max 5 retries exceeded"))
    assert exhausted == ("max 5 retries exceeded", None)
