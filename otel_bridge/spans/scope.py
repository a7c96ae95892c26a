"""``Scope``: the enclosing research task, phase and worker, kept in the OpenTelemetry context."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_bridge.events import semconv
from otel_bridge.spans import propagation
from otel_bridge.workers.heartbeat import WorkerHeartbeat

__all__ = ["SCOPE_KEY", "ReportsProgress", "Scope", "carrier_of", "current_scope", "on_worker"]

logger = logging.getLogger(__name__)

SCOPE_KEY: Final = otel_context.create_key("otel-bridge-scope")


class ReportsProgress(Protocol):
    """A job that runs, as ``job_progress()`` needs it; ``Job`` is the one implementation."""

    def progress(self, done: int, total: int | None = None) -> None:
        """Report how far the job is; never raises or waits."""


@dataclass(frozen=True, slots=True)
class Scope:
    """
    The ids that spans inherit from the context managers around them; an immutable record.

    ``research_task()``, ``phase()`` and ``worker()`` create it and keep it in the OpenTelemetry
    context. Read it with ``current_scope()``. It checks and limits nothing, and never raises.

    Attributes:
        parent_task_id: Id of the enclosing research task (text); None outside of one.
        project_id: Project of that research task (text); None: it has none.
        phase: Name of the enclosing phase (text); None outside of one.
        worker: The ``WorkerHeartbeat`` of the enclosing worker, which publishes that it is alive; a
            job sets its ``current_task_id``. None outside of a worker.
        job: The enclosing job, for its progress. None outside of one.
    """

    parent_task_id: str | None = None
    project_id: str | None = None
    phase: str | None = None
    worker: WorkerHeartbeat | None = None
    job: ReportsProgress | None = None


_NO_SCOPE: Final = Scope()


def current_scope() -> Scope:
    """Return the scope of the caller's OpenTelemetry context; one of all None if there is none."""
    found = otel_context.get_value(SCOPE_KEY)
    return found if isinstance(found, Scope) else _NO_SCOPE


def carrier_of(scope: Scope) -> dict[str, str]:
    """
    Build the carrier: the dict that carries trace context and ids with a job to its worker.

    A new dict at each call. Never raises: an error of the configured propagator (what writes trace
    context into headers) is logged, and the carrier then has the ids alone.

    Args:
        scope: The ids to put into it, unchanged, of any length; the span is that of the caller's
            current context.

    Returns:
        What the propagator injects (by default ``traceparent`` of the current span), and the ids of
        the research task, project and phase, as far as they are known.
    """
    carrier: dict[str, str] = {}
    try:
        propagation.inject(carrier, trace.get_current_span())
    except Exception:
        logger.exception("otel-bridge could not inject the trace context into a carrier")
    if scope.parent_task_id is not None:
        carrier[semconv.CARRIER_PARENT_TASK_ID] = scope.parent_task_id
    if scope.project_id is not None:
        carrier[semconv.CARRIER_PROJECT_ID] = scope.project_id
    if scope.phase is not None:
        carrier[semconv.CARRIER_PHASE] = scope.phase
    return carrier


def on_worker(
    heartbeat: WorkerHeartbeat | None, *, is_inline: bool = True
) -> AbstractContextManager[None]:
    """
    Make a worker the enclosing one of all jobs that are created inside the block.

    Their events then carry its id, and its heartbeats name the job that runs. A context manager,
    for ``with`` only, in one thread or asyncio task; call it again for each block, which may be
    nested. The worker from before is back when the block ends, also by an exception, which goes on
    to the caller. It publishes nothing and raises no error of its own.

    Args:
        heartbeat: The worker's heartbeat, which may have been started in another context. It is
            neither started nor stopped here. None: jobs inside have no worker.
        is_inline: True: research task, project and phase of the enclosing code still count. False:
            they do not, for what a job before left behind belongs to that job alone.
    """
    return _OnWorker(heartbeat, is_inline)


class _OnWorker:
    # No generator of contextlib: each job of an adapter enters one, which cost 40 us with cold
    # caches, this one 20.
    __slots__ = ("_heartbeat", "_is_inline", "_token")

    def __init__(self, heartbeat: WorkerHeartbeat | None, is_inline: bool) -> None:
        self._heartbeat = heartbeat
        self._is_inline = is_inline

    def __enter__(self) -> None:
        heartbeat = self._heartbeat
        if self._is_inline:
            scope = replace(current_scope(), worker=heartbeat)
        else:
            scope = Scope(worker=heartbeat)
        self._token = otel_context.attach(otel_context.set_value(SCOPE_KEY, scope))

    def __exit__(self, *_: object) -> None:
        otel_context.detach(self._token)
