"""
Which tracer providers are watched: each one of the SDK's in this process, and each once.

Not only the global one: Langfuse, Phoenix, Logfire and others can make a provider of their own that
is never set. The SDK has no hook for new providers, so its ``get_tracer`` is wrapped: a provider is
watched when it is first asked for a tracer. By then it is complete, also one of a subclass, its
sampler has not been copied yet, and one that is never asked starts no spans.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.forking import on_fork
from otel_bridge.mapping.third_party import ignore_scope
from otel_bridge.publish.bus import EventBus
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.sdk.sampling import keep_live_spans

__all__ = [
    "application_provider",
    "is_watched",
    "on_new_provider",
    "sdk_provider_of",
    "warn_of_provider",
    "watch_provider",
]

logger = logging.getLogger(__name__)

_MARK: Final = "_otel_bridge_bus"
"""Attribute of a watched provider: the bus that gets its spans."""

_PRODUCT_TELEMETRY: Final = frozenset({"crewai.telemetry"})
"""Scopes whose spans report the use of a product to its makers, over the global provider. Each of
CrewAI's is a root that ends at once ("Crew Created"), so each would be a card."""

_PRODUCT_SERVICE: Final = "crewAI-telemetry"
"""``service.name`` of the provider that exports them. CrewAI sets it where none is set."""

_lock = threading.Lock()
_unwatched: set[str] = set()
"""Classes of providers that ``warn_of_provider`` has named."""
_is_wrapped = False
_on_new: Callable[[TracerProvider], None] | None = None


def sdk_provider_of(provider: trace.TracerProvider) -> TracerProvider | None:
    """
    Return the SDK's ``TracerProvider`` behind ``provider``, or None if there is none.

    That is ``provider`` itself, or the provider in its ``provider`` attribute, as with Logfire's
    proxy; no further level is searched. Any object is accepted, without an error.

    Args:
        provider: Any provider of the OpenTelemetry API, e.g. ``trace.get_tracer_provider()``.
    """
    for found in (provider, getattr(provider, "provider", None)):
        if isinstance(found, TracerProvider):
            return found
    return None


def application_provider() -> TracerProvider | None:
    """
    Return the SDK provider that is set in this process and exports to whom the application wants.

    None if there is none, and for the one by which CrewAI reports to its makers: this library's own
    spans are not sent there. Never raises.
    """
    found = sdk_provider_of(trace.get_tracer_provider())
    if found is None or found.resource.attributes.get(SERVICE_NAME) == _PRODUCT_SERVICE:
        return None
    return found


def warn_of_provider(provider: trace.TracerProvider) -> None:
    """Warn, once a class, that a provider is not the SDK's, such as ddtrace's, and not shown."""
    name = f"{type(provider).__module__}.{type(provider).__qualname__}"
    if name not in _unwatched:
        _unwatched.add(name)
        logger.warning(
            "spans of %s are not shown, because this tracer provider takes no span processors; "
            "set one of opentelemetry-sdk instead",
            name,
        )


def is_watched(provider: TracerProvider, bus: EventBus | None) -> bool:
    """Whether the spans of this provider go to this bus; None: to any that this process had."""
    mark = provider.__dict__.get(_MARK)
    return mark is not None and (bus is None or mark is bus)


def watch_provider(provider: TracerProvider, bus: EventBus) -> None:
    """
    Publish the spans of a provider, and let its sampler hide none of this library's spans.

    From any thread. A second call for the same bus does nothing, and a provider to which the
    application has added a ``MonitoringSpanProcessor`` itself gets no second one. Raises nothing.

    Args:
        provider: Gets one processor more and a ``LiveSpanSampler`` around its sampler.
        bus: Publishes the spans.
    """
    with _lock:
        if is_watched(provider, bus):
            return
        is_known = is_watched(provider, None)
        setattr(provider, _MARK, bus)
        keep_live_spans(provider)
        if is_known or not _has_processor(provider):
            provider.add_span_processor(MonitoringSpanProcessor(bus))


def on_new_provider(call: Callable[[TracerProvider], None]) -> None:
    """
    Call a function for each SDK provider that is asked for a tracer, before it makes the tracer.

    One function is kept: it replaces one that was registered before. An error of it is logged and
    reaches no caller. Spans that report the use of a product to its makers are left out from then.

    Args:
        call: Gets the provider, at every call of ``get_tracer``, in the caller's thread.
    """
    global _is_wrapped, _on_new
    with _lock:
        if not _is_wrapped:
            _wrap_get_tracer()
        _is_wrapped, _on_new = True, call


def _wrap_get_tracer() -> None:
    original = TracerProvider.get_tracer

    @functools.wraps(original)
    def get_tracer(self: TracerProvider, *args: Any, **kwargs: Any) -> trace.Tracer:
        if _on_new is not None:
            try:
                if args and args[0] in _PRODUCT_TELEMETRY:
                    ignore_scope(args[0])
                _on_new(self)
            except Exception:
                logger.exception("a tracer provider is not watched")
        return original(self, *args, **kwargs)

    TracerProvider.get_tracer = get_tracer  # type: ignore[method-assign]


def _has_processor(provider: TracerProvider) -> bool:
    processors = getattr(provider._active_span_processor, "_span_processors", ())
    return any(isinstance(one, MonitoringSpanProcessor) for one in processors)


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


on_fork(after_in_child=_renew_lock)
