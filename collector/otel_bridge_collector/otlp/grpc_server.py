"""
OTLP over gRPC: the services of ``routes/otlp.py`` for spans, logs and metrics, on their own port.

It runs only when ``MONITORING_OTLP_GRPC_PORT`` is set (4317 is the usual port). It has no TLS, like
the HTTP side: put a proxy in front of it beyond loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from otel_bridge.errors import ConfigurationError, TransportError
from otel_bridge_collector.otlp.decode import OtlpError, check_items
from otel_bridge_collector.otlp.ingest import (
    MAX_BODY_BYTES,
    OtlpBusyError,
    OtlpIngest,
)
from otel_bridge_collector.otlp.metrics import reject_metrics
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.security.authentication import Authenticator
from otel_bridge_collector.security.refusals import (
    AUTHENTICATION_REQUIRED,
    LOG_UNREACHABLE,
    too_many_failures,
)
from otel_bridge_collector.security.tokens import Principal

__all__ = ["OtlpGrpcServer", "address_of_peer"]

_STOP_SEC: Final = 2.0
_MAX_STREAMS: Final = 100

_Request = TypeVar("_Request", bound=Message)
_Answer = TypeVar("_Answer", bound=Message)


class OtlpGrpcServer:
    """
    Listens for OTLP over gRPC, without TLS, for spans, logs and metrics (which are rejected).

    The application makes it on its event loop, then awaits ``start`` once and, at its end,
    ``stop``, which gives calls 2 s to end. A message may have 4 MiB (else gRPC answers
    RESOURCE_EXHAUSTED), a connection 100 calls at a time. A call gets the status UNAUTHENTICATED
    without valid credentials, RESOURCE_EXHAUSTED after 10 wrong ones in 60 s of its address,
    INVALID_ARGUMENT for over 100,000 spans or log records, and UNAVAILABLE, after which clients
    send again, while 32 requests are in progress (together with those over HTTP) or the event log
    cannot be reached.

    Args:
        ingest: Takes the decoded requests.
        authenticator: Checks the token in the metadata ``authorization``.
        host: The address to listen on.
        port: 0 chooses a free one.

    Attributes:
        port: The port it listens on.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """

    def __init__(
        self, ingest: OtlpIngest, authenticator: Authenticator, host: str, port: int
    ) -> None:
        self._authenticator = authenticator
        self._ingest = ingest
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.max_concurrent_streams", _MAX_STREAMS),
                ("grpc.so_reuseport", 0),
            ]
        )
        services: tuple[tuple[Any, object], ...] = (
            (trace_service_pb2_grpc.add_TraceServiceServicer_to_server, _Traces(self, ingest)),
            (logs_service_pb2_grpc.add_LogsServiceServicer_to_server, _Logs(self, ingest)),
            (metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, _Metrics(self)),
        )
        for add, service in services:
            add(service, self._server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # First without gRPC, which would write a line of its own to standard error.
            socket.create_server((host, port), family=family).close()
            self.port: int = self._server.add_insecure_port(address)
        except (OSError, RuntimeError):
            raise ConfigurationError(
                f"MONITORING_OTLP_GRPC_PORT={port}: cannot listen on {address}",
                "choose another port; an OpenTelemetry Collector may use this one",
            ) from None

    async def start(self) -> None:
        """Start answering calls, in the background; returns at once. Call it once."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening; calls in progress have 2 s to finish and are then cancelled."""
        await self._server.stop(_STOP_SEC)

    async def take(
        self,
        message: _Request,
        context: Any,
        take: Callable[[_Request, Principal, Rejections], Awaitable[_Answer]],
        check: Callable[[_Request], None] = check_items,
    ) -> _Answer:
        """
        Authenticate a call and pass its message to ``take``; the gRPC services call this method.

        Args:
            message: The decoded request, of at most 4 MiB.
            context: gRPC's context of the call; its ``abort`` raises, which ends the call.
            take: ``OtlpIngest.traces``, ``OtlpIngest.logs`` or ``reject_metrics``; what it raises,
                other than the errors below, passes through.
            check: Raises ``OtlpError`` for a message that has too many parts; the default: for over
                100,000 resources, scopes, spans and log records together.

        Returns:
            The answer, as ``take`` returns it.

        Raises:
            grpc.aio.AbortError: The call was refused, with the status UNAUTHENTICATED (no valid
                credentials), RESOURCE_EXHAUSTED (10 wrong ones from the address in 60 s),
                INVALID_ARGUMENT (``check`` or ``take`` raised ``OtlpError``), or UNAVAILABLE, after
                which clients send again (32 requests are in progress, or the log cannot be
                reached).
        """
        principal = await self._authenticate(context)
        try:
            check(message)
            with self._ingest.slot():
                return await take(message, principal, Rejections())
        except OtlpError as error:
            status, detail = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except OtlpBusyError as error:
            # UNAVAILABLE is the one status after which every exporter sends its request again.
            status, detail = grpc.StatusCode.UNAVAILABLE, str(error)
        except TransportError:
            status, detail = grpc.StatusCode.UNAVAILABLE, LOG_UNREACHABLE
        await context.abort(status, detail)
        raise AssertionError("abort() raises")

    async def _authenticate(self, context: Any) -> Principal:
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        authorization = metadata.get("authorization")
        authorization = authorization if isinstance(authorization, str) else None
        principal = await self._authenticator.identify(authorization)
        if principal is not None:
            return principal
        if authorization is not None:
            wait_sec = self._authenticator.record_failure(address_of_peer(context.peer()))
            if wait_sec:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many_failures(wait_sec))
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, AUTHENTICATION_REQUIRED)
        raise AssertionError("abort() raises")


def address_of_peer(peer: str) -> str:
    """
    Return the IP address in gRPC's name of a peer; never raises.

    Args:
        peer: ``ipv4:127.0.0.1:5000``, ``ipv6:%5B::1%5D:5000`` or ``unix:PATH``; other text of any
            length gives a part of it.

    Returns:
        The address without port and brackets; empty for a Unix socket.
    """
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, server: OtlpGrpcServer, ingest: OtlpIngest) -> None:
        self._server = server
        self._ingest = ingest

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        return await self._server.take(request, context, self._ingest.traces)


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, server: OtlpGrpcServer, ingest: OtlpIngest) -> None:
        self._server = server
        self._ingest = ingest

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        return await self._server.take(request, context, self._ingest.logs)


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, server: OtlpGrpcServer) -> None:
        self._server = server

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        # ``reject_metrics`` limits the parts itself.
        return await self._server.take(request, context, reject_metrics, lambda _: None)
