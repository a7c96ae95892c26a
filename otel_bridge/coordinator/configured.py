"""
A coordinator of the user's own under ``opentelemetry-instrument``, named in the environment.

``MONITORING_COORDINATOR_CLASS=package.module:Class``; it is followed as soon as the application
has imported its module, and that of ``MONITORING_ORCHESTRATOR_CLASS`` if that is set.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from typing import Any

import wrapt
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)

from otel_bridge.coordinator.instrumentor import CoordinatorInstrumentor
from otel_bridge.errors import ConfigurationError, OtelBridgeError
from otel_bridge.settings import BridgeSettings

__all__ = ["ConfiguredCoordinator"]

logger = logging.getLogger(__name__)


class ConfiguredCoordinator(BaseInstrumentor):  # type: ignore[misc,unused-ignore]
    """The ``opentelemetry_instrumentor`` entry point; does nothing where no class is named."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing beside this package."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        try:
            settings = BridgeSettings.load()
            if settings.coordinator_class is None:
                if settings.orchestrator_class is not None:
                    raise ConfigurationError(
                        f"MONITORING_ORCHESTRATOR_CLASS={settings.orchestrator_class} is set "
                        "without MONITORING_COORDINATOR_CLASS",
                        "name the coordinator too",
                    )
                return
            coordinator = _parse("MONITORING_COORDINATOR_CLASS", settings.coordinator_class)
            orchestrator = None
            if settings.orchestrator_class is not None:
                name = "MONITORING_ORCHESTRATOR_CLASS"
                orchestrator = _parse(name, settings.orchestrator_class)
            phases = _parse_phases(settings.orchestrator_phases)
        except OtelBridgeError as error:
            # The caller would take the application down for it.
            logger.error("the coordinator is not followed: %s", error)
            return
        waiting = {name for name, _ in filter(None, (coordinator, orchestrator))}

        def on_import(module: Any) -> None:
            waiting.discard(module.__name__)
            if waiting:
                return
            try:
                CoordinatorInstrumentor().instrument(
                    coordinator_class=_find(*coordinator),
                    orchestrator_class=_find(*orchestrator) if orchestrator else None,
                    phases=phases or None,
                )
            except OtelBridgeError as error:
                logger.error("the coordinator is not followed: %s", error)
            except Exception:
                # The application's own import statement would fail with it.
                logger.exception("the coordinator is not followed")

        for name in list(waiting):
            wrapt.register_post_import_hook(on_import, name)

    def _uninstrument(self, **kwargs: Any) -> None:
        if CoordinatorInstrumentor().is_instrumented_by_opentelemetry:
            CoordinatorInstrumentor().uninstrument()


def _parse(name: str, text: str) -> tuple[str, str]:
    module, _, qualified = text.strip().partition(":")
    if not module or not qualified:
        raise ConfigurationError(f"{name}={text} names no class", "write package.module:Class")
    return module, qualified


def _parse_phases(text: str) -> dict[str, str]:
    phases = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        method, _, phase = pair.partition("=")
        if not method or not phase:
            raise ConfigurationError(
                f"MONITORING_ORCHESTRATOR_PHASES: {pair!r} names no phase",
                "write run_search=search,run_extract=extract",
            )
        phases[method.strip()] = phase.strip()
    return phases


def _find(module: str, qualified: str) -> type:
    found: Any = sys.modules[module]
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise ConfigurationError(f"{module} has no class {qualified}", "see .env.example")
    return found
