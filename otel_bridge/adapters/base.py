"""
What the adapters share: jobs that run, messages that carry their context, queues that are sampled.

An adapter wraps a framework's own methods. Nothing here raises into them: trouble is logged once
where it happens and the job runs unseen.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Final, ParamSpec

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from otel_bridge.bridge import current_bridge
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType, TaskStatus
from otel_bridge.mapping.third_party import ignore_scope, unignore_scope
from otel_bridge.spans.blocks import Job
from otel_bridge.spans.context_managers import job, queue_depth
from otel_bridge.spans.scope import on_worker
from otel_bridge.suppression import suppress_instrumentation
from otel_bridge.workers.heartbeat import WorkerHeartbeat

__all__ = [
    "MESSAGE_KEY",
    "Adapter",
    "DepthSampler",
    "Run",
    "Runs",
    "framework",
    "is_off",
    "read_carrier",
    "report_lost",
    "safely",
    "start_worker",
    "stop_worker",
    "this_process",
]

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")

MESSAGE_KEY: Final = "otel_bridge"
"""Under this name a message carries its context: a header, label, option or meta value."""
_DEPTH_INTERVAL_SEC: Final = 5.0
_FLUSH_SEC: Final = 2.0
"""How long a worker that stops may wait for the log, and as long for an OTLP backend."""


class Adapter(BaseInstrumentor):  # type: ignore[misc,unused-ignore]
    """
    What makes one framework's jobs visible: ``instrument()`` once, before work begins.

    Spans that the framework's OpenTelemetry instrumentation makes of the same jobs go where they
    always went, and are left out of the live view.
    """

    requirement: ClassVar[str]
    """The framework, as pip knows it."""
    foreign_scopes: ClassVar[tuple[str, ...]] = ()
    """Instrumentation scopes that tell of the same jobs."""

    _patches: list[tuple[Any, str, Any, bool]]

    def instrumentation_dependencies(self) -> Collection[str]:
        """The framework, in the versions that this adapter knows."""
        return (self.requirement,)

    def _instrument(self, **kwargs: Any) -> None:
        self._patches = []
        for scope in self.foreign_scopes:
            ignore_scope(scope)
        self._attach(**kwargs)

    def _uninstrument(self, **kwargs: Any) -> None:
        for owner, name, original, is_own in reversed(self._patches):
            if is_own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)
        self._patches = []
        self._detach()
        for scope in self.foreign_scopes:
            unignore_scope(scope)

    def _attach(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def _detach(self) -> None:
        """What ``_attach`` did beside patching."""

    def _patch_init(self, owner: Any, follow: Callable[[Any], None]) -> None:
        """Follow every instance that is made from now on."""

        def wrap(original: Callable[..., None]) -> Callable[..., None]:
            def construct(made: Any, *args: Any, **kwargs: Any) -> None:
                original(made, *args, **kwargs)
                follow(made)

            return construct

        self._patch(owner, "__init__", wrap)

    def _patch(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        self._patches.append((owner, name, original, name in vars(owner)))
        setattr(owner, name, functools.wraps(original)(wrap(original)))


@contextmanager
def framework(name: str) -> Iterator[None]:
    """
    Around an adapter's imports of its framework, whose extra has the same name.

    Raises:
        ModuleNotFoundError: It is not installed; ``opentelemetry-instrument`` passes over that.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise
        raise ModuleNotFoundError(
            f"otel_bridge.adapters.{name} needs {name}: pip install 'otel-bridge[{name}]'",
            name=error.name,
        ) from None


def is_off() -> bool:
    """Whether monitoring was switched off; before ``configure()`` it is not."""
    bridge = current_bridge()
    return bridge is not None and bridge.bus is None


def this_process() -> str:
    """``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def safely(function: Callable[_P, None]) -> Callable[_P, None]:
    """Keep trouble of ours out of the framework: log it and go on."""

    @functools.wraps(function)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception("otel-bridge could not follow: %s failed", function.__qualname__)

    return guarded


def read_carrier(value: Any) -> dict[str, str]:
    """A carrier as it came with a message: a mapping or its JSON; empty for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if not isinstance(value, Mapping):
        return {}
    return {str(key): item for key, item in value.items() if isinstance(item, str)}


class Run:
    """One attempt at a job, from its start in this process to its end."""

    def __init__(self, task_id: str, block: Job, around: Run | None) -> None:
        self.task_id = task_id
        self.block = block
        self.around = around
        """The attempt that this one runs inside of: an eager job's caller."""
        self.is_open = True
        self.error: BaseException | str | None = None
        self.is_queued_again = False

    def queue_again(self) -> dict[str, str]:
        """Note that the job goes back to its queue; the carrier for its next attempt."""
        self.is_queued_again = True
        return self.block.retry_carrier

    def close(self) -> None:
        """End the span: a retry is a retry, not a completion."""
        self.is_open = False
        if self.is_queued_again:
            self.block.retry(self.error or "queued again")
        elif self.error is not None:
            self.block.fail(self.error)
        else:
            self.block.complete()
        self.block.__exit__(None, None, None)


