"""
Instruments a user's own coordinator under ``opentelemetry-instrument``, without a change of code.

The environment names it: ``MONITORING_COORDINATOR_CLASS=package.module:Class``. It is instrumented
when the application has imported that module, and the module of ``MONITORING_ORCHESTRATOR_CLASS``
if that is set.
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
    """
    Instruments the coordinator class that the environment names, when its module is imported.

    A coordinator is the user's class that queues jobs and runs workers; an orchestrator, which is
    optional, is the user's class that runs a research task as phases of such jobs.
    ``opentelemetry-instrument`` creates this object, through the ``opentelemetry_instrumentor``
    entry point, and calls ``instrument()`` once (a second call only logs a warning); an application
    calls ``CoordinatorInstrumentor`` instead. Three variables:

    * ``MONITORING_COORDINATOR_CLASS``: ``package.module:Class``; if it is not set, nothing is done.
    * ``MONITORING_ORCHESTRATOR_CLASS``: the same for the orchestrator; if it is not set, no phases
      are shown, only jobs. Set without the coordinator's, it is an error.
    * ``MONITORING_ORCHESTRATOR_PHASES``: its methods and their phases, such as
      ``run_search=search,run_extract=extract``; default: none. Without an orchestrator, an error.

    The classes are instrumented when both modules have been imported; there is no time limit for
    that.

    Never raises: settings that cannot work, and a class that cannot be instrumented, are logged as
    an error, and the application runs without it.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no requirement: nothing but this package needs to be installed."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        try:
            # configure() reads the same variables and warns of them.
            settings = BridgeSettings.load(strict=False, is_quiet=True)
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
            # Logged, because an exception here would end the application.
            logger.error("the coordinator is not instrumented: %s", error)
            return
        missing_modules = {name for name, _ in filter(None, (coordinator, orchestrator))}

        def on_import(module: Any) -> None:
            missing_modules.discard(module.__name__)
            if missing_modules:
                return
            try:
                CoordinatorInstrumentor().instrument(
                    coordinator_class=_find(*coordinator),
                    orchestrator_class=_find(*orchestrator) if orchestrator else None,
                    phases=phases or None,
                )
            except OtelBridgeError as error:
                logger.error("the coordinator is not instrumented: %s", error)
            except Exception:
                # Logged, because the application's import statement would raise it.
                logger.exception("the coordinator is not instrumented")

        for name in list(missing_modules):
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
