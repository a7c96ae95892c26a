"""
``configure()``: one call that makes a process visible, and the ``Bridge`` it returns.

``configure`` is loud and at once: a setting that cannot work raises there. After it, nothing of
this package raises into user code or waits for Redis.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.errors import ConfigurationError
from otel_bridge.events.semconv import SCOPE_NAME
from otel_bridge.projects.postgres import knowledge_base_of
from otel_bridge.projects.resolver import KnowledgeBase
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.redis_clients import check_url
from otel_bridge.sdk.otlp_export import add_otlp_export, check_otlp, make_meter_provider
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.sdk.sampling import keep_live_spans
from otel_bridge.settings import BridgeSettings
from otel_bridge.workers.heartbeat import HeartbeatKeys
from otel_bridge.workers.otel_metrics import OtelMetrics
from otel_bridge.workers.timer import TimerThread

__all__ = ["Bridge", "configure", "current_bridge", "make_on_demand", "sdk_provider_of"]

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_current: Bridge | None = None
_on_demand: Callable[[], None] | None = None


class Bridge:
    """
    What ``configure()`` set up.

    Attributes:
        settings: What was read from the environment and the arguments.
        tracer_provider: Where the processor was added; None while monitoring is off.
        bus: Publishes events; None while monitoring is off.
        timer: Runs heartbeats and coalesced progress.
        heartbeat_keys: Writes the workers' TTL keys.
        otel_metrics: The same facts as metrics; None while monitoring is off.
        knowledge_base: Knows projects; None unless the settings name a database, or while off.
        tracer: Starts our spans; one that does nothing while monitoring is off.
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
        """Whether events are published."""
        return self.bus is not None and not self._is_closed

    def flush(self, timeout_sec: float | None = None) -> bool:
        """Wait until everything queued so far has reached the log; False when time ran out."""
        if self.bus is None:
            return True
        return self.bus.flush(self._timeout(timeout_sec))

    def flush_exports(self, timeout_sec: float, *, with_metrics: bool = True) -> bool:
        """
        Send what waits for OTLP: for workers, whose processes leave without running ``atexit``.

        Args:
            timeout_sec: What a dead backend costs at most; exporters have limits of their own.
            with_metrics: Not for a process that is one of very many: each would be a series.

        Returns:
            False when time ran out.
        """
        waiting: list[Callable[[], object]] = []
        if self.tracer_provider is not None:
            waiting.append(self.tracer_provider.force_flush)
        meter_provider = metrics.get_meter_provider()
        if with_metrics and self.bus is not None and isinstance(meter_provider, MeterProvider):
            waiting.append(meter_provider.force_flush)
        return _within(timeout_sec, waiting)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """
        Publish what is queued, stop the threads, close the connections. Safe to call twice.

        Called at interpreter exit by itself. A process killed by SIGTERM has no exit unless the
        application handles the signal; call this from there.

        Args:
            timeout_sec: For the events, and again for OTLP; default
                ``MONITORING_SHUTDOWN_TIMEOUT_SEC`` (5).

        Returns:
            False when events were left behind; they are counted as dropped.
        """
        global _current
        with _lock:
            if _current is self:
                _current = None
            if self._is_closed:
                return True
            self._is_closed = True
        atexit.unregister(self.shutdown)
        is_complete = True
        try:
            self.timer.close()
            if self.bus is not None:
                is_complete = self.bus.shutdown(self._timeout(timeout_sec))
            exports: list[Callable[[], object]] = []
            if self._is_provider_owner and self.tracer_provider is not None:
                exports.append(self.tracer_provider.force_flush)
            if self._meter_provider is not None:
                exports.append(self._meter_provider.shutdown)
            _within(self._timeout(timeout_sec), exports)
        except Exception:
            logger.exception("otel-bridge did not shut down cleanly")
            is_complete = False
        return is_complete

    def _timeout(self, timeout_sec: float | None) -> float:
        return self.settings.shutdown_timeout_sec if timeout_sec is None else timeout_sec


