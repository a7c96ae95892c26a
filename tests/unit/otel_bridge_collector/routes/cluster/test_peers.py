"""``otel_bridge_collector.routes.cluster.peers``: the token of the cluster, the same views."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.cluster_members import append
from tests.support.ports import free_port
from tests.support.waiting import wait_until

TOKEN = "cluster-token-0123456789"
PATH = "/cluster/peer?member=0123456789ab"


def machine(bridge: BridgeSettings, token: str = TOKEN) -> AppServer:
    port = free_port()
    return AppServer(
        bridge,
        port=port,
        cluster_address=f"http://127.0.0.1:{port}",
        cluster_token=SecretStr(token),
    )


async def status_of(url: str, authorization: str | None) -> int:
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        async with connect(url, additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def test_a_collector_without_a_cluster_has_no_peers(
    make_settings: Callable[..., BridgeSettings],
) -> None:
    """The address answers 404, whatever the token is."""
    with AppServer(make_settings(bus_url="memory://no-peers")) as server:
        url = server.url.replace("http", "ws") + PATH
        assert await status_of(url, f"Bearer {TOKEN}") == 404


@pytest.mark.redis
async def test_two_machines_show_the_tasks_of_both(
    redis_url: str, make_settings: Callable[..., BridgeSettings]
) -> None:
    """Each folds a half and asks the other over HTTP; one that leaves hands its half over."""
    bridge = make_settings(bus_url=redis_url, redis_url=redis_url)
    names = [f"t{number}" for number in range(30)]
    events: list[dict[str, Any]] = [{"parent_task_id": name, "task_id": name} for name in names]
    with machine(bridge) as one:
        with machine(bridge) as other:
            await asyncio.to_thread(one.call, lambda: append(one.collector, *events))
            for server in (one, other):
                await asyncio.to_thread(
                    wait_until, partial(shows, server, 30), "all tasks", 20, 0.1
                )
            url = one.url.replace("http", "ws") + PATH
            for wrong in (None, "Bearer no", "Bearer "):
                assert await status_of(url, wrong) == 401
            assert await status_of(url, f"Bearer {TOKEN}") == 404
        await asyncio.to_thread(wait_until, partial(shows, one, 30), "all tasks again", 20, 0.1)


def shows(server: AppServer, tasks: int) -> bool:
    return total(server) == (tasks, False)


def total(server: AppServer) -> tuple[int, bool]:
    found = fetch(f"{server.url}/monitor/views/tasks")
    if found.status != 200:
        return 0, True
    fields = found.json()
    return fields["head"]["total"], "partial" in fields


@pytest.mark.redis
async def test_another_token_keeps_them_apart_and_is_said(
    redis_url: str, make_settings: Callable[..., BridgeSettings]
) -> None:
    """Views are partial at both, nothing raises, and the refused connections are counted."""
    bridge = make_settings(bus_url=redis_url, redis_url=redis_url)
    with machine(bridge) as one, machine(bridge, TOKEN[::-1]) as other:
        await asyncio.to_thread(
            wait_until,
            lambda: counters(one)["wrong_tokens"] and counters(other)["refused"],
            "a refused connection",
            20,
            0.05,
        )
        await asyncio.to_thread(wait_until, lambda: total(one)[1], "a partial view", 20, 0.1)


def counters(server: AppServer) -> Any:
    assert server.collector.cluster is not None
    return server.collector.cluster.edge.counters
