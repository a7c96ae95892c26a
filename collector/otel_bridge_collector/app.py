"""
``create_app`` and ``make_server``: the service as an ASGI application, and uvicorn to serve it.

The application starts and stops the collector in its lifespan, so it runs under any ASGI server.
Only the server made here writes WebSockets with shared frames (``stream/frames.py``).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_bridge.cancellation import cancel
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import BridgeSettings
from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.metrics import MetricsPage
from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.routes import (
    events,
    health,
    monitor,
    otlp,
    session,
    tasks,
    views,
    websocket,
)
from otel_bridge_collector.routes.cluster import peers
from otel_bridge_collector.routes.dashboard import make_dashboard_router
from otel_bridge_collector.routes.exception_handlers import add_exception_handlers
from otel_bridge_collector.routes.head import HeadRequests
from otel_bridge_collector.routes.tasks import TaskGateway
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.admission import HandshakeAdmission
from otel_bridge_collector.security.authentication import AuthenticationGuard, Authenticator
from otel_bridge_collector.security.bounded_http import BoundedHttpProtocol
from otel_bridge_collector.security.headers import SecurityHeaders
from otel_bridge_collector.security.oidc import OidcSettings, OidcVerifier
from otel_bridge_collector.security.origins import OriginGuard, is_loopback_name, normal_origin
from otel_bridge_collector.security.tokens import TokenTable
from otel_bridge_collector.settings import PEER_PATH, CollectorSettings
from otel_bridge_collector.stream.frames import SharedFramesProtocol

if TYPE_CHECKING:
    from otel_bridge_collector.otlp.grpc_server import OtlpGrpcServer

__all__ = ["STATIC_DIR", "CollectorServer", "create_app", "make_server"]

logger = logging.getLogger(__name__)

STATIC_DIR: Final = Path(__file__).parent / "static"
_PING_INTERVAL_SEC: Final = 25.0
_PING_TIMEOUT_SEC: Final = 20.0
_SHUTDOWN_TIMEOUT_SEC: Final = 5
_BACKLOG: Final = 4096
"""Connections that wait to be accepted, Linux's limit. uvicorn's 2,048 overflow in a storm, and a
health check that comes then is tried again after a second."""
_MAX_INBOUND_BYTES: Final = 16 * 1024
"""Of one message to ``/ws/views``, the only route that reads them; uvicorn allows 16 MiB."""
_WITHOUT_TELEMETRY: Final[dict[str, Any]] = (
    {"telemetry": {"tracing": False, "metrics": False, "logs": False}}
    if "telemetry" in inspect.signature(FastAPI.__init__).parameters
    else {}
)
"""FastAPI 0.165 and newer trace each request by themselves: 0.25 ms a connection, and 8 KiB a
client. Older versions do not have the parameter."""


def create_app(
    settings: CollectorSettings,
    bridge_settings: BridgeSettings,
    *,
    gateway: TaskGateway | None = None,
    collector: Collector | None = None,
    static_dir: Path = STATIC_DIR,
    group: LocalGroup | None = None,
) -> FastAPI:
    """
    Make the application; it connects to nothing before its lifespan starts.

    The lifespan (the ASGI server's start and stop of the application) starts the collector and
    waits at most 30 s until the log is read; a log that cannot be reached delays nothing and is no
    error, ``/readyz`` shows it. The lifespan's end stops the collector.

    Args:
        settings: The collector's settings, which hold all limits.
        bridge_settings: The log's URL, the limits of events and the heartbeat TTL.
        gateway: Accepts research tasks; None: ``/tasks`` answers 503.
        collector: The collector to run; None: one is made from the settings.
        static_dir: The folder of the built dashboard, default: that of the package. If it is
            missing, ``/`` explains how to build it.
        group: The processes of this machine that share the port and the fold; None: this is the
            only one.

    Raises:
        ConfigurationError: A token line or an OpenID Connect setting is invalid, or the token file
            cannot be read; or the service would listen beyond loopback without authentication. When
            the lifespan starts: the log's URL cannot be used, the port for gRPC is taken, or grpcio
            is not installed.
    """
    authenticator = _make_authenticator(settings)
    admission = HandshakeAdmission(settings.connects_per_sec)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        running = collector or Collector(settings, bridge_settings, group=group)
        app.state.collector = running
        app.state.otlp_ingest = OtlpIngest(running)
        app.state.metrics_page = MetricsPage(running, app.state.otlp_ingest, admission)
        if running.cluster is not None:
            running.cluster.calls["metrics"] = app.state.metrics_page.answer
        listener = _make_grpc_server(settings, app.state.otlp_ingest, authenticator, group)
        authenticator.tickets.redis = running.redis
        authenticator.tickets.keys = authenticator.sessions.keys = running.redis_keys
        if running.cluster is not None:
            authenticator.sessions.redis = running.redis
        await running.start()
        if listener is not None:
            await listener.start()
            app.state.otlp_grpc_port = listener.port
        watch = asyncio.create_task(authenticator.watch(), name="authenticator")
        try:
            yield
        finally:
            await cancel([watch])
            if listener is not None:
                await listener.stop()
            await app.state.otlp_ingest.lines.close()
            await running.stop()

    app = _Application(
        title="otel-bridge collector",
        lifespan=lifespan,
        # No /docs: Swagger's page loads scripts of another origin, which our CSP forbids. And no
        # document for it to show: routes read bodies and queries themselves, so that it has only
        # their paths. ``app.openapi()`` gives it to the tests.
        openapi_url=None,
        **_WITHOUT_TELEMETRY,
    )
    app.state.settings = settings
    app.state.gateway = gateway
    app.state.authenticator = authenticator
    app.state.admission = admission
    # The last added is the outermost, so origins are checked before credentials.
    check_credentials = partial(AuthenticationGuard, authenticator=authenticator)
    check_origin = partial(
        OriginGuard,
        bind_host=settings.host,
        allowed_origins=settings.origins,
        has_authentication=authenticator.is_enabled,
    )
    app.add_middleware(HeadRequests)
    app.add_middleware(check_credentials)
    app.add_middleware(check_origin)
    if settings.origins:
        # For a dashboard inside a page of another origin; subdomains of one site share cookies.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[normal_origin(origin) for origin in settings.origins],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            allow_credentials=True,
        )
    app.add_middleware(SecurityHeaders)

    add_exception_handlers(app)
    for module in (websocket, views, monitor, events, otlp, tasks, session, health):
        app.include_router(module.router)
    app.include_router(make_dashboard_router(static_dir))
    endpoints = {
        "/ws/monitor": websocket.monitor,
        "/ws/views": views.views,
        PEER_PATH: peers.peer,
    }
    sockets = check_credentials(websocket.route_websockets(endpoints))
    app.sockets = SecurityHeaders(check_origin(sockets), refused=admission.give_back)
    return app


class _Application(FastAPI):
    """FastAPI for HTTP; a WebSocket goes through the same guards to its endpoint, and no others."""

    sockets: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope["app"] = self
            await self.sockets(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _make_authenticator(settings: CollectorSettings) -> Authenticator:
    tokens = oidc = None
    if settings.has_tokens:
        tokens = TokenTable(settings.tokens.get_secret_value(), settings.tokens_file)
    if settings.oidc_issuer:
        oidc = OidcVerifier(
            OidcSettings(
                settings.oidc_issuer,
                settings.oidc_audience,
                settings.oidc_jwks_url,
                settings.oidc_projects_claim,
            )
        )
    if (
        tokens is None
        and oidc is None
        and not (is_loopback_name(settings.host) or settings.anonymous_enabled)
    ):
        raise ConfigurationError(
            f"MONITORING_HOST={settings.host} is not loopback and no tokens are set",
            "set MONITORING_TOKENS_FILE, or MONITORING_ANONYMOUS_ENABLED=true to allow any client",
        )
    return Authenticator(
        tokens,
        token_connections=settings.token_max_connections,
        address_connections=settings.address_max_connections,
        oidc=oidc,
    )


def _make_grpc_server(
    settings: CollectorSettings,
    ingest: OtlpIngest,
    authenticator: Authenticator,
    group: LocalGroup | None,
) -> OtlpGrpcServer | None:
    # gRPC takes no inherited socket: where the kernel does not balance, the first process serves.
    is_shared = group is not None and sys.platform == "linux"
    if settings.otlp_grpc_port is None or (group is not None and group.number and not is_shared):
        return None
    try:
        from otel_bridge_collector.otlp.grpc_server import OtlpGrpcServer
    except ImportError:
        raise ConfigurationError(
            f"MONITORING_OTLP_GRPC_PORT={settings.otlp_grpc_port} needs grpcio",
            "pip install grpcio",
        ) from None
    return OtlpGrpcServer(
        ingest, authenticator, settings.host, settings.otlp_grpc_port, is_shared=is_shared
    )


class CollectorServer(uvicorn.Server):
    """
    uvicorn's server, which reports when it is up and leaves signals to its caller.

    Await ``serve`` once, on the event loop of the application; set ``should_exit`` to end it, which
    gives connections 5 s. ``serve`` raises what kept the application from starting, such as
    ``ConfigurationError``; an error while the application stops is logged.

    Args:
        app: From ``create_app``; its lifespan (start and stop) is run here and not by uvicorn.
        config: uvicorn's configuration with ``lifespan="off"``; ``make_server`` makes one.

    Attributes:
        is_up: An ``asyncio.Event``, set once the application has started and the sockets accept
            connections.
    """

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self._app = app

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn would log the traceback of a failed start and end the process with code 3, so that
        # the command could not show the error's one line.
        lifespan = self._app.router.lifespan_context(self._app)
        await lifespan.__aenter__()
        try:
            await super().serve(sockets)
        finally:
            try:
                await lifespan.__aexit__(None, None, None)
            except Exception:
                logger.exception("the application failed to stop cleanly")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def make_server(app: FastAPI, settings: CollectorSettings, **options: Any) -> CollectorServer:
    """
    Make a server for ``app``; ``await server.serve(sockets=[listener])`` runs it.

    It admits 200 WebSocket handshakes a second (``MONITORING_CONNECTS_PER_SEC``); another server
    would admit all. It pings each WebSocket every 25 s and closes one without an answer for 20 s. A
    client's message may have 16 KiB (else: close code 1009). Connections have 5 s to end when the
    server stops. The head of an HTTP request may have 32 KiB (else: 431) and take 10 s (else: the
    connection is aborted).

    Args:
        app: From ``create_app``.
        settings: Host and port, used if ``serve`` gets no sockets; and the trusted proxies.
        **options: Options of ``uvicorn.Config``, which take precedence.

    Raises:
        TypeError: ``options`` has a name that uvicorn does not know.
    """
    config = uvicorn.Config(
        app,
        **{
            "host": settings.host,
            "port": settings.port,
            "http": partial(BoundedHttpProtocol, admission=app.state.admission),
            "ws": SharedFramesProtocol,
            "ws_ping_interval": _PING_INTERVAL_SEC,
            "ws_ping_timeout": _PING_TIMEOUT_SEC,
            "ws_max_size": _MAX_INBOUND_BYTES,
            "ws_per_message_deflate": False,  # ``SharedFramesProtocol`` offers it for views
            "backlog": _BACKLOG,
            "timeout_graceful_shutdown": _SHUTDOWN_TIMEOUT_SEC,
            "lifespan": "off",  # ``CollectorServer.serve`` runs it
            "log_level": "warning",
            "log_config": None,  # its lines go to the root logger, like ours
            "access_log": False,
            "server_header": False,
            # uvicorn's default trusts any process of this machine.
            "proxy_headers": bool(settings.trusted_proxies),
            "forwarded_allow_ips": settings.trusted_proxies,
            **options,
        },
    )
    return CollectorServer(app, config)
