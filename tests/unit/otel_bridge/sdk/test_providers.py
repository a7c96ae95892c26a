"""Each SDK provider is watched once; whole programs are in ``test_auto.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.mapping.third_party import unignore_scope
from otel_bridge.publish.bus import EventBus
from otel_bridge.publish.transports.memory import MemoryLog, MemorySender
from otel_bridge.sdk import providers
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.sdk.providers import (
    is_watched,
    on_new_provider,
    sdk_provider_of,
    warn_of_provider,
    watch_provider,
)
from otel_bridge.sdk.sampling import LiveSpanSampler
from otel_bridge.settings import BridgeSettings


@pytest.fixture
def bus(make_settings: Callable[..., BridgeSettings]) -> Iterator[EventBus]:
    made = EventBus(MemorySender(MemoryLog()), make_settings())
    yield made
    made.shutdown(5)


@pytest.fixture
def _no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_on_new", None)


def ours(provider: TracerProvider) -> int:
    processors = provider._active_span_processor._span_processors
    return sum(isinstance(one, MonitoringSpanProcessor) for one in processors)


def test_a_provider_is_watched_once(bus: EventBus) -> None:
    """A second call adds nothing; the spans of the provider reach the bus once."""
    provider = TracerProvider(shutdown_on_exit=False)
    assert not is_watched(provider, bus)
    for _ in range(2):
        watch_provider(provider, bus)
    assert (is_watched(provider, bus), is_watched(provider, None)) == (True, True)
    assert isinstance(provider.sampler, LiveSpanSampler)
    provider.get_tracer("app").start_span("plan").end()
    assert ours(provider) == 1
    assert bus.flush(5)
    assert bus.counters.published == 2


def test_the_applications_own_processor_is_enough(bus: EventBus) -> None:
    """A provider to which the application has added the processor gets no second one."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(MonitoringSpanProcessor(bus))
    watch_provider(provider, bus)
    assert ours(provider) == 1


def test_a_new_bus_gets_the_spans(
    bus: EventBus, make_settings: Callable[..., BridgeSettings]
) -> None:
    """After a shutdown and another set-up the provider's spans go to the new bus."""
    provider = TracerProvider(shutdown_on_exit=False)
    watch_provider(provider, bus)
    bus.shutdown(5)
    later = EventBus(MemorySender(MemoryLog()), make_settings())
    watch_provider(provider, later)
    provider.get_tracer("app").start_span("plan").end()
    assert later.shutdown(5)
    assert (bus.counters.published, later.counters.published) == (0, 2)


@pytest.mark.usefixtures("_no_other_call")
def test_every_provider_that_is_asked_for_a_tracer_is_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also one of a subclass, and no error gets out."""

    class Own(TracerProvider):
        pass

    seen: list[TracerProvider] = []
    on_new_provider(lambda provider: seen.append(provider))
    plain, own = TracerProvider(), Own()
    for provider in (plain, own, trace.NoOpTracerProvider()):
        provider.get_tracer("app")
    assert seen == [plain, own]

    def fails(provider: TracerProvider) -> None:
        raise ValueError("a bug")

    on_new_provider(fails)
    assert plain.get_tracer("app").start_span("plan").is_recording()
    assert "a tracer provider is not watched" in caplog.text
    for made in (plain, own):
        made.shutdown()


@pytest.mark.usefixtures("_no_other_call")
def test_a_products_own_telemetry_is_left_out(bus: EventBus) -> None:
    """CrewAI reports its use by spans over the global provider: they are no work of the user."""
    on_new_provider(lambda provider: watch_provider(provider, bus))
    provider = TracerProvider(shutdown_on_exit=False)
    try:
        provider.get_tracer("crewai.telemetry").start_span("Crew Created").end()
        provider.get_tracer("app").start_span("plan").end()
        assert bus.flush(5)
        assert (bus.counters.ignored, bus.counters.published) == (2, 2)
    finally:
        unignore_scope("crewai.telemetry")


def test_a_provider_of_another_kind_is_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its class there are, one line says that its spans are not shown."""
    monkeypatch.setattr(providers, "_unwatched", set())
    for _ in range(2):
        warn_of_provider(trace.NoOpTracerProvider())
    assert [record.getMessage() for record in caplog.records] == [
        "spans of opentelemetry.trace.NoOpTracerProvider are not shown, because this tracer "
        "provider takes no span processors; set one of opentelemetry-sdk instead"
    ]


def test_the_sdk_provider_is_found_behind_a_proxy() -> None:
    """A provider itself, or the one in its attribute; of anything else there is none."""

    class InFront(trace.NoOpTracerProvider):
        provider: object = None

    provider = TracerProvider(shutdown_on_exit=False)
    proxy = InFront()
    assert sdk_provider_of(provider) is provider
    assert sdk_provider_of(proxy) is None
    proxy.provider = provider
    assert sdk_provider_of(proxy) is provider
