"""Snapshots, lists of tasks and numbers of real members together."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.cluster.edge.summaries import IncompleteError, Summaries
from otel_bridge_collector.wire.filters import ALL_EVENTS

from tests.support.cluster_members import append, cluster_of, links_of, until

pytestmark = pytest.mark.redis


async def test_what_is_asked_once_is_of_all_members(redis_url: str) -> None:
    """And while one does not answer, the snapshot says so, and what would be wrong is refused."""
    async with cluster_of(redis_url, 2) as members:
        here, there = members
        names = [f"t{number}" for number in range(30)]
        position = await append(
            here, *({"parent_task_id": name, "task_id": name} for name in names)
        )
        await until(
            lambda: all(member.ring.last_position == position for member in members), "all events"
        )
        summaries: Summaries = links_of(here).summaries
        snapshot = json.loads(await here.answers.snapshot(ALL_EVENTS))
        assert {task["task_id"] for task in snapshot["tasks"]} == set(names)
        assert snapshot["stats"]["open_tasks"] == len(snapshot["events"]) == 30
        assert "partial" not in snapshot
        rows, total = await here.answers.research_tasks(ALL_EVENTS, 5)
        assert (len(rows), total) == (5, 30)
        numbers = await summaries.numbers()
        assert numbers is not None
        assert numbers.stats().open_tasks == 30

        await links_of(there).stop()
        await until(
            lambda: not any(c.is_open for c in links_of(here).edge.clients.values()), "gone"
        )
        snapshot = json.loads(await here.answers.snapshot(ALL_EVENTS))
        assert snapshot["partial"][0].endswith(" not answering")
        assert 0 < len(snapshot["tasks"]) < 30
        with pytest.raises(IncompleteError):
            await summaries.research_tasks(ALL_EVENTS, 5)
        assert await summaries.numbers() is None
        assert summaries.incomplete > 0
