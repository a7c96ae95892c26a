"""
``configure()``: one call that makes a process visible, and the ``Bridge`` it returns.

Nothing in this package raises into user code or makes user code wait for Redis. A setting that
cannot work is reported in one warning, and its default is used; ``configure(strict=True)`` raises.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.checks import usable_settings
from otel_bridge.errors import ConfigurationError
from otel_bridge.events.semconv import SCOPE_NAME
from otel_bridge.lines import tap
from otel_bridge.projects.postgres import knowledge_base_of
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.process_end import call_last, drop_last_call
from otel_bridge.publish.redis_keys import RedisKeys
from otel_bridge.sdk.bounded_calls import call_within
from otel_bridge.sdk.otlp_export import add_otlp_export, make_meter_provider
from otel_bridge.sdk.providers import (
    application_provider,
    is_watched,
    on_new_provider,
    sdk_provider_of,
    warn_of_provider,
    watch_provider,
)
from otel_bridge.sdk.substitute import SubstituteProvider
from otel_bridge.settings import BridgeSettings
from otel_bridge.workers.heartbeat import HeartbeatKeys
from otel_bridge.workers.otel_metrics import OtelMetrics
from otel_bridge.workers.timer import TimerThread

__all__ = [
    "Bridge",
    "configure",
    "current_bridge",
    "make_on_demand",
    "on_configured",
    "sdk_provider_of",
    "watch_new_provider",
]

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_current: Bridge | None = None
_current_pid = 0
"""The process that called ``configure()`` last: the bridge of a forked child is its parent's."""
_on_configured: list[Callable[[], None]] = []
_on_demand: Callable[[], None] | None = None


