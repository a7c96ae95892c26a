"""Log records that reach one member, of spans that another one holds."""

from __future__ import annotations

import pytest
from otel_bridge_collector.cluster.edge.lines import LinesElsewhere
from otel_bridge_collector.lines.ingest import LinesIngest
from otel_bridge_collector.lines.records import Record, Records
from otel_bridge_collector.security.tokens import ANONYMOUS

from tests.support.cluster_members import append, cluster_of, until

pytestmark = pytest.mark.redis


async def test_a_record_is_stored_at_the_member_that_holds_its_span(redis_url: str) -> None:
    """Whichever it reaches: one that is held here stays, all others are passed on, none is lost."""
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
                }
                for trace, span in traces.items()
            ),
        )
        await until(
            lambda: all(member.ring.last_position == position for member in members), "all events"
        )
        ingests = []
        for member in members:
            elsewhere: LinesElsewhere | None = member.answers.lines
            assert elsewhere is not None
            ingests.append(LinesIngest(member.model, member.lines, member.clock, elsewhere))
            elsewhere.take = ingests[-1].take_here
        records = [
            Record(
                int(trace, 16), int(span, 16), 1_795_000_000_000, 20, "app", "a line \ud800", None
            )
            for trace, span in traces.items()
        ]
        records.append(records[0]._replace(text="x" * 4000, stack="\n" * 65_000))
        await ingests[0].take(Records(records, 0), ANONYMOUS)
        await until(lambda: sum(one.stored for one in ingests) == len(records), "all are stored")
        assert all(one.stored for one in ingests)
        newest = await members[0].lines.reader.newest(list(traces.values()))
        assert all(newest)
        for one in ingests:
            await one.close()
