"""Trace context of carriers: the same as OpenTelemetry's propagators read and write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_bridge.spans import propagation
from tests.support.hostile import failing_propagation

PLAIN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

_digits = st.text("0123456789abcdefABCDEF_ ", min_size=0, max_size=34)
_traceparents = st.one_of(
    st.just(PLAIN),
    st.from_regex("0[0-9]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?", fullmatch=True),
    st.sampled_from(
        [
            PLAIN + " ",
            PLAIN + "\n",
            PLAIN.upper(),
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
            "ff" + PLAIN[2:],
        ]
    ),
    st.builds("00-{}-{}-01".format, _digits, _digits),
)
_carriers = st.fixed_dictionaries(
    {},
    optional={
        "traceparent": _traceparents,
        "tracestate": st.sampled_from(["a=1", "a=1,b=2", "", "?"]),
        "baggage": st.sampled_from(["k=v", "", "="]),
        "Traceparent": st.just(PLAIN),
        "nexus-run-id": st.just("x"),
    },
)


def _facts(context: Context) -> tuple[object, ...]:
    found = trace.get_current_span(context).get_span_context()
    return (tuple(found), found.trace_state, dict(baggage.get_all(context)), context.get("around"))


@given(_carriers)
def test_a_carrier_is_read_as_by_opentelemetry(carrier: dict[str, str]) -> None:
    """Whatever a carrier holds, span, state and baggage are what OpenTelemetry reads."""
    around = Context({"around": 1})
    found = propagation.extract(carrier, around)
    assert _facts(found) == _facts(propagate.extract(carrier, around))
    assert dict(around) == {"around": 1}


@given(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
    st.sampled_from([None, TraceState([("a", "1")])]),
    st.booleans(),
)
def test_a_carrier_is_written_as_by_opentelemetry(
    trace_id: int, span_id: int, flags: int, state: TraceState | None, has_baggage: bool
) -> None:
    """Whatever the span and its context hold, the carrier is what OpenTelemetry writes."""
    span = NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(flags), state))
    around = baggage.set_baggage("k", "v", Context()) if has_baggage else Context()
    ours: dict[str, str] = {}
    theirs: dict[str, str] = {}
    propagation.inject(ours, span, around)
    propagate.inject(theirs, trace.set_span_in_context(span, around))
    assert ours == theirs


def test_the_applications_propagator_is_used() -> None:
    """A propagator that the application has set is called also for a plain traceparent."""
    span = trace.get_current_span(propagation.extract({"traceparent": PLAIN}, Context()))
    before = propagate.get_global_textmap()
    with failing_propagation():
        with pytest.raises(RuntimeError, match="no propagation"):
            propagation.extract({"traceparent": PLAIN}, Context())
        with pytest.raises(RuntimeError, match="no propagation"):
            propagation.inject({}, span)
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator()]))
    try:
        carrier: dict[str, str] = {}
        propagation.inject(carrier, span, baggage.set_baggage("k", "v", Context()))
        assert carrier == {"traceparent": PLAIN}
    finally:
        propagate.set_global_textmap(before)


def test_a_carrier_that_is_no_mapping_raises() -> None:
    """Its caller logs the error, and the job runs."""
    with pytest.raises(AttributeError):
        propagation.extract(7, Context())  # type: ignore[arg-type]