class Bridge:
    """
    The parts that ``configure()`` set up for this process; applications do not construct it.

    It runs from ``configure()`` until ``shutdown()``. Its methods never raise and may be called
    from any thread, but ``flush``, ``flush_exports`` and ``shutdown`` block the calling thread:
    from a coroutine call them by ``asyncio.to_thread``. After ``shutdown()`` the bus and the timer
    drop what they are given, without an error.

    Attributes:
        settings: The settings in effect, from the environment and the arguments.
        tracer_provider: The provider to which a ``MonitoringSpanProcessor`` was added; None while
            monitoring is off.
        bus: Publishes events: a bounded queue and one thread that sends. None while monitoring is
            off.
        timer: A ``TimerThread``, which sends heartbeats and progress at intervals.
        redis_keys: A ``RedisKeys``, which names every Redis key of this application.
        heartbeat_keys: Writes the heartbeat key of each worker, which expires by its TTL (default
            30 s).
        otel_metrics: The same facts as OpenTelemetry metrics; None while monitoring is off.
        knowledge_base: Looks up the project of a research task; None while monitoring is off, or
            when the settings name no database.
        tracer: Starts the spans of this library; a no-op tracer while monitoring is off.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        *,
        tracer_provider: TracerProvider | None,
        bus: EventBus | None,
        is_provider_owner: bool,
        meter_provider: MeterProvider | None = None,
        knowledge_base: KnowledgeBase | None = None,
    ) -> None:
        self.settings = settings
        self.tracer_provider = tracer_provider
        self.bus = bus
        self.timer = TimerThread()
        self.redis_keys = RedisKeys(settings.key_prefix)
        self.heartbeat_keys = HeartbeatKeys(settings)
        self.knowledge_base = knowledge_base
        self.tracer: trace.Tracer = (
            tracer_provider.get_tracer(SCOPE_NAME) if tracer_provider else trace.NoOpTracer()
        )
        self.otel_metrics: OtelMetrics | None = None
        if bus is not None:
            meter = metrics.get_meter(SCOPE_NAME)
            self.otel_metrics = OtelMetrics(meter, lambda: bus.counters.dropped)
        self._meter_provider = meter_provider
        self._is_provider_owner = is_provider_owner
        self._is_closed = False

    @property
    def is_enabled(self) -> bool:
        """Whether events are published: monitoring is on, and ``shutdown()`` was not called."""
        return self.bus is not None and not self._is_closed

    def flush(self, timeout_sec: float | None = None) -> bool:
        """
        Wait until every event queued so far has left the queue; blocks the calling thread.

        An event leaves when the log (the stream of all events) has it, or when it was rejected,
        dropped or is no event at all; ``bus.counters`` shows which. From any thread. Never raises.

        Args:
            timeout_sec: How long to wait at most, in seconds; default
                ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5 s). 0 or less does not wait.

        Returns:
            False when time ran out first. True at once while monitoring is off or after shutdown.
        """
        if self.bus is None:
            return True
        return self.bus.flush(self._timeout(timeout_sec))

    def flush_exports(self, timeout_sec: float, *, with_metrics: bool = True) -> bool:
        """
        Export the spans and metrics that wait for OTLP; blocks the calling thread.

        For worker processes that exit without running ``atexit``. May be called again, from any
        thread. Never raises: the error of an exporter is logged.

        Args:
            timeout_sec: Upper bound of the wait for all exports together, in seconds; 0 or less
                does not wait. Exporters have longer limits of their own, so an export that is late
                goes on in a daemon thread. Where no thread can be started, as at interpreter exit,
                only the exporter's limits hold.
            with_metrics: Whether metrics are exported too, by default True. False for a process
                that is one of very many, such as one per job: the metrics backend would store a
                separate series for each.

        Returns:
            False when time ran out. True also when an exporter failed, or nothing is exported.
        """
        exports: list[Callable[[], object]] = []
        if self.tracer_provider is not None:
            exports.append(self.tracer_provider.force_flush)
        meter_provider = metrics.get_meter_provider()
        if with_metrics and self.bus is not None and isinstance(meter_provider, MeterProvider):
            exports.append(meter_provider.force_flush)
        return call_within(timeout_sec, exports)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """
        Publish what is queued, stop the threads, close the connections; blocks the calling thread.

        Runs at interpreter exit by itself. A process that SIGTERM kills does not reach that exit: a
        ``worker()`` and a child of multiprocessing still flush, for 1 s at most; others lose what
        ended in the last 10 ms, unless a handler of the application exits or calls this. Afterwards
        ``configure()`` may be called again. Never raises: errors are logged.

        Args:
            timeout_sec: Limit in seconds for publishing events, and again for the OTLP export;
                default ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5 s). The timer thread may take 1 s
                more, and an attempt to send that is under way its own time-out.

        Returns:
            False when events could not be published in time, which are counted as dropped, or after
            another error. A second call does nothing and returns True.
        """
        global _current
        with _lock:
            if _current is self:
                _current = None
            if self._is_closed:
                return True
            self._is_closed = True
        drop_last_call(self.shutdown)
        is_complete = True
        try:
            self.timer.close()
            if self.bus is not None:
                tap.remove(self.bus.line_queue)
                is_complete = self.bus.shutdown(self._timeout(timeout_sec))
            exports: list[Callable[[], object]] = []
            if self._is_provider_owner and self.tracer_provider is not None:
                exports.append(self.tracer_provider.force_flush)
            if self._meter_provider is not None:
                exports.append(self._meter_provider.shutdown)
            call_within(self._timeout(timeout_sec), exports)
        except Exception:
            logger.exception("otel-bridge failed to shut down cleanly")
            is_complete = False
        return is_complete

    def _timeout(self, timeout_sec: float | None) -> float:
        return self.settings.shutdown_timeout_sec if timeout_sec is None else timeout_sec


def current_bridge() -> Bridge | None:
    """
    Return the bridge that ``configure()`` made; None before it and after the bridge's shutdown.

    A bridge holds the parts that publish the work of this process, such as its event bus.

    If ``make_on_demand`` registered a function and there is no bridge yet, it is called first, once
    in a process, in the calling thread. May be called from any thread. Raises nothing itself; an
    error of that function passes through.
    """
    global _on_demand
    if _current is None and _on_demand is not None:
        make, _on_demand = _on_demand, None
        make()
    return _current


def make_on_demand(make: Callable[[], None]) -> None:
    """
    Register a function that ``current_bridge`` calls once, if it finds no bridge.

    The bridge is what ``configure()`` returns. ``auto.install`` (the hook of
    ``opentelemetry-instrument``) uses this to delay ``configure()`` until a bridge is needed. Never
    raises. One function is kept: it replaces one that was registered before.

    Args:
        make: Calls ``configure()``. What it raises reaches the caller of ``current_bridge``, which
            may be user code, so it must catch its own errors.
    """
    global _on_demand
    _on_demand = make


def on_configured(hook: Callable[[], None]) -> None:
    """Call a function after each ``configure()`` that made a bridge; it must not raise."""
    _on_configured.append(hook)


def configure(
    service_name: str | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    settings: BridgeSettings | None = None,
    strict: bool = False,
    **overrides: Any,
) -> Bridge:
    """
    Make the work of this process visible; call it once, at startup.

    A child that is forked later, as by gunicorn with ``preload_app``, has a working bridge by that;
    a process that starts afresh, as a child that multiprocessing spawns, calls it again. It may be
    called from any thread, but comes before ``worker()``.

    Sets up a ``MonitoringSpanProcessor``, the event bus (a queue of at most 20,000 events and the
    thread that sends them) and, if ``OTEL_*`` variables ask for it, OTLP export; ``worker()``
    starts heartbeats. Uses the provider given, else the one that the application has set, else
    creates one and sets it, which the application may still replace. Unless one is given, all other
    providers of the SDK are watched too, each from its next ``get_tracer``. A provider that was not
    created here gets the processor, and a sampler that keeps recording this library's spans;
    nothing else about it changes. Connects to nothing yet: the first event does, in the bus's
    thread. Everything becomes a no-op with ``NEXUS_MONITORING_ENABLED=false``,
    ``MONITORING_ENABLED=false`` or ``OTEL_SDK_DISABLED=true``.

    Args:
        service_name: ``service.name`` of a provider that is created here. Takes precedence over
            ``OTEL_SERVICE_NAME``.
        tracer_provider: An SDK provider to use instead of the global one, and the only one watched.
        settings: Complete settings; default: read from the environment.
        strict: Whether a value that cannot work is an error. If False, the default, one warning
            names the variable, the value and the cure, and the setting's own default is used;
            another error during set-up is logged, and the bridge then publishes nothing.
        **overrides: Fields of ``BridgeSettings``, e.g. ``redis_url="redis://localhost"``. They take
            precedence over the environment and cannot be combined with ``settings``. None and the
            empty text mean not given.

    Returns:
        The bridge. A second call, from any thread, logs a warning, changes nothing and returns the
        first bridge; after its ``shutdown()`` a new one is made. The first call in a forked child
        logs nothing.

    Raises:
        ConfigurationError: An argument is no setting, or ``settings`` and overrides were both
            given; or, if strict, a value cannot work. The message names it and the cure.
        Exception: Only if strict: another error of set-up, e.g. ``ImportError`` when the package of
            the OTLP exporter is not installed.
    """
    global _current, _current_pid
    with _lock:
        caller, _current_pid = _current_pid, os.getpid()
        if _current is not None:
            if caller == _current_pid:
                logger.warning(
                    "otel_bridge.configure() was called again, or under "
                    "opentelemetry-instrument; this call changes nothing"
                )
            return _current
        if settings is not None and overrides:
            raise ConfigurationError(
                f"settings and {', '.join(sorted(overrides))} were both given",
                "put the values into the settings",
            )
        settings = settings or BridgeSettings.load(strict=strict, **overrides)
        try:
            bridge = _set_up(service_name, tracer_provider, settings, strict=strict)
        except Exception:
            if strict:
                raise
            # Such as a variable of OpenTelemetry's SDK that its own code refuses.
            logger.exception("otel-bridge is not watching this process")
            bridge = _inactive(settings)
        _current = bridge
    if bridge.bus is not None:
        tap.install(bridge.bus.line_queue)
        call_last(bridge.shutdown)
        on_new_provider(watch_new_provider if tracer_provider is None else _watch_no_other)
        for hook in _on_configured:
            hook()
    return bridge


def _inactive(settings: BridgeSettings) -> Bridge:
    return Bridge(settings, tracer_provider=None, bus=None, is_provider_owner=False)


def _set_up(
    service_name: str | None,
    tracer_provider: TracerProvider | None,
    settings: BridgeSettings,
    *,
    strict: bool,
) -> Bridge:
    if not settings.is_active:
        if settings.enabled and settings.bridge_enabled:
            logger.warning(
                "nothing of this process is shown, because OTEL_SDK_DISABLED=true; unset it, or "
                "set MONITORING_ENABLED=false too, which leaves out this line"
            )
        return _inactive(settings)
    # Steps that can fail come first, so that a failure leaves nothing behind: a provider can be
    # set only once in a process, and a second attempt would find it and export nothing.
    existing = tracer_provider or application_provider()
    settings = usable_settings(settings, with_otlp=existing is None, strict=strict)
    bus = EventBus.connect(settings)
    knowledge_base = knowledge_base_of(settings)
    provider, is_owner = existing or SubstituteProvider(service_name), existing is None
    meter_provider = None
    if is_owner:
        try:
            add_otlp_export(provider, settings)
            meter_provider = _meter_provider(settings, provider.resource)
        except Exception as error:
            if strict:
                raise
            # Such as OTEL_EXPORTER_OTLP_TIMEOUT=abc: the exporter reads its variables itself.
            logger.warning("nothing is exported by OTLP: %s: %s", type(error).__name__, error)
    watch_provider(provider, bus)
    if isinstance(provider, SubstituteProvider):
        provider.set_global()
        if sdk_provider_of(current := trace.get_tracer_provider()) is None:
            warn_of_provider(current)
    return Bridge(
        settings,
        tracer_provider=provider,
        bus=bus,
        is_provider_owner=is_owner,
        meter_provider=meter_provider,
        knowledge_base=knowledge_base,
    )


def _meter_provider(settings: BridgeSettings, resource: Resource) -> MeterProvider | None:
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return None
    provider = make_meter_provider(settings, resource)
    if provider is not None:
        metrics.set_meter_provider(provider)
    return provider


def watch_new_provider(provider: TracerProvider) -> None:
    """Publish the spans of a provider from now on, if this process has a bridge that is on."""
    bridge = _current
    if bridge is not None and bridge.bus is not None and not is_watched(provider, bridge.bus):
        watch_provider(provider, bridge.bus)


def _watch_no_other(provider: TracerProvider) -> None:
    """Leave a provider alone, because the application named the one to watch."""