def _within(timeout_sec: float, calls: list[Callable[[], object]]) -> bool:
    """Call each on a thread of its own, for so long at most: exporters heed no limit given."""

    def call(each: Callable[[], object]) -> None:
        try:
            each()
        except Exception:
            logger.exception("otel-bridge could not flush an exporter")

    deadline = time.monotonic() + timeout_sec
    threads = []
    for each in calls:
        thread = threading.Thread(target=call, args=(each,), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Python 3.12 lets none start while it exits: the exporter's own limits hold.
            call(each)
        else:
            threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def sdk_provider_of(provider: trace.TracerProvider) -> TracerProvider | None:
    """The SDK's provider that this one is, or, like Logfire's, stands in front of; else None."""
    for found in (provider, getattr(provider, "provider", None)):
        if isinstance(found, TracerProvider):
            return found
    return None


def current_bridge() -> Bridge | None:
    """The bridge of the last ``configure()`` in this process; None before it and after shutdown."""
    global _on_demand
    if _current is None and _on_demand is not None:
        make, _on_demand = _on_demand, None
        make()
    return _current


def make_on_demand(make: Callable[[], None]) -> None:
    """Call this, once, when somebody asks for a bridge and there is none: the zero-code hook's."""
    global _on_demand
    _on_demand = make


def configure(
    service_name: str | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    settings: BridgeSettings | None = None,
    **overrides: Any,
) -> Bridge:
    """
    Make this process visible: processor, bus, heartbeats and, if asked for, OTLP export.

    Uses the provider given, else the one the application has set, else makes one and sets it. A
    provider that is not ours gets one processor more and a sampler that keeps our spans
    recording; nothing else about it changes. A second call returns the first one's bridge.

    Args:
        service_name: ``service.name`` of a provider made here; ``OTEL_SERVICE_NAME`` wins over
            nothing, this argument wins over it.
        tracer_provider: An SDK provider to use instead of the global one.
        settings: Ready settings; default: read from the environment.
        **overrides: Fields of ``BridgeSettings``, e.g. ``redis_url="redis://localhost"``.

    Raises:
        ConfigurationError: A setting cannot work; the message names it and the cure.
    """
    global _current
    with _lock:
        if _current is not None:
            logger.warning("otel_bridge.configure() was called again; the first call stands")
            return _current
        if settings is not None and overrides:
            raise ConfigurationError(
                f"settings and {', '.join(sorted(overrides))} were both given",
                "put the values into the settings",
            )
        settings = settings or BridgeSettings.load(**overrides)
        if not settings.enabled or settings.otel_sdk_disabled:
            bridge = Bridge(settings, tracer_provider=None, bus=None, is_provider_owner=False)
            _current = bridge
            return bridge
        # Whatever can fail comes first, so that a failure leaves nothing behind: a provider is set
        # once in a process, and a second try would find the first one's and export nothing.
        bus = EventBus.connect(settings)
        if settings.redis_url:
            check_url(settings.redis_url)
        knowledge_base = knowledge_base_of(settings)
        existing = tracer_provider or sdk_provider_of(trace.get_tracer_provider())
        if existing is None:
            check_otlp(settings)
        provider, is_owner = existing or _make_provider(service_name), existing is None
        meter_provider = None
        if is_owner:
            add_otlp_export(provider, settings)
            meter_provider = _meter_provider(settings, provider.resource)
        keep_live_spans(provider)
        provider.add_span_processor(MonitoringSpanProcessor(bus))
        bridge = Bridge(
            settings,
            tracer_provider=provider,
            bus=bus,
            is_provider_owner=is_owner,
            meter_provider=meter_provider,
            knowledge_base=knowledge_base,
        )
        _current = bridge
    atexit.register(bridge.shutdown)
    return bridge


def _meter_provider(settings: BridgeSettings, resource: Resource) -> MeterProvider | None:
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return None
    provider = make_meter_provider(settings, resource)
    if provider is not None:
        metrics.set_meter_provider(provider)
    return provider


def _make_provider(service_name: str | None) -> TracerProvider:
    attributes = {SERVICE_NAME: service_name} if service_name else {}
    provider = TracerProvider(resource=Resource.create(attributes))
    trace.set_tracer_provider(provider)
    return provider
