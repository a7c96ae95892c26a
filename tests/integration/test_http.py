"""HTTP and WebSocket as other programs expect them, on a real server: RFC 9110, RFC 6455, CORS."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from otel_bridge_collector.routes.otlp import METRICS_NOT_KEPT
from otel_bridge_collector.security import bounded_http
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

_names = itertools.count()

ALL, ALPHA = "t-all-0123456789abcdef", "t-alpha-0123456789abcdef"
PAGE = "https://dash.example.org"


def line(token: str, projects: str) -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f"for-{len(projects)} sha256={digest} projects={projects}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def site() -> Iterator[AppServer]:
    """A collector without authentication."""
    settings = BridgeSettings(bus_url=f"memory://http-{next(_names)}")
    with AppServer(settings, allowed_origins=f"{PAGE}:443", stats_interval_sec=3600) as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[AppServer]:
    """A collector with two tokens and the events of two projects."""
    settings = BridgeSettings(bus_url=f"memory://http-{next(_names)}")
    tokens = ";".join([line(ALL, "*"), line(ALPHA, "alpha")])
    with AppServer(settings, tokens=tokens, stats_interval_sec=3600) as server:
        bus = EventBus.connect(settings)
        for project in ("alpha", "beta"):
            event = MonitoringEvent.model_validate(
                {
                    "event_type": "task_started",
                    "project_id": project,
                    "parent_task_id": f"root-{project}",
                    "task_id": f"root-{project}",
                    "meta": {"title": f"Title of {project}"},
                }
            )
            bus.publish(event)
        wait_until(lambda: server.collector.stats.events_in == 2, "the events to be folded")
        bus.shutdown()
        yield server


# --- methods and paths ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/tasks", "/no-such"])
def test_head_is_get_without_a_body(site: AppServer, path: str) -> None:
    """HEAD has GET's status and headers, and the connection carries the next request after it."""
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)) as link:
        found = []
        for method in ("GET", "HEAD", "GET"):
            link.request(method, path)
            answer = link.getresponse()
            headers = {name: value for name, value in answer.getheaders() if name != "date"}
            found.append((answer.status, headers, answer.read()))
    if path == "/metrics":  # its length changes with the numbers on it
        for _, headers, _ in found:
            assert int(headers.pop("content-length")) > 1000
    assert found[0][:2] == found[1][:2] == found[2][:2]
    assert found[1][2] == b""
    assert found[0][2]


def test_head_of_what_takes_no_get(site: AppServer) -> None:
    """HEAD of a path that only takes POST is 405, like GET."""
    assert [fetch(f"{site.url}/v1/traces", method=m).status for m in ("GET", "HEAD")] == [405, 405]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_stream_without_an_upgrade_is_426(site: AppServer, method: str) -> None:
    """A request that is no handshake is told which protocol to upgrade to."""
    answer = fetch(f"{site.url}/ws/monitor", method=method)
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    if method == "GET":
        assert "speaks WebSocket only" in answer.json()["detail"]


def test_an_unknown_websocket_path_is_404(site: AppServer, guarded: AppServer) -> None:
    """It is refused with the path that exists; without a token with 401, which tells no paths."""
    for server, headers, status in (
        (site, {}, 404),
        (guarded, bearer(ALL), 404),
        (guarded, {}, 401),
    ):
        url = server.ws_url.replace("/ws/monitor", "/ws/none")
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers)
        assert refused.value.response.status_code == status
        detail = json.loads(refused.value.response.body or b"{}")["detail"]
        assert ("/ws/monitor" in detail) is (status == 404)


def test_there_is_no_document_and_no_page_for_it(site: AppServer) -> None:
    """Neither an OpenAPI document nor a page that would show it is served."""
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert fetch(site.url + path).status == 404


# --- queries -------------------------------------------------------------------------------------


