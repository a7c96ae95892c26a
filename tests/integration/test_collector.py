"""The collector as its clients see it: a real uvicorn, real WebSockets, the log in memory."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.orchestration.research.gateway import ResearchGateway
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import Answer, AppServer, fetch
from tests.support.waiting import wait_until
from tests.support.ws_clients import Listener, stream_url

_names = itertools.count()

REQUEST: dict[str, Any] = {
    "title": "Private Schools GA",
    "research_query": "List and profile private K-12 schools in Georgia",
    "research_type": "data_aggregation",
    "user_id": "dev",
    "project_id": "default_project",
    "data_aggregation_config": {
        "entities": ["private schools"],
        "attributes": ["address", "tuition", "enrollment"],
        "search_space": "in Georgia",
        "domain_hint": "schools",
    },
}


class Site:
    """A collector and a bus into its log."""

    def __init__(self, server: AppServer, bus: EventBus) -> None:
        self.server = server
        self.bus = bus
        self.url = server.url
        self.ws_url = server.ws_url

    def publish(self, kind: str, **fields: Any) -> None:
        self.bus.publish(MonitoringEvent.model_validate({"event_type": kind, **fields}))

    def publish_jobs(self, first: int, count: int, **fields: Any) -> None:
        for number in range(first, first + count):
            self.publish("task_started", task_id=f"j{number}", **fields)

    def folded(self, count: int) -> None:
        wait_until(
            lambda: self.server.collector.stats.events_in >= count, f"{count} events to be folded"
        )

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        return fetch(self.url + path, method="POST", body=body, headers=headers)


@pytest.fixture
def open_site(make_settings: Callable[..., BridgeSettings]) -> Iterator[Callable[..., Site]]:
    """Start collectors; all are stopped at the end."""
    sites: list[Site] = []

    def start(*, bridge: dict[str, Any] | None = None, **options: Any) -> Site:
        options.setdefault("stats_interval_sec", 3600)
        settings = make_settings(bus_url=f"memory://site-{next(_names)}", **(bridge or {}))
        site = Site(AppServer(settings, **options).start(), EventBus.connect(settings))
        sites.append(site)
        return site

    yield start
    for site in sites:
        site.bus.shutdown(1)
        site.server.stop()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    return open_site(gateway=ResearchGateway(fakeredis.FakeAsyncRedis(decode_responses=True)))


def jobs(listener: Listener) -> list[str]:
    return [event["task_id"] for event in listener.events]


# --- the WebSocket ----------------------------------------------------------------------


async def test_plain_client_gets_one_event_a_message_and_nothing_else(site: Site) -> None:
    """Without added parameters every message is one event, in the log's order."""
    async with Listener(site.ws_url) as listener:
        await listener.until(lambda _: len(site.server.collector.hub) == 1)
        site.publish_jobs(0, 300)
        await listener.until(lambda one: len(one.events) == 300)
        # Long enough for a tick, had one been due.
        site.server.call(lambda: _tick(site))
        site.publish_jobs(300, 1)
        await listener.until(lambda one: len(one.events) == 301)
    assert jobs(listener) == [f"j{n}" for n in range(301)]
    assert listener.controls == []
    assert listener.messages == 301


async def _until_events(listener: Listener, count: int) -> None:
    await listener.until(lambda one: len(one.events) == count)


async def _tick(site: Site) -> None:
    site.server.collector.hub.tick()


async def test_filters_are_applied_on_the_server(site: Site) -> None:
    """Project, research task, types and stats_only each deliver exactly their events."""
    wanted: dict[str, dict[str, Any]] = {
        "project": {"project_id": "p"},
        "task": {"task_id": "t1"},
        "types": {"types": "task_failed,worker_heartbeat"},
        "stats": {"stats_only": "true"},
    }
    async with asyncio.TaskGroup() as group:
        listeners = {name: Listener(site.ws_url, **query) for name, query in wanted.items()}
        for listener in listeners.values():
            group.create_task(listener.__aenter__())
    await next(iter(listeners.values())).until(lambda _: len(site.server.collector.hub) == 4)
    site.publish("task_started", project_id="p", parent_task_id="t1", task_id="a")
    site.publish("task_failed", project_id="q", parent_task_id="t2", task_id="b")
    site.publish("worker_heartbeat", worker_id=1)
    site.publish("queue_depth_update", counts={"x": 1})
    site.publish("task_failed", project_id="p", parent_task_id="t1", task_id="end")
    site.publish("stats_snapshot", project_id="p", parent_task_id="t1", phase="z")
    expected = {
        "project": [
            "task_started",
            "worker_heartbeat",
            "queue_depth_update",
            "task_failed",
            "stats_snapshot",
        ],
        "task": ["task_started", "task_failed", "stats_snapshot"],
        "types": ["task_failed", "worker_heartbeat", "task_failed"],
        "stats": ["queue_depth_update", "stats_snapshot"],
    }
    for name, listener in listeners.items():
        count = len(expected[name])
        await _until_events(listener, count)
        await listener.__aexit__()
        assert [event["event_type"] for event in listener.events] == expected[name]


