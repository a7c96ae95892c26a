"""
OTLP over gRPC: the same two services as ``routes/otlp.py``, on a port of their own.

Only when ``MONITORING_OTLP_GRPC_PORT`` is set, 4317 by custom; needs the extra ``grpc``. Without
TLS, like the HTTP side: beyond loopback, a proxy goes in front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from otel_bridge.errors import ConfigurationError, TransportError
from otel_bridge_collector.otlp.decode import OtlpError, check_items
from otel_bridge_collector.otlp.ingest import (
    MAX_BODY_BYTES,
    REJECTED_LOGS,
    REJECTED_SPANS,
    OtlpBusyError,
    OtlpIngest,
)
from otel_bridge_collector.security.authentication import Authenticator
from otel_bridge_collector.security.refusals import (
    AUTHENTICATION_REQUIRED,
    LOG_UNREACHABLE,
    too_many_failures,
)
from otel_bridge_collector.security.tokens import Principal

__all__ = ["OtlpGrpcServer"]

_STOP_SEC: Final = 2.0
_MAX_STREAMS: Final = 100

_Request = TypeVar("_Request", bound=Message)


class OtlpGrpcServer:
    """
    Listens for OTLP over gRPC.

    Args:
        ingest: Takes the messages.
        authenticator: Knows the tokens; metadata ``authorization`` carries one.
        host: Where to listen.
        port: 0 for any.
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
        )
        for add, service in services:
            add(service, self._server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError:
            raise ConfigurationError(
                f"MONITORING_OTLP_GRPC_PORT={port}: {host} does not let us listen there",
                "is an OpenTelemetry Collector running on it? choose another port",
            ) from None

    async def start(self) -> None:
        """Begin to listen."""
        await self._server.start()

    async def stop(self) -> None:
        """Finish what is being taken, for at most 2 s."""
        await self._server.stop(_STOP_SEC)

    async def take(
        self,
        message: _Request,
        context: Any,
        take: Callable[[_Request, Principal], Awaitable[int]],
    ) -> int:
        """Check the token, take the message; errors become gRPC statuses."""
        principal = await self._principal(context)
        try:
            check_items(message)
            with self._ingest.place():
                return await take(message, principal)
        except OtlpError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise AssertionError("abort() raises") from None
        except TransportError:
            why = LOG_UNREACHABLE
        except OtlpBusyError as error:
            why = str(error)
        # The one status that every exporter sends again for.
        await context.abort(grpc.StatusCode.UNAVAILABLE, why)
        raise AssertionError("abort() raises")

    async def _principal(self, context: Any) -> Principal:
        given = {key: value for key, value in context.invocation_metadata() or ()}
        authorization = given.get("authorization")
        authorization = authorization if isinstance(authorization, str) else None
        principal = await self._authenticator.identify(authorization)
        if principal is not None:
            return principal
        # "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000"
        address = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
        if authorization is not None:
            wait = self._authenticator.retry_after(address)
            self._authenticator.note_failure(address)
            if wait:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_many_failures(wait))
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, AUTHENTICATION_REQUIRED)
        raise asyncio.CancelledError


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, server: OtlpGrpcServer, ingest: OtlpIngest) -> None:
        self._server = server
        self._ingest = ingest

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        rejected = await self._server.take(request, context, self._ingest.traces)
        answer = trace_service_pb2.ExportTraceServiceResponse()
        if rejected:
            answer.partial_success.rejected_spans = rejected
            answer.partial_success.error_message = REJECTED_SPANS
        return answer


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, server: OtlpGrpcServer, ingest: OtlpIngest) -> None:
        self._server = server
        self._ingest = ingest

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        rejected = await self._server.take(request, context, self._ingest.logs)
        answer = logs_service_pb2.ExportLogsServiceResponse()
        if rejected:
            answer.partial_success.rejected_log_records = rejected
            answer.partial_success.error_message = REJECTED_LOGS
        return answer
