"""When an exporter stands beside ours, and what is said of a protocol nobody speaks."""

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
"""Discard: exporters are made here, and nothing is sent."""


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


@pytest.mark.parametrize(
    ("exporter", "endpoint", "traces_endpoint", "is_asked"),
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
    is_asked: bool,
) -> None:
    """``otlp`` or an endpoint asks for the exporter, and ``none`` wins over an endpoint."""
    settings = make_settings(
        otel_traces_exporter=exporter, otlp_endpoint=endpoint, otlp_traces_endpoint=traces_endpoint
    )
    assert add_otlp_export(provider, settings) is is_asked
    assert len(provider._active_span_processor._span_processors) == int(is_asked)


@pytest.mark.parametrize(
    ("exporter", "endpoint", "metrics_endpoint", "is_asked"),
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
    is_asked: bool,
) -> None:
    """Metrics are asked for as spans are; ``none`` keeps them from a backend of spans only."""
    settings = make_settings(
        otel_metrics_exporter=exporter,
        otlp_endpoint=endpoint,
        otlp_metrics_endpoint=metrics_endpoint,
    )
    found = make_meter_provider(settings, Resource.create())
    assert isinstance(found, MeterProvider) is is_asked
    # Or it would shut itself down at exit a second time, and warn of it.
    assert getattr(found, "_atexit_handler", None) is None
    if found is not None:
        found.shutdown(1)


def test_spans_endpoint_asks_for_no_metrics(make_settings: MakeSettings) -> None:
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
def test_the_signals_own_protocol_wins(
    make_settings: MakeSettings,
    provider: TracerProvider,
    protocol: str | None,
    own: str | None,
    module: str,
) -> None:
    """HTTP unless gRPC is asked for, and what is said of traces wins over what is said of all."""
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
def test_an_unknown_protocol_is_named_where_it_stands(
    make_settings: MakeSettings, provider: TracerProvider, field: str, name: str
) -> None:
    """The error names the variable that holds the value, the value and the two that work."""
    settings = make_settings(otel_traces_exporter="otlp", **{field: "http/json"})
    with pytest.raises(ConfigurationError) as raised:
        add_otlp_export(provider, settings)
    assert str(raised.value) == f"{name}=http/json is not supported; use grpc or http/protobuf"
    assert provider._active_span_processor._span_processors == ()


def test_an_unknown_protocol_of_metrics_is_named(make_settings: MakeSettings) -> None:
    """The metrics' own variable is named when the value stands there."""
    settings = make_settings(otel_metrics_exporter="otlp", otlp_metrics_protocol="smoke")
    with pytest.raises(ConfigurationError, match=r"^OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=smoke "):
        make_meter_provider(settings, Resource.create())
