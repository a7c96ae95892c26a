"""
The zero-code hook: ``opentelemetry-instrument python app.py`` with this package installed.

Runs as an ``opentelemetry_pre_instrument`` entry point, after the distro's configurator has set a
provider and before anything is instrumented, so it stands beside any distro and any declarative
configuration. There is no entry point for span processors (opentelemetry-sdk 1.45).
"""

from __future__ import annotations

import logging

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.bridge import configure

__all__ = ["install"]

logger = logging.getLogger(__name__)


def install() -> None:
    """
    Add our processor to the provider that is set; nothing else about it changes.

    Without an SDK provider (``OTEL_SDK_DISABLED``, or a vendor's own API implementation) nothing
    happens. Never raises: the caller does not catch, and would leave the application
    uninstrumented.
    """
    try:
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            configure(tracer_provider=provider)
        else:
            logger.info("otel-bridge: no SDK tracer provider is set, nothing is shown")
    except Exception as error:
        # Loud, but the application goes on: nobody asked for it in code.
        logger.error("otel-bridge is not watching this process: %s", error)
