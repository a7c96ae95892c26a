"""``/ws/monitor``: its query, and the stream under a server without our WebSocket protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from otel_bridge_collector.routes.websocket import (
    MAX_BATCH_MS,
    StreamRequest,
    parse_stream_request,
    route_websockets,
)
from otel_bridge_collector.wire.filters import ALL_EVENTS, EventFilter, FilterError
from starlette.websockets import WebSocket

from tests.support.asgi_site import connected, open_site, token_line

TOKEN = "token-of-alpha-0123456789"


def test_an_empty_query_is_the_plain_stream() -> None:
    """Without parameters a client gets all events one by one, and no control messages."""
    request = parse_stream_request({})
    assert request == StreamRequest(ALL_EVENTS, wants_snapshot=False, since=None, batch_ms=None)
    assert not request.has_extras
    empty = dict.fromkeys(("since", "batch_ms", "snapshot", "project_id"), "")
    assert parse_stream_request(empty) == request


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"snapshot": "true"}, StreamRequest(ALL_EVENTS, True, None, None)),
        ({"since": "e:5"}, StreamRequest(ALL_EVENTS, False, "e:5", None)),
        ({"batch_ms": "50"}, StreamRequest(ALL_EVENTS, False, None, 50)),
    ],
)
def test_each_added_parameter_allows_control_messages(
    query: dict[str, str], expected: StreamRequest
) -> None:
    """A client that uses one of them understands snapshot, gap and keep-alive."""
    assert (parse_stream_request(query), expected.has_extras) == (expected, True)


def test_filters_allow_no_control_messages() -> None:
    """A client that only filters gets events only."""
    request = parse_stream_request({"project_id": "p", "types": "task_failed"})
    assert request.event_filter == EventFilter(project_id="p", types=frozenset({"task_failed"}))
    assert not request.has_extras


@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "x", str(MAX_BATCH_MS + 1), "9" * 5000, "\N{SUPERSCRIPT TWO}"]
)
def test_a_batch_time_out_of_range_is_named(value: str) -> None:
    """A time that is no number from 1 to 5000 is an error with the value, within bounds."""
    with pytest.raises(FilterError, match=r"batch_ms: .* is not a number from 1 to 5000") as raised:
        parse_stream_request({"batch_ms": value})
    assert len(str(raised.value)) < 120


@pytest.mark.parametrize("query", [{"snapshot": "maybe"}, {"types": "x"}, {"task_id": "x" * 513}])
def test_a_wrong_query_is_an_error(query: dict[str, str]) -> None:
    """Every parameter is checked before the handshake is accepted."""
    with pytest.raises(FilterError):
        parse_stream_request(query)


async def test_a_client_gets_the_snapshot_and_then_events() -> None:
    """Under any ASGI server the stream begins with the snapshot and goes on with new events."""
    async with open_site() as site, connected(site, "snapshot=true") as client:
        assert (await client.next())["type"] == "websocket.accept"
        assert (await client.next_json())["type"] == "snapshot"
        await client.sent.put({"type": "websocket.receive", "text": "ignored"})
        await site.append({"task_id": "a"})
        message = await client.next_json()
        while "event_type" not in message:  # a keep-alive may come first
            message = await client.next_json()
        assert message["task_id"] == "a"


async def test_a_lost_position_is_a_gap() -> None:
    """A position of another log is answered with a gap and its reason."""
    async with open_site() as site, connected(site, "since=other:5") as client:
        assert (await client.next())["type"] == "websocket.accept"
        assert (await client.next_json())["type"] == "gap"


async def test_a_wrong_query_is_refused_before_the_handshake() -> None:
    """400 with the reason, and no client is counted."""
    async with open_site() as site, connected(site, "types=nonsense") as client:
        start, body = await client.next(), await client.next()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 400)
        assert b"unknown event type nonsense" in body["body"]
        assert len(site.collector.hub) == 0


async def test_a_token_has_a_limit_of_websockets() -> None:
    """One more than the limit is 429 with ``Retry-After``; the first one stays."""
    tokens = token_line(TOKEN, "alpha")
    async with (
        open_site(tokens=tokens, token_max_connections=1) as site,
        connected(site, "snapshot=1", TOKEN) as first,
    ):
        assert (await first.next())["type"] == "websocket.accept"
        async with connected(site, "", TOKEN) as second:
            start, body = await second.next(), await second.next()
            assert (start["status"], dict(start["headers"])[b"retry-after"]) == (429, b"10")
            assert b"too many WebSockets" in body["body"]
        assert (await first.next_json())["type"] == "snapshot"


async def test_leaving_makes_room() -> None:
    """When the client disconnects, neither the hub nor the limits know it any more."""
    async with open_site() as site:
        async with connected(site) as client:
            assert (await client.next())["type"] == "websocket.accept"
            while not len(site.collector.hub):
                await asyncio.sleep(0)
        assert len(site.collector.hub) == 0
        assert site.app.state.authenticator._connections == {}


async def test_a_request_that_is_no_handshake_is_426() -> None:
    """It is answered with the protocol to upgrade to, and with a sentence."""
    async with open_site() as site:
        answer = await site.get("/ws/monitor")
        assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
        assert "connect with ws:// or wss://" in answer.json()["detail"]
        assert (await site.post("/ws/monitor")).status == 405


@pytest.mark.parametrize("path", ["/ws", "/ws/monitor/", "/metrics", "/a/b"])
async def test_other_paths_are_404(path: str) -> None:
    """A handshake anywhere else is refused with 404 and the path of the stream."""
    async with open_site() as site, connected(site, path=path) as client:
        start, body = await client.next(), await client.next()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
        assert b"try /ws/views or /ws/monitor" in body["body"]


async def test_other_paths_under_a_server_without_the_extension() -> None:
    """A server that cannot answer a handshake with a response closes instead."""
    async with open_site() as site, connected(site, path="/ws", extensions=()) as client:
        assert await client.next() == {
            "type": "websocket.close",
            "code": 4400,
            "reason": "bad request",
        }


@pytest.mark.parametrize(("offered", "agreed"), [(b"otel-bridge", "otel-bridge"), (b"mqtt", None)])
async def test_the_subprotocol_is_answered(offered: bytes, agreed: str | None) -> None:
    """Ours is agreed on if it is offered; another one does not keep the stream from opening."""
    more = ((b"sec-websocket-protocol", offered),)
    async with open_site() as site, connected(site, more=more) as client:
        accepted = await client.next()
        assert (accepted["type"], accepted["subprotocol"]) == ("websocket.accept", agreed)


async def test_repeated_parameters_of_the_stream() -> None:
    """Types are joined; two values of another parameter are refused with its name."""
    async with open_site() as site:
        query = "types=task_failed&types=worker_started&snapshot=1"
        async with connected(site, query) as client:
            assert (await client.next())["type"] == "websocket.accept"
        async with connected(site, "project_id=a&project_id=b") as client:
            start, body = await client.next(), await client.next()
            assert (start["status"], b"project_id: given 2 times" in body["body"]) == (400, True)


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("", "/ws/monitor", "monitor"),
        ("/below", "/below/ws/monitor", "monitor"),
        ("/below", "/ws/monitor", "monitor"),
        ("", "/ws/monitor/", None),
        ("", "/below/ws/monitor", None),
    ],
)
async def test_a_path_leads_to_its_endpoint_also_below_another(
    root_path: str, path: str, expected: str | None
) -> None:
    """Exactly the paths that have one; below a root path too, as a server or a mount names it."""
    ran: list[str] = []
    sent: list[dict[str, Any]] = []

    async def endpoint(_: WebSocket) -> None:
        ran.append("monitor")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    route = route_websockets({"/ws/monitor": endpoint})
    scope = {"type": "websocket", "path": path, "root_path": root_path, "headers": []}
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    await route({**scope, "extensions": extensions}, receive, send)
    assert ran == ([] if expected is None else [expected])
    assert [one["status"] for one in sent if "status" in one] == ([404] if not ran else [])
