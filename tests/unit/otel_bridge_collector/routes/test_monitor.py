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
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.publish.transports.memory import memory_log
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


SPANS = [f"{number:016x}" for number in range(1, 9)]
LINES, PLAIN, EVERY = (f"token-{name}-0123456789" for name in ("lines", "plain", "every"))
STACK_TOKENS = ";".join(
    (
        f"{token_line(LINES, 'alpha')} rights=lines",
        token_line(PLAIN, "alpha"),
        token_line(EVERY, "*"),
    )
)


def failed(span_id: str, project_id: str | None = "alpha", **fields: Any) -> dict[str, Any]:
    found = {
        "event_type": "task_failed",
        "task_id": f"j-{span_id}",
        "parent_task_id": f"root-{project_id}",
        "trace_id": f"{7:032x}",
        "span_id": span_id,
        "status": "failed",
        **fields,
    }
    return found if project_id is None else {**found, "project_id": project_id}


async def node(site: AsgiSite, span_id: str, token: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await site.get(f"/monitor/nodes/{span_id}", headers=headers)
    return answer.status, answer.json()


async def stack_of(site: AsgiSite, span_id: str, token: str = "") -> tuple[Any, Any, Any]:
    """The stack of a span, where it was taken from, and why there is none."""
    status, answer = await node(site, span_id, token)
    assert status == 200
    return answer["stack"], answer["stack_of"], answer["detail"]


async def test_a_stack_is_found_by_its_span_or_by_one_with_the_same() -> None:
    """``stack_of`` says where it was stored; of a span without one the answer is a sentence."""
    async with open_site() as site:
        stack = SpanStack(SPANS[0], "ValueError: x", "alpha")
        assert await site.collector.store_stacks([stack]) == 0
        await site.append(
            failed(SPANS[0], stack=True, error_key="k"),
            failed(SPANS[1], stack_of=SPANS[0], error_key="k"),
            failed(SPANS[2]),
        )
        for span_id in SPANS[:2]:
            assert await stack_of(site, span_id) == ("ValueError: x", SPANS[0], None)
        *nothing, why = await stack_of(site, SPANS[2])
        assert nothing == [None, None]
        assert why.startswith("no stack is stored for this span")
        status, refused = await node(site, SPANS[7])
        assert (status, refused) == (404, {"detail": why})


@pytest.mark.parametrize("span_id", ["x", "ABCDEFABCDEFABCD", "0" * 15, "0" * 17, "%00"])
async def test_what_is_no_span_id_is_refused(span_id: str) -> None:
    """With 400 and the form that is expected."""
    async with open_site() as site:
        assert await node(site, span_id) == (400, {"detail": "span_id: 16 lower-case hex digits"})


async def test_stacks_need_their_own_right() -> None:
    """``rights=lines`` or ``projects=*``: a token that may see events may not read stacks."""
    async with open_site(tokens=STACK_TOKENS) as site:
        await site.collector.store_stacks([SpanStack(SPANS[0], "text", "alpha")])
        assert [(await node(site, SPANS[0], token))[0] for token in (LINES, EVERY)] == [200, 200]
        status, answer = await node(site, SPANS[0], PLAIN)
        assert (status, "rights=lines" in answer["detail"]) == (403, True)
        assert (await node(site, SPANS[0]))[0] == 401


async def test_stacks_of_other_projects_are_not_there() -> None:
    """By the project of the span's task, by that of the stack, and by that of the holder."""
    async with open_site(tokens=STACK_TOKENS) as site:
        for span_id, project in zip(SPANS, ("beta", None, "alpha", "beta", "alpha"), strict=False):
            await site.collector.store_stacks([SpanStack(span_id, "text", project)])
        await site.append(
            failed(SPANS[2], "alpha", stack=True),
            failed(SPANS[3], "alpha", stack=True),  # a stack of beta under a span of alpha
            failed(SPANS[4], "beta", stack=True),  # and the other way round
            failed(SPANS[5], "alpha", stack_of=SPANS[0]),  # a holder of beta
            token=EVERY,
        )
        found = {span_id: await node(site, span_id, LINES) for span_id in SPANS[:6]}
        shown = [span_id for span_id, (_, answer) in found.items() if answer.get("stack")]
        assert shown == [SPANS[2]]
        statuses = {span_id: status for span_id, (status, _) in found.items()}
        assert [statuses[span_id] for span_id in SPANS[:6]] == [404, 404, 200, 200, 404, 200]
        assert (await node(site, SPANS[0], EVERY))[0] == 200


async def test_a_stack_without_a_project_belongs_to_the_task_of_its_span() -> None:
    """A worker may not know the project that the fold knows."""
    async with open_site(tokens=STACK_TOKENS) as site:
        await site.collector.store_stacks([SpanStack(SPANS[0], "text")])
        assert (await node(site, SPANS[0], LINES))[0] == 404
        await site.append(failed(SPANS[0], "alpha", stack=True), token=EVERY)
        assert (await node(site, SPANS[0], LINES))[0] == 200


async def facts(site: AsgiSite, span_id: str, token: str = "") -> tuple[Any, ...]:
    """What the log says of a span."""
    status, answer = await node(site, span_id, token)
    assert status == 200
    return answer["log"], answer["attributes"], answer["links"]


def started(span_id: str, **fields: Any) -> dict[str, Any]:
    return failed(span_id, **{"event_type": "task_started", "status": "processing", **fields})


async def test_attributes_are_those_of_the_end() -> None:
    """While a span is open those of its newest event that has any, then those of its own end."""
    async with open_site() as site:
        await site.append(started(SPANS[0], meta={"model": "small"}), started(SPANS[1]))
        assert await facts(site, SPANS[0]) == ("held", {"model": "small"}, None)
        assert await facts(site, SPANS[1]) == ("held", {}, None)
        done = {"event_type": "task_completed", "status": "completed"}
        await site.append(
            failed(SPANS[0], **done, meta={"model": "small", "tokens": 12}),
            failed(SPANS[1], **done),
            failed(SPANS[2], ended_by="other", meta={"by": "broker"}),
            failed(SPANS[2], **done, meta={"by": "itself"}),
            started(SPANS[0], meta={"model": "late"}),
        )
        assert await facts(site, SPANS[0]) == ("held", {"model": "small", "tokens": 12}, None)
        assert await facts(site, SPANS[1]) == ("held", {}, None)
        assert await facts(site, SPANS[2]) == ("held", {"by": "itself"}, None)


async def test_attributes_are_found_wherever_in_the_log_they_are() -> None:
    """Of 300 spans that start, and then end, each leads to its own; no two share them."""
    async with open_site() as site:
        spans = [f"{number:016x}" for number in range(1, 301)]
        await site.append(*(started(span_id, meta={"of": span_id}) for span_id in spans))
        done = {"event_type": "task_completed", "status": "completed"}
        await site.append(*(failed(one, **done, meta={"end": one}) for one in spans[::2]))
        for index, span_id in enumerate(spans):
            expected = {"of": span_id} if index % 2 else {"end": span_id}
            assert await facts(site, span_id) == ("held", expected, None)
        blocks = {one.block for one in site.collector.model.tree.nodes.values()}
        assert len(blocks) <= 8


async def test_attributes_need_no_right_of_their_own() -> None:
    """They are what the events say; a stack is not given without ``rights=lines``."""
    async with open_site(tokens=STACK_TOKENS) as site:
        await site.collector.store_stacks([SpanStack(SPANS[0], "text", "alpha")])
        one = failed(SPANS[0], "alpha", stack=True, meta={"model": "small"})
        other = failed(SPANS[1], "beta", meta={"model": "large"})
        await site.append(one, other, token=EVERY)
        status, answer = await node(site, SPANS[0], PLAIN)
        assert (status, answer["attributes"], answer["stack"]) == (200, {"model": "small"}, None)
        assert "rights=lines" in answer["detail"]
        assert (await stack_of(site, SPANS[0], LINES))[0] == "text"
        assert [(await node(site, SPANS[1], token))[0] for token in (PLAIN, LINES)] == [403, 404]
        assert (await facts(site, SPANS[1], EVERY))[1] == {"model": "large"}


async def test_what_the_log_no_longer_has_is_said() -> None:
    """``gone`` once it was trimmed; ``unknown`` of a span that is not held."""
    async with open_site() as site:
        log = memory_log(site.collector.bridge_settings.bus_url.removeprefix("memory://"))
        await site.append(failed(SPANS[0], meta={"model": "small"}))
        await site.collector.store_stacks([SpanStack(SPANS[7], "text")])
        assert (await facts(site, SPANS[0]))[0] == "held"
        assert await facts(site, SPANS[7]) == ("unknown", None, None)
        log.max_events = 1
        await site.append(*(started(f"{number:016x}") for number in range(100, 200)))
        assert await facts(site, SPANS[0]) == ("gone", None, None)
