"""
The application as a whole, without a socket: its lifespan and what it will not start with.

Requests over a real server: ``tests/integration/test_collector.py`` and ``test_attacks.py``.
"""

from __future__ import annotations

import itertools
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from otel_bridge_collector.app import create_app, make_server
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.stream.frames import SharedFramesProtocol

from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import BridgeSettings

_names = itertools.count()


def bridge_settings() -> BridgeSettings:
    """Settings of a log in memory that no other test uses."""
    return BridgeSettings(bus_url=f"memory://app-{next(_names)}")


def test_it_does_not_listen_to_the_network_without_authentication() -> None:
    """A host beyond loopback needs tokens, or the setting that allows any client."""
    with pytest.raises(ConfigurationError) as raised:
        create_app(CollectorSettings(host="0.0.0.0"), bridge_settings())
    assert "MONITORING_HOST=0.0.0.0" in raised.value.problem
    create_app(CollectorSettings(host="0.0.0.0", anonymous_enabled=True), bridge_settings())


def test_a_missing_token_file_is_an_error(tmp_path: Path) -> None:
    """A token file that cannot be read stops the service before it starts."""
    settings = CollectorSettings(tokens_file=tmp_path / "none")
    with pytest.raises(ConfigurationError):
        create_app(settings, bridge_settings())


async def test_the_lifespan_runs_the_collector() -> None:
    """The collector reads the log from the lifespan's start to its end."""
    collector = Collector(CollectorSettings(), bridge_settings())
    app = create_app(collector.settings, collector.bridge_settings, collector=collector)
    assert not collector.feed.is_live
    async with app.router.lifespan_context(app):
        assert app.state.collector is collector
        assert collector.readiness()["ready"]
    assert not any(task for task in collector.feed._tasks if not task.done())


def test_the_server_writes_shared_frames_and_trusts_no_proxy() -> None:
    """The server uses our protocol classes, and by default trusts no forwarded address."""
    settings = CollectorSettings()
    config = make_server(create_app(settings, bridge_settings()), settings, port=0).config
    assert (config.ws, config.proxy_headers, config.port) == (SharedFramesProtocol, False, 0)


async def test_the_server_raises_what_kept_the_application_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A taken port for gRPC is the error of ``serve``, without a line in the log; nothing runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        settings = CollectorSettings(otlp_grpc_port=port)
        server = make_server(create_app(settings, bridge_settings()), settings)
        with pytest.raises(ConfigurationError, match=f"MONITORING_OTLP_GRPC_PORT={port}: "):
            await server.serve(sockets=[listener])
    assert (server.is_up.is_set(), server.started, caplog.records) == (False, False, [])


async def test_an_error_while_the_application_stops_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """``serve`` returns as it does after an orderly stop, since its work is done."""
    app = create_app(CollectorSettings(), bridge_settings())

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        raise OSError("the connection was lost")

    app.router.lifespan_context = lifespan
    server = make_server(app, CollectorSettings())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server.should_exit = True
        await server.serve(sockets=[listener])
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "the application failed to stop cleanly")
    ]


def test_no_document_is_served() -> None:
    """There is no OpenAPI document and no page for one, only the schema for the tests."""
    app = create_app(CollectorSettings(), bridge_settings())
    paths = {getattr(route, "path", "") for route in app.routes}
    assert paths & {"/openapi.json", "/docs", "/redoc"} == set()
    assert "/tasks" in app.openapi()["paths"]


TRACED = """
import asyncio, httpx
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_bridge.settings import BridgeSettings
from otel_bridge_collector.app import create_app
from otel_bridge_collector.settings import CollectorSettings

seen = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))
trace.set_tracer_provider(provider)

async def request(app):
    web = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=web) as client:
        return (await client.get("http://localhost/healthz")).status_code

status = asyncio.run(request(create_app(CollectorSettings(), BridgeSettings())))
print(status, [span.name for span in seen.get_finished_spans()])
"""


def test_the_service_traces_no_requests_of_its_own() -> None:
    """FastAPI's own telemetry is off: a request leaves no span, though a provider is configured."""
    done = subprocess.run(
        [sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "200 []\n"
