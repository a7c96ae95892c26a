"""Views over a real uvicorn: changes, compression, pings, a reader that stops, bad messages."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)

from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.view_client import ViewClient
from tests.support.waiting import wait_until
from tests.support.ws_clients import open_silent_client

_names = itertools.count()


class Viewer:
    """One page: a connection, and what it shows."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.client = ViewClient()

    async def sub(self, number: int, view: str, **params: Any) -> None:
        message = {"op": "sub", "id": number, "view": view, "params": params}
        await self.connection.send(json.dumps(message))

    async def until(self, condition: Callable[[ViewClient], bool]) -> None:
        """Take messages until the condition holds."""
        async with asyncio.timeout(20):
            while not condition(self.client):
                self.client.take(json.loads(await self.connection.recv()))


@asynccontextmanager
async def viewer(server: AppServer, compression: str | None = "deflate") -> AsyncIterator[Viewer]:
    url = f"ws://127.0.0.1:{server.port}/ws/views"
    async with connect(url, max_size=None, compression=compression) as connection:
        yield Viewer(connection)


@pytest.fixture
def server(make_settings: Callable[..., BridgeSettings]) -> Any:
    settings = make_settings(bus_url=f"memory://views-{next(_names)}")
    with AppServer(settings) as running:
        yield running


def start_tasks(bus: EventBus, first: int, count: int) -> None:
    for number in range(first, first + count):
        name = f"task {number}"
        fields = {"task_id": name, "parent_task_id": name, "event_type": "task_started"}
        bus.publish(MonitoringEvent.model_validate(fields))


async def test_a_page_sees_tasks_come_and_end(server: AppServer) -> None:
    """Two pages with equal views show the same, and what one asks for does not move the other."""
    bus = EventBus.connect(server.collector.bridge_settings)
    try:
        async with viewer(server) as one, viewer(server) as other:
            await one.sub(1, "tasks", sort="newest", count=3)
            await other.sub(7, "tasks", count=3, sort="newest")
            await other.sub(8, "overview")
            start_tasks(bus, 0, 5)
            await one.until(lambda shown: shown.view(1).head.get("total") == 5)
            await other.until(lambda shown: shown.view(7).head.get("total") == 5)
            assert one.client.view(1).shown == other.client.view(7).shown
            assert len(one.client.view(1).keys) == 3
            await other.until(lambda shown: shown.view(8).head["tasks"] == {"processing": 5})
            assert server.collector.views_hub.group_count == 2
            assert one.client.view(1).fulls == 1
    finally:
        bus.shutdown(5)


async def test_clients_with_and_without_compression_see_the_same(server: AppServer) -> None:
    """Compressed once for all who take it; a small window or none gets plain frames."""
    bus = EventBus.connect(server.collector.bridge_settings)
    small_window = ClientPerMessageDeflateFactory(server_max_window_bits=9)
    url = f"ws://127.0.0.1:{server.port}/ws/views"
    try:
        start_tasks(bus, 0, 30)
        async with (
            connect(url) as packed,
            connect(url, compression=None, extensions=[small_window]) as small,
            connect(url, compression=None) as plain,
        ):
            pages = [Viewer(connection) for connection in (packed, small, plain)]
            for page in pages:
                await page.sub(1, "tasks", count=200)
            await asyncio.to_thread(start_tasks, bus, 30, 30)
            for page in pages:
                await page.until(lambda shown: shown.view(1).head.get("total") == 60)
            first, *others = [page.client.view(1) for page in pages]
            assert [view.shown for view in others] == [first.shown] * 2
            extensions = [connection.protocol.extensions for connection in (packed, small, plain)]
            assert [len(found) for found in extensions] == [1, 1, 0]
            deflate = cast(PerMessageDeflate, extensions[0][0])
            assert deflate.remote_no_context_takeover
            assert deflate.local_no_context_takeover
            taking = [protocol.takes_deflated for protocol in server.connections]
            assert sorted(taking) == [False, False, True]
    finally:
        bus.shutdown(5)


async def test_the_table_of_events_continues_in_the_log(server: AppServer) -> None:
    """While events come: the rows of the view, and the pages before its first one, are the log."""
    bus = EventBus.connect(server.collector.bridge_settings)
    path = f"{server.url}/monitor/events"
    try:
        start_tasks(bus, 0, 90)
        async with viewer(server) as page:
            await page.sub(1, "events", count=20, text="TASK 1")
            await page.until(lambda shown: shown.view(1).head.get("passed", 0) >= 11)
            start_tasks(bus, 100, 60)
            await page.until(lambda shown: shown.view(1).head["passed"] >= 71)
            rows = page.client.view(1).shown[1]
            assert [row["k"] for row in rows] == [row["event"]["position"] for row in rows]
            found = [row["event"]["task_id"] for row in rows]
            before: str | None = rows[0]["k"]
            number = 1000
            while before is not None:
                start_tasks(bus, number, 5)
                number += 5
                query = f"before={before}&limit=7&text=task%201&all=false"
                older = (await asyncio.to_thread(fetch, f"{path}?{query}")).json()
                found[:0] = [event["task_id"] for event in reversed(older["events"])]
                before = older["next_before"]
            expected = [n for n in (*range(90), *range(100, 160)) if str(n).startswith("1")]
            assert found == [f"task {n}" for n in expected]
    finally:
        bus.shutdown(5)