async def test_snapshot_then_everything_after_it(site: Site) -> None:
    """While events pour in, a snapshot's position and the events after it leave no hole."""
    stop = asyncio.Event()

    async def pour() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            site.publish_jobs(number, 1)
            await asyncio.sleep(0.0005)

    pouring = asyncio.create_task(pour())
    try:
        for batch_ms in (None, 5, 40):
            async with Listener(site.ws_url, snapshot="true", batch_ms=batch_ms) as listener:
                await listener.until(lambda one: len(one.events) > 100)
            snapshot = listener.items[0]
            assert snapshot["type"] == "snapshot"
            first = int(snapshot["position"].split(":")[1]) + 1
            seqs = [int(event["position"].split(":")[1]) for event in listener.events]
            assert seqs == list(range(first, first + len(seqs)))
    finally:
        stop.set()
        await pouring


async def test_resume_from_the_ring_and_from_the_log(open_site: Callable[..., Site]) -> None:
    """``since`` a position long gone from memory still brings everything after it, once."""
    site = open_site(replay_max_events=100)
    site.publish_jobs(0, 3000)
    site.folded(3000)
    first = fetch(f"{site.url}/monitor/events?limit=1000").json()
    epoch = first["events"][0]["position"].split(":")[0]
    for since in (0, 1, 1499, 2899, 2900, 2999, 3000):
        async with Listener(site.ws_url, since=f"{epoch}:{since}") as listener:
            site.publish_jobs(3000, 1)
            await listener.until(lambda one: one.events and one.events[-1]["task_id"] == "j3000")
        expected = [f"j{n}" for n in range(since, 3000)]
        found = jobs(listener)
        assert found[: len(expected)] == expected
        assert set(found[len(expected) :]) <= {"j3000"}
        assert not [c for c in listener.controls if c["type"] == "gap"]


@pytest.mark.parametrize(
    ("since", "reason"),
    [("ffffffff:5", "epoch"), ("nonsense", "malformed"), ("x" * 500, "malformed")],
)
async def test_position_that_cannot_be_resumed_is_a_gap(
    site: Site, since: str, reason: str
) -> None:
    """A foreign or malformed position gives an explicit gap, a snapshot if asked for, then life."""
    site.publish_jobs(0, 5)
    site.folded(5)
    async with (
        Listener(site.ws_url, since=since) as plain,
        Listener(site.ws_url, since=since, snapshot="true") as wants,
    ):
        await wants.until(lambda one: len(one.items) >= 2 and len(plain.items) >= 1)
        site.publish_jobs(5, 1)
        await wants.until(lambda one: one.events and plain.events)
    assert [(plain.items[0]["type"], plain.items[0]["reason"])] == [("gap", reason)]
    assert [item["type"] for item in wants.items[:2]] == ["gap", "snapshot"]
    assert jobs(plain) == jobs(wants) == ["j5"]


async def test_trimmed_position_is_a_gap(open_site: Callable[..., Site]) -> None:
    """A position older than the log's first entry gives a gap that says so."""
    site = open_site(bridge={"stream_max_events": 1000}, replay_max_events=100)
    site.publish_jobs(0, 1)
    site.folded(1)
    old = fetch(f"{site.url}/monitor/snapshot").json()["position"]
    for first in range(1, 3001, 500):
        site.publish_jobs(first, 500)
        site.folded(first + 500)
    async with Listener(site.ws_url, since=old) as listener:
        await listener.until(lambda one: one.items)
    assert (listener.items[0]["type"], listener.items[0]["reason"]) == ("gap", "trimmed")


