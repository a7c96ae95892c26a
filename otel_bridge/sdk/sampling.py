"""
``keep_live_spans``: a sampler must not hide running work from the live view.

With ``ALWAYS_OFF`` or a ratio the SDK never calls a span processor for the spans it drops. Our
spans are turned from DROP to RECORD_ONLY: processors see them, exporters do not, because their
sampled flag stays off. A recording span costs four times an unsampled one, so only spans that
carry ``nexus.span.kind`` are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel_bridge.events import semconv

__all__ = ["LiveSpanSampler", "keep_live_spans"]

_ProviderOrSampler = TypeVar("_ProviderOrSampler", TracerProvider, Sampler)


class LiveSpanSampler(Sampler):
    """
    Decides as another sampler does, but records our spans where that one drops.

    Args:
        inner: The application's own sampler.
    """

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        result = self.inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is Decision.DROP and attributes and semconv.SPAN_KIND in attributes:
            # The span's attributes are the result's, and a result that drops has none.
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        return f"LiveSpanSampler{{{self.inner.get_description()}}}"


def keep_live_spans(provider_or_sampler: _ProviderOrSampler) -> _ProviderOrSampler:
    """
    Wrap a sampler, or a provider's in place; twice is once.

    Tracers take their provider's sampler when they are made, so wrap before they are.

    Returns:
        The wrapped sampler, or the provider that was given.
    """
    if isinstance(provider_or_sampler, TracerProvider):
        provider_or_sampler.sampler = keep_live_spans(provider_or_sampler.sampler)
        return provider_or_sampler
    if isinstance(provider_or_sampler, LiveSpanSampler):
        return provider_or_sampler
    return LiveSpanSampler(provider_or_sampler)
