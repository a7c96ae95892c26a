"""``/monitor/views/{view}`` and ``/ws/views``: what a request gets, and who may see what."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from otel_bridge_collector.routes import views
from otel_bridge_collector.views import catalog
from otel_bridge_collector.views.listing import GoneError, Listing, Scope
from otel_bridge_collector.views.state import ViewState
from otel_bridge_collector.wire.views.params import ListParams

from otel_bridge.publish.transports.memory import memory_log
from tests.support.asgi_site import AsgiClient, AsgiSite, connected, open_site, token_line

BOTH = ";".join([token_line("all"), token_line("p-only", "p")])


async def get(site: AsgiSite, view: str, token: str = "", **params: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    query = urlencode({"params": json.dumps(params)}) if params else ""
    answer = await site.get(f"/monitor/views/{view}", query=query, headers=headers)
    return answer


def started(task: str, project: str) -> dict[str, Any]:
    fields = {"event_type": "task_started", "task_id": task, "parent_task_id": task}
    return {**fields, "project_id": project}


async def test_a_view_by_http_is_one_full() -> None:
    """What the WebSocket would send first: head and rows, with parameters."""
    assert views.router.routes
    async with open_site() as site:
        await site.append(started("a", "p"), started("b", "q"))
        full = (await get(site, "tasks", count=1)).json()
        assert (full["t"], full["head"]["total"], len(full["rows"])) == ("full", 2, 1)
        answer = await get(site, "overview")
        assert answer.json()["head"]["tasks"] == {"processing": 2}
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("view", "query", "detail"),
    [
        ("nothing", "", "view: 'nothing' is none of"),
        ("tasks", "params=%7B", "params: a JSON object"),
        ("tasks", "params=[]", "params: a JSON object"),
        ("tasks", 'params={"count":0}', "count: "),
        ("tasks", 'params={}&params={"count":1}', "params: given 2 times"),
    ],
)
async def test_a_wrong_request_is_400(view: str, query: str, detail: str) -> None:
    """The answer says which parameter, and what is wrong with it."""
    async with open_site() as site:
        answer = await site.get(f"/monitor/views/{view}", query=query)
        assert answer.status == 400
        assert detail in answer.json()["detail"]


def _shows_nothing(state: ViewState, params: ListParams, scope: Scope) -> Listing:
    raise GoneError("evicted")


async def test_a_view_of_what_does_not_exist_is_404(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says in words why there is nothing."""
    nothing = catalog.CATALOG["workers"]._replace(compute=_shows_nothing)
    monkeypatch.setattr(catalog, "CATALOG", {"nothing": nothing})
    async with open_site() as site:
        answer = await get(site, "nothing")
        assert answer.status == 404
        assert answer.json() == {"detail": "what this view shows has left the collector's memory"}


async def test_a_limited_token_sees_its_projects() -> None:
    """By HTTP, as over the WebSocket; without a token nothing."""
    async with open_site(tokens=BOTH) as site:
        await site.append(started("a", "p"), started("b", "q"), token="all")
        full = (await get(site, "tasks", "p-only")).json()
        assert [row["k"] for row in full["rows"]] == ["a"]
        assert (await get(site, "workers", "p-only")).json()["rows"] == []
        assert (await get(site, "tasks", "p-only", project="q")).json()["rows"] == []
        assert (await get(site, "tasks")).status == 401


async def test_the_events_of_a_trace_are_found_by_the_key_of_its_card() -> None:
    """Whether they name the trace as their task or no task at all; those of a task are its own."""
    trace = "ab" * 16
    async with open_site() as site:
        loose = {"event_type": "task_started", "trace_id": trace}
        await site.append(
            {**loose, "task_id": "named", "parent_task_id": trace, "span_id": "1" * 16},
            {**loose, "task_id": "unnamed", "span_id": "2" * 16},
            {**started("t", "p"), "trace_id": "cd" * 16},
        )
        cards = (await get(site, "tasks")).json()["rows"]
        assert {row["k"] for row in cards} == {trace, "t"}
        for key, expected in ((trace, ["named", "unnamed"]), ("t", ["t"])):
            rows = (await get(site, "events", task=key, count=200)).json()["rows"]
            assert [row["event"]["task_id"] for row in rows] == expected
            page = (await site.get("/monitor/events", query=f"task_id={key}")).json()
            assert [row["event"] for row in reversed(rows)] == page["events"]


async def test_a_limited_token_gets_an_event_once_its_project_is_known() -> None:
    """In its place, in the view that was there before and in the log alike."""
    async with open_site(tokens=BOTH) as site:
        early = {"task_id": "early", "parent_task_id": "a"}
        await site.append(started("b", "p"), early, started("b", "p"), token="all")
        before = (await get(site, "events", "p-only")).json()
        assert [row["event"]["task_id"] for row in before["rows"]] == ["b", "b"]
        await site.append(started("a", "p"), started("c", "q"), token="all")
        shown = (await get(site, "events", "p-only")).json()
        assert [row["event"]["task_id"] for row in shown["rows"]] == ["b", "early", "b", "a"]
        assert shown["head"] == {"passed": 4, "older": False}
        bearer = {"Authorization": "Bearer p-only"}
        page = (await site.get("/monitor/events", headers=bearer)).json()["events"]
        assert page == [row["event"] for row in reversed(shown["rows"])]