def test_repeated_types_are_joined(site: AppServer) -> None:
    """``types=a&types=b`` is ``types=a,b``, in a query and in the stream's handshake."""
    both = "types=task_started&types=worker_started"
    assert fetch(f"{site.url}/monitor/events?{both}").status == 200
    answer = fetch(f"{site.url}/monitor/events?types=none&{both}")
    assert (answer.status, "unknown event type none" in answer.json()["detail"]) == (400, True)
    with connect(f"{site.ws_url}?{both}&snapshot=true") as client:
        assert json.loads(client.recv())["type"] == "snapshot"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/monitor/events", "project_id"),
        ("/monitor/events", "limit"),
        ("/monitor/events", "before"),
        ("/monitor/snapshot", "task_id"),
        ("/monitor/snapshot", "stats_only"),
        ("/tasks", "limit"),
    ],
)
def test_a_repeated_value_is_refused(site: AppServer, path: str, name: str) -> None:
    """Two different values of a single-valued parameter are 400 naming it; equal ones are one."""
    answer = fetch(f"{site.url}{path}?{name}=1&{name}=2")
    assert (answer.status, answer.json()["detail"].partition(":")[0]) == (400, name)
    if name != "before":
        assert fetch(f"{site.url}{path}?{name}=1&{name}=1").status == 200


@pytest.mark.parametrize("name", ["project_id", "since", "batch_ms", "snapshot"])
def test_a_repeated_value_in_a_handshake_is_refused(site: AppServer, name: str) -> None:
    """The stream refuses the same with 400 before it opens."""
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{site.ws_url}?{name}=1&{name}=2")
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body or b"")["detail"].startswith(f"{name}: given 2")


# --- browsers ------------------------------------------------------------------------------------


def test_a_preflight_allows_what_a_page_sends(site: AppServer) -> None:
    """A page of an allowed origin may send a token and JSON; one of another origin may not."""
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    for origin, status in ((PAGE, 200), ("https://evil.example", 400)):
        headers = {**asked, "Origin": origin}
        answer = fetch(f"{site.url}/monitor/snapshot", method="OPTIONS", headers=headers)
        assert answer.status == status
        assert answer.headers.get("access-control-allow-origin") == (
            origin if status == 200 else None
        )
        if status == 200:
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert {"authorization", "content-type"} <= set(allowed.split(", "))


@pytest.mark.parametrize("origin", [PAGE, f"{PAGE}:443", "https://DASH.example.org"])
def test_a_default_port_may_be_written(site: AppServer, origin: str) -> None:
    """An allowed origin is the same with and without the default port of its scheme."""
    with connect(f"{site.ws_url}?snapshot=true", origin=Origin(origin)) as client:
        assert json.loads(client.recv())["type"] == "snapshot"


def test_another_port_is_another_origin(site: AppServer) -> None:
    """A port that is not the scheme's default makes another origin."""
    for origin in (f"{PAGE}:444", "http://dash.example.org", "http://dash.example.org:443"):
        with pytest.raises(InvalidStatus) as refused:
            connect(site.ws_url, origin=Origin(origin))
        assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (["otel-bridge"], "otel-bridge"),
        (["mqtt", "otel-bridge"], "otel-bridge"),
        (["mqtt"], None),
        ([], None),
    ],
)
def test_subprotocols(site: AppServer, offered: list[str], agreed: str | None) -> None:
    """Ours is agreed on if it is offered; others are not, and the stream opens all the same."""
    names = [Subprotocol(name) for name in offered] or None
    with connect(f"{site.ws_url}?snapshot=true", subprotocols=names) as client:
        assert (client.subprotocol, json.loads(client.recv())["type"]) == (agreed, "snapshot")


def test_a_page_with_a_subprotocol_sees_why_it_was_closed(guarded: AppServer) -> None:
    """Without a token a browser gets 4401, with the subprotocol that it must see to read on."""
    origin = Origin(guarded.url)
    with connect(guarded.ws_url, origin=origin, subprotocols=[Subprotocol("otel-bridge")]) as page:
        assert page.subprotocol == "otel-bridge"
        with pytest.raises(ConnectionClosed) as closed:
            page.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


