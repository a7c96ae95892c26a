"""Snapshot, events and configuration over HTTP: filters, limits, and one answer at a time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from otel_bridge_collector.routes.monitor import MAX_LIMIT
from otel_bridge_collector.security.concurrency import MAX_WAITING
from otel_bridge_collector.security.tokens import ANONYMOUS

from otel_bridge.cancellation import cancel
from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest
from tests.support.asgi_site import AsgiSite, open_site, token_line

ALPHA = "token-of-alpha-0123456789"
AS_ALPHA: dict[str, Any] = {"headers": {"Authorization": f"Bearer {ALPHA}"}}


def event(task_id: str, project_id: str = "alpha") -> dict[str, Any]:
    return {"task_id": task_id, "parent_task_id": f"root-{project_id}", "project_id": project_id}


async def names(site: AsgiSite, query: str = "", **options: Any) -> list[str]:
    """The jobs in an answer of ``/monitor/events``."""
    answer = await site.get("/monitor/events", query=query, **options)
    assert answer.status == 200, answer.body
    return [found["task_id"] for found in answer.json()["events"]]


async def test_events_come_newest_first_and_in_pages() -> None:
    """``limit`` and ``before`` go through the log, until ``next_before`` is null at its start."""
    async with open_site() as site:
        await site.append(*(event(name) for name in "abc"))
        first = (await site.get("/monitor/events", query="limit=2")).json()
        assert [found["task_id"] for found in first["events"]] == ["c", "b"]
        rest = await site.get("/monitor/events", query=f"before={first['next_before']}")
        assert [found["task_id"] for found in rest.json()["events"]] == ["a"]
        assert rest.json()["next_before"] is None
        assert await names(site, f"upto={first['next_before']}") == ["b", "a"]


async def test_answers_keep_to_filter_and_token() -> None:
    """A filter chooses among the events that the token may see, and cannot widen them."""
    tokens = f"{token_line('token-of-all-0123456789')};{token_line(ALPHA, 'alpha')}"
    async with open_site(tokens=tokens) as site:
        pushed = (event("a"), event("b", "beta"))
        await site.append(*pushed, token="token-of-all-0123456789")
        assert await names(site, **AS_ALPHA) == ["a"]
        assert await names(site, "project_id=beta", **AS_ALPHA) == []
        assert await names(site, "types=task_failed", **AS_ALPHA) == []
        snapshot = (await site.get("/monitor/snapshot", **AS_ALPHA)).json()
        assert snapshot["type"] == "snapshot"
        assert [card["task_id"] for card in snapshot["tasks"]] == ["root-alpha"]


async def test_the_filters_of_the_view_hold_for_the_log() -> None:
    """Each by itself and together; heartbeats come unless they are left out."""
    async with open_site() as site:
        await site.append(
            event("a") | {"task_type": "fetch", "error": "No answer", "event_type": "task_failed"},
            event("b") | {"phase": "fetch"},
            event("c") | {"event_type": "worker_heartbeat", "message": "no answer"},
            event("d") | {"trace_id": "ab" * 16, "parent_task_id": None},
        )
        assert await names(site, "type=fetch") == ["b", "a"]
        assert await names(site, "job=b&type=fetch") == ["b"]
        assert await names(site, "status=failed&status=stalled") == ["a"]
        assert await names(site, "text=NO%20answer") == ["c", "a"]
        assert await names(site, "text=NO%20answer&all=false") == ["a"]
        assert await names(site, "task_id=" + "ab" * 16) == ["d"]


@pytest.mark.parametrize(
    ("path", "query", "reason"),
    [
        ("/monitor/snapshot", "types=nonsense", "types: unknown event type nonsense"),
        ("/monitor/events", "types=nonsense", "types: unknown event type nonsense"),
        ("/monitor/events", "stats_only=perhaps", "stats_only: 'perhaps' is neither"),
        ("/monitor/events", "before=e:1&upto=e:1", "before and upto: only one"),
        ("/monitor/events", "upto=e:x", "upto: malformed position"),
        ("/monitor/events", "limit=0", f"limit: '0' is not a number from 1 to {MAX_LIMIT}"),
        ("/monitor/events", f"limit={MAX_LIMIT + 1}", "is not a number from 1 to"),
        ("/monitor/events", "limit=-1", "is not a number from 1 to"),
        ("/monitor/events", "limit=%C2%B2", "is not a number from 1 to"),
        ("/monitor/events", "limit=" + "9" * 5000, "is not a number from 1 to"),
        ("/monitor/events", "status=lost", "status: unknown lost; known: pending"),
        ("/monitor/events", "text=" + "x" * 201, "text: longer than 200 characters"),
        ("/monitor/events", "all=perhaps", "all: 'perhaps' is neither"),
        ("/monitor/events", "before=other:1", "before: "),
        ("/monitor/events", "before=nonsense", "before: "),
    ],
)
async def test_a_wrong_query_is_named(path: str, query: str, reason: str) -> None:
    """400 names the parameter and its value, within bounds."""
    async with open_site() as site:
        answer = await site.get(path, query=query)
        assert answer.status == 400
        assert reason in answer.json()["detail"]
        assert len(answer.body) < 1000


@pytest.mark.parametrize(
    ("path", "kind"), [("/monitor/snapshot", "snapshot"), ("/monitor/events", "events")]
)
async def test_a_hundred_requests_wait_and_no_more(path: str, kind: str) -> None:
    """While 100 requests of one client wait for a slot the next is 429, at once."""
    async with open_site() as site, AsyncExitStack() as stack:
        limits = site.app.state.authenticator.concurrency
        await stack.enter_async_context(limits.slot(ANONYMOUS, "127.0.0.1", kind))
        waiting = [asyncio.create_task(site.get(path)) for _ in range(MAX_WAITING - 1)]
        while limits.waiting(ANONYMOUS, "127.0.0.1", kind) < MAX_WAITING:
            await asyncio.sleep(0)
        answer = await site.get(path)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert "100 requests" in answer.json()["detail"]
        await cancel(waiting)


async def test_the_page_learns_its_configuration() -> None:
    """The template of trace links is null when none is set; no token is needed for it."""
    template = "https://traces.example.org/{trace_id}"
    for tokens, setting, expected in (("", "", None), (token_line(ALPHA), template, template)):
        async with open_site(tokens=tokens, trace_url_template=setting) as site:
            answer = await site.get("/monitor/config")
            assert answer.json()["trace_url_template"] == expected


async def test_first_steps_name_the_redis_to_one_who_may_see_all() -> None:
    """Without a token, and with one of some projects, the page's lines have no address of Redis."""
    redis = "redis://internal.example.org:6379/0"
    everything = "token-of-all-0123456789"
    tokens = f"{token_line(everything)};{token_line(ALPHA, 'alpha')}"
    async with open_site(tokens=tokens) as site:
        known = site.collector.bridge_settings
        fields = {"bus_url": redis, "redis_url": redis}
        site.collector.bridge_settings = known.model_copy(update=fields)
        for token, bus in (
            (None, "MONITORING_TOKEN=$TOKEN MONITORING_BUS_URL={url}"),
            (ALPHA, "MONITORING_TOKEN=$TOKEN MONITORING_BUS_URL={url}"),
            (everything, f"REDIS_URL={redis}"),
        ):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await site.get("/monitor/config", headers=headers)
            celery = dict(answer.json()["first_steps"])["Celery"]
            assert celery == f"{bus} opentelemetry-instrument celery -A app worker"
            assert answer.headers["cache-control"] == "no-store"


class QueueWithoutWorkers:
    """Takes research tasks, which no worker runs."""

    async def submit(self, request: ResearchTaskRequest) -> str:
        raise NotImplementedError

    async def get(self, task_id: str) -> dict[str, Any] | None:
        raise NotImplementedError


async def test_a_task_is_offered_where_it_would_run() -> None:
    """The page shows a request to paste if there is a coordinator with workers beside it."""
    queue = QueueWithoutWorkers()
    for gateway, workers, expected in ((None, 0, False), (queue, 0, False), (queue, 4, True)):
        async with open_site(gateway=gateway) as site:
            site.app.state.research_workers = workers
            assert (await site.get("/monitor/config")).json()["runs_research"] is expected


@pytest.mark.parametrize("path", ["/monitor/snapshot", "/monitor/events"])
async def test_answers_are_not_stored(path: str) -> None:
    """No cache keeps what a token may see."""
    async with open_site() as site:
        answer = await site.get(path)
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
