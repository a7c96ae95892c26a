"""One-time tickets at two collectors that share a Redis."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.settings import BridgeSettings
from tests.support.app_server import AppServer, fetch
from tests.support.redis_server import RedisServer

_names = itertools.count()
TOKEN = "t-alpha-0123456789abcdef"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
LINE = f"alpha sha256={DIGEST} projects=alpha"


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def sites(request: pytest.FixtureRequest) -> Iterator[list[AppServer]]:
    """One collector with its log in memory, or two on one Redis."""
    url = f"memory://tickets-{next(_names)}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                AppServer(BridgeSettings(bus_url=url), tokens=LINE, stats_interval_sec=3600)
            )
            for _ in range(2 if request.param == "redis" else 1)
        ]


def ticket_of(site: AppServer) -> str:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = fetch(f"{site.url}/session/ticket", method="POST", headers=headers)
    assert answer.status == 200
    return str(answer.json()["ticket"])


async def attempt(site: AppServer, ticket: str) -> ClientConnection | int:
    """A connection, or the status of its refusal."""
    try:
        return await connect(f"{site.ws_url}?snapshot=true&ticket={ticket}")
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_ticket_is_good_at_any_collector_once(sites: list[AppServer]) -> None:
    """Made at the first, taken by the last, refused by both from then on."""
    ticket = ticket_of(sites[0])
    found = await attempt(sites[-1], ticket)
    assert isinstance(found, ClientConnection)
    assert json.loads(await found.recv())["type"] == "snapshot"
    await found.close()
    assert {await attempt(site, ticket) for site in sites} == {401}


async def test_of_many_at_once_one_gets_in(sites: list[AppServer]) -> None:
    """Twenty handshakes with one ticket at the same moment: one connection."""
    for _ in range(5):
        ticket = ticket_of(sites[0])
        found = await asyncio.gather(
            *(attempt(site, ticket) for site in sites for _ in range(20 // len(sites)))
        )
        opened = [one for one in found if isinstance(one, ClientConnection)]
        assert len(opened) == 1
        await opened[0].close()


async def test_made_up_tickets_are_counted(sites: list[AppServer]) -> None:
    """A client that guesses must wait, as with tokens; a right ticket still passes."""
    found = [await attempt(sites[0], f"{number:043}") for number in range(11)]
    assert found == [401] * 10 + [429]
    passed = await attempt(sites[0], ticket_of(sites[0]))
    assert isinstance(passed, ClientConnection)
    await passed.close()


@pytest.mark.redis
async def test_redis_cannot_widen_a_ticket(redis_url: str) -> None:
    """A client that writes to Redis cannot widen a ticket beyond the line of its token."""
    with (
        AppServer(BridgeSettings(bus_url=redis_url), tokens=LINE) as site,
        redis.Redis.from_url(redis_url) as client,
    ):
        for change in ({"projects": None}, {"projects": ["beta"]}, {"digest": "0" * 64}, "x"):
            ticket = ticket_of(site)
            key = DEFAULT_KEYS.collector_ticket(hashlib.sha256(ticket.encode()).hexdigest())
            raw = client.get(key)
            assert isinstance(raw, bytes)
            assert TOKEN.encode() not in raw
            assert 0 < int(str(client.ttl(key))) <= 30
            made = "x" if isinstance(change, str) else json.dumps(json.loads(raw) | change)
            client.set(key, made)
            assert await attempt(site, ticket) == 401


@pytest.mark.redis
@pytest.mark.fault
async def test_without_redis_a_ticket_is_good_where_it_was_made(
    own_redis: RedisServer, make_settings: Callable[..., BridgeSettings]
) -> None:
    """A browser that signs in while Redis is away gets its snapshot, and the gap later."""
    with AppServer(make_settings(redis_url=own_redis.url), tokens=LINE) as site:
        own_redis.kill()
        found = await attempt(site, await asyncio.to_thread(ticket_of, site))
        assert isinstance(found, ClientConnection)
        await found.close()
        assert await attempt(site, "x" * 43) == 401
