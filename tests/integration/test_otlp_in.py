"""``POST /v1/traces``: real exporters, JSON, gzip, limits, pending spans, projects."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gzip
import hashlib
import itertools
import json
import socket
import zlib
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc.status_pb2 import Status
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetricExporter,
)
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otel_bridge_collector.app import create_app
from otel_bridge_collector.otlp.ingest import MAX_BODY_BYTES, MAX_RECEIVERS, MAX_REQUESTS
from otel_bridge_collector.otlp.metrics import MAX_METRICS_PARTS, METRICS_NOT_KEPT
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal
from otel_bridge_collector.settings import CollectorSettings

import otel_bridge
from otel_bridge.errors import ConfigurationError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.sdk.processor import MonitoringSpanProcessor
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import Answer, AppServer, fetch
from tests.support.waiting import wait_until

_names = itertools.count()
JSON = {"Content-Type": "application/json"}
PROTOBUF = "application/x-protobuf"
TRACE = "5b8efff798038103d269b633813fc60c"
TOKEN = "t-otlp-0123456789abcdef"


@pytest.fixture
def site(make_settings: Callable[..., BridgeSettings]) -> Iterator[AppServer]:
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    with AppServer(settings, stats_interval_sec=3600) as server:
        yield server


def post(site: AppServer, body: bytes, **headers: str) -> Answer:
    return fetch(f"{site.url}/v1/traces", method="POST", body=body, headers=JSON | headers)


def span(span_id: str, name: str, parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": span_id,
        "parentSpanId": parent,
        "name": name,
        "kind": 1,
        "startTimeUnixNano": "1795500000000000000",
        "endTimeUnixNano": "1795500001000000000",
        **more,
    }


def text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def request(*spans: dict[str, Any], project: str | None = None) -> bytes:
    resource = [text("service.name", "shop")]
    if project is not None:
        resource.append(text("nexus.project.id", project))
    return json.dumps(
        {
            "resourceSpans": [
                {"resource": {"attributes": resource}, "scopeSpans": [{"spans": spans}]}
            ]
        }
    ).encode()


def cards(site: AppServer) -> dict[str, Any]:
    found = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return {card["task_id"]: card for card in found}


def test_a_real_exporter_is_shown(site: AppServer) -> None:
    """The SDK's own OTLP exporter, gzip and protobuf: an agent's run is a card with a phase."""
    exporter = OTLPSpanExporter(f"{site.url}/v1/traces", compression=Compression.Gzip)
    provider = TracerProvider(resource=Resource.create({"service.name": "agent"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    start = provider.get_tracer("app").start_as_current_span
    with start("plan a trip"):
        agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
        chat = {"gen_ai.operation.name": "chat"}
        with start("invoke_agent planner", attributes=agent), start("chat", attributes=chat):
            pass
    provider.shutdown()
    wait_until(lambda: any(c["title"] for c in cards(site).values()), "the run to be shown")
    (card,) = cards(site).values()
    assert (card["title"], card["status"]) == ("plan a trip", "completed")
    assert card["completed"] == 1
    assert [phase["name"] for phase in card["phases"]][-1:] == ["planner"]


def test_a_repeated_request_counts_once(site: AppServer) -> None:
    """A sender that tries again changes nothing."""
    tool = [text("gen_ai.operation.name", "execute_tool")]
    body = request(
        span("0" * 15 + "1", "run"), span("0" * 15 + "2", "t", "0" * 15 + "1", attributes=tool)
    )
    for _ in range(2):
        assert post(site, gzip.compress(body), **{"Content-Encoding": "gzip"}).status == 200
    wait_until(lambda: cards(site).get(TRACE, {}).get("status") == "completed", "the task's end")
    assert cards(site)[TRACE]["completed"] == 1


def test_a_pending_span_is_a_live_start(site: AppServer) -> None:
    """Logfire's pending span shows its parent as running; the real one ends it."""
    pending = span(
        "0" * 15 + "9",
        "import",
        "0" * 15 + "1",
        attributes=[
            text("logfire.span_type", "pending_span"),
            text("logfire.pending_parent_id", "0" * 16),
        ],
    )
    assert post(site, request(pending)).status == 200
    wait_until(lambda: cards(site).get(TRACE, {}).get("status") == "processing", "the start")
    assert post(site, request(span("0" * 15 + "1", "import"))).status == 200
    wait_until(lambda: cards(site)[TRACE]["status"] == "completed", "the end")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"resourceSpans": 3, "resourceLogs": 3}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff\xff\xff", {"Content-Type": "application/x-protobuf"}, 400),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"not gzip", {"Content-Encoding": "gzip"}, 400),
        (b"{}", {"Content-Encoding": "br"}, 415),
        (zlib.compress(b"{}"), {"Content-Encoding": "deflate"}, 415),
        (gzip.compress(b"{}") + b"more", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}")[:-4], {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b" " * (MAX_BODY_BYTES + 1)), {"Content-Encoding": "gzip"}, 413),
        (b" " * (MAX_BODY_BYTES + 1), {}, 413),
    ],
)
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_bad_bodies_are_refused(
    site: AppServer, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Each gets its own 4xx, a ``google.rpc.Status`` that says why, and the collector goes on."""
    sent = JSON | headers
    answer = fetch(site.url + path, method="POST", body=body, headers=sent)
    assert answer.status == status
    if sent["Content-Type"] == PROTOBUF:
        assert answer.headers["content-type"] == PROTOBUF
        assert Status.FromString(answer.body).message
    else:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["message"]
    if status == 415 and "Content-Encoding" in headers:
        assert answer.headers["accept-encoding"] == "gzip"
    assert post(site, request(span("0" * 15 + "1", "fine"))).status == 200


def test_every_refusal_is_protobuf_for_protobuf(site: AppServer) -> None:
    """Too large, not unpackable: the exporter reads a ``Status`` in its own content type."""
    too_large = {"Content-Type": PROTOBUF}, b"x" * (MAX_BODY_BYTES + 1), 413
    deflated = {"Content-Type": PROTOBUF, "Content-Encoding": "deflate"}, b"x", 415
    for headers, body, status in (too_large, deflated):
        answer = post(site, body, **headers)
        assert (answer.status, answer.headers["content-type"]) == (status, PROTOBUF)
        assert Status.FromString(answer.body).message


def test_too_many_at_a_time_are_refused_and_sent_again(site: AppServer) -> None:
    """While the log is slow 32 wait; the next is 503 with ``Retry-After``; none is lost."""
    ingest = site.app.state.otlp_ingest
    lock = ingest.receiver_of(ANONYMOUS).lock
    site.call(lock.acquire)
    body = request(span("0" * 15 + "1", "import"))
    with ThreadPoolExecutor(MAX_REQUESTS) as threads:
        waiting = [threads.submit(post, site, body) for _ in range(MAX_REQUESTS)]
        wait_until(lambda: ingest.active == MAX_REQUESTS, "the places to be taken")
        answer = post(site, body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "32 requests" in answer.json()["message"]
        site.call(release(lock))
        assert {found.result().status for found in waiting} == {200}
    assert post(site, body).status == 200
    assert "otel_bridge_otlp_requests_shed_total 1" in fetch(f"{site.url}/metrics").body.decode()


def test_senders_are_remembered_within_bounds(site: AppServer) -> None:
    """The next JWT of a subject is the same sender, another's is not; the oldest are forgotten."""
    ingest = site.app.state.otlp_ingest
    one = Principal("alice", frozenset({"alpha"}), digest="a", subject="alice")
    first = ingest.receiver_of(one)
    assert ingest.receiver_of(dataclasses.replace(one, digest="b")) is first
    assert ingest.receiver_of(dataclasses.replace(one, subject="bob")) is not first
    for number in range(MAX_RECEIVERS):
        ingest.receiver_of(Principal("token", None, digest=str(number)))
    assert ingest.receiver_of(one) is not first


def release(lock: asyncio.Lock) -> Callable[[], Coroutine[Any, Any, None]]:
    """On the loop that it belongs to."""

    async def call() -> None:
        lock.release()

    return call


def test_spans_without_ids_are_rejected_one_by_one(site: AppServer) -> None:
    """The rest of the request is taken; ``partialSuccess`` counts what was not."""
    strange = [text("logfire.span_type", "pending_span"), text("logfire.pending_parent_id", "zz")]
    answer = post(
        site,
        request(
            span("", "nobody"),
            span("0" * 16, "zeros"),
            span("0" * 15 + "2", "pending", "0" * 15 + "3", attributes=strange),
            span("0" * 15 + "1", "fine"),
        ),
    )
    assert answer.status == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "3"
    wait_until(lambda: TRACE in cards(site), "the span with ids")


def test_a_token_writes_into_its_project_only(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """Without a project it is the token's own; another one is rejected and not shown."""
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=alpha"
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with AppServer(settings, tokens=line, stats_interval_sec=3600) as site:
        assert post(site, request(span("0" * 15 + "1", "x"))).status == 401
        other = post(site, request(span("0" * 15 + "1", "x"), project="beta"), **bearer)
        assert other.json()["partialSuccess"]["rejectedSpans"] == "1"
        assert post(site, request(span("0" * 15 + "2", "y")), **bearer).json() == {}

        def shown() -> list[Any]:
            answer = fetch(f"{site.url}/monitor/snapshot", headers=bearer).json()["tasks"]
            return [card["project_id"] for card in answer]

        wait_until(shown, "the token's own project")
        assert shown() == ["alpha"]


def test_every_refusal_is_a_status(make_settings: Callable[..., BridgeSettings]) -> None:
    """Host, origin, token, guesses, method, failure: a Status of the request's type."""
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=alpha"
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with AppServer(settings, tokens=line, stats_interval_sec=3600) as site:

        def refusal(path: str, kind: str, method: str = "POST", **headers: str) -> tuple[int, str]:
            given = {"Content-Type": kind} | headers
            answer = fetch(f"{site.url}{path}", method=method, body=b"{}", headers=given)
            seen.update({name.lower(): value for name, value in answer.headers.items()})
            assert seen["content-type"] == kind
            if kind == PROTOBUF:
                return answer.status, Status.FromString(answer.body).message
            return answer.status, answer.json()["message"]

        seen: dict[str, str] = {}
        cases = itertools.product(("/v1/traces", "/v1/logs"), (PROTOBUF, "application/json"))
        for path, kind in cases:
            status, why = refusal(path, kind, Host="evil.example")
            assert (status, why.partition(" ")[0]) == (403, "Host")
            status, why = refusal(path, kind, Origin="https://evil.example")
            assert status == 403
            assert why.startswith("Origin 'https://evil.example' is another site")
            assert refusal(path, kind) == (401, "authentication required")
            assert seen["www-authenticate"] == "Bearer"
            assert refusal(path, kind, "GET", **bearer) == (405, "Method Not Allowed")
            assert seen["allow"] == "POST"
            with broken(site):
                assert refusal(path, kind, **bearer) == (500, "internal error")
        wrong = {"Authorization": "Bearer nobody"}
        found = [refusal("/v1/traces", PROTOBUF, **wrong) for _ in range(11)]
        wait = int(seen["retry-after"])
        assert 0 < wait <= 60
        slower = f"too many wrong credentials from this address; try again in {wait} s"
        assert found == [(401, "authentication required")] * 10 + [(429, slower)]


@contextmanager
def broken(site: AppServer) -> Iterator[None]:
    """Without what the routes need."""
    ingest = site.app.state.otlp_ingest
    del site.app.state.otlp_ingest
    try:
        yield
    finally:
        site.app.state.otlp_ingest = ingest


def test_grpc_counts_guesses(make_settings: Callable[..., BridgeSettings]) -> None:
    """The eleventh wrong token in a minute must wait; a right one still passes."""
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=alpha"
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    with (
        AppServer(settings, tokens=line, otlp_grpc_port=0, stats_interval_sec=3600) as site,
        grpc.insecure_channel(f"127.0.0.1:{site.app.state.otlp_grpc_port}") as channel,
    ):
        export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        found = []
        for _ in range(11):
            with pytest.raises(grpc.RpcError) as caught:
                export(
                    ExportTraceServiceRequest(),
                    metadata=[("authorization", "Bearer nobody")],
                    timeout=10,
                )
            found.append(caught.value.code())
        codes = grpc.StatusCode
        assert found == [codes.UNAUTHENTICATED] * 10 + [codes.RESOURCE_EXHAUSTED]
        right = [("authorization", f"Bearer {TOKEN}")]
        assert export(ExportTraceServiceRequest(), metadata=right, timeout=10).ByteSize() == 0


def test_live_and_over_otlp_is_once(site: AppServer) -> None:
    """A span that comes over the bus and, teed by a Collector, over OTLP makes the same events."""
    endpoint = f"{site.url}/v1/traces"
    provider = TracerProvider()
    bus = EventBus.connect(BridgeSettings(bus_url=site.url))
    provider.add_span_processor(MonitoringSpanProcessor(bus))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint)))
    own = {"nexus.span.kind": "job", "nexus.task.id": "j", "nexus.task.type": "add"}
    with provider.get_tracer("app").start_as_current_span("plan"):
        provider.get_tracer("app").start_span("job add", attributes=own).end()
    assert bus.shutdown(10)
    provider.shutdown()
    wait_until(lambda: "completed" in {c["status"] for c in cards(site).values()}, "the task")
    events = fetch(f"{site.url}/monitor/events").json()["events"]
    assert len({event["event_id"] for event in events}) == 4
    (card,) = cards(site).values()
    assert (card["completed"], card["failed"]) == (1, 0)


