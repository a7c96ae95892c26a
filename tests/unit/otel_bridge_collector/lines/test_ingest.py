"""OTLP log records become lines of the nearest node; what is dropped is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from otel_bridge_collector.lines.ingest import LinesIngest
from otel_bridge_collector.lines.records import Record, Records
from otel_bridge_collector.lines.service import LinesService
from otel_bridge_collector.lines.table import LinesTable
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal

from otel_bridge.errors import TransportError
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.redis_keys import DEFAULT_KEYS
from otel_bridge.publish.transports.base import SpanLines
from otel_bridge.publish.transports.memory import MemorySender, memory_log
from tests.support.faults import FakeClock
from tests.support.folding import apply, fold, job, root

TRACE, ROOT, JOB, INNER = 0xAB, 1, 2, 3
IDS = {"trace_id": f"{TRACE:032x}", "project_id": "p"}
OTHERS = Principal("others", frozenset({"q"}), digest="b" * 64)
OWN = Principal("own", frozenset({"p"}), digest="a" * 64)


class Sender(MemorySender):
    """Notes what it stores; the store can be out of reach."""

    def __init__(self, url: str) -> None:
        super().__init__(memory_log(url.removeprefix("memory://")))
        self.sent: list[SpanLines] = []
        self.is_away = False

    def store_lines(self, batch: Sequence[SpanLines]) -> int:
        if self.is_away:
            raise TransportError("gone")
        self.sent += batch
        return super().store_lines(batch)


class Stage:
    """A task with a job, and what comes over OTLP about them."""

    def __init__(self, name: str) -> None:
        url = f"memory://lines-{name}"
        self.clock = FakeClock()
        self.log = memory_log(url.removeprefix("memory://"))
        self.sender = Sender(url)
        self.model: Fold = fold(
            [
                root("t", 0, "task_started", span_id=f"{ROOT:016x}", **IDS),
                self.job_event("task_started"),
            ]
        )
        service = LinesService(
            LinesTable(self.clock),
            url=url,
            redis=None,
            keys=DEFAULT_KEYS,
            sender=self.sender,
            lock=asyncio.Lock(),
            max_bytes=1,
            clock=self.clock,
        )
        self.ingest = LinesIngest(self.model, service, self.clock)

    def job_event(self, kind: str, number: int = JOB, seconds: float = 1) -> MonitoringEvent:
        parent = {"parent_span_id": f"{ROOT:016x}", "span_id": f"{number:016x}"}
        return job("t", seconds, kind, f"j{number}", **parent, **IDS)

    async def take(
        self,
        *texts: str,
        span: int = JOB,
        trace: int = TRACE,
        by: Principal = ANONYMOUS,
        **more: Any,
    ) -> None:
        fields = {"level": 20, "stack": None, **more}
        found = [Record(trace, span, 5, logger="app", text=text, **fields) for text in texts]
        await self.ingest.take(Records(found, 0), by)

    def lines(self, span: int = JOB) -> list[tuple[int, str]]:
        stored = map(json.loads, self.log.lines(f"{span:016x}"))
        return [(line[4], line[3]) for line in stored]

    @property
    def dropped(self) -> dict[str, int]:
        return {cause: count for cause, count in self.ingest.dropped.items() if count}


@pytest.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    made = Stage(request.node.name)
    yield made
    await made.ingest.close()


async def test_a_record_is_a_line_of_its_job(stage: Stage) -> None:
    """Of a span inside too, whose parent came over OTLP; numbers go on in each."""
    stage.ingest.owners.note_parents([((TRACE, INNER), JOB)])
    await stage.take("a", "b")
    await stage.take("c", span=INNER)
    await stage.take("d", span=ROOT)
    assert stage.lines() == [(1, "a"), (2, "b"), (3, "c")]
    assert stage.lines(ROOT) == [(1, "d")]
    assert (stage.ingest.received, stage.ingest.stored, stage.dropped) == (4, 4, {})


async def test_numbers_go_on_after_what_others_stored(stage: Stage) -> None:
    """Such as this collector before a restart, or the worker itself."""
    stage.log.store_lines(f"{JOB:016x}", [b'[1,20,"app","before",41]'])
    await stage.take("after")
    assert stage.lines() == [(41, "before"), (42, "after")]


async def test_a_record_of_an_unknown_span_waits_for_it(stage: Stage) -> None:
    """Exporters send a span at its end, often after what it logged."""
    await stage.take("early", span=4)
    assert (stage.ingest.held, stage.lines(4)) == (1, [])
    apply(stage.model, stage.job_event("task_started", 4))
    await stage.ingest.look_again()
    assert (stage.ingest.held, stage.lines(4)) == (0, [(1, "early")])


async def test_after_ten_seconds_it_is_shown_at_the_task(stage: Stage) -> None:
    """Or counted, if no task of its trace is known."""
    await stage.take("of the task", span=5)
    await stage.take("of nothing", span=5, trace=TRACE + 1)
    stage.clock.advance(9)
    await stage.ingest.look_again()
    assert stage.ingest.held == 2
    stage.clock.advance(2)
    await stage.ingest.look_again()
    assert (stage.ingest.held, stage.lines(ROOT)) == (0, [(1, "of the task")])
    assert stage.dropped == {"no_span": 1}


@pytest.mark.parametrize(("count", "size"), [(1001, 1), (400, 4000)])
async def test_what_waits_is_bounded(stage: Stage, count: int, size: int) -> None:
    """1,000 records and 1 MiB; further ones go to the task at once."""
    await stage.take(*["x" * size] * count, span=5)
    assert stage.ingest.held <= 1000
    assert stage.ingest.held * (size + 200) <= 1024 * 1024
    assert len(stage.lines(ROOT)) == min(200, count - stage.ingest.held) > 0


async def test_a_flood_is_cut_off_and_its_errors_are_kept(stage: Stage) -> None:
    """The last of 500 lines, and a gap in the numbers; the sender is not bothered."""
    await stage.take(*["flood"] * 600)
    await stage.take("error", level=40)
    assert stage.lines()[-2:] == [(500, "flood"), (601, "error")]
    assert stage.dropped == {"limit": 100}


async def test_a_token_writes_to_its_projects_only(stage: Stage) -> None:
    """By the project of the node's task, whose span id it may know."""
    await stage.take("forged", by=OTHERS)
    await stage.take("own", by=OWN)
    assert (stage.lines(), stage.dropped) == ([(1, "own")], {"project": 1})


