"""Views merged from real members; one of them falls silent, and comes to an end."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from otel_bridge_collector.cluster.edge.views import EdgeViews
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.views.catalog import parse_query
from otel_bridge_collector.views.listing import GoneError, NotYetError, Window

from tests.support.cluster_members import append, cluster_of, links_of, until

pytestmark = pytest.mark.redis
TASKS = parse_query("tasks", {"count": 100})
NAMES = [f"t{number}" for number in range(40)]


def tasks(*names: str) -> list[dict[str, Any]]:
    return [{"parent_task_id": name, "task_id": name} for name in names]


def shown(collector: Collector) -> Window:
    collector.answers.refresh()
    edge: EdgeViews = links_of(collector).edge
    return edge.window(TASKS, None)


async def test_each_member_shows_the_tasks_of_all(redis_url: str) -> None:
    """First nothing until all have answered; then all; and what does not exist is gone."""
    async with cluster_of(redis_url, 2) as members:
        await append(members[0], *tasks(*NAMES))
        for member in members:
            links_of(member).edge.opened(TASKS, None)
        with pytest.raises(NotYetError):
            shown(members[0])
        for member in members:
            await until(partial(is_whole, member), "all tasks of all members")
        gone = parse_query("tree", {"task": "nope"})
        with pytest.raises(GoneError):
            await links_of(members[1]).edge.ask(gone, None)
        for member in members:
            links_of(member).edge.closed(TASKS, None)
        asked = [link for member in members for link in links_of(member).peers.links]
        await until(
            lambda: not any(link.subscriptions for link in asked), "no subscriptions are left"
        )


def is_whole(collector: Collector) -> bool:
    try:
        found = shown(collector)
    except NotYetError:
        return False
    return set(found.rows) == set(NAMES) and found.partial is None


async def test_a_silent_member_leaves_its_last_rows_and_the_view_says_so(redis_url: str) -> None:
    """Rows that were shown stay and are named as old; a view that is new is partial too."""
    async with cluster_of(redis_url, 2) as members:
        await append(members[0], *tasks(*NAMES))
        here, there = members
        links_of(here).edge.opened(TASKS, None)
        await until(lambda: is_whole(here), "all tasks")
        await links_of(there).stop()
        await until(lambda: shown(here).partial is not None, "partial")
        found = shown(here)
        assert set(found.rows) == set(NAMES)
        assert found.partial is not None
        assert found.partial.why[0].endswith(" not answering")
        old = found.partial.rows
        assert old is not None
        held = links_of(here)._fold.states.held
        kept = {task for state in held.values() for task in state.model.tasks.by_id}
        assert set(old) == set(NAMES) - kept
        assert links_of(here).edge.partial == found.partial.why
        other = await links_of(here).edge.ask(parse_query("overview", {}), None)
        assert other.partial is not None
        assert other.partial.rows is None


async def test_a_window_far_down_is_asked_for_around_its_first_row(redis_url: str) -> None:
    """No member knows alone where the row 420 of all is; they are asked a second time."""
    many = [f"n{number:03}" for number in range(500)]
    query = parse_query("tasks", {"at": {"row": 420}, "count": 20, "sort": "newest"})
    async with cluster_of(redis_url, 2) as members:
        position = await append(members[0], *tasks(*many))
        await until(
            lambda: all(member.ring.last_position == position for member in members), "all events"
        )
        for member in members:
            member.answers.refresh()
        found = [await links_of(member).edge.ask(query, None) for member in members]
        assert list(found[0].rows) == list(found[1].rows)
        assert [(one.head["first"], one.head["total"], len(one.rows)) for one in found] == [
            (420, 500, 20)
        ] * 2