def call_over_http(site: AppServer, carrier: dict[str, str], project: str | None = None) -> bytes:
    """What a service in another language sends of a call from one of our jobs, with a model's."""
    _, trace, parent, _ = carrier["traceparent"].split("-")
    chat = [text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", "m-1")]
    spans = [
        span("c" * 16, "POST /summarise", parent, kind=2),
        span("d" * 16, "chat m-1", "c" * 16, attributes=chat),
    ]
    return request(*({**one, "traceId": trace} for one in spans), project=project)


@pytest.mark.parametrize(
    ("named", "cards_of"),
    [
        (None, {"6ba529d4": ("alpha", 1)}),
        ("alpha", {"6ba529d4": ("alpha", 1)}),
        ("beta", {"6ba529d4": ("alpha", 0), "the trace": ("beta", 1)}),
    ],
    ids=["of no project", "of the same project", "of another project"],
)
def test_another_languages_service_is_in_the_task(
    site: AppServer, named: str | None, cards_of: dict[str, tuple[str, int]]
) -> None:
    """Called from a job that is live over the bus, its model call is a job of the same card."""
    settings = BridgeSettings(bus_url=site.url)
    bridge = otel_bridge.configure(tracer_provider=TracerProvider(), settings=settings)
    carrier: dict[str, str] = {}
    try:
        with (
            otel_bridge.research_task("6ba529d4", project_id="alpha"),
            otel_bridge.phase("search", total=1),
        ):
            propagate.inject(carrier)
            trace_id = carrier["traceparent"].split("-")[1]
            wait_until(lambda: "search" in phases(site, "6ba529d4"), "the phase")
            for _ in range(2):
                assert post(site, call_over_http(site, carrier, named)).json() == {}
                wait_until(lambda: any(c["completed"] for c in cards(site).values()), "the call")
    finally:
        bridge.shutdown()
    wait_until(lambda: cards(site)["6ba529d4"]["status"] == "completed", "the task's end")
    shown = {
        "the trace" if name == trace_id else name: (card["project_id"], card["completed"])
        for name, card in cards(site).items()
    }
    assert shown == cards_of
    events = fetch(f"{site.url}/monitor/events").json()["events"]
    calls = [event for event in events if event.get("task_id") == "d" * 16]
    assert [event["event_type"] for event in calls].count("task_completed") == 1
    assert {event.get("phase") for event in calls} == {None if named == "beta" else "search"}


def phases(site: AppServer, task: str) -> list[str]:
    return [phase["name"] for phase in cards(site).get(task, {}).get("phases", [])]


def test_a_token_is_not_correlated_with_another_projects_task(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """A span in another project's trace is its own project's, and says nothing of the task."""
    mine, theirs = f"{TOKEN}-mine", f"{TOKEN}-theirs"
    lines = ";".join(
        f"{project} sha256={hashlib.sha256(token.encode()).hexdigest()} projects={project}"
        for project, token in (("alpha", mine), ("beta", theirs))
    )
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")

    with AppServer(settings, tokens=lines, stats_interval_sec=3600) as site:

        def seen_by(token: str) -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {token}"}
            found = fetch(f"{site.url}/monitor/snapshot", headers=headers).json()["tasks"]
            return {card["task_id"]: card["completed"] for card in found}

        bus = EventBus.connect(settings)
        started = {"event_type": "task_started", "parent_task_id": "t", "task_id": "t"}
        bus.publish(
            MonitoringEvent.model_validate(started | {"project_id": "alpha", "trace_id": TRACE})
        )
        wait_until(lambda: "t" in seen_by(mine), "the task")
        carrier = {"traceparent": f"00-{TRACE}-{'a' * 16}-01"}
        for token in (theirs, mine):
            bearer = {"Authorization": f"Bearer {token}"}
            body = call_over_http(site, carrier).replace(b"d" * 16, token[-1].encode() * 16)
            body = body.replace(b"s" * 16, b"5" * 16)
            assert post(site, body, **bearer).json() == {}
        wait_until(lambda: seen_by(mine).get("t"), "the call in its task")
        wait_until(lambda: seen_by(theirs).get(TRACE), "the call beside it")
        assert (seen_by(mine), seen_by(theirs)) == ({"t": 1}, {TRACE: 1})
        bus.shutdown()


def lifecycle(event: str, body: dict[str, Any], body_type: str = "json/v1") -> dict[str, Any]:
    """A log record of a partial-span processor."""
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [body]}]}]}
    return {
        "body": {"stringValue": json.dumps(spans)},
        "attributes": [text("partial.event", event), text("partial.body.type", body_type)],
    }


