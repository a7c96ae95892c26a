"""What a collector shows of work that ends without saying so, repeats, or only asks for work."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

import otel_bridge
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.held_job import HEARTBEAT_SEC, start
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.redis]

JSON = {"Content-Type": "application/json"}
_ids = itertools.count(1)


@pytest.fixture
def settings(redis_url: str) -> BridgeSettings:
    """A TTL after which a killed worker is gone within the test."""
    return BridgeSettings(
        redis_url=redis_url, heartbeat_interval_sec=HEARTBEAT_SEC, heartbeat_ttl_sec=1.0
    )


@pytest.fixture
def site(settings: BridgeSettings) -> Iterator[AppServer]:
    with AppServer(settings, stats_interval_sec=0.2) as server:
        yield server


@pytest.fixture
def bus(settings: BridgeSettings) -> Iterator[EventBus]:
    made = EventBus.connect(settings)
    yield made
    made.shutdown(2)


def cards(site: AppServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = fetch(f"{site.url}/monitor/snapshot").json()["tasks"]
    return found


def bars(site: AppServer, task_id: str) -> dict[str, str]:
    """The status of each job's bar."""
    return {
        bar["task_id"]: bar["status"]
        for card in cards(site)
        if card["task_id"] == task_id
        for bar in card["spans"]
    }


def stalled_reports(site: AppServer) -> list[dict[str, Any]]:
    found = fetch(f"{site.url}/monitor/events?types=task_stalled").json()["events"]
    return [{name: one.get(name) for name in ("task_id", "worker_id", "reason")} for one in found]


def publish(bus: EventBus, kind: str, **fields: Any) -> None:
    bus.publish(MonitoringEvent.model_validate({"event_type": kind, **fields}))


# --- workers that are killed ----------------------------------------------------------------------


def test_a_killed_workers_job_is_stalled_though_its_id_is_used_again(
    site: AppServer, redis_url: str
) -> None:
    """The new process under the worker's id runs its own job; the killed one's is stalled."""
    first = start(redis_url, "w", "first")
    wait_until(lambda: bars(site, "held") == {"first": "processing"}, "the first job")
    first.kill()
    first.wait()
    second = start(redis_url, "w", "second")
    try:
        wait_until(
            lambda: bars(site, "held") == {"first": "stalled", "second": "processing"},
            "the first job to be stalled",
        )
        expected = {"task_id": "first", "worker_id": "w", "reason": "worker_lost"}
        wait_until(lambda: stalled_reports(site) == [expected], "the leader's report")
        (worker,) = fetch(f"{site.url}/monitor/snapshot").json()["workers"]
        assert (worker["status"], worker["current_task_id"]) == ("online", "second")
        (card,) = [card for card in cards(site) if card["task_id"] == "held"]
        lost, running = sorted(card["spans"], key=lambda bar: str(bar["task_id"]))
        assert (lost["ended_by"], lost["reason"]) == ("rule", "worker_lost")
        assert "ended_by" not in running
        assert running["incarnation"] == worker["incarnation"] != lost["incarnation"]
    finally:
        second.kill()
        second.wait()
    wait_until(lambda: bars(site, "held")["second"] == "stalled", "the second job to be stalled")


def test_a_restarted_container_ends_at_once_what_it_ran(site: AppServer, bus: EventBus) -> None:
    """A container starts again with the same host and pid 1: its former job is not waited for."""
    meta = {"host": "box", "pid": 1}
    publish(bus, "worker_started", worker_id="box:1", meta=meta, incarnation="a" * 16)
    publish(
        bus,
        "task_started",
        parent_task_id="t",
        task_id="former",
        worker_id="box:1",
        incarnation="a" * 16,
    )
    wait_until(lambda: bars(site, "t") == {"former": "processing"}, "the job")
    publish(bus, "worker_started", worker_id="box:1", meta=meta, incarnation="b" * 16)
    publish(
        bus,
        "task_started",
        parent_task_id="t",
        task_id="later",
        worker_id="box:1",
        incarnation="b" * 16,
    )
    wait_until(lambda: "later" in bars(site, "t"), "the next job")
    assert bars(site, "t") == {"former": "stalled", "later": "processing"}


# --- jobs that run again --------------------------------------------------------------------------


def test_a_job_runs_twice_under_its_id(site: AppServer, settings: BridgeSettings) -> None:
    """A second run after a success is shown while it runs, and its failure is the job's status."""
    bridge = otel_bridge.configure(
        service_name="twice", settings=settings, tracer_provider=TracerProvider()
    )
    job: dict[str, Any] = {"task_id": "again", "task_type": "page", "parent_task_id": "t"}

    def counts() -> tuple[int, int]:
        assert bridge.flush()
        wait_until(lambda: cards(site), "the card")
        return cards(site)[0]["completed"], cards(site)[0]["failed"]

    try:
        with otel_bridge.job(**job):
            pass
        wait_until(lambda: counts() == (1, 0), "the first run")
        with contextlib.suppress(ValueError), otel_bridge.job(**job):
            wait_until(lambda: counts() == (0, 0), "the second run")
            raise ValueError("of the second run")
        wait_until(lambda: counts() == (0, 1), "the second run's end")
        shown = sorted((bar["run"], bar["runs"], bar["status"]) for bar in cards(site)[0]["spans"])
        assert shown == [(1, 2, "completed"), (2, 2, "failed")]
    finally:
        bridge.shutdown()


