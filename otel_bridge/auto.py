"""
The zero-code hook: ``opentelemetry-instrument python app.py`` with this package installed.

Runs as an ``opentelemetry_pre_instrument`` entry point, after the distro's configurator has set a
provider and before anything is instrumented, so it stands beside any distro and any declarative
configuration. There is no entry point for span processors (opentelemetry-sdk 1.45).
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.util._once import Once

from otel_bridge.bridge import configure, current_bridge, make_on_demand, sdk_provider_of
from otel_bridge.errors import OtelBridgeError
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.sdk.sampling import keep_live_spans

__all__ = ["install"]

logger = logging.getLogger(__name__)

_WAIT_SEC: Final = 1.0


def install() -> None:
    """
    Add our processor to the provider that is set, or that the application sets later.

    Nothing else about it changes. Where nobody has set one when the first span starts, one is made
    then; an application that brings its own after that still gets it. A provider that is not the
    SDK's (``OTEL_SDK_DISABLED``) is left alone. Never raises: the caller does not catch, and would
    leave the application uninstrumented.
    """
    try:
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            _ProviderToCome().wait()
        else:
            _watch(provider)
    except Exception:
        logger.exception("otel-bridge is not watching this process")


def _watch(provider: trace.TracerProvider) -> None:
    try:
        found = sdk_provider_of(provider)
        bridge = current_bridge()
        if found is not None and bridge is not None and bridge.bus is not None:
            keep_live_spans(found)
            found.add_span_processor(MonitoringSpanProcessor(bridge.bus))
        elif found is not None:
            configure(tracer_provider=found)
        elif not isinstance(provider, trace.NoOpTracerProvider):
            # Such as Datadog's: its spans never pass a span processor.
            logger.info("spans of %s cannot be watched", type(provider).__qualname__)
    except OtelBridgeError as error:
        # Loud, but the application goes on: nobody asked for it in code.
        logger.error("otel-bridge is not watching this process: %s", error)
    except Exception:
        logger.exception("otel-bridge is not watching this process")


class _ProviderToCome:
    """No distribution has set a provider: watch the application's, or make one for its spans."""

    def __init__(self) -> None:
        self._set = trace.set_tracer_provider
        self._tracer: Any = trace.ProxyTracer._tracer
        # A thread whose first span comes meanwhile waits for the provider, but not for ever: it
        # may hold what configure() waits for. The same thread may come back from configure().
        self._lock = threading.RLock()
        self._is_waiting = True
        self._is_making = False
        self._is_ours = False

    def wait(self) -> None:
        to_come = self

        def set_tracer_provider(tracer_provider: trace.TracerProvider) -> None:
            to_come.set(tracer_provider)

        def tracer(proxy: trace.ProxyTracer) -> trace.Tracer:
            to_come.make()
            found: trace.Tracer = to_come._tracer.fget(proxy)
            return found

        make_on_demand(self.make)
        trace.set_tracer_provider = set_tracer_provider
        # By the property and not by start_span(): a decorator is made long before its span.
        trace.ProxyTracer._tracer = property(tracer)  # type: ignore[assignment,method-assign]

    def set(self, provider: trace.TracerProvider) -> None:
        if self._is_ours and not self._is_making:
            # The API sets a provider once; ours was for want of a better.
            trace._TRACER_PROVIDER_SET_ONCE = Once()
        self._set(provider)
        if not self._is_making:
            _watch(trace.get_tracer_provider())

    def make(self) -> None:
        if not self._lock.acquire(timeout=_WAIT_SEC):
            return
        try:
            if self._is_waiting:
                self._is_waiting = False
                self._make()
        finally:
            self._lock.release()

    def _make(self) -> None:
        try:
            if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
                self._is_making = True
                self._is_ours = configure().tracer_provider is not None
        except Exception as error:
            logger.error("otel-bridge is not watching this process: %s", error)
        finally:
            self._is_making = False
            trace.ProxyTracer._tracer = self._tracer  # type: ignore[method-assign]
