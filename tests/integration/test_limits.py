"""Limits, headers and secrets: what a real collector does with too much, too deep and too slow."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from otel_bridge_collector.routes import body
from otel_bridge_collector.settings import CollectorSettings
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from otel_bridge.errors import ConfigurationError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.waiting import wait_until

_names = itertools.count()

ALL = "t-all-0123456789abcdef"
ALPHA = "t-alpha-0123456789abcdef"


def line(name: str, token: str, projects: str) -> str:
    return f"{name} sha256={hashlib.sha256(token.encode()).hexdigest()} projects={projects}"


TOKENS = ";".join([line("all", ALL, "*"), line("alpha", ALPHA, "alpha")])
BEARER = {"Authorization": f"Bearer {ALL}"}


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[AppServer, EventBus]]:
    settings = BridgeSettings(bus_url=f"memory://limits-{next(_names)}")
    with AppServer(settings, tokens=TOKENS, stats_interval_sec=3600) as server:
        bus = EventBus.connect(settings)
        yield server, bus
        bus.shutdown()


class PeakMemory:
    """How far this process's resident memory rose at most, looked at each millisecond."""

    def __init__(self) -> None:
        self.grown_bytes = 0
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._is_over.wait(0.001):
            grown = self._process.memory_info().rss - self._before
            self.grown_bytes = max(self.grown_bytes, grown)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


def bomb(size: int) -> bytes:
    """``size`` spaces as gzip, a thousandth of it."""
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    block = b" " * (1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(size >> 20)), packer.flush()])


def test_a_gibibyte_of_gzip(site: tuple[AppServer, EventBus]) -> None:
    """1 GiB in 1 MiB is refused with 413; no more than the limit was ever unpacked."""
    packed = bomb(1 << 30)
    assert len(packed) < 2 << 20
    headers = BEARER | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    with PeakMemory() as peak:
        begin = time.process_time()
        answer = fetch(f"{site[0].url}/v1/traces", method="POST", body=packed, headers=headers)
        spent = time.process_time() - begin
    assert answer.status == 413
    assert peak.grown_bytes < 30 << 20
    assert spent < 1  # 8.6 s where it is unpacked
    inside = gzip.compress(packed)
    twice = headers | {"Content-Encoding": "gzip, gzip"}
    assert (
        fetch(f"{site[0].url}/v1/traces", method="POST", body=inside, headers=twice).status == 415
    )


NOTHING = {
    "resources": (b'{"resourceSpans":[%b]}', b"{}", "application/json"),
    "scopes": (b'{"resourceSpans":[{"scopeSpans":[%b]}]}', b"{}", "application/json"),
    "spans": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[%b]}]}]}', b"{}", "application/json"),
    "lists": (b'{"x":[%b]}', b"[]", "application/json"),
    "protobuf": (b"%b", b"\n\0", "application/x-protobuf"),
}


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
@pytest.mark.parametrize("kind", NOTHING)
def test_a_million_of_nothing(site: tuple[AppServer, EventBus], kind: str, path: str) -> None:
    """4 KiB of gzip that are a million empty parts are refused before any code walks over them."""
    frame, part, media_type = NOTHING[kind]
    joint = b"" if kind == "protobuf" else b","
    body_ = frame % joint.join([part] * 1_300_000)
    if path == "/v1/logs":
        body_ = body_.replace(b"Spans", b"Logs").replace(b"spans", b"logRecords")
    headers = BEARER | {"Content-Type": media_type, "Content-Encoding": "gzip"}
    packed = gzip.compress(body_)
    begin = time.process_time()
    answer = fetch(site[0].url + path, method="POST", body=packed, headers=headers)
    assert (answer.status, b"more than" in answer.body) == (400, True)
    assert time.process_time() - begin < 2  # 4 to 12 where they are walked over


def test_grpc_has_the_same_limits(make_settings: Callable[..., BridgeSettings]) -> None:
    """A bomb in gRPC's own gzip and a million empty parts are refused, without much memory."""
    bridge = make_settings(bus_url=f"memory://limits-{next(_names)}")
    with AppServer(bridge, tokens=TOKENS, otlp_grpc_port=0, stats_interval_sec=3600) as server:
        target = f"127.0.0.1:{server.app.state.otlp_grpc_port}"
        done = subprocess.run(
            [sys.executable, "-c", _GRPC_BOMBS, target, ALL], capture_output=True, text=True
        )
        assert done.stdout.split() == ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"], done.stderr


