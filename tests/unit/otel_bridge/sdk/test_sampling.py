"""With our sampler dropped work is visible while it runs, and no more spans are exported."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_bridge.events import semconv
from otel_bridge.sdk.sampling import LiveSpanSampler, keep_live_spans
from tests.support.spans import SpanRecorder, job_attributes


def run_spans(sampler: Sampler, *, is_kept: bool) -> tuple[SpanRecorder, InMemorySpanExporter]:
    """Start fifty job spans, each with a third-party span inside."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    if is_kept:
        assert keep_live_spans(provider) is provider
    recorder, exporter = SpanRecorder(), InMemorySpanExporter()
    provider.add_span_processor(recorder)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    for number in range(50):
        with (
            tracer.start_as_current_span("job", attributes=dict(job_attributes(str(number)))),
            tracer.start_as_current_span("GET", attributes={"http.method": "GET"}),
        ):
            pass
    return recorder, exporter


def test_our_spans_are_seen_when_all_are_dropped() -> None:
    """With ALWAYS_OFF a processor sees our spans with their attributes, and only ours."""
    recorder, exporter = run_spans(ALWAYS_OFF, is_kept=True)
    assert [span.name for span in recorder.started] == ["job"] * 50
    assert [(s.attributes or {})[semconv.TASK_ID] for s in recorder.ended] == [
        str(number) for number in range(50)
    ]
    assert exporter.get_finished_spans() == ()


def test_a_kept_span_is_not_sampled() -> None:
    """Its sampled flag stays off; exporters and other services decide by that flag."""
    recorder, _ = run_spans(ParentBased(ALWAYS_OFF), is_kept=True)
    assert {span.context.trace_flags.sampled for span in recorder.started} == {False}


def test_a_ratio_exports_the_same_traces() -> None:
    """With a ratio sampler the same traces are exported, whether live spans are kept or not."""
    recorder, exporter = run_spans(TraceIdRatioBased(0.5), is_kept=True)
    sampled = {
        span.context.trace_id
        for span in recorder.started
        if TraceIdRatioBased.get_bound_for_rate(0.5) > span.context.trace_id & (2**64 - 1)
    }
    exported = {span.context.trace_id for span in exporter.get_finished_spans() if span.context}
    assert sum(span.name == "job" for span in recorder.started) == 50
    assert exported == sampled


def test_sampled_spans_are_left_alone() -> None:
    """With ALWAYS_ON all spans are recorded and exported, as without our sampler."""
    recorder, exporter = run_spans(ALWAYS_ON, is_kept=True)
    assert (len(recorder.started), len(exporter.get_finished_spans())) == (100, 100)


def test_wrapping_twice_is_wrapping_once() -> None:
    """A second call returns the same sampler, whose description names the inner one."""
    once = keep_live_spans(ALWAYS_OFF)
    assert isinstance(once, LiveSpanSampler)
    assert keep_live_spans(once) is once
    assert once.get_description() == "LiveSpanSampler{AlwaysOffSampler}"


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("flags", [0, 1, 3])
@pytest.mark.parametrize(("trace_id", "span_id"), [(1, 2), (0, 2), (1, 0)])
def test_the_default_sampler_decides_as_without_us(
    trace_id: int, span_id: int, flags: int, is_remote: bool
) -> None:
    """For each kind of parent the SDK's default gives the same decision, attributes and state."""
    state = TraceState([("a", "1")])
    parent = SpanContext(trace_id, span_id, is_remote, TraceFlags(flags), state)
    for around in (Context(), set_span_in_context(NonRecordingSpan(parent), Context())):
        found = LiveSpanSampler(DEFAULT_ON).should_sample(around, 7, "x", attributes={"a": 1})
        inner = DEFAULT_ON.should_sample(around, 7, "x", attributes={"a": 1})
        assert (found.decision, found.trace_state) == (inner.decision, inner.trace_state)
        assert dict(found.attributes or {}) == dict(inner.attributes or {})
