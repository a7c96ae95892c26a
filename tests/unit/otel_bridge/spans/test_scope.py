"""The scope of the current context: the enclosing work, and no work of another context."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest
from opentelemetry import context as otel_context

from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.scope import SCOPE_KEY, Scope, carrier_of, current_scope, on_worker
from otel_bridge.workers.heartbeat import HeartbeatKeys, WorkerHeartbeat
from otel_bridge.workers.timer import TimerThread
from tests.support.hostile import failing_propagation


@pytest.fixture
def worker(make_settings: Callable[..., BridgeSettings]) -> WorkerHeartbeat:
    settings = make_settings(bus_url="memory://scope")
    return WorkerHeartbeat(
        3,
        bus=EventBus.connect(settings),
        timer=TimerThread(),
        settings=settings,
        heartbeat_keys=HeartbeatKeys(settings),
    )


def test_outside_of_any_work_all_is_none() -> None:
    """Code that no context manager encloses belongs to no task, project, phase or worker."""
    assert current_scope() == Scope(None, None, None, None)


def test_another_value_under_the_key_is_ignored() -> None:
    """A value of another type under our context key counts as no scope."""
    token = otel_context.attach(otel_context.set_value(SCOPE_KEY, {"project_id": "x"}))
    assert current_scope() == Scope()
    otel_context.detach(token)


def test_a_worker_is_added_and_removed(worker: WorkerHeartbeat) -> None:
    """Inside, the enclosing ids stay and the worker is set; afterwards it is not."""
    around = Scope("t", "p", "a")
    token = otel_context.attach(otel_context.set_value(SCOPE_KEY, around))
    with on_worker(worker):
        assert current_scope() == Scope("t", "p", "a", worker)
        with on_worker(None):
            assert current_scope() == around
        assert current_scope().worker is worker
    assert current_scope() == around
    otel_context.detach(token)


def test_an_exception_leaves_no_worker_behind(worker: WorkerHeartbeat) -> None:
    """After an exception the worker is not set any more."""
    with pytest.raises(ValueError, match="x"), on_worker(worker):
        raise ValueError("x")
    assert current_scope().worker is None


async def test_tasks_on_one_loop_have_separate_scopes(worker: WorkerHeartbeat) -> None:
    """Of two coroutines that run at once, one does not see the other's worker."""
    is_inside, is_seen = asyncio.Event(), asyncio.Event()

    async def with_worker() -> WorkerHeartbeat | None:
        with on_worker(worker):
            is_inside.set()
            await is_seen.wait()
            return current_scope().worker

    async def without() -> WorkerHeartbeat | None:
        await is_inside.wait()
        found = current_scope().worker
        is_seen.set()
        return found

    assert list(await asyncio.gather(with_worker(), without())) == [worker, None]


def test_a_scope_does_not_change(worker: WorkerHeartbeat) -> None:
    """A scope is immutable, so an inner context manager cannot change an outer one's."""
    with pytest.raises(AttributeError):
        Scope().phase = "x"  # type: ignore[misc]
    assert contextvars.copy_context().run(current_scope) == Scope()


def test_a_failing_propagator_leaves_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the application's propagator is logged, and the carrier has the ids alone."""
    with failing_propagation():
        assert carrier_of(Scope("t", None, "a")) == {
            "nexus-parent-task-id": "t",
            "nexus-phase": "a",
        }
    assert "could not inject the trace context" in caplog.text
