"""The push format between sender and collector, and the sender's reaction to answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import ConfigurationError, TransportError, TransportRejectedError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.publish.transports import open_receiver, open_sender
from otel_bridge.publish.transports.base import Outgoing, SpanStack
from otel_bridge.publish.transports.http import HttpSender, decode_push, encode_push
from otel_bridge.publish.transports.memory import MemoryLog
from otel_bridge.settings import BridgeSettings
from tests.support.push_server import PushServer

MakeSettings = Callable[..., BridgeSettings]
HEADERS = {"X-Producer-Id": "a1", "X-First-N": "7"}
EVENT = b'{"event_type":"task_started","task_id":"1"}'


@given(
    st.lists(
        st.tuples(
            st.sampled_from(MonitoringEventType),
            st.none() | st.text(max_size=10),
            st.text(max_size=50),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_encoded_is_decoded(
    parts: list[tuple[MonitoringEventType, str | None, str]],
) -> None:
    """Decoding gives the encoded batch, with line ends in texts, projects and aggregates."""
    batch = [
        Outgoing(
            MonitoringEvent(event_type=kind, project_id=project, message=text).to_json(),
            project,
            kind in ("queue_depth_update", "stats_snapshot"),
        )
        for kind, project, text in parts
    ]
    push = decode_push(encode_push(batch), HEADERS, 8192)
    assert (push.producer_id, push.first_n, list(push.batch)) == ("a1", 7, batch)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "0 events"),
        (EVENT + b"\n\n", "line 2 is not JSON"),
        (b"[]\n", "line 1 is not a monitoring event"),
        (b'{"event_type":7}\n', "line 1 is not a monitoring event"),
        (b'{"event_type":["task_started"]}\n', "line 1 is not a monitoring event"),
        (b'{"event_type":"task_started","project_id":5}\n', "line 1 is not a monitoring event"),
        (b' {"event_type":"task_started"}\n', "line 1 is not a monitoring event"),
        (b'{"event_type":"task_started","duration_ms":NaN}\n', "line 1 is not JSON"),
        (b'{"position":"x:1","event_type":"task_started"}\n', "has a position"),
        (b'{"event_type":"task_started","error":"' + b"x" * 9000 + b'"}\n', "over 8192"),
        (b"[" * 5000, "line 1 is not JSON"),
        (b'{"event_type":"task_started"}\n' * 1001, "1001 events"),
        (b"\xff\xfe\n", "line 1 is not JSON"),
    ],
)
def test_a_body_that_is_no_batch_is_rejected_with_its_line(body: bytes, reason: str) -> None:
    """A malformed body is rejected as a whole; the reason names the line and quotes nothing."""
    with pytest.raises(TransportRejectedError, match=reason):
        decode_push(body, HEADERS, 8192)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Producer-Id": "a"},
        {"X-First-N": "1"},
        {"X-Producer-Id": "a b", "X-First-N": "1"},
        {"X-Producer-Id": "a" * 65, "X-First-N": "1"},
        {"X-Producer-Id": "a", "X-First-N": "0"},
        {"X-Producer-Id": "a", "X-First-N": "-1"},
        {"X-Producer-Id": "a", "X-First-N": "²"},
        {"X-Producer-Id": "a", "X-First-N": "9" * 20},
    ],
)
def test_headers_without_producer_or_number_are_rejected(headers: dict[str, str]) -> None:
    """Without both headers a batch could not be deduplicated, so it is rejected."""
    with pytest.raises(TransportRejectedError):
        decode_push(EVENT, headers, 8192)


@given(st.binary(max_size=300))
def test_any_body_is_a_batch_or_rejected(body: bytes) -> None:
    """Arbitrary bytes are decoded as a batch or rejected, and raise nothing else."""
    try:
        push = decode_push(body, HEADERS, 8192)
    except TransportRejectedError:
        return
    assert all(json.loads(outgoing.data) for outgoing in push.batch)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, TransportRejectedError),
        (413, TransportRejectedError),
        (401, TransportError),
        (404, TransportError),
        (429, TransportError),
        (500, TransportError),
        (503, TransportError),
    ],
)
def test_only_a_rejected_batch_is_not_sent_again(
    status: int, error: type[TransportError], make_settings: MakeSettings
) -> None:
    """Statuses about the content are final; after any other status the batch is sent again."""
    with PushServer(MemoryLog()) as server:
        sender = HttpSender(server.url, make_settings())
        server.refuse_with = (status, {"Retry-After": "7"})
        with pytest.raises(TransportError) as caught:
            sender.send("a", 1, [Outgoing(EVENT, None)])
        assert type(caught.value) is error
        if error is TransportError:
            assert caught.value.retry_after_sec == 7.0
        server.refuse_with = None
        assert sender.send("a", 1, [Outgoing(EVENT, None)]).skipped == 0
        sender.close()


def test_a_collector_of_an_older_release_takes_the_events(make_settings: MakeSettings) -> None:
    """It knows nothing of stacks: they are counted as not stored, and cost no event."""
    stack = SpanStack("00f067aa0ba902b7", "ValueError: x")
    batch = [Outgoing(EVENT, None, stack=stack)]
    with PushServer(log := MemoryLog()) as server:
        sender = HttpSender(server.url, make_settings())
        server.is_of_older_release = True
        assert sender.send("a", 1, batch).unstored == 1
        server.is_of_older_release = False
        assert sender.send("a", 2, batch).unstored == 0
        assert log.stack(stack.span_id) == stack
        assert len(log.newest(9, None)) == 2
        server.refuse_with = (503, {"Retry-After": "7"})
        with pytest.raises(TransportError) as outage:
            sender.store_stacks([stack])
        assert outage.value.retry_after_sec == 7
        sender.close()


def test_one_connection_serves_many_batches(make_settings: MakeSettings) -> None:
    """The connection is kept between batches."""
    with PushServer(MemoryLog()) as server:
        sender = HttpSender(server.url, make_settings())
        sender.send("a", 1, [Outgoing(EVENT, None)])
        connection = sender._connection
        assert connection is not None
        kept = connection.sock
        sender.send("a", 2, [Outgoing(EVENT, None)])
        assert sender._connection is connection
        assert connection.sock is kept
        sender.close()


@pytest.mark.parametrize(
    "url", ["http://", "http://host:port", "https:///path", "http://a..b", "http://" + "a" * 64]
)
def test_a_url_without_a_host_fails_at_once(url: str, make_settings: MakeSettings) -> None:
    """A URL without a usable host or port is a configuration error that names the setting."""
    with pytest.raises(ConfigurationError, match="MONITORING_BUS_URL"):
        open_sender(url, make_settings())


@pytest.mark.parametrize("path", ["bä", "a b", "a\x7fb"])
def test_a_path_that_http_cannot_carry_fails_at_once(
    path: str, make_settings: MakeSettings
) -> None:
    """It is a configuration error that says to percent-encode it, not an outage at each batch."""
    with pytest.raises(ConfigurationError, match=r"MONITORING_BUS_URL=.* HTTP cannot carry; .*%20"):
        open_sender(f"http://127.0.0.1:1/{path}", make_settings())


def test_http_cannot_be_read_from(make_settings: MakeSettings) -> None:
    """A receiver for http:// is a configuration error that says what to set instead."""
    with pytest.raises(ConfigurationError, match="memory"):
        open_receiver("http://127.0.0.1:1", make_settings())
