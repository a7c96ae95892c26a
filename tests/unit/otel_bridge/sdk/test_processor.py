"""The span processor: it passes spans on, and never disturbs user code or the SDK."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import MemoryLog, MemorySender
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from tests.support.spans import SpanRecorder, job_attributes


class BrokenBus(EventBus):
    """A bus with a bug."""

    def wake_thread(self) -> None:
        raise RuntimeError("a bug")


def provider_with(bus: EventBus) -> tuple[TracerProvider, SpanRecorder]:
    provider = TracerProvider(shutdown_on_exit=False)
    recorder = SpanRecorder()
    provider.add_span_processor(MonitoringSpanProcessor(bus))
    provider.add_span_processor(recorder)
    return provider, recorder


def test_a_span_is_two_events(make_settings: Callable[..., BridgeSettings]) -> None:
    """Start and end of a provider's span reach the log."""
    log = MemoryLog()
    bus = EventBus(MemorySender(log), make_settings())
    provider, _ = provider_with(bus)
    provider.get_tracer("x").start_span("x", attributes=dict(job_attributes())).end()
    assert provider.force_flush()
    assert bus.counters.published == 2
    assert bus.shutdown(5)


def test_a_bug_in_the_bus_stays_out_of_user_code(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """An exception in our processor reaches neither the span nor the processors after ours."""
    bus = BrokenBus(MemorySender(MemoryLog()), make_settings())
    provider, recorder = provider_with(bus)
    with provider.get_tracer("x").start_as_current_span("x"):
        pass
    assert (len(recorder.started), len(recorder.ended)) == (1, 1)
    bus.shutdown(1)


def test_shutting_the_provider_down_flushes_and_leaves_the_bus(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """The bus still works after the provider is shut down, because heartbeats use it too."""
    bus = EventBus(MemorySender(MemoryLog()), make_settings())
    provider, _ = provider_with(bus)
    provider.get_tracer("x").start_span("x", attributes=dict(job_attributes())).end()
    provider.shutdown()
    assert bus.counters.published == 2
    bus.put(object())
    assert bus.flush(5)
    assert bus.shutdown(5)


def test_the_context_of_the_caller_is_left_alone(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """Starting and ending spans attaches nothing to the caller's context."""
    bus = EventBus(MemorySender(MemoryLog()), make_settings())
    provider, _ = provider_with(bus)
    before = otel_context.get_current()
    provider.get_tracer("x").start_span("x").end()
    assert otel_context.get_current() is before
    assert bus.shutdown(5)
