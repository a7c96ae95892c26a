"""When spans and metrics are exported by OTLP, and the error for an unknown protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_bridge.errors import ConfigurationError
from otel_bridge.sdk.otlp_export import add_otlp_export, make_meter_provider
from otel_bridge.settings import BridgeSettings

MakeSettings = Callable[..., BridgeSettings]

NOWHERE = "http://127.0.0.1:9"
"""The discard port: exporters are created with it, and nothing is sent."""


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


@pytest.mark.parametrize(
    ("exporter", "endpoint", "traces_endpoint", "is_requested"),
    [
        (None, None, None, False),
        ("none", None, None, False),
        ("console", None, None, False),
        ("otlp", None, None, True),
        ("console, otlp", None, None, True),
        (None, NOWHERE, None, True),
        (None, None, NOWHERE, True),
        ("none", NOWHERE, NOWHERE, False),
    ],
)
def test_when_spans_are_exported(
    make_settings: MakeSettings,
    provider: TracerProvider,
    exporter: str | None,
    endpoint: str | None,
    traces_endpoint: str | None,
    is_requested: bool,
) -> None:
    """``otlp`` or an endpoint requests the exporter, unless the exporter variable is ``none``."""
    settings = make_settings(
        otel_traces_exporter=exporter, otlp_endpoint=endpoint, otlp_traces_endpoint=traces_endpoint
    )
    assert add_otlp_export(provider, settings) is is_requested
    assert len(provider._active_span_processor._span_processors) == int(is_requested)


@pytest.mark.parametrize(
    ("exporter", "endpoint", "metrics_endpoint", "is_requested"),
    [
        (None, None, None, False),
        ("otlp", None, None, True),
        (None, NOWHERE, None, True),
        (None, None, NOWHERE, True),
        ("none", NOWHERE, NOWHERE, False),
    ],
)
def test_when_metrics_are_exported(
    make_settings: MakeSettings,
    exporter: str | None,
    endpoint: str | None,
    metrics_endpoint: str | None,
    is_requested: bool,
) -> None:
    """Metrics are requested as spans are; ``none`` disables them for a backend of spans only."""
    settings = make_settings(
        otel_metrics_exporter=exporter,
        otlp_endpoint=endpoint,
        otlp_metrics_endpoint=metrics_endpoint,
    )
    found = make_meter_provider(settings, Resource.create())
    assert isinstance(found, MeterProvider) is is_requested
    # With a handler it would shut down a second time at exit, and warn of it.
    assert getattr(found, "_atexit_handler", None) is None
    if found is not None:
        found.shutdown(1)


def test_an_endpoint_for_spans_requests_no_metrics(make_settings: MakeSettings) -> None:
    """An endpoint for traces alone sends no metrics to it."""
    settings = make_settings(otlp_traces_endpoint=NOWHERE)
    assert make_meter_provider(settings, Resource.create()) is None


@pytest.mark.parametrize(
    ("protocol", "own", "module"),
    [
        (None, None, "http"),
        ("", None, "http"),
        ("http/protobuf", None, "http"),
        ("grpc", None, "grpc"),
        ("grpc", "http/protobuf", "http"),
        ("http/protobuf", "grpc", "grpc"),
    ],
)
def test_the_signals_own_protocol_comes_first(
    make_settings: MakeSettings,
    provider: TracerProvider,
    protocol: str | None,
    own: str | None,
    module: str,
) -> None:
    """The default is HTTP; a protocol for traces takes precedence over one for all signals."""
    settings = make_settings(
        otel_traces_exporter="otlp", otlp_protocol=protocol, otlp_traces_protocol=own
    )
    assert add_otlp_export(provider, settings)
    (processor,) = provider._active_span_processor._span_processors
    exporter = vars(vars(processor)["_batch_processor"])["_exporter"]
    assert f".proto.{module}." in type(exporter).__module__


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("otlp_protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ("otlp_traces_protocol", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ],
)
def test_an_unknown_protocol_is_named_with_its_variable(
    make_settings: MakeSettings, provider: TracerProvider, field: str, name: str
) -> None:
    """The error names the variable, its value and the two protocols that work."""
    settings = make_settings(otel_traces_exporter="otlp", **{field: "http/json"})
    with pytest.raises(ConfigurationError) as raised:
        add_otlp_export(provider, settings)
    assert str(raised.value) == f"{name}=http/json is not supported; use grpc or http/protobuf"
    assert provider._active_span_processor._span_processors == ()


def test_an_unknown_protocol_of_metrics_is_named(make_settings: MakeSettings) -> None:
    """The error names the variable for metrics if that one holds the value."""
    settings = make_settings(otel_metrics_exporter="otlp", otlp_metrics_protocol="smoke")
    with pytest.raises(ConfigurationError, match=r"^OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=smoke "):
        make_meter_provider(settings, Resource.create())