def post_logs(site: AppServer, *records: dict[str, Any]) -> dict[str, Any]:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    url = f"{site.url}/v1/logs"
    answer = fetch(url, method="POST", body=json.dumps(body).encode(), headers=JSON)
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    return found


def test_heartbeat_logs_are_live(site: AppServer) -> None:
    """A partial-span processor's heartbeats show a span while it runs, its stop ends it, once."""
    root = span("0" * 15 + "1", "import schools", kind="SPAN_KIND_INTERNAL", endTimeUnixNano="0")
    for _ in range(3):
        assert post_logs(site, lifecycle("heartbeat", root)) == {}
        wait_until(lambda: cards(site).get(TRACE, {}).get("status") == "processing", "the start")
    assert cards(site)[TRACE]["title"] == "import schools"
    kinds = [event["event_type"] for event in fetch(f"{site.url}/monitor/events").json()["events"]]
    assert sorted(kinds) == ["span_beats", "task_started"]
    assert post_logs(site, lifecycle("stop", span("0" * 15 + "1", "import schools"), "json")) == {}
    wait_until(lambda: cards(site)[TRACE]["status"] == "completed", "the end")
    assert cards(site)[TRACE]["duration_ms"] == 1000


@pytest.mark.parametrize(
    "snapshot",
    [
        {"endTimeUnixNano": "0"},
        {"endTimeUnixNano": "11651379494838206464"},
        {"attributes": [text("agentops.in_flight", "true")]},
        {"attributes": [text("nexus.span.open", "1"), text("nexus.span.beat_ms", "10000")]},
    ],
    ids=["no end", "Go's zero time", "a made-up end and a flag", "our emitters' flag"],
)
def test_the_same_span_first_open_then_ended(site: AppServer, snapshot: dict[str, Any]) -> None:
    """It runs, takes the name of a later snapshot, fails by its true end, and does not reopen."""
    number = "0" * 15 + "1"
    opened = span(number, "import", **snapshot)
    assert post(site, request(opened)).status == 200
    wait_until(lambda: cards(site).get(TRACE, {}).get("status") == "processing", "the start")
    assert post(site, request({**opened, "name": "import schools"})).status == 200
    wait_until(lambda: cards(site)[TRACE]["title"] == "import schools", "its name")
    failed = span(number, "import schools", status={"code": 2, "message": "no such school"})
    assert post(site, request(failed)).status == 200
    wait_until(lambda: cards(site)[TRACE]["status"] == "failed", "the end")
    assert cards(site)[TRACE]["error"] == "no such school"
    last = span("0" * 15 + "2", "after", number)
    assert post(site, request({**opened, "name": "late"}, last)).status == 200
    wait_until(lambda: len(events_of(site)) >= 4, "the late snapshot")
    assert (cards(site)[TRACE]["status"], cards(site)[TRACE]["title"]) == (
        "failed",
        "import schools",
    )


