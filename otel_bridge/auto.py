"""
The zero-code hook: ``opentelemetry-instrument python app.py`` with this package installed.

Runs as an ``opentelemetry_pre_instrument`` entry point: after the configurator of a distribution
(distro) has set a provider, and before any library is instrumented. So it works with every distro
and every declarative configuration. OpenTelemetry has no entry point for span processors
(opentelemetry-sdk 1.45), which would be simpler.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.bridge import (
    configure,
    current_bridge,
    make_on_demand,
    watch_new_provider,
)
from otel_bridge.errors import OtelBridgeError
from otel_bridge.sdk.providers import (
    is_watched,
    on_new_provider,
    sdk_provider_of,
    warn_of_provider,
    watch_provider,
)
from otel_bridge.sdk.substitute import SubstituteProvider

__all__ = ["install"]

logger = logging.getLogger(__name__)

_WAIT_SEC: Final = 1.0
"""How long a starting span waits for another thread to create the provider."""


def install() -> None:
    """
    Publish the spans of this process: watch each tracer provider of the SDK that it has or makes.

    The entry point of ``opentelemetry-instrument``, which calls it once in a process; an
    application calls ``configure()`` instead. A ``MonitoringSpanProcessor`` is added once to each
    provider, and its sampler is replaced by one that keeps recording this library's spans
    (``keep_live_spans``); nothing else about it changes. If none is set when the first span starts,
    a ``SubstituteProvider`` is created then, while other threads that start a span wait for it 1 s
    at most. An application that sets its own later still gets its own.

    Returns at once, connects to nothing and never raises: its caller catches nothing, so an
    exception would leave the application uninstrumented. After an error, or with a provider that
    is not the SDK's or is switched off (``OTEL_SDK_DISABLED``), one line is logged, and the
    application runs without a live view.
    """
    try:
        awaited = _AwaitedProvider()
        on_new_provider(awaited.watch_new)
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            awaited.patch_api()
        else:
            _watch(provider)
    except Exception:
        logger.exception("otel-bridge is not watching this process")


def _watch(provider: trace.TracerProvider) -> None:
    try:
        found = sdk_provider_of(provider)
        bridge = current_bridge()
        if bridge is None:
            configure()
        elif bridge.bus is not None and found is not None:
            watch_provider(found, bridge.bus)
        elif bridge.bus is not None:
            warn_of_provider(provider)
    except OtelBridgeError as error:
        # Logged instead of raised: the hook was switched on from outside the application's code.
        logger.error("otel-bridge is not watching this process: %s", error)
    except Exception:
        logger.exception("otel-bridge is not watching this process")


class _AwaitedProvider:
    """
    Patches the OpenTelemetry API while no provider is set.

    It watches the provider that the application sets, or creates one when the first span starts.
    """

    def __init__(self) -> None:
        self._original_set = trace.set_tracer_provider
        self._original_tracer: Any = trace.ProxyTracer._tracer
        # A thread that starts a span while another creates the provider waits for it, but only
        # ``_WAIT_SEC``: it may hold a lock that configure() needs. Reentrant, because configure()
        # may start a span in the same thread.
        self._lock = threading.RLock()
        self._is_needed = True

    def patch_api(self) -> None:
        """Call ``set`` when the application sets a provider, ``create`` when a span starts."""
        awaited = self

        def set_tracer_provider(tracer_provider: trace.TracerProvider) -> None:
            awaited.set(tracer_provider)

        def tracer(proxy: trace.ProxyTracer) -> trace.Tracer:
            awaited.create()
            found: trace.Tracer = awaited._original_tracer.fget(proxy)
            return found

        make_on_demand(self.create)
        trace.set_tracer_provider = set_tracer_provider
        # The property is patched, not start_span(): a decorator binds start_span() long before its
        # first span starts.
        trace.ProxyTracer._tracer = property(tracer)  # type: ignore[assignment,method-assign]

    def set(self, provider: trace.TracerProvider) -> None:
        """Set the application's provider and watch it."""
        self._original_set(provider)
        _watch(trace.get_tracer_provider())

    def watch_new(self, provider: TracerProvider) -> None:
        """Watch a provider that is asked for a tracer, which may never be set."""
        if not isinstance(provider, SubstituteProvider) and not is_watched(provider, None):
            self.create()
        watch_new_provider(provider)

    def create(self) -> None:
        """Call ``configure()`` if nothing has; only the first call does anything."""
        if not self._lock.acquire(timeout=_WAIT_SEC):
            return
        try:
            if self._is_needed:
                self._is_needed = False
                self._create()
        finally:
            self._lock.release()

    def _create(self) -> None:
        try:
            if current_bridge() is None:
                configure()
        except Exception as error:
            logger.error("otel-bridge is not watching this process: %s", error)
        finally:
            trace.ProxyTracer._tracer = self._original_tracer  # type: ignore[method-assign]
