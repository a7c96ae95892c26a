"""What the context knows of the work around it, and that it knows nothing of others' work."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest
from opentelemetry import context as otel_context

from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from otel_bridge.spans.scope import SCOPE_KEY, Scope, current_scope, on_worker
from otel_bridge.workers.heartbeat import HeartbeatKeys, WorkerHeartbeat
from otel_bridge.workers.timer import TimerThread


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


def test_outside_of_any_work_nothing_is_known() -> None:
    """Without a block around it code belongs to no task, project, phase or worker."""
    assert current_scope() == Scope(None, None, None, None)


def test_a_strangers_value_under_our_key_is_not_believed() -> None:
    """What is not a scope of ours is none."""
    token = otel_context.attach(otel_context.set_value(SCOPE_KEY, {"project_id": "x"}))
    assert current_scope() == Scope()
    otel_context.detach(token)


def test_a_worker_is_added_and_taken_away(worker: WorkerHeartbeat) -> None:
    """Inside, the ids around stay as they are and the worker is known; after it, it is not."""
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
    """A job that fails does not leave its worker to the next one."""
    with pytest.raises(ValueError, match="x"), on_worker(worker):
        raise ValueError("x")
    assert current_scope().worker is None


async def test_tasks_on_one_loop_have_their_own(worker: WorkerHeartbeat) -> None:
    """Two coroutines that run at once do not see each other's worker."""
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
    """A scope is a value: what one block knows cannot be changed by a block inside it."""
    with pytest.raises(AttributeError):
        Scope().phase = "x"  # type: ignore[misc]
    assert contextvars.copy_context().run(current_scope) == Scope()