async def next_of(client: AsgiClient, kind: str) -> Any:
    """The next message of a kind; others are skipped."""
    while True:
        message = await client.next_json()
        if message["t"] == kind:
            return message


async def test_a_client_subscribes_and_sees_changes() -> None:
    """Under any ASGI server: hello, the subscription, its window, and what changes in it."""
    async with open_site() as site, connected(site, path="/ws/views") as client:
        assert (await client.next())["type"] == "websocket.accept"
        assert (await client.next_json())["t"] == "hello"
        await client.send(op="sub", id=1, view="tasks", params={})
        sub = await next_of(client, "sub")
        full = await next_of(client, "full")
        assert (sub["s"], full["rows"]) == (full["s"], [])
        await site.append(started("a", "p"))
        change = await next_of(client, "change")
        assert (change["s"], change["v"], change["cut"]) == (full["s"], 2, [0, 0, ["a"]])


async def test_leaving_ends_the_subscriptions() -> None:
    """Nothing is computed for a client that has gone."""
    async with open_site() as site:
        async with connected(site, path="/ws/views") as client:
            await client.next()
            await client.send(op="sub", id=1, view="overview")
            await next_of(client, "full")
            assert site.collector.views_hub.group_count == 1
        hub = site.collector.views_hub
        assert (len(hub), hub.group_count) == (0, 0)


async def test_a_limited_token_has_its_scope_for_life() -> None:
    """What it asks for cannot widen it."""
    async with open_site(tokens=BOTH) as site:
        await site.append(started("a", "p"), started("b", "q"), token="all")
        async with connected(site, token="p-only", path="/ws/views") as client:
            await client.next()
            await client.send(op="hello", protocol=1, project="q", scope=["q"])
            await client.send(op="sub", id=1, view="tasks", params={})
            assert [row["k"] for row in (await next_of(client, "full"))["rows"]] == ["a"]
            await client.send(op="sub", id=2, view="tasks", params={"keys": ["b"]})
            assert (await next_of(client, "full"))["rows"] == []


async def test_a_request_that_is_no_handshake_is_426() -> None:
    """It is told which protocol is spoken here."""
    async with open_site() as site:
        assert (await site.get("/ws/views")).status == 426


LINES_TOKENS = ";".join(
    [token_line("all"), f"{token_line('reads', 'p')} rights=lines", token_line("plain", "p")]
)
SPAN = "a" * 16


async def test_log_lines_are_read_as_they_are_stored_now() -> None:
    """The first request for a node has its lines already."""
    async with open_site() as site:
        name = site.collector.bridge_settings.bus_url.removeprefix("memory://")
        await site.append({**started("j", "p"), "parent_task_id": "t", "span_id": SPAN})
        memory_log(name).store_lines(SPAN, [b'[1,20,"app","hello",1]'])
        full = (await get(site, "lines", task="t", node=SPAN)).json()
        assert (full["head"]["state"], full["head"]["total"]) == ("held", 1)
        assert [row["text"] for row in full["rows"]] == ["hello"]
        assert (await get(site, "lines", task="t", node="b" * 16)).status == 200
        assert (await get(site, "lines", task="none", node=SPAN)).status == 404


async def test_log_lines_need_their_own_right() -> None:
    """``rights=lines`` or ``projects=*``, by HTTP and over the WebSocket; the answer says so."""
    async with open_site(tokens=LINES_TOKENS) as site:
        await site.append(
            {**started("j", "p"), "parent_task_id": "t", "span_id": SPAN}, token="all"
        )
        asked = {"task": "t", "node": SPAN}
        found = {
            token: await get(site, "lines", token, **asked) for token in ("all", "reads", "plain")
        }
        assert [answer.status for answer in found.values()] == [200, 200, 403]
        assert "rights=lines" in found["plain"].json()["detail"]
        for token, expected in zip(found, ["sub", "sub", "refused"], strict=True):
            async with connected(site, token=token, path="/ws/views") as client:
                assert (await client.next())["type"] == "websocket.accept"
                await next_of(client, "hello")
                await client.send(op="sub", id=1, view="lines", params=asked)
                answer = await next_of(client, expected)
                if expected == "refused":
                    assert answer["why"] == "right"
                    assert "rights=lines" in answer["detail"]


async def test_log_lines_come_as_they_are_written() -> None:
    """First the lines that are stored, then each new one as a change, without being asked for."""
    async with open_site() as site, connected(site, path="/ws/views") as client:
        name = site.collector.bridge_settings.bus_url.removeprefix("memory://")
        await site.append({**started("j", "p"), "parent_task_id": "t", "span_id": SPAN})
        assert (await client.next())["type"] == "websocket.accept"
        await client.send(op="sub", id=1, view="lines", params={"task": "t", "node": SPAN})
        assert (await next_of(client, "full"))["head"]["state"] == "reading"
        assert (await next_of(client, "change"))["head"] == {"state": "none"}
        memory_log(name).store_lines(SPAN, [b'[1,20,"app","hello",1]'])
        change = await next_of(client, "change")
        assert [row["text"] for row in change["rows"]] == ["hello"]
        assert change["cut"] == [0, 0, ["1"]]
