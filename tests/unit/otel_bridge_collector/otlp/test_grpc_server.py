"""
OTLP over gRPC: which status each refusal is. The server is not started; calls are made by hand.

Real exporters over a real channel: ``tests/integration/test_otlp_in.py``.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from otel_bridge_collector.otlp.decode import MAX_ITEMS
from otel_bridge_collector.otlp.grpc_server import OtlpGrpcServer, Signal, address_of_peer
from otel_bridge_collector.otlp.ingest import MAX_REQUESTS, OtlpIngest
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.authentication import Authenticator
from otel_bridge_collector.security.tokens import Principal, TokenTable
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.errors import ConfigurationError, TransportError
from otel_bridge.settings import BridgeSettings

_names = itertools.count()
TOKEN = "t-0123456789abcdef"
LINE = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
ANSWER = ExportTraceServiceResponse()


class AbortError(Exception):
    """What gRPC's ``abort`` raises."""


class Call:
    """The context of one call, as gRPC hands it to a service."""

    def __init__(self, authorization: str | bytes | None, peer: str = "ipv4:192.0.2.1:5") -> None:
        self._metadata = [("user-agent", "tests")]
        if authorization is not None:
            self._metadata.append(("authorization", authorization))  # type: ignore[arg-type]
        self._peer = peer
        self.status: tuple[Any, str] | None = None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self._metadata

    def peer(self) -> str:
        return self._peer

    async def abort(self, code: Any, details: str) -> None:
        self.status = code, details
        raise AbortError


@pytest.fixture
async def ingest() -> AsyncIterator[OtlpIngest]:
    settings = BridgeSettings(bus_url=f"memory://grpc-{next(_names)}")
    collector = Collector(CollectorSettings(), settings)
    yield OtlpIngest(collector)
    collector.bus.shutdown(0)


@pytest.fixture
def server(ingest: OtlpIngest) -> OtlpGrpcServer:
    return OtlpGrpcServer(ingest, Authenticator(TokenTable(LINE, None)), "127.0.0.1", 0)


async def take(
    server: OtlpGrpcServer,
    authorization: str | bytes | None = f"Bearer {TOKEN}",
    *,
    body: bytes = b"",
    failure: Exception | None = None,
    peer: str = "ipv4:192.0.2.1:5",
) -> Any:
    """What a call gives: an answer, or a status."""

    async def accept(
        _: ExportTraceServiceRequest, principal: Principal, rejected: Rejections
    ) -> ExportTraceServiceResponse:
        if failure is not None:
            raise failure
        assert (principal.name, rejected.total) == ("a", 0)
        return ANSWER

    call = Call(authorization, peer)
    try:
        return await server.take(body, call, Signal("x.y", ExportTraceServiceRequest, accept))
    except AbortError:
        assert call.status is not None
        return call.status


async def test_a_call_with_a_token_is_taken(server: OtlpGrpcServer) -> None:
    """The principal of the metadata's token takes the message."""
    assert await take(server) is ANSWER


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", TOKEN, b"Bearer bytes"])
async def test_a_call_without_a_valid_token_is_unauthenticated(
    server: OtlpGrpcServer, authorization: str | bytes | None
) -> None:
    """No token, a wrong one or one in another form is UNAUTHENTICATED."""
    found = await take(server, authorization)
    assert found == (grpc.StatusCode.UNAUTHENTICATED, "authentication required")


async def test_guesses_are_counted_by_address(server: OtlpGrpcServer) -> None:
    """The eleventh wrong token of an address must wait; a call without a token is no guess."""
    for authorization in [None] * 20 + ["Bearer wrong"] * 10:
        status = await take(server, authorization)
        assert status == (grpc.StatusCode.UNAUTHENTICATED, "authentication required")
    code, details = await take(server, "Bearer wrong")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "try again in " in details
    assert await take(server) is ANSWER
    other = await take(server, "Bearer wrong", peer="ipv4:192.0.2.2:5")
    assert other == (grpc.StatusCode.UNAUTHENTICATED, "authentication required")


async def test_a_log_out_of_reach_is_unavailable(server: OtlpGrpcServer) -> None:
    """UNAVAILABLE is the status for which every exporter sends its request again."""
    code, details = await take(server, failure=TransportError("password"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "cannot reach its event log" in details
    assert "password" not in details


async def test_too_many_requests_are_unavailable(
    server: OtlpGrpcServer, ingest: OtlpIngest
) -> None:
    """With 32 requests in progress, over HTTP or gRPC, the next is sent again."""
    ingest.active = MAX_REQUESTS
    code, details = await take(server)
    assert (code, ingest.shed) == (grpc.StatusCode.UNAVAILABLE, 1)
    assert details.startswith("32 requests are in progress")


async def test_too_many_parts_are_invalid(server: OtlpGrpcServer, ingest: OtlpIngest) -> None:
    """A message of more than 100,000 parts is refused, and its slot is free again."""
    message = ExportTraceServiceRequest()
    for _ in range(MAX_ITEMS + 1):
        message.resource_spans.add()
    code, details = await take(server, body=message.SerializeToString())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"more than {MAX_ITEMS}" in details
    assert ingest.active == 0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[2001:db8::1]:5000", "2001:db8::1"),
        ("unix:/run/collector", ""),
        ("unix:", ""),
        ("", ""),
    ],
)
def test_addresses_of_peers(peer: str, address: str) -> None:
    """The address has neither port nor brackets; a Unix socket has none."""
    assert address_of_peer(peer) == address


async def test_a_port_that_cannot_be_used_is_named(
    ingest: OtlpIngest, capfd: pytest.CaptureFixture[str]
) -> None:
    """The error names the setting and the cure, and gRPC adds no line on standard error to it."""
    with pytest.raises(ConfigurationError, match="MONITORING_OTLP_GRPC_PORT=4317: cannot listen"):
        OtlpGrpcServer(ingest, Authenticator(None), "192.0.2.1", 4317)
    assert capfd.readouterr().err == ""
