"""A configured bridge whose spans are recorded, and the states of instrumented coordinators."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_bridge
from otel_bridge.coordinator.jobs import InstrumentedCoordinators
from otel_bridge.settings import BridgeSettings
from tests.support.spans import SpanRecorder

_names = itertools.count()


@pytest.fixture
def recorder(make_settings: Callable[..., BridgeSettings]) -> Iterator[SpanRecorder]:
    found = SpanRecorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(found)
    bridge = otel_bridge.configure(
        tracer_provider=provider,
        settings=make_settings(bus_url=f"memory://coordinator-jobs-{next(_names)}"),
    )
    yield found
    bridge.shutdown()


@pytest.fixture
def states() -> Iterator[InstrumentedCoordinators]:
    made = InstrumentedCoordinators("redis_client", None, 5.0)
    yield made
    made.close()
