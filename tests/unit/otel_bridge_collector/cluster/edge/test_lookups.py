"""Spans that another member holds: whose they are, and what they pass on."""

from __future__ import annotations

import pytest
from otel_bridge_collector.cluster.edge.lookups import Lookups
from otel_bridge_collector.otlp.correlation import correlate

from tests.support.cluster_members import append, cluster_of, links_of, until

pytestmark = pytest.mark.redis


async def test_a_span_is_found_wherever_it_is_held(redis_url: str) -> None:
    """By each member the same, and what children inherit of it as well; an unknown one by none."""
    traces = {f"{number:032x}": f"{number:016x}" for number in range(1, 13)}
    async with cluster_of(redis_url, 2) as members:
        position = await append(
            members[0],
            *(
                {
                    "parent_task_id": f"t{trace}",
                    "task_id": f"t{trace}",
                    "trace_id": trace,
                    "span_id": span,
                    "project_id": "p1",
                }
                for trace, span in traces.items()
            ),
        )
        for member in members:
            member.answers.lookups.correlate = correlate
        await until(
            lambda: all(member.ring.last_position == position for member in members), "all events"
        )
        held = []
        for member in members:
            lookups: Lookups = member.answers.lookups
            held.append({span for span in traces.values() if lookups.held(span) is not None})
            for span in traces.values():
                found = await lookups.node(span)
                assert found is not None
                assert found.project == "p1"
            assert await lookups.node("f" * 16) is None
            parents = {trace: [span] for trace, span in traces.items()}
            inherited = await lookups.correlated(parents, lambda _: True, None)
            for trace, span in traces.items():
                assert inherited[int(trace, 16), 0].parent_task_id == f"t{trace}"
                assert inherited[int(trace, 16), int(span, 16)].project_id == "p1"
            assert await lookups.correlated(parents, lambda name: name == "q", ["q"]) == {}
        assert held[0] | held[1] == set(traces.values())
        assert held[0] != held[1]

        await links_of(members[1]).stop()
        edge = links_of(members[0]).edge
        await until(lambda: not any(one.is_open for one in edge.clients.values()), "gone")
        lookups = members[0].answers.lookups
        parents = {trace: [span] for trace, span in traces.items()}
        inherited = await lookups.correlated(parents, lambda _: True, None)
        assert 0 < len(inherited) < 24
        assert lookups.unanswered > 0
