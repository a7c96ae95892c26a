"""OTLP over HTTP in both encodings: what is taken, what is rejected, what is refused."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from otel_bridge_collector.otlp.ingest import MAX_BODY_BYTES, MAX_REQUESTS
from otel_bridge_collector.routes.otlp import METRICS_NOT_KEPT, router

from tests.support.asgi_site import open_site

JSON, PROTOBUF = "application/json", "application/x-protobuf"
TRACES: dict[str, Any] = {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "no ids"}]}]}]}
LOGS: dict[str, Any] = {
    "resourceLogs": [
        {
            "scopeLogs": [
                {
                    "logRecords": [
                        {"body": {"stringValue": "an ordinary log"}},
                        {
                            "attributes": [
                                {"key": "partial.event", "value": {"stringValue": "paused"}}
                            ]
                        },
                    ]
                }
            ]
        }
    ]
}
NOTHING: dict[str, Any] = {}

Case = tuple[str, Any, Any, dict[str, Any]]
CASES: dict[str, Case] = {
    "traces": ("/v1/traces", ExportTraceServiceRequest, ExportTraceServiceResponse, TRACES),
    "logs": ("/v1/logs", ExportLogsServiceRequest, ExportLogsServiceResponse, LOGS),
}
WHY = {
    "traces": "a trace id has 16 bytes",
    "logs": "partial.event of a log record is heartbeat or stop",
}


def test_every_route_is_tested_here() -> None:
    """The cases below are all the routes that there are, beside that of metrics."""
    paths = {path for path, *_ in CASES.values()} | {"/v1/metrics"}
    assert {route.path for route in router.routes} == paths  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CASES)
async def test_both_encodings_are_taken(name: str) -> None:
    """A request is answered in its own encoding; the answer is empty if nothing was rejected."""
    path, make_request, make_response, _ = CASES[name]
    body = make_request().SerializeToString()
    async with open_site() as site:
        for headers, sent in (
            ({"Content-Type": PROTOBUF}, body),
            ({"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(body)),
        ):
            answer = await site.post(path, sent, headers=headers)
            assert (answer.status, answer.headers["content-type"]) == (200, PROTOBUF)
            assert make_response.FromString(answer.body) == make_response()
        answer = await site.post(path, NOTHING, headers={"Content-Type": f"{JSON}; charset=utf-8"})
        assert (answer.status, answer.headers["content-type"]) == (200, JSON)
        assert answer.json() == {}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_rejected_is_counted(name: str) -> None:
    """200 with ``partial_success``: how many items were rejected, and which are."""
    path, make_request, make_response, fields = CASES[name]
    sent = ParseDict(fields, make_request()).SerializeToString()
    async with open_site() as site:
        answer = await site.post(path, sent, headers={"Content-Type": PROTOBUF})
        success = make_response.FromString(answer.body).partial_success
        count = success.rejected_spans if name == "traces" else success.rejected_log_records
        assert (answer.status, count) == (200, 1)
        assert WHY[name] in success.error_message
        assert sum(site.app.state.otlp_ingest.rejected.values()) == 1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("content_type", "encoding", "body", "status", "reason"),
    [
        ("text/plain", "", b"{}", 415, "Content-Type 'text/plain' is not supported"),
        ("", "", b"{}", 415, "Content-Type '' is not supported"),
        (JSON, "br", b"{}", 415, "Content-Encoding 'br' is not supported"),
        (JSON, "gzip", b"{}", 400, "not gzip"),
        (JSON, "", b"[]", 400, "not a JSON object"),
        (PROTOBUF, "", b"\xff", 400, "not an OTLP protobuf message"),
        (JSON, "", b" " * (MAX_BODY_BYTES + 1), 413, f"over {MAX_BODY_BYTES} bytes"),
        (PROTOBUF, "gzip", gzip.compress(bytes(MAX_BODY_BYTES + 1)), 413, "over"),
    ],
    ids=["type", "no type", "encoding", "no gzip", "no object", "no protobuf", "large", "bomb"],
)
async def test_refusals_are_a_status(
    name: str, content_type: str, encoding: str, body: bytes, status: int, reason: str
) -> None:
    """Each refusal is a ``google.rpc.Status`` in the request's encoding, with the reason."""
    async with open_site() as site:
        headers = {"Content-Type": content_type, "Content-Encoding": encoding}
        answer = await site.post(CASES[name][0], body, headers=headers)
        assert answer.status == status
        if content_type == PROTOBUF:
            assert reason in Status.FromString(answer.body).message
        else:
            assert reason in json.loads(answer.body)["message"]