_GRPC_BOMBS = """
import sys, grpc
options = [("grpc.max_send_message_length", -1)]
channel = grpc.insecure_channel(sys.argv[1], options, grpc.Compression.Gzip)
path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
call = channel.unary_unary(path, lambda body: body, lambda body: body)
for body in (bytes(256 << 20), bytes([10, 0]) * 1_000_000):
    try:
        call(body, timeout=60, metadata=[("authorization", "Bearer " + sys.argv[2])])
    except grpc.RpcError as error:
        print(error.code().name)
"""

DEEP = [b"[" * 200_000, b'{"a":' * 200_000 + b"1" + b"}" * 200_000]
ROUTES = ["/tasks", "/session", "/v1/events", "/v1/traces", "/v1/logs"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("deep", DEEP, ids=["list", "object"])
def test_deep_json(site: tuple[AppServer, EventBus], path: str, deep: bytes) -> None:
    """200,000 levels are a 4xx, not a crash."""
    headers = BEARER | {"Content-Type": "application/json", "X-Producer-Id": "p", "X-First-N": "1"}
    answer = fetch(site[0].url + path, method="POST", body=deep, headers=headers)
    assert 400 <= answer.status < 500 or (answer.status, path) == (503, "/tasks")
    assert fetch(f"{site[0].url}/healthz").status == 200


ODD = {
    "not a number": b'{"token":NaN,"ts":NaN,"duration_ms":Infinity,"resourceSpans":[NaN]}',
    "large number": b'{"duration_ms":1e999,"token":1e999,"resourceSpans":[{"schemaUrl":1e999}]}',
    "long number": b'{"duration_ms":%b,"title":%b}' % (b"9" * 5000, b"9" * 5000),
    "same key twice": b'{"token":"a","token":{},"resourceSpans":[],"resourceSpans":{}}',
    "surrogate event": b'{"event_type":"task_failed","task_id":"\\ud800","error":"\\udfff"}',
    "NUL event": b'{"event_type":"task_failed","task_id":"\\u0000","error":"\\u001b[2J"}',
    "lone surrogate": b'{"token":"\\ud800","title":"\\ud800","task_id":"\\udfff"}',
    "not UTF-8": b'{"token":"\xff\xfe","title":"\xc0\x80"}',
    "UTF-16": '{"token":"a"}'.encode("utf-16"),
    "NUL": b'{"token":"a\\u0000b","title":"\\u0000","task_id":"\\u0000"}\0',
    "nothing": b"",
    "null": b"null",
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_json(site: tuple[AppServer, EventBus], path: str, kind: str) -> None:
    """What parsers of JSON do not agree on is taken or refused, and none of it is a failure."""
    headers = BEARER | {"Content-Type": "application/json", "X-Producer-Id": "p", "X-First-N": "1"}
    answer = fetch(site[0].url + path, method="POST", body=ODD[kind], headers=headers)
    assert answer.status < 500 or (answer.status, path) == (503, "/tasks")
    assert fetch(f"{site[0].url}/monitor/snapshot", headers=BEARER).status == 200


@pytest.mark.parametrize("path", ROUTES)
def test_large_bodies(site: tuple[AppServer, EventBus], path: str) -> None:
    """More than a route takes is 413, read and thrown away so that the sender hears of it."""
    headers = BEARER | {"Content-Type": "application/json", "X-Producer-Id": "p", "X-First-N": "1"}
    size = 5 if path == "/session" else 9
    answer = fetch(site[0].url + path, method="POST", body=b" " * (size << 20), headers=headers)
    assert answer.status == (503 if path == "/tasks" else 413)


def test_slow_bodies(site: tuple[AppServer, EventBus], monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that trickles is answered with 408 and its connection closed."""
    monkeypatch.setattr(body, "BODY_TIMEOUT_SEC", 0.2)
    with socket.create_connection(("127.0.0.1", site[0].port), timeout=10) as link:
        head = (
            f"POST /session HTTP/1.1\r\nHost: 127.0.0.1:{site[0].port}\r\nContent-Length: 9\r\n\r\n"
        )
        link.sendall(head.encode() + b'{"t')
        answer = b""
        while chunk := link.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/monitor/snapshot", "/no-such", "/metrics", "/session", "/theme.js"]
)
@pytest.mark.parametrize("headers", [{}, BEARER, {"Host": "evil.example"}], ids=["", "in", "host"])
def test_every_answer_has_the_headers(
    site: tuple[AppServer, EventBus], path: str, headers: dict[str, str]
) -> None:
    """Pages, data, errors and refusals alike."""
    found = fetch(site[0].url + path, headers=headers).headers
    names = {name.lower(): value for name, value in found.items()}
    assert names["x-content-type-options"] == "nosniff"
    assert names["x-frame-options"] == "DENY"
    assert names["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in names["content-security-policy"]


class _Broken:
    """A gateway that fails in an unforeseen way, with a secret in its error."""

    async def submit(self, request: Any) -> str:
        raise RuntimeError(ALL)

    async def get(self, task_id: str) -> dict[str, Any] | None:
        raise RuntimeError(ALL)


def test_a_failure_has_the_headers_and_reveals_nothing(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """A 500 carries them too, and says nothing of what went wrong."""
    bridge = make_settings(bus_url=f"memory://limits-{next(_names)}")
    options = {"log_level": "critical"}
    with AppServer(bridge, tokens=TOKENS, gateway=_Broken(), server_options=options) as server:
        answer = fetch(f"{server.url}/tasks/x", headers=BEARER)
    assert (answer.status, answer.json()) == (500, {"detail": "internal error"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_refused_websocket_has_the_headers(site: tuple[AppServer, EventBus]) -> None:
    """Without a token, from another origin, with a query that makes no sense."""
    other_site = BEARER | {"Origin": "http://evil.example"}
    for query, headers in (("", {}), ("", other_site), ("?types=nothing", BEARER)):
        with pytest.raises(InvalidStatus) as refused:
            await connect(site[0].ws_url + query, additional_headers=headers)
        assert refused.value.response.headers["x-content-type-options"] == "nosniff"
        assert "server" not in refused.value.response.headers


@pytest.mark.parametrize(("proxies", "expected"), [("", 429), ("127.0.0.1", 401)])
def test_forwarded_addresses_count_from_proxies_only(
    make_settings: Callable[..., BridgeSettings], proxies: str, expected: int
) -> None:
    """A client that is no trusted proxy cannot spread its guesses over made-up addresses."""
    bridge = make_settings(bus_url=f"memory://limits-{next(_names)}")
    with AppServer(bridge, tokens=TOKENS, trusted_proxies=proxies) as server:
        for number in range(11):
            headers = {"Authorization": "Bearer x", "X-Forwarded-For": f"192.0.2.{number}"}
            answer = fetch(f"{server.url}/metrics", headers=headers)
    assert answer.status == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"allowed_origins": "*"},
        {"allowed_origins": "https://dash.example.org/"},
        {"allowed_origins": "https://Dash.example.org"},
        {"allowed_origins": "dash.example.org"},
        {"allowed_origins": "https://a.example, null"},
        {"trusted_proxies": "*"},
        {"trusted_proxies": "proxy.example.org"},
        {"trusted_proxies": "10.1.2.3/16"},
    ],
)
def test_settings_that_would_let_every_client_in_are_refused(fields: dict[str, str]) -> None:
    """A wildcard or what could never match fails at the start."""
    (name,) = fields
    with pytest.raises(ConfigurationError, match=f"MONITORING_{name.upper()}"):
        CollectorSettings.load(**fields)


async def test_tickets(site: tuple[AppServer, EventBus]) -> None:
    """One WebSocket for a ticket; a second time, for anything else or made up it is nothing."""
    server = site[0]
    url = f"{server.url}/session/ticket"
    assert fetch(url, method="POST").status == 401
    answer = fetch(url, method="POST", headers=BEARER)
    assert answer.json()["expires_in"] == 30
    ticket = answer.json()["ticket"]
    assert fetch(f"{server.url}/monitor/events?ticket={ticket}").status == 401
    async with connect(f"{server.ws_url}?snapshot=true&ticket={ticket}") as stream:
        assert json.loads(await stream.recv())["type"] == "snapshot"
    for wrong in (ticket, "made-up", f"{ticket}&ticket={ticket}"):
        with pytest.raises(InvalidStatus):
            await connect(f"{server.ws_url}?ticket={wrong}")


def test_tickets_keep_the_limits(site: tuple[AppServer, EventBus]) -> None:
    """A ticket is as limited as the token it was made with."""
    alpha = {"Authorization": f"Bearer {ALPHA}"}
    ticket = fetch(f"{site[0].url}/session/ticket", method="POST", headers=alpha).json()["ticket"]
    authenticator = site[0].app.state.authenticator
    principal = site[0].call(lambda: authenticator.redeem_ticket(ticket))
    assert principal.projects == frozenset({"alpha"})
    assert site[0].call(lambda: authenticator.redeem_ticket(ticket)) is None


def test_a_token_is_made_and_used(
    make_settings: Callable[..., BridgeSettings], tmp_path: Any
) -> None:
    """``otel-bridge token`` prints both halves; ``tail`` and ``submit`` show the token."""
    command = [sys.executable, "-m", "otel_bridge_collector"]
    made = subprocess.run(
        [*command, "token", "ci", "--projects", "alpha,be ta", "--days", "30"],
        capture_output=True,
        text=True,
        check=True,
    )
    token = made.stdout.strip()
    entry = made.stderr.strip().splitlines()[-1]
    assert re.fullmatch(r"ci sha256=[0-9a-f]{64} projects=alpha,be%20ta expires=\S+Z", entry)
    tokens = tmp_path / "tokens"
    tokens.write_text(entry + "\n", encoding="utf-8")
    bridge = make_settings(bus_url=f"memory://limits-{next(_names)}")
    with AppServer(bridge, tokens_file=tokens, stats_interval_sec=3600) as server:
        environ = {**os.environ, "MONITORING_TOKEN": token}
        submit = [*command, "submit", "--url", server.url]
        done = subprocess.run(submit, input="{}", env=environ, capture_output=True, text=True)
        assert "authentication required" not in done.stderr
        done = subprocess.run(submit, input="{}", capture_output=True, text=True)
        assert "set MONITORING_TOKEN" in done.stderr
        done = subprocess.run(
            [*command, "tail", "--url", server.url], capture_output=True, text=True, timeout=60
        )
        assert "set MONITORING_TOKEN" in done.stderr
        tail = subprocess.Popen(
            [*command, "tail", "--url", server.url], env=environ, stdout=subprocess.PIPE, text=True
        )
        wait_until(lambda: len(server.collector.hub) == 1, "the tail")
        pushing = EventBus.connect(BridgeSettings(bus_url=server.url, token=token))
        fields = {"event_type": "task_started", "task_id": "j1", "project_id": "alpha"}
        pushing.publish(MonitoringEvent.model_validate(fields))
        assert tail.stdout is not None
        assert "j1" in tail.stdout.readline()
        tail.terminate()
        tail.communicate(timeout=30)
        pushing.shutdown(2)


async def test_no_secret_in_any_log(
    make_settings: Callable[..., BridgeSettings], caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    """Tokens, cookies, passwords, at the most talkative level; a ticket in it has been used."""
    caplog.set_level(logging.DEBUG)
    bridge = make_settings(bus_url=f"memory://limits-{next(_names)}")
    secrets = [ALL, ALPHA, "wrong-guess-1234567", "hunter2-password"]
    # Without uvicorn's own handlers, its lines come where we read.
    options = {"log_level": "debug", "access_log": True}
    caplog.set_level(logging.INFO, "websockets.client")  # this test's own side
    with AppServer(
        bridge, tokens=TOKENS, stats_interval_sec=3600, server_options=options
    ) as server:
        for token in secrets[:3]:
            fetch(f"{server.url}/monitor/events", headers={"Authorization": f"Bearer {token}"})
            body_ = json.dumps({"token": token}).encode()
            cookie = fetch(f"{server.url}/session", method="POST", body=body_).headers.get(
                "set-cookie", "x=wrong-cookie-1234567;"
            )
            cookie = cookie.partition(";")[0]
            secrets.append(cookie.partition("=")[2])
            fetch(f"{server.url}/session", headers={"Cookie": cookie})
            fetch(f"{server.url}/no-such-page", headers={"Cookie": cookie, "X-Token": token})
            with suppress(InvalidStatus, ConnectionClosed):
                headers = {"Cookie": cookie, "Origin": server.url}
                async with connect(server.ws_url, additional_headers=headers) as stream:
                    await stream.ping()
            with suppress(InvalidStatus):
                headers = {"Authorization": f"Bearer {token}"}
                async with connect(server.ws_url, additional_headers=headers) as stream:
                    await stream.ping()
            for path in ("/v1/events", "/v1/traces", "/tasks"):
                sent = {"Authorization": f"Basic {b64(f'x:{token}')}"}
                fetch(server.url + path, method="POST", body=b"{", headers=sent)
                secrets.append(b64(f"x:{token}"))
        ticket = fetch(f"{server.url}/session/ticket", method="POST", headers=BEARER).json()
        async with connect(f"{server.ws_url}?ticket={ticket['ticket']}") as stream:
            await stream.ping()
        pushing = EventBus.connect(
            BridgeSettings(bus_url=f"http://x:hunter2-password@127.0.0.1:{server.port}")
        )
        pushing.publish(MonitoringEvent(event_type="queue_depth_update", counts={"q": 1}))
        pushing.shutdown(0.5)
    away = EventBus.connect(BridgeSettings(bus_url="redis://u:hunter2-password@127.0.0.1:1/0"))
    away.publish(MonitoringEvent(event_type="queue_depth_update", counts={"q": 1}))
    away.shutdown(0.3)
    written = caplog.text + "".join(capfd.readouterr())
    assert "GET /monitor/events" in written, "the access log was not there"
    assert [secret for secret in secrets if secret in written] == []


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _until(stream: ClientConnection, last: str, timeout_sec: float) -> Iterator[str]:
    """Messages until one has this in it, or none has come for so long."""
    with suppress(TimeoutError):
        while True:
            message = str(stream.recv(timeout=timeout_sec))
            yield message
            if last in message:
                return


fields = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(
            [
                *("task_enqueued", "task_started", "task_failed", "task_completed", "task_retry"),
                *("phase_started", "phase_completed", "stats_snapshot", "worker_heartbeat"),
                "queue_depth_update",
            ]
        ),
        "project_id": st.sampled_from(["alpha", "beta", None]),
        "shared": st.booleans(),
        "with_root": st.booleans(),
    }
)


@given(plan=st.lists(fields, min_size=1, max_size=12))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_byte_of_another_project_on_any_surface(
    site: tuple[AppServer, EventBus], plan: list[dict[str, Any]]
) -> None:
    """Events, snapshot, stats, failures and resume of a token for alpha: nothing of beta's."""
    server, bus = site
    number = next(_names)
    before = server.collector.stats.events_in
    position = server.collector.ring.last_position
    headers = {"Authorization": f"Bearer {ALPHA}"}
    live = [
        open_socket(f"{server.ws_url}{query}", additional_headers=headers)
        for query in ("", "?snapshot=true", "?project_id=beta", f"?task_id=root-{number}")
    ]
    for index, one in enumerate(plan):
        project = one["project_id"]
        # Work of no project inside a project's research task is that project's.
        mark = f"mark-{project}{'-inside' if one['shared'] else ''}-{number}"
        root = f"root-{number}" if one["shared"] else f"root-{mark}"
        fields_ = {
            "event_type": one["event_type"],
            "project_id": project,
            "parent_task_id": root,
            "task_id": root if one["with_root"] else f"job-{mark}-{index}",
            "task_type": f"type-{mark}",
            "phase": f"phase-{mark}",
            "worker_id": f"worker-{mark}",
            "queue": f"queue-{mark}",
            "message": f"message-{mark}",
            "error": f"error-{mark}",
            "counts": {f"count-{mark}": 1} if one["event_type"] == "queue_depth_update" else None,
            "meta": {"title": f"title-{mark}"},
        }
        bus.publish(MonitoringEvent.model_validate(fields_))
    assert bus.flush(10)
    wait_until(lambda: server.collector.stats.events_in - before >= len(plan), "the events")
    last = {"event_type": "task_started", "project_id": "alpha", "task_id": f"last-{number}"}
    bus.publish(MonitoringEvent.model_validate(last))
    live.append(
        open_socket(f"{server.ws_url}?since={position}&batch_ms=1", additional_headers=headers)
    )
    heard: list[str] = []
    for index, stream in enumerate(live):
        with stream:
            # The third and fourth asked for what they never get; all that they were sent is read.
            heard += list(_until(stream, f"last-{number}", 0.05 if index in (2, 3) else 10))
    seen = "".join(heard).encode() + b"".join(
        fetch(server.url + path, headers=headers).body
        for path in (
            "/monitor/snapshot",
            "/monitor/events?limit=1000",
            f"/monitor/snapshot?task_id=root-{number}",
            f"/tasks/root-mark-beta-{number}",
        )
    )
    for mark in ("mark-beta", "mark-beta-inside", "mark-None"):
        assert f"{mark}-{number}".encode() not in seen