class Runs:
    """
    The attempts that the current context runs, innermost last.

    By context and not by job alone: a job that was queued again may begin its next attempt on
    another thread or task before this one has ended.
    """

    def __init__(self) -> None:
        self._current: ContextVar[Run | None] = ContextVar("otel_bridge_run", default=None)

    def get(self, task_id: Any) -> Run | None:
        """The attempt at this job that the caller is part of."""
        run = self._current.get()
        while run is not None and not (run.is_open and run.task_id == str(task_id)):
            run = run.around
        return run

    def open(
        self,
        task_id: Any,
        task_type: str,
        carrier: Any,
        *,
        retry_count: int,
        queue: str | None,
        worker_id: str | None,
        heartbeat: WorkerHeartbeat | None = None,
    ) -> Run:
        """Open the job's span in the current context."""
        with on_worker(heartbeat):
            block = job(
                task_id=str(task_id),
                task_type=task_type,
                carrier=read_carrier(carrier),
                worker_id=worker_id,
                retry_count=retry_count,
                queue=queue,
            )
        block.__enter__()
        run = Run(str(task_id), block, self._current.get())
        self._current.set(run)
        return run

    def close(self, task_id: Any) -> None:
        """End the attempt, if the caller is part of one."""
        run = self.get(task_id)
        if run is not None:
            self._current.set(run.around)
            run.close()


def start_worker(worker_id: str, meta: Mapping[str, Any] | None = None) -> WorkerHeartbeat | None:
    """``worker_started``, then a beat every few seconds; None while nothing is configured."""
    bridge = current_bridge()
    if bridge is None or bridge.bus is None:
        return None
    heartbeat = WorkerHeartbeat(
        worker_id,
        bus=bridge.bus,
        timer=bridge.timer,
        settings=bridge.settings,
        heartbeat_keys=bridge.heartbeat_keys,
        otel_metrics=bridge.otel_metrics,
        meta=meta,
    )
    heartbeat.start()
    return heartbeat


def stop_worker(heartbeat: WorkerHeartbeat | None, depths: DepthSampler | None = None) -> None:
    """``worker_stopped``, then all out: many a worker leaves without running ``atexit``."""
    if depths is not None:
        depths.stop()
    if heartbeat is not None:
        heartbeat.stop()
    bridge = current_bridge()
    if bridge is not None:
        bridge.flush(_FLUSH_SEC)
        bridge.flush_exports(_FLUSH_SEC)


def report_lost(
    task_id: str,
    task_type: str,
    carrier: Any,
    *,
    reason: str,
    retry_count: int,
    worker_id: str | None,
    will_retry: bool = False,
) -> None:
    """
    Tell of a job whose process died: nobody is left there to end its span.

    The second door to the bus, like heartbeats: a fact without a span.
    """
    bridge = current_bridge()
    if bridge is None or bridge.bus is None:
        return
    found = read_carrier(carrier)
    trace_id = found.get("traceparent", "--").split("-")[1] or None
    kind = MonitoringEventType.TASK_RETRY if will_retry else MonitoringEventType.TASK_FAILED
    bridge.bus.publish(
        MonitoringEvent(
            event_type=kind,
            status=TaskStatus.RETRYING if will_retry else TaskStatus.FAILED,
            task_id=task_id,
            task_type=task_type,
            parent_task_id=found.get(semconv.CARRIER_PARENT_TASK_ID) or trace_id,
            project_id=found.get(semconv.CARRIER_PROJECT_ID),
            phase=found.get(semconv.CARRIER_PHASE),
            retry_count=retry_count,
            worker_id=worker_id,
            error=reason,
            trace_id=trace_id,
        )
    )


class DepthSampler:
    """
    Publishes how many jobs wait in each queue, every 5 s, by one process for each queue.

    Args:
        names: The queues of this worker, asked each time.
        read: Jobs waiting in one queue, from the framework's own broker; may block, on a thread
            of its own, and may raise.
    """

    def __init__(self, names: Callable[[], Iterable[str]], read: Callable[[str], int]) -> None:
        self._names = names
        self._read = read
        self._thread: threading.Thread | None = None
        self._is_open = False
        self._is_failing = False

    def start(self) -> None:
        """Begin to sample; does nothing while nothing is configured."""
        bridge = current_bridge()
        if bridge is None or bridge.bus is None or self._is_open:
            return
        self._is_open = True
        bridge.timer.call_later(0, self._tick)

    def stop(self) -> None:
        """End; a sample that is being taken is not waited for."""
        self._is_open = False

    def _tick(self) -> None:
        bridge = current_bridge()
        if not self._is_open or bridge is None:
            return
        bridge.timer.call_later(_DEPTH_INTERVAL_SEC, self._tick)
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._sample, name="otel-bridge-depth", daemon=True)
        self._thread.start()

    @suppress_instrumentation()
    def _sample(self) -> None:
        bridge = current_bridge()
        if bridge is None:
            return
        ttl_ms = int(_DEPTH_INTERVAL_SEC * 900)
        try:
            names = [n for n in self._names() if bridge.heartbeat_keys.take_turn(n, ttl_ms)]
            depths = {name: self._read(name) for name in names}
        except Exception as error:
            if not self._is_failing:
                logger.warning("the depth of the queues cannot be read: %s", error)
            self._is_failing = True
            return
        self._is_failing = False
        if depths and self._is_open:
            queue_depth(depths)
