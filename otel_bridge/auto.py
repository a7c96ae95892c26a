"""
The zero-code hook: ``opentelemetry-instrument python app.py`` with this package installed.

Runs as an ``opentelemetry_pre_instrument`` entry point, after the distro's configurator has set a
provider and before anything is instrumented, so it stands beside any distro and any declarative
configuration. There is no entry point for span processors (opentelemetry-sdk 1.45).
"""

from __future__ import annotations

import logging

from opentelemetry import trace

from otel_bridge.bridge import configure, sdk_provider_of
from otel_bridge.errors import OtelBridgeError

__all__ = ["install"]

logger = logging.getLogger(__name__)


def install() -> None:
    """
    Add our processor to the provider that is set, or that the application sets later.

    Nothing else about it changes, and none is made here: the application may bring its own. A
    provider that is not the SDK's (``OTEL_SDK_DISABLED``) is left alone. Never raises: the caller
    does not catch, and would leave the application uninstrumented.
    """
    try:
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            _wait_for_provider()
        else:
            _watch(provider)
    except Exception:
        logger.exception("otel-bridge is not watching this process")


def _watch(provider: trace.TracerProvider) -> None:
    try:
        found = sdk_provider_of(provider)
        if found is not None:
            configure(tracer_provider=found)
        elif not isinstance(provider, trace.NoOpTracerProvider):
            # Such as Datadog's: its spans never pass a span processor.
            logger.info("spans of %s cannot be watched", type(provider).__qualname__)
    except OtelBridgeError as error:
        # Loud, but the application goes on: nobody asked for it in code.
        logger.error("otel-bridge is not watching this process: %s", error)
    except Exception:
        logger.exception("otel-bridge is not watching this process")


def _wait_for_provider() -> None:
    """Nobody has set a provider yet: watch the one that the application will set."""
    original = trace.set_tracer_provider

    def set_tracer_provider(tracer_provider: trace.TracerProvider) -> None:
        original(tracer_provider)
        _watch(trace.get_tracer_provider())

    trace.set_tracer_provider = set_tracer_provider