# --- requests -------------------------------------------------------------------------------------


def span(name: str, span_id: str, trace_id: str, **fields: Any) -> dict[str, Any]:
    now = time.time_ns()
    attributes = [
        {"key": key, "value": {"stringValue": value}}
        for key, value in fields.pop("attributes", {}).items()
    ]
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "name": name,
        "startTimeUnixNano": str(now - 1_000_000_000),
        "endTimeUnixNano": str(now),
        "attributes": attributes,
        **fields,
    }


def post(site: AppServer, spans: list[dict[str, Any]]) -> None:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    answer = fetch(f"{site.url}/v1/traces", method="POST", body=body, headers=JSON)
    assert answer.status == 200, answer.body


def a_request_that_publishes() -> list[dict[str, Any]]:
    trace_id, root = f"{next(_ids):032x}", f"{next(_ids):016x}"
    sent = {
        "messaging.operation.type": "send",
        "messaging.system": "kafka",
        "messaging.destination.name": "orders",
    }
    return [
        span("POST /orders", root, trace_id, kind=2, attributes={"http.request.method": "POST"}),
        span(
            "orders publish",
            f"{next(_ids):016x}",
            trace_id,
            kind=4,
            parentSpanId=root,
            attributes=sent,
        ),
    ]


@pytest.mark.parametrize("requests", [300, 3000])
def test_requests_that_only_publish_push_nothing_out(site: AppServer, requests: int) -> None:
    """The open task stays first, however many requests publish messages; they make no card."""
    pending = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": "0" * 16}
    trace_id = f"{next(_ids):032x}"
    post(
        site,
        [
            span(
                "nightly research",
                f"{next(_ids):016x}",
                trace_id,
                parentSpanId=f"{next(_ids):016x}",
                attributes=pending,
            )
        ],
    )
    for _ in range(requests // 100):
        post(site, [one for _ in range(100) for one in a_request_that_publishes()])
    wait_until(lambda: site.collector.stats.events_in >= requests, "the requests")
    assert [(card["task_id"], card["status"]) for card in cards(site)] == [(trace_id, "processing")]


async def post_order(web: FastAPI) -> int:
    transport = httpx.ASGITransport(app=web)
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
        return (await client.post("/orders")).status_code


def test_a_request_that_enqueues_makes_no_card_until_the_job_runs(
    site: AppServer, settings: BridgeSettings
) -> None:
    """FastAPI's own span of the request is no task; its job is one while it runs, and ends it."""
    provider = TracerProvider()
    bridge = otel_bridge.configure(service_name="web", settings=settings, tracer_provider=provider)
    web = FastAPI()
    carriers: list[dict[str, str]] = []

    @web.post("/orders")
    def order() -> str:
        with otel_bridge.enqueue(task_id="order-1", task_type="ship", queue="orders") as carrier:
            carriers.append(dict(carrier))
        return "accepted"

    try:
        tracer = provider.get_tracer("the web framework")
        server_span = tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER)
        with server_span:
            assert asyncio.run(post_order(web)) == 200
        assert bridge.flush()
        wait_until(lambda: site.collector.stats.events_in >= 1, "the enqueue")
        assert cards(site) == []
        with otel_bridge.job(task_id="order-1", task_type="ship", carrier=carriers[0]):
            assert bridge.flush()
            wait_until(lambda: cards(site), "the card of the job")
            assert [(c["status"], c["task_type"]) for c in cards(site)] == [("processing", "ship")]
        assert bridge.flush()
        wait_until(lambda: cards(site)[0]["status"] == "completed", "the card's end")
        assert (cards(site)[0]["completed"], cards(site)[0]["pending"]) == (1, 0)
    finally:
        bridge.shutdown()


def a_request_with_an_agent() -> list[dict[str, Any]]:
    """An agent with a model call and a tool inside a request, in the order of their ends."""
    trace_id = f"{next(_ids):032x}"
    root, agent = f"{next(_ids):016x}", f"{next(_ids):016x}"
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    planner = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
    request = {"http.request.method": "POST", "http.route": "/ask"}
    inside = {"parentSpanId": agent}
    return [
        span("chat gpt-4o", f"{next(_ids):016x}", trace_id, kind=3, attributes=chat, **inside),
        span("execute_tool search", f"{next(_ids):016x}", trace_id, attributes=tool, **inside),
        span("invoke_agent planner", agent, trace_id, parentSpanId=root, attributes=planner),
        span("POST /ask", root, trace_id, kind=2, attributes=request),
    ]


def test_a_card_does_not_depend_on_how_requests_were_cut(site: AppServer) -> None:
    """The same spans in one OTLP request and in four, children first, give equal cards."""
    together, apart = a_request_with_an_agent(), a_request_with_an_agent()
    post(site, together)
    for one in apart:
        post(site, [one])
    names = ("title", "task_type", "status", "completed", "failed", "pending", "current_phase")

    def facts() -> list[Any]:
        return [
            [
                [card[name] for name in names],
                [(phase["name"], phase["status"], phase["completed"]) for phase in card["phases"]],
                sorted((bar["kind"], bar["name"], bar["status"]) for bar in card["spans"]),
            ]
            for card in cards(site)
        ]

    wait_until(lambda: site.collector.stats.events_in >= 16, "all starts and ends")
    found = facts()
    assert len(found) == 2
    assert found[0] == found[1]
    assert found[0][1] == [("planner", "completed", 2)]