# --- bodies that are too large -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/session", "/v1/events", "/v1/traces", "/v1/metrics"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize("size_mib", [10, 40])
def test_a_large_body_gets_its_answer(
    site: AppServer, path: str, connection: str, size_mib: int
) -> None:
    """A client that sends all of a body before it reads gets 413, not a reset."""
    headers = {"Content-Type": "application/json", "Connection": connection}
    headers |= {"X-Producer-Id": "p", "X-First-N": "1"}
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)) as link:
        link.request("POST", path, body=b" " * (size_mib << 20), headers=headers)
        answer = link.getresponse()
        assert (answer.status, "send less" in answer.read().decode()) == (413, True)


def test_a_refused_request_gets_its_answer(guarded: AppServer) -> None:
    """The same holds for a client without a token, whose body no route reads."""
    body = b" " * (20 << 20)
    assert fetch(f"{guarded.url}/v1/traces", method="POST", body=body).status == 401


def test_what_is_discarded_is_bounded(guarded: AppServer) -> None:
    """Of an endless body no more than the limit is read; then the connection is cut."""
    head = f"POST /session HTTP/1.1\r\nHost: 127.0.0.1:{guarded.port}\r\n"
    block = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    sent = 0
    with (
        closing(socket.create_connection(("127.0.0.1", guarded.port), timeout=20)) as link,
        suppress(ConnectionResetError, BrokenPipeError),
    ):
        link.sendall(f"{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode())
        while sent < bounded_http.MAX_DISCARDED_BYTES * 4:
            link.sendall(block)
            sent += len(block)
    assert sent < bounded_http.MAX_DISCARDED_BYTES * 2


def test_nothing_behind_an_early_answer_is_served(site: AppServer) -> None:
    """A request behind a discarded body on a connection that closes is not answered."""
    host = f"Host: 127.0.0.1:{site.port}\r\n"
    body = b" " * (9 << 20)
    head = (
        f"POST /session HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with closing(socket.create_connection(("127.0.0.1", site.port), timeout=20)) as link:
        link.sendall(head.encode() + body + f"GET /healthz HTTP/1.1\r\n{host}\r\n".encode())
        answer = b""
        while chunk := link.recv(1 << 16):
            answer += chunk
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"413"]


# --- metrics that are sent here ------------------------------------------------------------------


def points(count: int) -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    metrics = message.resource_metrics.add().scope_metrics.add().metrics
    for n in range(count):
        metrics.add(name=f"m{n}").sum.data_points.add(as_int=n)
    metrics.add(name="no kind")
    return message


def test_metrics_are_answered_as_not_kept(site: AppServer) -> None:
    """OTLP metrics get 200, with all data points rejected and the reason, in either encoding."""
    raw = points(3).SerializeToString()
    headers = {"Content-Type": "application/x-protobuf"}
    answer = fetch(f"{site.url}/v1/metrics", method="POST", body=raw, headers=headers)
    assert answer.headers["content-type"] == "application/x-protobuf"
    success = ExportMetricsServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, success.rejected_data_points) == (200, 3)
    assert success.error_message == METRICS_NOT_KEPT
    body = (
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","gauge":{"dataPoints":'
        b'[{"asDouble":1.5,"exemplars":[{"spanId":"0102030405060708"}]},{"asInt":"2"}]}}]}]}]}'
    )
    headers = {"Content-Type": "application/json"}
    found = fetch(f"{site.url}/v1/metrics", method="POST", body=body, headers=headers).json()
    assert found == {
        "partialSuccess": {"rejectedDataPoints": "2", "errorMessage": METRICS_NOT_KEPT}
    }


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-protobuf", b"\xff\xff"),
        ("application/json", b"{"),
        ("application/json", b'{"resourceMetrics":' + b"[" * 90_000),
        ("application/json", b'{"resourceMetrics":[' + b"{}," * 200_000 + b"{}]}"),
        ("application/x-protobuf", b"\n\0" * 1_000_000),
    ],
    ids=["protobuf", "json", "depth", "many in json", "many in protobuf"],
)
def test_what_is_no_metrics_request_is_400(site: AppServer, kind: str, body: bytes) -> None:
    """A body that is none, or holds a million parts, is refused with the reason."""
    headers = {"Content-Type": kind}
    answer = fetch(f"{site.url}/v1/metrics", method="POST", body=body, headers=headers)
    assert answer.status == 400
    assert b"metrics" in answer.body or b"more than 100000" in answer.body


