"""
Shared by all adapters: the base class, patching, the start and stop of a worker, queue depths.

An adapter wraps methods of a task framework. Nothing here raises into the framework: an error is
logged where it happens, and the job runs without being shown. ``runs.py`` has the jobs.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, ParamSpec

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from otel_bridge.bridge import current_bridge
from otel_bridge.mapping.third_party import ignore_scope, unignore_scope
from otel_bridge.spans.span_context_manager import safe_str
from otel_bridge.workers.heartbeat import WorkerHeartbeat
from otel_bridge.workers.queue_depth import Depth, QueueDepthSampler

__all__ = [
    "MESSAGE_KEY",
    "Adapter",
    "DepthSampler",
    "framework",
    "is_off",
    "safely",
    "start_worker",
    "stop_worker",
    "this_process",
]

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")

MESSAGE_KEY: Final = "otel_bridge"
"""Name of the header, label, option or meta value in which a message carries its context."""
_FLUSH_SEC: Final = 2.0
"""How long a worker that stops waits for the log at most, and again for an OTLP backend."""


class Adapter(BaseInstrumentor):  # type: ignore[misc,unused-ignore]
    """
    Base class of the adapters, each of which makes one task framework visible.

    The application creates one and calls ``instrument()`` once, before the first job is enqueued; a
    second call logs a warning and does nothing. ``uninstrument()`` restores the framework; before
    ``instrument()`` it only logs a warning. A class creates one object, however often it is called.
    The framework's own OpenTelemetry instrumentation may be active as well. Its spans reach their
    exporters unchanged, but are left out of the live view, which would show each job twice.

    ``requirement`` names the framework and its supported versions, such as ``celery >= 5.5``. With
    another version, ``instrument()`` logs an error and does nothing. Later errors are logged, and
    the job runs without being shown. The number of jobs is not limited.
    """

    requirement: ClassVar[str]
    """The framework and its supported versions, as a pip requirement: ``celery >= 5.5``."""
    duplicate_scopes: ClassVar[tuple[str, ...]] = ()
    """Instrumentation scopes whose spans describe the same jobs; left out of the live view."""

    _patches: list[tuple[Any, str, Any, bool]]

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the framework, in the versions that this adapter supports, as pip requirements."""
        return (self.requirement,)

    def _instrument(self, **kwargs: Any) -> None:
        self._patches = []
        for scope in self.duplicate_scopes:
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
        for scope in self.duplicate_scopes:
            unignore_scope(scope)

    def _attach(self, **kwargs: Any) -> None:
        raise NotImplementedError

    def _detach(self) -> None:
        """Undo what ``_attach`` did beside patching."""

    def _patch_init(self, owner: Any, on_created: Callable[[Any], None]) -> None:
        """Call ``on_created`` with every instance of ``owner`` that is created from now on."""

        def wrap(original: Callable[..., None]) -> Callable[..., None]:
            def construct(instance: Any, *args: Any, **kwargs: Any) -> None:
                original(instance, *args, **kwargs)
                on_created(instance)

            return construct

        self._patch(owner, "__init__", wrap)

    def _patch(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        """Replace ``owner.name`` with ``wrap(owner.name)`` until ``uninstrument()``."""
        original = getattr(owner, name)
        self._patches.append((owner, name, original, name in vars(owner)))
        setattr(owner, name, functools.wraps(original)(wrap(original)))


@contextmanager
def framework(name: str) -> Iterator[None]:
    """
    Wrap an adapter's imports of its framework, so that a missing one names the extra to install.

    A context manager, for ``with`` only. It only rewrites the message of the error.

    Args:
        name: The framework's top-level module, which is also the name of otel-bridge's extra.

    Raises:
        ModuleNotFoundError: The framework is not installed; the message has the ``pip install``
            command. ``opentelemetry-instrument`` skips an adapter that raises this. Other errors
            inside the block pass unchanged.
    """
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise
        # ``opentelemetry-instrument`` imports from the working directory, so Python takes a folder
        # of the application that is called ``celery`` for an empty package without a file.
        is_folder = getattr(sys.modules.get(name), "__file__", None) is None
        if not (isinstance(error, ModuleNotFoundError) or is_folder):
            raise
        raise ModuleNotFoundError(
            f"otel_bridge.adapters.{name} needs {name}: pip install 'otel-bridge[{name}]'",
            name=error.name,
        ) from None


def is_off() -> bool:
    """Return whether the settings disable monitoring; False before ``configure()``."""
    bridge = current_bridge()
    return bridge is not None and bridge.bus is None


def this_process() -> str:
    """Return a name of this process, ``host:pid``, for the id of its worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def safely(function: Callable[_P, None]) -> Callable[_P, None]:
    """
    Decorate a function so that it never raises an ``Exception`` into the framework.

    Each one is logged with its stack, and the function returns None. ``KeyboardInterrupt`` and
    ``SystemExit`` still pass.

    Args:
        function: A function that returns nothing; it is not ``async``.
    """

    @functools.wraps(function)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception(
                "otel-bridge: %s failed; this part of the work is not shown",
                function.__qualname__,
            )

    return guarded


def start_worker(worker_id: str, meta: Mapping[str, Any] | None = None) -> WorkerHeartbeat | None:
    """
    Publish ``worker_started``, then heartbeats until ``stop_worker`` is called; returns at once.

    The timer thread (one for the process) sends one every ``heartbeat_interval_sec`` of the
    settings (default 10 s). Redis that cannot be reached is logged there. Never raises: an error is
    logged, and the worker runs without being shown.

    Args:
        worker_id: Unique among all workers, which is not checked; kept as text.
        meta: Small values by text, shown with the worker, beside ``host`` and ``pid``; default
            none.

    Returns:
        The heartbeat, for ``stop_worker``; None before ``configure()``, while monitoring is off and
        after an error.
    """
    bridge = current_bridge()
    if bridge is None or bridge.bus is None:
        return None
    try:
        heartbeat = WorkerHeartbeat(
            safe_str(worker_id),
            bus=bridge.bus,
            timer=bridge.timer,
            settings=bridge.settings,
            heartbeat_keys=bridge.heartbeat_keys,
            otel_metrics=bridge.otel_metrics,
            meta=meta,
        )
        heartbeat.start()
    except Exception:
        logger.exception("otel-bridge could not show the worker %s", safe_str(worker_id))
        return None
    return heartbeat


def stop_worker(heartbeat: WorkerHeartbeat | None, depths: DepthSampler | None = None) -> None:
    """
    Publish ``worker_stopped``, then wait until everything queued has been sent.

    Blocks the calling thread for at most 2 s until the event log (the Redis or the collector that
    events are sent to) has them, and 2 s more for the OTLP export. After that it returns all the
    same, and what is left goes on in the background. The flush is needed because the workers of
    several frameworks exit without running ``atexit``. Never raises. A second call only flushes
    again; before ``configure()`` it does nothing.

    Args:
        heartbeat: What ``start_worker`` returned; None: no ``worker_stopped`` is published.
        depths: The sampler of the worker's queues, stopped first; None: there is no sampler.
    """
    if depths is not None:
        depths.stop()
    if heartbeat is not None:
        heartbeat.stop()
    bridge = current_bridge()
    if bridge is not None:
        bridge.flush(_FLUSH_SEC)
        bridge.flush_exports(_FLUSH_SEC)


class DepthSampler:
    """
    Publishes how many jobs wait in a worker's queues, by one process for each queue.

    Created by an adapter when a worker starts; ``start()`` and ``stop()`` drive it and never raise.
    A sample is taken every ``queue_depth_interval_sec`` of the settings, 5 s by default. Each runs
    on a thread of its own; one that takes longer than the interval delays the next. A lock of each
    queue, in the Redis of the settings, keeps other processes from sampling it for 0.9 of it;
    without a Redis, or while it cannot be reached, every process samples. If ``names`` or ``read``
    raises, nothing is published of that sample, and the first failure in a row is logged.

    Args:
        names: Gives the worker's queues; called for each sample. Their number is not limited.
        read: Gives the number of jobs waiting in one queue, from the framework's own broker, or a
            mapping of such numbers by priority. May block and may raise.
    """

    def __init__(self, names: Callable[[], Iterable[str]], read: Callable[[str], Depth]) -> None:
        self._names = names
        self._read = read
        self._sampler: QueueDepthSampler | None = None

    def start(self) -> None:
        """
        Take the first sample at once on another thread, then one each interval until ``stop()``.

        Returns without waiting; an error of a sample is logged. Does nothing before
        ``configure()``, while monitoring is off, and when it has started already.
        """
        bridge = current_bridge()
        if bridge is None or bridge.bus is None or self._sampler is not None:
            return
        self._sampler = QueueDepthSampler(
            names=self._names,
            read=self._read_all,
            set_if_absent=bridge.heartbeat_keys.set_if_absent,
            keys=bridge.redis_keys,
            locks_each_queue=True,
            may_block=True,
            timer=bridge.timer,
            bus=bridge.bus,
            otel_metrics=bridge.otel_metrics,
            interval_sec=bridge.settings.queue_depth_interval_sec,
        )
        self._sampler.start()

    def stop(self) -> None:
        """Stop sampling; does not wait for a sample that is being taken. May be called twice."""
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None

    def _read_all(self, names: Sequence[str]) -> dict[str, Depth]:
        return {name: self._read(name) for name in names}
