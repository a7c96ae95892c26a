"""Processes that share the fold die, join and lose their parent, under load; ``make chaos``."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from typing import Any
from urllib.error import URLError

import psutil
import pytest

from otel_bridge.cancellation import cancel
from otel_bridge.publish.bus import EventBus
from otel_bridge.settings import BridgeSettings
from tests.support import cluster_members
from tests.support.app_server import AppProcess
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.served_processes import ServedProcesses
from tests.support.task_pages import Page, TaskLoad
from tests.support.waiting import wait_until
from tests.support.ws_clients import ResumingClient

pytestmark = [
    pytest.mark.redis,
    pytest.mark.fault,
    pytest.mark.chaos,
    pytest.mark.timeout(180),
]
until = partial(cluster_members.until, timeout_sec=40)

WHOLE_AGAIN_SEC = 6.0
CLIENTS = 6
TOKEN = "cluster-token-0123456789"
LAG_SEC = 2.0
"""A whole view has all tasks that were started so long before: a third of them is a wrong total."""


@pytest.fixture
def bus(own_redis: RedisServer) -> Any:
    found = EventBus.connect(BridgeSettings(bus_url=own_redis.url, redis_url=own_redis.url))
    yield found
    found.shutdown(5)


class Watchers:
    """Raw clients and pages of several processes."""

    def __init__(self, several: ServedProcesses) -> None:
        self.clients = [
            ResumingClient([f"{several.ws_url}/ws/monitor"], snapshot="true").start()
            for _ in range(CLIENTS)
        ]
        self.pages = [Page(several.ws_url) for _ in range(CLIENTS)]
        self._running = [asyncio.create_task(page.run()) for page in self.pages]

    async def start_load(self, bus: EventBus) -> TaskLoad:
        """Start 200 tasks a second once all clients follow; return when all pages show some."""
        await until(lambda: all(client.is_following for client in self.clients), "all follow")
        load = TaskLoad(bus, per_sec=200).start()
        await until(lambda: all(page.seen for page in self.pages), "all pages show something")
        return load

    async def have_all(self, count: int, bus: EventBus) -> None:
        """Return when all events have come, and all tasks are shown."""
        assert await asyncio.to_thread(bus.flush, 10)
        await until(
            lambda: all(len(set(client.task_ids)) == count for client in self.clients),
            "all events came",
        )
        await until(
            lambda: all(page.seen[-1][1] == count for page in self.pages), "all tasks are shown"
        )

    async def stop(self, count: int) -> None:
        """Each client got each event once, in order and without a gap."""
        for client in self.clients:
            assert client.task_ids == [str(number) for number in range(count)]
            assert client.gaps == []
            await client.stop()
        await cancel(self._running)


async def test_a_killed_process_costs_no_event_and_no_wrong_total(
    own_redis: RedisServer, bus: EventBus
) -> None:
    """Raw clients miss nothing; views say that they are partial, and are whole again in 6 s."""
    with ServedProcesses(own_redis.url, 3) as several:
        watchers = Watchers(several)
        load, pages = await watchers.start_load(bus), watchers.pages
        victim = several.children[1]
        killed_at = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        await until(
            lambda: any(partial_since(page, killed_at) for page in pages), "partial is said"
        )
        await until(lambda: all(is_whole_since(page, killed_at) for page in pages), "whole again")
        whole_sec = max(whole_after(page, killed_at) for page in pages) - killed_at
        count = await asyncio.to_thread(load.stop)
        await watchers.have_all(count, bus)
        await asyncio.to_thread(several.wait_whole, 3)
        await watchers.stop(count)
        for page in pages:
            for at, total, is_partial in page.seen:
                if not is_partial:
                    assert load.started_before(at - LAG_SEC) <= total <= count
        print(f"whole again after {whole_sec:.1f} s")
        assert whole_sec <= WHOLE_AGAIN_SEC
        assert several.stop() == 0


def partial_since(page: Page, at: float) -> bool:
    return any(is_partial for when, _, is_partial in page.seen if when > at)


def whole_after(page: Page, at: float) -> float:
    """When its view was whole for good after that; it was partial, or its connection ended."""
    since = [one for one in page.seen if one[0] > at]
    last = max((index for index, one in enumerate(since) if one[2]), default=-1)
    return since[last + 1][0] if last + 1 < len(since) else float("inf")


def is_whole_since(page: Page, at: float) -> bool:
    """Whether it is whole, long enough after that for the loss to have been noticed."""
    return time.monotonic() - at > 3 and whole_after(page, at) < float("inf")


async def test_a_restart_of_one_process_after_the_other_makes_no_view_partial(
    own_redis: RedisServer, bus: EventBus
) -> None:
    """SIGTERM to each of three: it hands over first. Raw clients miss nothing, totals are right."""
    with ServedProcesses(own_redis.url, 3) as several:
        watchers = Watchers(several)
        load, pages = await watchers.start_load(bus), watchers.pages
        for process in several.children:
            before = await asyncio.to_thread(several.members)
            stopped_at = time.monotonic()
            process.terminate()
            await asyncio.to_thread(process.wait, 40)
            print(f"stopped after {time.monotonic() - stopped_at:.1f} s")
            await asyncio.to_thread(several.wait_whole, 3, former=before)
        count = await asyncio.to_thread(load.stop)
        await watchers.have_all(count, bus)
        await watchers.stop(count)
        for page in pages:
            assert not any(is_partial for _, _, is_partial in page.seen)
            for at, total, _ in page.seen:
                assert load.started_before(at - LAG_SEC) <= total <= count
        assert several.errors().count("ended with code 0; it is started again") == 3
        assert several.stop() == 0


async def test_a_machine_that_joins_makes_no_view_partial(
    own_redis: RedisServer, bus: EventBus
) -> None:
    """A fourth collector, by address and token: partitions move whole; then it is killed."""
    port = free_port()
    # The processes have one address for all of them: the one that is asked passes it on.
    environment = {
        "MONITORING_CLUSTER_TOKEN": TOKEN,
        "MONITORING_CLUSTER_ADDRESS": f"http://127.0.0.1:{port}",
    }
    bridge = {"bus_url": own_redis.url, "redis_url": own_redis.url}
    other_port = free_port()
    fourth = AppProcess(
        bridge,
        port=other_port,
        cluster_address=f"http://127.0.0.1:{other_port}",
        cluster_token=TOKEN,
    )
    with ServedProcesses(own_redis.url, 3, ("--port", str(port)), environment) as several:
        page, other = Page(several.ws_url), Page(f"ws://127.0.0.1:{other_port}")
        running = [asyncio.create_task(page.run())]
        load = TaskLoad(bus, per_sec=100).start()
        await until(lambda: page.seen, "the page shows something")
        await asyncio.to_thread(fourth.start)
        try:
            await asyncio.to_thread(several.wait_whole, 4)
            running.append(asyncio.create_task(other.run()))
            await until(
                lambda: other.seen and other.seen[-1][1] > 0 and not other.seen[-1][2],
                "the fourth shows all tasks",
            )
        finally:
            killed_at = time.monotonic()
            fourth.kill()
        await asyncio.to_thread(several.wait_whole, 3)
        count = await asyncio.to_thread(load.stop)
        assert await asyncio.to_thread(bus.flush, 10)
        await until(lambda: page.seen[-1][1:] == (count, False), "all tasks are shown")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for at, total, is_partial in page.seen:
            assert not is_partial or at > killed_at, "partial while a member joined"
            if not is_partial:
                assert load.started_before(at - LAG_SEC) <= total <= count
        assert several.stop() == 0


async def test_a_machine_that_is_stopped_hands_over_to_another(
    own_redis: RedisServer, bus: EventBus
) -> None:
    """Both its processes leave together: its port is not ready, and no view elsewhere partial."""
    with machine(own_redis) as one, machine(own_redis, beside=2) as other:
        page = Page(other.ws_url)
        running = asyncio.create_task(page.run())
        load = TaskLoad(bus, per_sec=100).start()
        await until(lambda: page.seen, "the page shows something")
        one.parent.terminate()
        statuses = await asyncio.to_thread(statuses_until_closed, one)
        assert statuses[-1] == 503
        await asyncio.to_thread(other.wait_whole, 2)
        count = await asyncio.to_thread(load.stop)
        assert await asyncio.to_thread(bus.flush, 10)
        await until(lambda: page.seen[-1][1] == count, "all tasks are shown")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not any(is_partial for _, _, is_partial in page.seen)
        assert one.stop() == 0
        assert other.stop() == 0


def machine(redis: RedisServer, beside: int = 0) -> ServedProcesses:
    """Two processes that share the fold with those of another machine, by address and token."""
    port = free_port()
    environment = {
        "MONITORING_CLUSTER_TOKEN": TOKEN,
        "MONITORING_CLUSTER_ADDRESS": f"http://127.0.0.1:{port}",
    }
    return ServedProcesses(redis.url, 2, ("--port", str(port)), environment, beside)


def statuses_until_closed(several: ServedProcesses) -> list[int]:
    """What ``/readyz`` answers until no process listens any more."""
    found: list[int] = []

    def is_closed() -> bool:
        try:
            found.append(several.get("/readyz").status)
        except URLError as error:
            return isinstance(error.reason, ConnectionRefusedError)
        except OSError:
            pass  # one closed its socket with this connection waiting
        return False

    wait_until(is_closed, "a closed port", 40)
    return found


def test_a_killed_parent_leaves_no_process_behind(own_redis: RedisServer) -> None:
    """The processes read the end of their line to it, and stop by themselves."""
    with ServedProcesses(own_redis.url, 2) as several:
        children = several.children
        several.kill_parent()
        _, alive = psutil.wait_procs(children, 20)
        assert alive == []


def test_a_process_that_dies_is_started_again(own_redis: RedisServer) -> None:
    """With one line in the log; meanwhile and after it the others answer."""
    with ServedProcesses(own_redis.url, 2) as several:
        victim = several.children[0]
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(
            lambda: len(several.children) == 2 and victim not in several.children,
            "another process",
        )
        several.wait_whole(2)
        assert several.errors().count("ended with code -9; it is started again") == 1
        assert several.stop() == 0
