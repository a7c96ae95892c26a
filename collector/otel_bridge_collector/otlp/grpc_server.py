"""
OTLP over gRPC: the services of ``routes/otlp.py`` for spans, logs and metrics, on their own port.

It runs only when ``MONITORING_OTLP_GRPC_PORT`` is set (4317 is the usual port). It has no TLS, like
the HTTP side: put a proxy in front of it beyond loopback.

gRPC hands over the bytes of a request, which are decoded as those over HTTP are: a text that is not
UTF-8 costs nothing there, and with gRPC's own decoding it would cost the whole request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_bridge.errors import ConfigurationError, TransportError
from otel_bridge_collector.otlp.decode import OtlpError, decode
from otel_bridge_collector.otlp.ingest import (
    MAX_BODY_BYTES,
    OtlpBusyError,
    OtlpIngest,
)
from otel_bridge_collector.otlp.metrics import decode_metrics, reject_metrics
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.security.authentication import Authenticator
from otel_bridge_collector.security.refusals import (
    AUTHENTICATION_REQUIRED,
    LOG_UNREACHABLE,
    too_many_failures,
)
from otel_bridge_collector.security.tokens import Principal

__all__ = ["OtlpGrpcServer", "Signal", "address_of_peer"]

_STOP_SEC: Final = 2.0
_MAX_STREAMS: Final = 100


class Signal(NamedTuple):
    """How the requests of one service are decoded and taken."""

    service: str
    """Full name, which is the path of its one method ``Export``."""
    request_type: type[Message]
    take: Callable[[Any, Principal, Rejections], Awaitable[Message]]
    """What it raises, other than ``OtlpError``, ``OtlpBusyError`` and ``TransportError``, passes
    through."""
    read: Callable[..., object] = decode
    """As ``decode``; called in a thread."""


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
        is_shared: Whether other processes of the same service listen on the port too; the kernel
            spreads the connections. Default False.

    Attributes:
        port: The port it listens on.

    Raises:
        ConfigurationError: The port cannot be listened on.
    """

    def __init__(
        self,
        ingest: OtlpIngest,
        authenticator: Authenticator,
        host: str,
        port: int,
        *,
        is_shared: bool = False,
    ) -> None:
        self._authenticator = authenticator
        self._ingest = ingest
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_BODY_BYTES),
                ("grpc.max_concurrent_streams", _MAX_STREAMS),
                ("grpc.so_reuseport", int(is_shared)),
            ]
        )
        self._server.add_generic_rpc_handlers([self._handler(one) for one in _signals(ingest)])
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            # First without gRPC, which would write a line of its own to standard error.
            socket.create_server((host, port), family=family, reuse_port=is_shared).close()
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

    def _handler(self, signal: Signal) -> grpc.GenericRpcHandler:
        async def export(body: bytes, context: Any) -> bytes:
            answer = await self.take(body, context, signal)
            return bytes(answer.SerializeToString())

        # Without a deserializer and a serializer both are bytes.
        method = grpc.unary_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(signal.service, {"Export": method})

    async def take(self, body: bytes, context: Any, signal: Signal) -> Message:
        """
        Authenticate a call, decode its request and let ``signal`` take it; gRPC calls this method.

        Args:
            body: The encoded request, of at most 4 MiB.
            context: gRPC's context of the call; its ``abort`` raises, which ends the call.
            signal: The service that was called.

        Returns:
            The answer, as ``signal.take`` returns it.

        Raises:
            grpc.aio.AbortError: The call was refused, with the status UNAUTHENTICATED (no valid
                credentials), RESOURCE_EXHAUSTED (10 wrong ones from the address in 60 s),
                INVALID_ARGUMENT (no OTLP, or over 100,000 spans and the like), or UNAVAILABLE,
                after which clients send again (32 requests are in progress, or the log cannot be
                reached).
        """
        principal = await self._authenticate(context)
        try:
            with self._ingest.slot():
                rejected = Rejections()
                message = signal.request_type()
                await asyncio.to_thread(
                    signal.read, message, body, is_json=False, rejected=rejected
                )
                return await signal.take(message, principal, rejected)
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


def _signals(ingest: OtlpIngest) -> tuple[Signal, ...]:
    package = "opentelemetry.proto.collector"
    return (
        Signal(f"{package}.trace.v1.TraceService", ExportTraceServiceRequest, ingest.traces),
        Signal(f"{package}.logs.v1.LogsService", ExportLogsServiceRequest, ingest.logs),
        Signal(
            f"{package}.metrics.v1.MetricsService",
            ExportMetricsServiceRequest,
            reject_metrics,
            decode_metrics,
        ),
    )