def events_of(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/events").json()["events"]
    return found


def test_logs_that_cannot_be_read_are_rejected_and_counted(site: AppServer) -> None:
    """``partialSuccess`` says how many; one of no span belongs nowhere, and is only counted."""
    broken = lifecycle("heartbeat", {}) | {"body": {"stringValue": "{"}}
    plain = {"body": {"stringValue": "hello"}}
    answer = post_logs(site, plain, broken, lifecycle("pause", span("0" * 15 + "1", "x")))
    assert answer["partialSuccess"]["rejectedLogRecords"] == "2"
    assert site.app.state.otlp_ingest.lines.dropped["no_trace"] == 1
    assert cards(site) == {}


def test_grpc_takes_the_same(make_settings: Callable[..., BridgeSettings]) -> None:
    """The SDK's gRPC exporter, with a token in its metadata; without one nothing is taken."""
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    with AppServer(settings, tokens=line, otlp_grpc_port=0, stats_interval_sec=3600) as site:
        endpoint = f"http://127.0.0.1:{site.app.state.otlp_grpc_port}"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        metadata = {"nobody": {}, "somebody": {"authorization": f"Bearer {TOKEN}"}}
        for name, headers in metadata.items():
            exporter = GrpcSpanExporter(endpoint, insecure=True, headers=headers, timeout=5)
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            with provider.get_tracer("app").start_as_current_span(name):
                pass
            provider.shutdown()

        def titles() -> list[str]:
            found = fetch(f"{site.url}/monitor/snapshot", headers=bearer).json()["tasks"]
            return [card["title"] for card in found]

        wait_until(titles, "the span of the one with a token")
        assert titles() == ["somebody"]


def test_grpc_refuses_what_is_too_large(make_settings: Callable[..., BridgeSettings]) -> None:
    """Over 4 MiB, packed or not; without a token or with a wrong one; then it goes on."""
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=alpha"
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    with (
        AppServer(settings, tokens=line, otlp_grpc_port=0, stats_interval_sec=3600) as site,
        grpc.insecure_channel(f"127.0.0.1:{site.app.state.otlp_grpc_port}") as channel,
    ):
        export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        metadata = [("authorization", f"Bearer {TOKEN}")]
        small, large = ExportTraceServiceRequest(), ExportTraceServiceRequest()
        large.resource_spans.add().scope_spans.add().spans.add(name="x" * (MAX_BODY_BYTES + 1))
        for packed in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.RpcError) as caught:
                export(large, metadata=metadata, compression=packed, timeout=10)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for wrong in ([], [("authorization", "Bearer nobody")]):
            with pytest.raises(grpc.RpcError) as caught:
                export(small, metadata=wrong, timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        spans = small.resource_spans.add().scope_spans.add().spans
        spans.add(name="nobody")
        spans.add(name="fine", trace_id=b"t" * 16, span_id=b"s" * 8)
        answer = export(small, metadata=metadata, compression=grpc.Compression.Gzip, timeout=10)
        assert answer.partial_success.rejected_spans == 1
        site.app.state.otlp_ingest.active += MAX_REQUESTS
        with pytest.raises(grpc.RpcError) as caught:
            export(small, metadata=metadata, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "32 requests" in str(caught.value.details())


def test_a_text_that_is_not_utf8_by_grpc(make_settings: Callable[..., BridgeSettings]) -> None:
    """A strange text costs no span, as over HTTP; bytes that are no OTLP are named as such."""
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(name="b#d", trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=1)
    body = request.SerializeToString().replace(b"b#d", b"b\xffd")
    with (
        AppServer(settings, otlp_grpc_port=0, stats_interval_sec=3600) as site,
        grpc.insecure_channel(f"127.0.0.1:{site.app.state.otlp_grpc_port}") as channel,
    ):
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert export(body, timeout=10) == b""
        wait_until(lambda: [card["title"] for card in cards(site).values()] == ["b\ufffdd"], "it")
        with pytest.raises(grpc.RpcError) as caught:
            export(b"\xff\xff", timeout=10)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "not an OTLP protobuf message" in str(caught.value.details())


def test_heartbeat_logs_by_grpc(make_settings: Callable[..., BridgeSettings]) -> None:
    """The same records on the other port: live, and what is no lifecycle is a line of its span."""
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    root = span("0" * 15 + "1", "import schools", kind="SPAN_KIND_INTERNAL", endTimeUnixNano="0")
    line = {
        "traceId": base64.b64encode(bytes.fromhex(TRACE)).decode(),
        "spanId": base64.b64encode(bytes([0] * 7 + [1])).decode(),
        "body": {"stringValue": "hello"},
    }
    records = [lifecycle("heartbeat", root), line]
    request = ParseDict(
        {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}, ExportLogsServiceRequest()
    )
    with (
        AppServer(settings, otlp_grpc_port=0, stats_interval_sec=3600) as site,
        grpc.insecure_channel(f"127.0.0.1:{site.app.state.otlp_grpc_port}") as channel,
    ):
        export = LogsServiceStub(channel).Export  # type: ignore[no-untyped-call]
        assert not export(request, timeout=10).HasField("partial_success")
        wait_until(lambda: cards(site).get(TRACE, {}).get("status") == "processing", "the start")
        reader = site.collector.lines.reader
        wait_until(lambda: site.call(lambda: reader.newest(["0" * 15 + "1"]))[0], "the line")


def test_metrics_by_grpc(
    make_settings: Callable[..., BridgeSettings], caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK's exporter takes the answer for a success, which says that no point is kept."""
    line = f"a sha256={hashlib.sha256(TOKEN.encode()).hexdigest()} projects=*"
    settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
    point = {"name": "g", "gauge": {"dataPoints": [{"asInt": "1"}, {"asInt": "2"}]}}
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [point]}]}]}
    message = ParseDict(body, ExportMetricsServiceRequest())
    with AppServer(settings, tokens=line, otlp_grpc_port=0, stats_interval_sec=3600) as site:
        target = f"127.0.0.1:{site.app.state.otlp_grpc_port}"
        with grpc.insecure_channel(target) as channel:
            export = MetricsServiceStub(channel).Export  # type: ignore[no-untyped-call]
            with pytest.raises(grpc.RpcError) as caught:
                export(message, timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            success = export(
                message, metadata=[("authorization", f"Bearer {TOKEN}")], timeout=10
            ).partial_success
            assert (success.rejected_data_points, success.error_message) == (2, METRICS_NOT_KEPT)
            for _ in range(MAX_METRICS_PARTS):
                message.resource_metrics.add()
            with pytest.raises(grpc.RpcError) as caught:
                export(message, metadata=[("authorization", f"Bearer {TOKEN}")], timeout=10)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        headers = {"authorization": f"Bearer {TOKEN}"}
        exporter = GrpcMetricExporter(f"http://{target}", insecure=True, headers=headers)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
        provider = MeterProvider([reader])
        provider.get_meter("test").create_counter("jobs").add(1)
        assert provider.force_flush()
        provider.shutdown()
    assert [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")] == []


def test_a_taken_grpc_port_is_named(make_settings: Callable[..., BridgeSettings]) -> None:
    """The error says which setting, and what may sit there."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = make_settings(bus_url=f"memory://otlp-{next(_names)}")
        port = other.getsockname()[1]
        app = create_app(CollectorSettings(otlp_grpc_port=port), settings)

        async def begin() -> None:
            async with app.router.lifespan_context(app):
                pass

        with pytest.raises(ConfigurationError, match=f"MONITORING_OTLP_GRPC_PORT={port}"):
            asyncio.run(begin())
