"""How a collector takes part in a cluster, and what it says of it."""

from __future__ import annotations

import asyncio

import pytest
from otel_bridge_collector.cluster.connections.group import LocalGroup
from otel_bridge_collector.cluster.edge.links import LEAVE_SEC, cluster_options
from otel_bridge_collector.cluster.partitions import PARTITIONS
from otel_bridge_collector.settings import CollectorSettings
from pydantic import SecretStr

from tests.support.cluster_members import cluster_of, links_of, until

MEMBER = "0123456789ab"
GROUP = LocalGroup("/d", "g1", 3, 1)


def test_without_processes_and_address_there_is_no_cluster() -> None:
    """The collector folds all events itself."""
    assert cluster_options(CollectorSettings(), None, MEMBER) is None


def test_processes_of_one_machine_are_a_cluster_of_their_own() -> None:
    """Until they have an address for others: then all that share the log are one."""
    alone = cluster_options(CollectorSettings(), GROUP, MEMBER)
    assert alone is not None
    assert (alone.address, alone.expected, alone.group) == (f"unix:/d/{MEMBER}.sock", 3, "g1")
    settings = CollectorSettings(
        cluster_address="http://10.0.0.5:12000/", cluster_token=SecretStr("x" * 16)
    )
    shared = cluster_options(settings, GROUP, MEMBER)
    assert shared is not None
    assert shared.address == f"unix:/d/{MEMBER}.sock http://10.0.0.5:12000"
    assert shared.group == ""
    one = cluster_options(settings, None, MEMBER)
    assert one is not None
    assert (one.address, one.expected) == ("http://10.0.0.5:12000", 1)


@pytest.mark.redis
async def test_it_says_who_folds_what_and_how_far(redis_url: str) -> None:
    """Of each member: what it serves, where it is in the log, and whether it answers."""
    async with cluster_of(redis_url, 2) as members:
        here, there = map(links_of, members)
        position = members[0].ring.last_position
        await until(
            lambda: here.readiness()["folds"][there.id]["position"] == position, "its position"
        )
        found = here.readiness()
        assert found["member"] == here.id
        served = [one["serves"] for one in found["folds"].values()]
        assert sorted(one for each in served for one in each) == list(range(PARTITIONS))
        assert all(one["answers"] for one in found["folds"].values())
        assert found["partial"] == []
        assert here.has_sibling(there.id)
        assert not here.has_sibling("0" * 12)
        answers, failures = await here.ask_all("nonsense", siblings=True)
        assert (answers, list(failures)) == ({}, [there.id])


@pytest.mark.redis
async def test_a_leaving_member_waits_for_those_that_stay(redis_url: str) -> None:
    """Until the others hold all its partitions, or ``at_once`` is set; alone, not at all."""
    async with cluster_of(redis_url, 3) as members:
        first, second, third = map(links_of, members)
        at_once = asyncio.Event()
        leaving = asyncio.create_task(first.leave(at_once))
        await until(lambda: second.readiness()["folds"][first.id]["leaving"], "the news")
        assert not leaving.done()
        # Another process on the port stays, and answers there.
        assert (first.is_leaving, members[0].readiness()["leaving"]) == (False, True)
        assert members[0].readiness()["ready"]
        first.group = None
        assert first.is_leaving
        assert not members[0].readiness()["ready"]
        at_once.set()
        async with asyncio.timeout(10):
            await leaving
        held = len(first._fold.states.held)
        assert held, "it did not wait until the others had all"

        both = asyncio.gather(second.leave(asyncio.Event()), third.leave(asyncio.Event()))
        async with asyncio.timeout(LEAVE_SEC / 2):
            await both
        assert second.is_leaving
        assert len(first._fold.states.held) == held