async def test_ticks_carry_time_and_position(site: Site) -> None:
    """A client with an added parameter is told the time and the position every two seconds."""
    async with Listener(site.ws_url, batch_ms=50) as listener:
        site.publish_jobs(0, 1)
        await listener.until(lambda one: one.controls)
    assert listener.controls[0]["type"] == "tick"
    assert listener.controls[0]["position"] == listener.events[0]["position"]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"types": "task_started,nonsense"}, "nonsense"),
        ({"batch_ms": "0"}, "batch_ms"),
        ({"batch_ms": "many"}, "batch_ms"),
        ({"snapshot": "perhaps"}, "snapshot"),
    ],
)
async def test_nonsense_is_refused_in_the_handshake(
    site: Site, query: dict[str, str], word: str
) -> None:
    """The handshake answers 400 with a sentence that names what is wrong."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(stream_url(site.ws_url, **query))
    assert refused.value.response.status_code == 400
    assert word in json.loads(refused.value.response.body or b"")["detail"]


async def test_foreign_page_opens_no_websocket(site: Site) -> None:
    """A handshake with another site's Origin answers 403; our own page's is accepted."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(site.ws_url, origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    async with connect(site.ws_url, origin=site.url):  # type: ignore[arg-type]
        pass


async def test_shutdown_tells_clients_to_come_back(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """Stopping closes every client with 1012 and a reason."""
    server = AppServer(make_settings(bus_url=f"memory://site-{next(_names)}")).start()
    async with Listener(server.ws_url) as one, Listener(server.ws_url, batch_ms=50) as other:
        await one.until(lambda _: len(server.collector.hub) == 2)
        await asyncio.to_thread(server.stop)
        await other.until(lambda two: two.close_code and one.close_code)
    assert (one.close_code, other.close_code) == (1012, 1012)
    assert "come back" in one.close_reason


async def test_works_without_the_protocol_class(open_site: Callable[..., Site]) -> None:
    """On a server that knows nothing of shared frames the same messages arrive over ASGI."""
    site = open_site(server_options={"ws": WebSocketsSansIOProtocol})
    async with (
        Listener(site.ws_url, snapshot="true", batch_ms=10) as batched,
        Listener(site.ws_url) as plain,
    ):
        await plain.until(lambda _: len(site.server.collector.hub) == 2)
        site.publish_jobs(0, 500)
        await plain.until(lambda one: len(one.events) == 500 and len(batched.events) == 500)
    assert jobs(plain) == jobs(batched) == [f"j{n}" for n in range(500)]
    assert batched.items[0]["type"] == "snapshot"


async def test_chatty_client_is_ignored(site: Site) -> None:
    """What a client says changes nothing; more than 16 KiB at once closes it."""
    async with connect(site.ws_url) as chatty:
        for _ in range(200):
            await chatty.send('{"type":"subscribe"}')
        site.publish_jobs(0, 1)
        assert json.loads(await asyncio.wait_for(chatty.recv(), 10))["task_id"] == "j0"
        await chatty.send("x" * 20_000)
        await asyncio.wait_for(chatty.wait_closed(), 10)
        assert chatty.close_code == 1009


# --- HTTP -------------------------------------------------------------------------------


def test_main_request_creates_a_research_task(site: Site) -> None:
    """The documented request answers 201 with an id that can be asked for."""
    body = json.dumps(REQUEST).encode()
    answer = site.post("/tasks", body, **{"Content-Type": "application/json"})
    assert (answer.status, answer.json()["status"]) == (201, "pending")
    found = fetch(f"{site.url}/tasks/{answer.json()['task_id']}")
    assert (found.status, found.json()["title"]) == (200, "Private Schools GA")
    assert fetch(f"{site.url}/tasks/unknown").status == 404


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 422, "body"),
        (json.dumps({**REQUEST, "research_type": "magic"}).encode(), 422, "research_type"),
        (
            json.dumps(
                {**REQUEST, "data_aggregation_config": {"entities": [], "attributes": ["a"]}}
            ).encode(),
            422,
            "entities",
        ),
        (b'{"title":"' + b"x" * 1024 * 1024 + b'"}', 413, "1048576"),
    ],
)
def test_bad_research_task_is_refused_by_name(
    site: Site, body: bytes, status: int, word: str
) -> None:
    """Bad input answers 4xx with a sentence that names the field; nothing is queued."""
    answer = site.post("/tasks", body)
    assert answer.status == status
    assert word in answer.json()["detail"]