def test_an_sdk_that_sends_metrics_logs_no_error(
    site: AppServer, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenTelemetry's own exporter takes the answer for a success."""
    exporter = OTLPMetricExporter(f"{site.url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=60_000)
    provider = MeterProvider([reader])
    provider.get_meter("test").create_counter("jobs").add(1)
    assert provider.force_flush()
    provider.shutdown()
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


# --- the list of research tasks ------------------------------------------------------------------


def test_research_tasks_are_listed(guarded: AppServer) -> None:
    """Every research task that events name is listed with its title, status and project."""
    found = fetch(f"{guarded.url}/tasks", headers=bearer(ALL)).json()
    rows = {row["task_id"]: row for row in found["tasks"]}
    assert (found["total"], sorted(rows)) == (2, ["root-alpha", "root-beta"])
    assert rows["root-beta"] == {
        "task_id": "root-beta",
        "title": "Title of beta",
        "status": "processing",
        "project_id": "beta",
    }


def test_a_list_has_the_tokens_projects_only(guarded: AppServer) -> None:
    """A limited token gets neither the rows of another project nor their number."""
    found = fetch(f"{guarded.url}/tasks", headers=bearer(ALPHA)).json()
    assert ([row["task_id"] for row in found["tasks"]], found["total"]) == (["root-alpha"], 1)
    query = "?project_id=beta"
    assert fetch(f"{guarded.url}/tasks{query}", headers=bearer(ALPHA)).json()["tasks"] == []
    assert fetch(f"{guarded.url}/tasks").status == 401


def test_a_list_is_bounded(guarded: AppServer) -> None:
    """``limit`` shortens the list, not the total; out of bounds it is 400."""
    url, headers = f"{guarded.url}/tasks", bearer(ALL)
    found = fetch(f"{url}?limit=1", headers=headers).json()
    assert (len(found["tasks"]), found["total"]) == (1, 2)
    for wrong in ("0", "1001", "x", "-1"):
        assert fetch(f"{url}?limit={wrong}", headers=headers).status == 400


# --- metrics of the collector --------------------------------------------------------------------


def test_metrics_come_in_the_format_asked_for(guarded: AppServer) -> None:
    """Prometheus' text by default, OpenMetrics by Accept; both with the process's own numbers."""
    url = f"{guarded.url}/metrics"
    text = fetch(url, headers=bearer(ALL))
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    found = fetch(url, headers=bearer(ALL) | accept)
    assert found.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert found.body.endswith(b"# EOF\n")
    for page in (text.body, found.body):
        for name in (b"otel_bridge_build_info{", b"process_cpu_seconds_total ", b"python_info{"):
            assert b"\n" + name in b"\n" + page
        # The two events of the fixture were folded live.
        assert b"\notel_bridge_event_lag_seconds_count 2.0\n" in page
    assert fetch(url, headers=bearer(ALPHA)).status == 403


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_closes_the_stream_in_order(number: signal.Signals) -> None:
    """SIGHUP and SIGTERM close every WebSocket with 1012, and ``serve`` ends with 0."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITORING_", "REDIS_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "otel_bridge_collector", "serve", "--port", "0"],
        env=kept,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://([\d.]+:\d+)", process.stdout.readline())
        assert found is not None
        with connect(f"ws://{found[1]}/ws/monitor?snapshot=true") as client:
            client.recv()
            process.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                list(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
