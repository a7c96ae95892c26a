"""The whole state of one collector, asked in the same words as that of several."""

from __future__ import annotations

import json

import pytest
from otel_bridge_collector.cluster.edge.answers import Answers
from otel_bridge_collector.views.catalog import parse_query
from otel_bridge_collector.views.listing import GoneError
from otel_bridge_collector.wire.filters import ALL_EVENTS

from tests.support.asgi_site import open_site


async def test_one_collector_answers_alone() -> None:
    """Views, a snapshot, the tasks; and what does not exist is gone."""
    async with open_site() as site:
        await site.append({"parent_task_id": "t1", "task_id": "t1"})
        answers: Answers = site.collector.answers
        view = json.loads(await answers.view(parse_query("tasks", {}), None))
        assert [row["k"] for row in view["rows"]] == ["t1"]
        assert [task["task_id"] for task in json.loads(await answers.snapshot(ALL_EVENTS))["tasks"]]
        assert (await answers.research_tasks(ALL_EVENTS, 5))[1] == 1
        assert await answers.lookups.node("f" * 16) is None
        with pytest.raises(GoneError):
            await answers.view(parse_query("strip", {"task": "no"}), None)
