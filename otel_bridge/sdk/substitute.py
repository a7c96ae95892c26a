"""
``SubstituteProvider``: the tracer provider of a process whose application has not set one yet.

OpenTelemetry lets a process set its provider once, and a tracer that was taken from it stays with
it. So a provider that is set here first would take the application's spans away from the exporters
of the provider that it sets later. This one gives way: the application may still set its own, and
the tracers that were taken before then start their spans with that.
"""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, Tracer, TracerProvider

from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.sdk.providers import application_provider

__all__ = ["SubstituteProvider"]

logger = logging.getLogger(__name__)


class SubstituteProvider(TracerProvider):
    """
    An SDK provider that the application's own replaces, whenever that is set.

    ``configure()`` creates one if the application has set none. May be created in any thread, also
    after the main thread has ended, where OpenTelemetry's own ``Resource.create`` raises.

    Args:
        service_name: ``service.name`` of its resource; None: ``OTEL_SERVICE_NAME``, else
            ``unknown_service``.
    """

    def __init__(self, service_name: str | None = None) -> None:
        super().__init__(resource=_resource({SERVICE_NAME: service_name} if service_name else {}))

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """Return a tracer that changes to the application's provider once that is set."""
        tracer = super().get_tracer(*args, **kwargs)
        if type(tracer) is Tracer:
            # The SDK's own constructor has other arguments in each release.
            tracer.__class__ = _ReplaceableTracer
            assert isinstance(tracer, _ReplaceableTracer)
            tracer.place(self, args, kwargs)
        return tracer

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """
        Add a span processor; one that is added after ``set_global`` makes this provider stay.

        Libraries such as Langfuse add theirs to the provider that they find, and set their own
        otherwise. If the application then replaced this one, they would see no more spans.
        """
        super().add_span_processor(span_processor)
        is_ours = isinstance(span_processor, MonitoringSpanProcessor)
        if not is_ours and trace.get_tracer_provider() is self:
            trace._TRACER_PROVIDER_SET_ONCE.do_once(lambda: None)

    def set_global(self) -> None:
        """Make this the provider of the process, unless one is set; never raises."""
        once = trace._TRACER_PROVIDER_SET_ONCE
        try:
            # Without ``do_once``: it stays open for the application's provider.
            with once._lock:
                if not once._done and trace._TRACER_PROVIDER is None:
                    trace._TRACER_PROVIDER = self
        except AttributeError:
            trace.set_tracer_provider(self)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the processors of this provider and, if it was replaced, of the other one."""
        is_flushed = super().force_flush(timeout_millis)
        other = application_provider()
        if other is None or other is self:
            return is_flushed
        return other.force_flush(timeout_millis) and is_flushed


class _ReplaceableTracer(Tracer):
    """Starts spans with the tracer of the provider that has replaced its own, if one has."""

    _own: SubstituteProvider
    _seen: trace.TracerProvider | None
    _current: trace.Tracer | None

    def place(
        self, provider: SubstituteProvider, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._own = self._seen = provider
        self._arguments = args, kwargs
        self._current = None

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        # Costs 1 us of the 11 us of a span; get_tracer_provider() would add half a microsecond.
        provider = trace._TRACER_PROVIDER
        if provider is not self._seen:
            self._change_to(provider)
        if self._current is None:
            return Tracer.start_span(self, *args, **kwargs)
        return self._current.start_span(*args, **kwargs)

    def _change_to(self, provider: trace.TracerProvider | None) -> None:
        self._seen, self._current = provider, None
        if provider is None or provider is self._own:
            return
        # A provider of another kind, such as ddtrace's, has no span processors: stay here.
        if application_provider() is not None:
            args, kwargs = self._arguments
            self._current = provider.get_tracer(*args, **kwargs)


def _resource(attributes: dict[str, Any]) -> Resource:
    try:
        return Resource.create(attributes)
    except RuntimeError:
        # Its detectors run in an executor, which accepts no work once the main thread has ended.
        default = Resource({SERVICE_NAME: "unknown_service"})
        return default.merge(OTELResourceDetector().detect()).merge(Resource(attributes))