@pytest.mark.parametrize("name", CASES)
async def test_too_many_requests_are_sent_again(name: str) -> None:
    """With 32 requests in progress the next is 503 with ``Retry-After``, and is counted."""
    async with open_site() as site:
        ingest = site.app.state.otlp_ingest
        ingest.active = MAX_REQUESTS
        answer = await site.post(CASES[name][0], NOTHING, headers={"Content-Type": JSON})
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["message"].startswith("32 requests are in progress")
        assert (ingest.shed, ingest.active) == (1, MAX_REQUESTS)


METRICS: dict[str, Any] = {
    "resourceMetrics": [
        {
            "scopeMetrics": [
                {
                    "metrics": [
                        {"name": "a", "sum": {"dataPoints": [{"asInt": "1"}, {"asInt": "2"}]}},
                        {"name": "b", "histogram": {"dataPoints": [{"count": "1"}]}},
                        {"name": "no kind"},
                    ]
                }
            ]
        }
    ]
}


async def test_metrics_are_rejected_with_the_reason() -> None:
    """Metrics are answered in their encoding with all data points rejected, and counted nowhere."""
    sent = ParseDict(METRICS, ExportMetricsServiceRequest()).SerializeToString()
    async with open_site() as site:
        answer = await site.post("/v1/metrics", sent, headers={"Content-Type": PROTOBUF})
        success = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        assert (answer.status, success.rejected_data_points) == (200, 3)
        answer = await site.post("/v1/metrics", METRICS, headers={"Content-Type": JSON})
        found = answer.json()["partialSuccess"]
        assert found == {"rejectedDataPoints": "3", "errorMessage": METRICS_NOT_KEPT}
        assert sum(site.app.state.otlp_ingest.rejected.values()) == 0


def parts(name: str, count: int) -> bytes:
    """A request with empty parts on one of its three levels."""
    message = ExportMetricsServiceRequest()
    if name == "resources":
        items = message.resource_metrics
    elif name == "scopes":
        items = message.resource_metrics.add().scope_metrics
    else:
        items = message.resource_metrics.add().scope_metrics.add().metrics
    for _ in range(count):
        items.add()
    body: bytes = message.SerializeToString()
    return body


@pytest.mark.parametrize("name", ["resources", "scopes", "metrics"])
async def test_many_parts_of_metrics_are_refused(name: str) -> None:
    """More than 100,000 parts are not looked at one by one, on whichever level they are."""
    async with open_site() as site:
        headers = {"Content-Type": PROTOBUF}
        for count, status in ((99_998, 200), (100_001, 400)):
            answer = await site.post("/v1/metrics", parts(name, count), headers=headers)
            assert answer.status == status


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (PROTOBUF, b"\xff", "not OTLP metrics"),
        (JSON, b"[]", "not OTLP metrics"),
        (JSON, b'{"resourceMetrics":' + b"[" * 50_000, "not OTLP metrics"),
        (JSON, b"[" * 100_001, "more than 100000 JSON objects and lists"),
    ],
    ids=["protobuf", "no object", "depth", "many"],
)
async def test_what_is_no_metrics_request_says_why(
    content_type: str, body: bytes, reason: str
) -> None:
    """A body that is no request for metrics is 400 with the reason."""
    async with open_site() as site:
        answer = await site.post("/v1/metrics", body, headers={"Content-Type": content_type})
        assert answer.status == 400
        if content_type == PROTOBUF:
            assert reason in Status.FromString(answer.body).message
        else:
            assert reason in json.loads(answer.body)["message"]
