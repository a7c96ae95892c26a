"""``configure()``: once a process; a wrong value is a warning, or an error that leaves nothing."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_bridge import bridge as bridge_module
from otel_bridge.bridge import (
    Bridge,
    configure,
    current_bridge,
    make_on_demand,
    sdk_provider_of,
)
from otel_bridge.errors import ConfigurationError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from tests.support.spans import job_attributes

MakeSettings = Callable[..., BridgeSettings]

_names = itertools.count()


@pytest.fixture
def settings(make_settings: MakeSettings) -> BridgeSettings:
    return make_settings(bus_url=f"memory://bridge-{next(_names)}")


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


@pytest.fixture(autouse=True)
def _no_bridge_is_left() -> Iterator[None]:
    yield
    found = current_bridge()
    if found is not None:
        found.shutdown()


def count_of(settings: BridgeSettings) -> int:
    return len(memory_log(settings.bus_url.removeprefix("memory://")).newest(1000, None))


def test_a_given_provider_gets_one_processor_more(
    provider: TracerProvider, settings: BridgeSettings
) -> None:
    """The user's provider is used, not replaced, and its spans are live from then on."""
    made = configure(tracer_provider=provider, settings=settings)
    (processor,) = provider._active_span_processor._span_processors
    assert isinstance(processor, MonitoringSpanProcessor)
    assert (made.tracer_provider, made.is_enabled, current_bridge()) == (provider, True, made)
    provider.get_tracer("x").start_span("job", attributes=job_attributes()).end()
    assert made.flush(10)
    assert count_of(settings) == 2


def test_a_provider_that_samples_nothing_is_still_live(settings: BridgeSettings) -> None:
    """Spans that a sampler drops are not exported, but they are in the live view."""
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    made = configure(tracer_provider=provider, settings=settings)
    span = provider.get_tracer("x").start_span("job", attributes=job_attributes())
    assert not span.get_span_context().trace_flags.sampled
    span.end()
    assert made.flush(10)
    assert count_of(settings) == 2


