"""
``keep_live_spans``: keeps a sampler from hiding running work from the live view.

With ``ALWAYS_OFF`` or a ratio the SDK calls no span processor for the spans that it drops. For our
spans the decision DROP is changed to RECORD_ONLY: processors get them, exporters do not, because
the sampled flag stays off. A recording span costs four times as much as a dropped one, so only
spans with the attribute ``nexus.span.kind`` are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, TypeVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from otel_bridge.events import semconv

__all__ = ["LiveSpanSampler", "keep_live_spans"]

logger = logging.getLogger(__name__)

_REQUEST_KINDS: Final = (SpanKind.SERVER, SpanKind.CLIENT)

_ProviderOrSampler = TypeVar("_ProviderOrSampler", TracerProvider, Sampler)


class LiveSpanSampler(Sampler):
    """
    Decides as another sampler does, but records this library's spans that the other one drops.

    They are recorded for the live view only, and still not exported. The first other span that the
    sampler hides causes one warning, but no request (SERVER, CLIENT) does: samplers that leave out
    health checks are common, and a request is no task. ``keep_live_spans`` creates it and gives it
    to the provider, which calls it for each new span, in any thread. It adds no limit.

    Args:
        inner: The sampler of the application; its errors pass through, and this class adds none.
    """

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner
        self._has_warned = False

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
        """Decide as ``inner`` does; RECORD_ONLY for DROP if ``nexus.span.kind`` is set."""
        if self.inner is DEFAULT_ON:
            # The SDK's default, written out: four calls into other modules less for each span.
            parent = get_current_span(parent_context).get_span_context()
            if parent is None or not parent.is_valid:
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
            if parent.trace_flags.sampled:
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        result = self.inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is Decision.DROP:
            if attributes and semconv.SPAN_KIND in attributes:
                # The SDK gives the span the attributes of the result; those of a DROP are empty.
                return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
            if not self._has_warned and kind not in _REQUEST_KINDS:
                self._warn()
        return result

    def _warn(self) -> None:
        self._has_warned = True
        try:
            sampler = self.inner.get_description()
        except Exception:
            sampler = type(self.inner).__qualname__
        logger.warning(
            "the sampler %.200s hides spans from the live view; to see all of them, set "
            "OTEL_TRACES_SAMPLER=always_on and let an OpenTelemetry Collector sample",
            sampler,
        )

    def get_description(self) -> str:
        """Return ``LiveSpanSampler{...}`` with the description of ``inner``."""
        return f"LiveSpanSampler{{{self.inner.get_description()}}}"


def keep_live_spans(provider_or_sampler: _ProviderOrSampler) -> _ProviderOrSampler:
    """
    Keep a sampler from hiding this library's spans (those with ``nexus.span.kind``) while they run.

    Wraps a sampler in a ``LiveSpanSampler``, or replaces the sampler of a provider by a wrapped
    one. A second call changes nothing. Call it before tracers are created: a tracer copies the
    sampler of its provider. Never raises; what is neither is wrapped as a sampler, unchecked.

    Args:
        provider_or_sampler: An SDK provider, changed in place, or a sampler.

    Returns:
        The wrapped sampler, or the provider that was given.
    """
    if isinstance(provider_or_sampler, TracerProvider):
        provider_or_sampler.sampler = keep_live_spans(provider_or_sampler.sampler)
        return provider_or_sampler
    if isinstance(provider_or_sampler, LiveSpanSampler):
        return provider_or_sampler
    return LiveSpanSampler(provider_or_sampler)
