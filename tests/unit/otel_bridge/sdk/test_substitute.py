"""The provider of a process that has none gives way to the application's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from otel_bridge.sdk.substitute import SubstituteProvider
from tests.support.spans import SpanRecorder


@pytest.fixture(autouse=True)
def _no_provider_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def substitute() -> Iterator[SubstituteProvider]:
    provider = SubstituteProvider("shop")
    yield provider
    provider.shutdown()


def with_recorder(provider: TracerProvider) -> SpanRecorder:
    recorder = SpanRecorder()
    provider.add_span_processor(recorder)
    return recorder


def test_tracers_change_to_the_provider_of_the_application(substitute: SubstituteProvider) -> None:
    """A tracer that was taken before starts its spans with the provider that is set later."""
    before = with_recorder(substitute)
    substitute.set_global()
    assert trace.get_tracer_provider() is substitute
    tracer = trace.get_tracer("app")
    with tracer.start_as_current_span("early"):
        pass
    provider = TracerProvider(shutdown_on_exit=False)
    after = with_recorder(provider)
    trace.set_tracer_provider(provider)
    with tracer.start_as_current_span("late", attributes={"a": 1}) as span:
        assert trace.get_current_span() is span
    assert trace.get_tracer_provider() is provider
    assert [span.name for span in before.ended] == ["early"]
    assert [(span.name, dict(span.attributes or {})) for span in after.ended] == [
        ("late", {"a": 1})
    ]
    assert after.ended[0].instrumentation_scope is not None
    assert after.ended[0].instrumentation_scope.name == "app"
    assert substitute.force_flush()


def test_a_provider_of_another_kind_takes_no_tracer_over(substitute: SubstituteProvider) -> None:
    """Spans of this library's tracers would be lost in a provider without span processors."""
    substitute.set_global()
    tracer = substitute.get_tracer("app")
    trace.set_tracer_provider(trace.NoOpTracerProvider())
    assert tracer.start_span("plan").is_recording()


def test_our_spans_do_not_go_to_the_makers_of_a_product(substitute: SubstituteProvider) -> None:
    """CrewAI sets the provider by which it reports its use: this library's spans stay away."""
    substitute.set_global()
    tracer = substitute.get_tracer("app")
    product = TracerProvider(
        resource=Resource({"service.name": "crewAI-telemetry"}), shutdown_on_exit=False
    )
    theirs = with_recorder(product)
    trace.set_tracer_provider(product)
    assert trace.get_tracer_provider() is product
    assert tracer.start_span("plan").is_recording()
    assert theirs.started == []


def test_a_provider_that_is_set_stays(substitute: SubstituteProvider) -> None:
    """A substitute replaces no provider."""
    provider = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(provider)
    substitute.set_global()
    assert trace.get_tracer_provider() is provider


def test_a_library_that_adds_its_processor_keeps_its_spans(substitute: SubstituteProvider) -> None:
    """Without the substitute it would have set a provider of its own, which nothing replaces."""
    substitute.set_global()
    recorder = with_recorder(substitute)
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    trace.get_tracer("app").start_span("plan").end()
    assert [span.name for span in recorder.ended] == ["plan"]


def test_the_resource_needs_no_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the main thread has ended, the variables and the argument still make the resource."""

    def refused(*args: object) -> Resource:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "nexus.project.id=p1")
    monkeypatch.setattr(Resource, "create", refused)
    found: list[SubstituteProvider] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(SubstituteProvider(name)))
        for name in ("shop", None)
    ]
    for thread in threads:
        thread.start()
        thread.join(10)
    assert [one.resource.attributes["service.name"] for one in found] == ["shop", "unknown_service"]
    assert {one.resource.attributes["nexus.project.id"] for one in found} == {"p1"}
    for one in found:
        one.shutdown()