def test_the_first_call_stands(
    provider: TracerProvider, settings: BridgeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """A second call warns, returns the first bridge and adds no second processor."""
    made = configure(tracer_provider=provider, settings=settings)
    assert configure(tracer_provider=provider, heartbeat_ttl_sec=-1) is made
    assert len(provider._active_span_processor._span_processors) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_many_threads_make_one_bridge(provider: TracerProvider, settings: BridgeSettings) -> None:
    """Called from many threads at once, there is one bridge and one processor."""
    found: list[Bridge] = []
    gate = threading.Barrier(8)

    def call() -> None:
        gate.wait(10)
        found.append(configure(tracer_provider=provider, settings=settings))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert len(provider._active_span_processor._span_processors) == 1


def test_settings_and_keywords_do_not_mix(settings: BridgeSettings) -> None:
    """Settings and keywords together are an error that names the keywords."""
    with pytest.raises(ConfigurationError, match=r"^settings and enabled, redis_url were both"):
        configure(settings=settings, redis_url="redis://x", enabled=True)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"bus_url": "ftp://x"}, "unknown transport 'ftp' in MONITORING_BUS_URL"),
        ({"bus_url": "redis://[hunter2"}, r"redis://\*\*\* is not a Redis URL"),
        ({"bus_url": "http://[hunter2"}, r"http://\*\*\* names no host and port"),
        ({"bus_url": "hunter2"}, "MONITORING_BUS_URL does not begin with a transport"),
        ({"redis_url": "localhost:6379"}, r"\*\*\* is not a Redis URL"),
        ({"redis_url": "redis://:hun/ter2@h"}, r"redis://\*\*\* is not a Redis URL"),
        (
            {"otlp_endpoint": "http://127.0.0.1:9", "otlp_protocol": "smoke"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=smoke",
        ),
        (
            {"otlp_metrics_endpoint": "http://127.0.0.1:9", "otlp_metrics_protocol": "smoke"},
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=smoke",
        ),
        ({"knowledge_base_url": "mysql://u:hunter2@h/d"}, "is not a PostgreSQL URL"),
    ],
)
def test_a_wrong_setting_fails_at_once_and_leaves_nothing(
    make_settings: MakeSettings, wrong: dict[str, str], sentence: str
) -> None:
    """Strict, a wrong setting is one error without a password; nothing of a bridge is left."""
    before = set(threading.enumerate())
    settings = make_settings(**{"bus_url": "memory://wrong", **wrong})
    with pytest.raises(ConfigurationError, match=sentence) as raised:
        configure(settings=settings, strict=True)
    assert "hunter2" not in str(raised.value)
    assert current_bridge() is None
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert "sdk" not in type(metrics.get_meter_provider()).__module__
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"MONITORING_BUS_URL": "ftp://x"},
            "unknown transport 'ftp' in MONITORING_BUS_URL; known: ",
        ),
        ({"REDIS_URL": "redis://:hun/ter2@h"}, r"REDIS_URL=redis://*** is not a Redis URL: "),
        ({"MONITORING_HEARTBEAT_TTL_SEC": "tcp://10.0.0.1:80"}, "MONITORING_HEARTBEAT_TTL_SEC=tcp"),
        ({"MONITORING_HEARTBEAT_TTL_SEC": "1"}, "MONITORING_HEARTBEAT_TTL_SEC=1 must exceed "),
        ({"NEXUS_MONITORING_ENABLED": "perhaps"}, "NEXUS_MONITORING_ENABLED=perhaps: "),
        ({"MONITORING_KEY_PREFIX": "a*"}, "MONITORING_KEY_PREFIX=a*: "),
        ({"MONITORING_TOKEN": "hunter2\n"}, "MONITORING_TOKEN has a character that "),
        ({"MONITORING_KNOWLEDGE_BASE_URL": "mysql://u:hunter2@h/d"}, "MONITORING_KNOWLEDGE_BASE"),
    ],
)
def test_no_value_stops_a_program(
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    environ: dict[str, str],
    line: str,
) -> None:
    """A value that cannot work is one warning with name, value and cure; its default is used."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    made = configure(tracer_provider=provider)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(line)
    assert "; " in warning
    assert "until then" in warning
    assert "hunter2" not in warning
    monkeypatch.undo()
    assert made.settings == BridgeSettings.load()
    assert made.is_enabled


def test_a_variable_that_opentelemetry_refuses_stops_no_program(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where OpenTelemetry's own SDK raises for a variable, the process is not watched, but runs."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    made = configure(bus_url="memory://refused-by-otel")
    assert (made.is_enabled, current_bridge()) == (False, made)
    assert "not watching this process" in caplog.text
    made.shutdown()
    with pytest.raises(ValueError, match="OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"):
        configure(bus_url="memory://refused-by-otel", strict=True)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.parametrize(
    "wrong", [{"enabled": False}, {"bridge_enabled": False}, {"otel_sdk_disabled": True}]
)
def test_off_is_off(make_settings: MakeSettings, wrong: dict[str, bool]) -> None:
    """While monitoring is off nothing is created, and no other setting is checked."""
    made = configure(
        settings=make_settings(
            bus_url="ftp://x", redis_url="nonsense", knowledge_base_url="nonsense", **wrong
        )
    )
    assert (made.is_enabled, made.bus, made.otel_metrics, made.tracer_provider) == (
        False,
        None,
        None,
        None,
    )
    assert (made.flush(0), made.shutdown(0), current_bridge()) == (True, True, None)


def test_shutdown_publishes_the_queue_and_allows_another_configure(
    provider: TracerProvider, settings: BridgeSettings
) -> None:
    """``shutdown`` flushes, may be called again, and another ``configure`` may follow it."""
    made = configure(tracer_provider=provider, settings=settings)
    assert made.bus is not None
    for _ in range(50):
        made.bus.publish(MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED))
    assert (made.shutdown(10), made.shutdown(0), made.is_enabled) == (True, True, False)
    assert count_of(settings) == 50
    again = configure(tracer_provider=provider, settings=settings)
    assert again is not made
    assert current_bridge() is again


def test_shutdown_of_an_old_bridge_leaves_the_new_one(
    provider: TracerProvider, settings: BridgeSettings
) -> None:
    """A second shutdown of an old bridge does not affect the present one."""
    old = configure(tracer_provider=provider, settings=settings)
    old.shutdown()
    new = configure(tracer_provider=provider, settings=settings)
    old.shutdown()
    assert (current_bridge(), new.is_enabled) == (new, True)


def test_a_bridge_on_demand_is_made_once(
    provider: TracerProvider, settings: BridgeSettings
) -> None:
    """The first caller of ``current_bridge`` creates it; after its shutdown none is created."""
    made: list[Bridge] = []
    make_on_demand(lambda: made.append(configure(tracer_provider=provider, settings=settings)))
    assert bridge_module._current is None
    assert current_bridge() is current_bridge() is made[0]
    made[0].shutdown()
    assert current_bridge() is None
    assert len(made) == 1


def test_the_sdk_provider_is_found_behind_a_proxy(provider: TracerProvider) -> None:
    """The SDK's provider is found directly and behind a proxy, and in nothing else."""

    class InFront(trace.NoOpTracerProvider):
        def __init__(self, inner: object) -> None:
            self.provider = inner

    assert sdk_provider_of(provider) is provider
    assert sdk_provider_of(InFront(provider)) is provider
    assert sdk_provider_of(InFront("x")) is None
    assert sdk_provider_of(trace.NoOpTracerProvider()) is None


def test_log_lines_are_taken_while_a_bridge_asks_for_them(
    make_settings: MakeSettings, provider: TracerProvider
) -> None:
    """``MONITORING_LOGS`` is off by default, and a shutdown puts the logging back as it was."""
    before = logging.Logger.callHandlers
    for level, is_tapped in (("off", False), ("info", True)):
        settings = make_settings(bus_url=f"memory://bridge-{next(_names)}", logs=level)
        made = configure(tracer_provider=provider, settings=settings)
        assert (logging.Logger.callHandlers is not before) == is_tapped
        made.shutdown()
        assert logging.Logger.callHandlers is before