async def test_a_store_that_is_out_of_reach_costs_the_lines(stage: Stage) -> None:
    """They are counted, and their numbers are gone: readers see a gap."""
    stage.sender.is_away = True
    await stage.take("lost")
    stage.sender.is_away = False
    await stage.take("kept")
    assert (stage.lines(), stage.dropped) == ([(2, "kept")], {"store": 1})


async def test_records_of_no_span_are_counted(stage: Stage) -> None:
    """They belong nowhere."""
    await stage.ingest.take(Records([], 3), ANONYMOUS)
    assert (stage.ingest.received, stage.dropped) == (3, {"no_trace": 3})


@pytest.mark.parametrize(("kind", "outcome"), [("completed", "completed"), ("failed", "failed")])
async def test_the_end_of_a_node_says_how_long_its_lines_are_kept(
    stage: Stage, kind: str, outcome: str
) -> None:
    """Dropped lines before it are followed by one that says so."""
    await stage.take(*["flood"] * 501)
    apply(stage.model, stage.job_event(f"task_{kind}", seconds=2))
    await stage.ingest.look_again()
    (end,) = [one for one in stage.sender.sent if one.outcome is not None]
    assert (end.span_id, end.outcome, end.project_id) == (f"{JOB:016x}", outcome, "p")
    assert stage.lines()[-1] == (502, "the lines before the end were over a limit and are not kept")
    stage.clock.advance(100)
    await stage.ingest.look_again()
    await stage.take("late")
    assert stage.lines()[-1] == (503, "late")


async def test_a_stack_is_kept_unless_the_node_failed_with_one(stage: Stage) -> None:
    """Bounded and masked, under the node's span."""
    await stage.take("failed", stack='Traceback: password="hunter2hunter2"')
    found = stage.log.stack(f"{JOB:016x}")
    assert found is not None
    assert (found.project_id, "hunter2" in found.text) == ("p", False)
    failed = stage.job_event("task_failed", seconds=3).model_copy(update={"stack": True})
    apply(stage.model, failed)
    await stage.take("failed", stack="another")
    assert stage.log.stack(f"{JOB:016x}") == found


async def test_the_senders_of_a_node_share_its_numbers(stage: Stage) -> None:
    """However many there are; each has limits of its own, and 256 are remembered."""
    for number in range(300):
        await stage.take("a", by=Principal(f"s{number}", None, digest=f"{number:064x}"))
    assert len(stage.lines()) == 200
    assert stage.lines()[-1] == (300, "a")