async def test_the_raw_stream_is_not_compressed(server: AppServer) -> None:
    """Its frames are shared by clients, each of which would need a state of its own."""
    async with connect(server.ws_url) as connection:
        assert connection.protocol.extensions == []


@pytest.mark.parametrize("parts", [1, 2])
async def test_an_inflated_message_of_over_16_kib_closes_with_1009(
    server: AppServer, parts: int
) -> None:
    """However few bytes it took on its way, in one frame or in several."""
    async with viewer(server) as page:
        chunks = ["x" * (20_000 // parts)] * parts
        await page.connection.send(chunks if parts > 1 else chunks[0])
        with pytest.raises(ConnectionClosed) as closed:
            await page.until(lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_page_sees_a_tree_grow_around_the_row_it_holds_on_to(server: AppServer) -> None:
    """Rows come above it, it stays where it was; the answer by HTTP has the same rows."""
    bus = EventBus.connect(server.collector.bridge_settings)

    def publish(kind: str, number: int, **fields: Any) -> None:
        given = {"parent_task_id": "t", "span_id": f"{number:016x}", "event_type": kind, **fields}
        bus.publish(MonitoringEvent.model_validate(given))

    def job(number: int) -> str:
        fields = {"task_id": f"j{number}", "parent_span_id": f"{2 - number % 2:016x}"}
        publish("task_started", number, **fields)
        return f"{number:016x}"

    try:
        publish("task_started", 1, task_id="t", meta={"title": "Big"})
        publish("phase_started", 2, phase="p", parent_span_id=f"{1:016x}")
        held = [job(number) for number in range(101, 140, 2)][10]
        at = {"key": held, "above": 5}
        async with viewer(server) as page:
            await page.sub(1, "tasks")
            await page.until(lambda shown: shown.view(1).head.get("total") == 1)
            await page.sub(2, "tree", task="t", at=at, count=10)
            await page.until(lambda shown: shown.view(2).head.get("total") == 22)
            first = page.client.view(2).head["first"]
            for number in range(200, 240, 2):
                job(number)  # below the phase, which is above
            await page.until(lambda shown: shown.view(2).head["total"] == 42)
            tree = page.client.view(2)
            assert tree.head["first"] == first + 20
            assert tree.keys[5] == held
            publish("task_completed", 121, task_id="j121")
            await page.until(lambda shown: shown.view(2).rows[held]["status"] == "completed")
            assert tree.fulls == 1
            params = quote(json.dumps({"task": "t", "at": at, "count": 10}))
            url = f"{server.url}/monitor/views/tree?params={params}"
            answer = await asyncio.to_thread(fetch, url)
            assert answer.json()["rows"] == tree.shown[1]
            assert answer.json()["head"] == tree.head
    finally:
        bus.shutdown(5)


async def test_a_client_that_does_not_read_gets_the_latest_only(server: AppServer) -> None:
    """Its messages do not wait in the collector; others go on, and it is counted."""
    hub = server.collector.views_hub
    silent = open_silent_client(server.port, "/ws/views")
    bus = EventBus.connect(server.collector.bridge_settings)
    # The largest window fills the buffers long before 10,000 tasks, the most that are held.
    sub = {"op": "sub", "id": 1, "view": "tasks", "params": {"count": 200}}
    try:
        silent.sendall(masked(json.dumps(sub)))
        async with viewer(server) as page:
            await page.sub(1, "tasks", count=1)
            await page.until(lambda shown: shown.view(1).fulls == 1)
            number, changes = 0, -1

            def is_behind() -> bool:
                nonlocal number, changes
                if hub.counters.changes != changes:  # one window after another, no flood of tasks
                    changes = hub.counters.changes
                    start_tasks(bus, number, 200)
                    number += 200
                return hub.counters.skipped > 3

            await asyncio.to_thread(wait_until, is_behind, "the silent client to be behind")
            await page.until(lambda shown: shown.view(1).head["total"] == number)
    finally:
        silent.close()
        bus.shutdown(5)


async def test_a_browser_answers_pings_without_a_line_of_ours(server: AppServer) -> None:
    """A client that reads is never left out of a tick, though nothing else shows that it reads."""
    async with viewer(server) as page:
        await page.sub(1, "overview")
        await page.until(lambda shown: sum(m["t"] == "tick" for m in shown.others) >= 2)
    assert server.collector.views_hub.counters.skipped == 0


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\xc3("])
async def test_text_that_is_not_utf8_closes_with_1007(server: AppServer, payload: bytes) -> None:
    """And without a traceback in the log."""
    async with viewer(server) as page:
        await page.sub(1, "overview")
        await page.connection.send(payload, text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await page.until(lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007


async def test_a_message_of_over_16_kib_closes_with_1009(server: AppServer) -> None:
    """The server refuses to hold more for anybody."""
    async with viewer(server, compression=None) as page:
        await page.connection.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as closed:
            await page.until(lambda _: False)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def masked(text: str) -> bytes:
    """One client frame; RFC 6455 wants them masked, and a mask of zeros will do."""
    data = text.encode()
    assert len(data) < 126
    return bytes((0x81, 0x80 | len(data), 0, 0, 0, 0)) + data