def test_watching_collector_takes_no_tasks(open_site: Callable[..., Site]) -> None:
    """Without a coordinator /tasks says so."""
    site = open_site()
    assert site.post("/tasks", json.dumps(REQUEST).encode()).status == 503
    assert fetch(f"{site.url}/tasks/x").status == 503


def test_foreign_page_posts_nothing(site: Site) -> None:
    """A form on another site cannot submit work."""
    answer = site.post("/tasks", json.dumps(REQUEST).encode(), Origin="http://evil.example")
    assert answer.status == 403


def test_pushed_batches_arrive_once(site: Site) -> None:
    """An ``http://`` bus delivers into the log; a batch sent twice is there once."""
    bus = EventBus.connect(BridgeSettings(bus_url=site.url))
    bus.publish(MonitoringEvent(event_type=MonitoringEventType.TASK_STARTED, task_id="pushed"))
    assert bus.flush(10)
    bus.shutdown(1)
    line = b'{"event_id":"1","ts":"2026-11-24T12:00:00Z","event_type":"task_started"}\n'
    headers = {"X-Producer-Id": "abc", "X-First-N": "1"}
    answers = [site.post("/v1/events", line, **headers).json() for _ in range(2)]
    assert [answer["skipped"] for answer in answers] == [0, 1]
    assert len(fetch(f"{site.url}/monitor/events").json()["events"]) == 2


@pytest.mark.parametrize(
    "line", [b"{}", b"nonsense", b'{"event_type":"task_started","position":"e:1"}']
)
def test_bad_push_is_refused(site: Site, line: bytes) -> None:
    """A push that is no event answers 400 and appends nothing."""
    headers = {"X-Producer-Id": "abc", "X-First-N": "1"}
    assert site.post("/v1/events", line, **headers).status == 400
    assert fetch(f"{site.url}/monitor/events").json() == {"events": [], "next_before": None}


def test_recent_events_page_back(site: Site) -> None:
    """Pages of recent events, newest first, join without hole or double, filtered."""
    site.publish_jobs(0, 25, project_id="p")
    site.publish_jobs(25, 5, project_id="q")
    site.folded(30)
    found: list[str] = []
    before: str | None = ""
    while before is not None:
        page = fetch(f"{site.url}/monitor/events?limit=10&project_id=p&before={before}").json()
        found += [event["task_id"] for event in page["events"]]
        before = page["next_before"]
    assert found == [f"j{n}" for n in range(24, -1, -1)]
    assert fetch(f"{site.url}/monitor/events?limit=0").status == 400
    assert fetch(f"{site.url}/monitor/events?before=x").status == 400
    assert fetch(f"{site.url}/monitor/events?types=x").status == 400


def test_health_readiness_metrics(site: Site) -> None:
    """The three say that it lives, that events flow, and how many."""
    site.publish_jobs(0, 7)
    site.folded(7)
    assert fetch(f"{site.url}/healthz").json() == {"status": "ok"}
    ready = fetch(f"{site.url}/readyz")
    assert (ready.status, ready.json()["ready"]) == (200, True)
    text = fetch(f"{site.url}/metrics").body.decode()
    assert "\notel_bridge_events_in_total 7.0\n" in text
    for line in text.splitlines():
        assert line.startswith(("# ", "otel_bridge_", "process_", "python_"))


def test_dashboard_is_served_with_a_strict_policy(
    open_site: Callable[..., Site], tmp_path: Path
) -> None:
    """The built page and its assets carry the policy; nothing outside the directory is served."""
    (tmp_path / "secret.txt").write_text("secret")
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>d</title>")
    (static / "assets" / "main-abc.js").write_text("1")
    site = open_site(static_dir=static)
    page = fetch(f"{site.url}/")
    assert (page.status, page.body[:9]) == (200, b"<!doctype")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    asset = fetch(f"{site.url}/assets/main-abc.js")
    assert (asset.status, "immutable" in asset.headers["cache-control"]) == (200, True)
    for path in ("/assets/../../secret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "/assets/none.js"):
        assert fetch(f"{site.url}{path}").status == 404


def test_unbuilt_dashboard_says_what_to_do(open_site: Callable[..., Site], tmp_path: Path) -> None:
    """From a bare source tree the page says how to build it."""
    page = fetch(f"{open_site(static_dir=tmp_path).url}/")
    assert (page.status, b"make dashboard" in page.body) == (200, True)
