"""Lines by node: numbered with those that were dropped, masked, and ended with their node."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import SpanKind

from otel_bridge.lines import tap
from otel_bridge.lines.drain import LineDrain, NodeId
from otel_bridge.lines.line import SpanLines
from otel_bridge.lines.line_queue import LineQueue
from otel_bridge.lines.source import in_block

logger = logging.getLogger("shop.orders")
logger.setLevel(logging.INFO)
tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")


class Rig:
    """A queue and its drain, which take what is logged."""

    def __init__(self) -> None:
        self.queue = LineQueue(logging.INFO, lambda: 1.0)
        self.nodes: dict[int, NodeId] = {}
        """The nodes of other libraries' spans, by span id."""
        self.drain = LineDrain(self.queue, lambda key, block: self.nodes.get(key[1]))

    def round(self) -> None:
        self.drain.begin_round()
        self.drain.end_round()

    def batch(self, now: float = 0) -> list[SpanLines]:
        self.round()
        return self.drain.take_batch(now)

    def end(self, span: Span, status: str = "completed") -> None:
        self.drain.note_event({"span_id": id_of(span), "status": status})


def id_of(span: trace.Span) -> str:
    return f"{span.get_span_context().span_id:016x}"


def decoded(of_span: SpanLines) -> list[tuple[int, str]]:
    """The number and the text of each line."""
    found: list[Any] = [json.loads(line) for line in of_span.lines]
    return [(n, text) for _, _, _, text, n in found]


@contextmanager
def block(project_id: str | None = "p") -> Iterator[Span]:
    span = tracer.start_span("job")
    context = trace.set_span_in_context(span)
    token = otel_context.attach(in_block(context, span, SpanKind.CONSUMER, project_id))
    try:
        assert isinstance(span, Span)
        yield span
    finally:
        otel_context.detach(token)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    tap.install(made.queue)
    yield made
    tap.remove(made.queue)


def test_lines_are_those_of_their_block(rig: Rig) -> None:
    """Of the nearest one; each block counts its own from 1."""
    with block() as outer:
        logger.info("outer")
        with block("q") as inner:
            logger.info("inner %s", "password=hunter2hunter2")
        logger.info("outer again")
    first, second = rig.batch()
    assert (first.span_id, first.project_id) == (id_of(outer), "p")
    assert decoded(first) == [(1, "outer"), (2, "outer again")]
    assert (second.span_id, second.project_id) == (id_of(inner), "q")
    assert decoded(second) == [(1, "inner password=[redacted]")]
    assert rig.batch() == []


def test_a_span_of_another_library_may_be_a_node(rig: Rig) -> None:
    """Such as a model call in a job; else its lines are those of the block around it."""
    with block() as job:
        with tracer.start_as_current_span("chat") as chat:
            rig.nodes[chat.get_span_context().span_id] = (7, "p")
            logger.info("in the call")
        with tracer.start_as_current_span("query"):
            logger.info("in a query")
        logger.info("in the job")
    found = {of_span.span_id: decoded(of_span) for of_span in rig.batch()}
    assert found == {
        f"{7:016x}": [(1, "in the call")],
        id_of(job): [(1, "in a query"), (2, "in the job")],
    }


def test_a_span_that_is_shown_nowhere_has_no_lines(rig: Rig) -> None:
    """Such as a request in which nothing is enqueued; that is no loss, and not counted as one."""
    with tracer.start_as_current_span("GET /"):
        logger.info("hello")
    assert (rig.batch(), rig.drain.dropped) == ([], 0)


def test_a_trace_that_begins_in_a_block_is_not_part_of_it(rig: Rig) -> None:
    """Its lines are those of its own nodes alone."""
    with block():
        root = tracer.start_span("root", context=otel_context.Context())
        with trace.use_span(root):
            logger.info("elsewhere")
    assert rig.batch() == []


def test_a_gap_is_the_number_of_dropped_lines(rig: Rig) -> None:
    """At the place where they were dropped, also if the lines are taken long after."""
    with block():
        for number in range(700):
            logger.info("line %d", number)
        logger.error("after the flood")
    (found,) = rig.batch()
    lines = decoded(found)
    assert len(lines) == 200
    assert lines[-2:] == [(500, "line 499"), (701, "after the flood")]
    assert rig.drain.dropped == 200


def test_the_last_line_has_the_number_of_all(rig: Rig) -> None:
    """If the last ones were dropped, the end of the node adds a line that says so."""
    with block() as job:
        for number in range(700):
            logger.info("line %d", number)
    rig.end(job)

    (found,) = rig.batch()
    assert decoded(found)[-2:] == [(500, "line 499"), (701, "200 more lines were dropped")]
    assert found.outcome == "completed"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("completed", "completed"), ("failed", "failed"), ("retrying", "failed")],
)
def test_the_end_of_a_node_is_passed_on(rig: Rig, status: str, outcome: str) -> None:
    """It decides how long its lines are kept, also if they were stored before."""
    with block() as job:
        logger.info("line")
    assert [found.outcome for found in rig.batch()] == [None]
    rig.end(job, status)
    rig.round()
    (found,) = rig.batch()
    assert (found.lines, found.outcome, found.is_due) == ([], outcome, True)


@pytest.mark.parametrize(
    "fields", [{}, {"span_id": "0" * 16}, {"span_id": "x", "status": "failed"}]
)
def test_other_events_change_nothing(rig: Rig, fields: dict[str, Any]) -> None:
    """Events without an end, and those of nodes without lines."""
    rig.drain.note_event(fields)
    rig.round()
    assert rig.batch() == []


def test_a_line_is_placed_after_the_start_of_its_span(rig: Rig) -> None:
    """It is taken before the starts are, so that a start which is not there yet is none of it."""
    rig.drain.begin_round()
    with tracer.start_as_current_span("chat") as chat:
        logger.info("in the call")
        rig.drain.end_round()
        rig.nodes[chat.get_span_context().span_id] = (7, None)
    (found,) = rig.batch()
    assert decoded(found) == [(1, "in the call")]


def test_a_line_comes_before_the_end_of_its_node(rig: Rig) -> None:
    """One that was logged after the round began, and before the end, is not lost."""
    rig.drain.begin_round()
    with block() as job:
        logger.info("the last")
    rig.end(job)
    rig.drain.end_round()
    rig.round()
    (found,) = rig.batch()
    assert (decoded(found), found.outcome) == ([(1, "the last")], "completed")


def test_the_end_of_a_span_counts_what_it_dropped(rig: Rig) -> None:
    """A span of another library is forgotten at its end, and its drops are its node's."""
    with block() as job:
        with tracer.start_as_current_span("query") as query:
            for number in range(510):
                logger.info("line %d", number)
        rig.round()
        rig.drain.span_ended(query.get_span_context().span_id)
        assert not rig.queue.sources
        rig.round()
        logger.warning("after it")
    rig.end(job)
    rig.round()
    (found,) = rig.batch()
    assert decoded(found)[-1] == (511, "after it")


def test_a_span_of_which_all_lines_were_dropped_is_counted(rig: Rig) -> None:
    """Its node was not looked for before."""
    with block() as job:
        for number in range(500):
            logger.info("line %d", number)
        with tracer.start_as_current_span("query") as query:
            logger.info("over the limit of the job")
    rig.drain.span_ended(query.get_span_context().span_id)
    rig.end(job)
    rig.round()
    (found,) = rig.batch()
    assert decoded(found)[-1] == (502, "1 more line was dropped")


def test_the_time_to_live_begins_again_once_a_minute(rig: Rig) -> None:
    """Which spares the store a command a line."""
    with block():
        found = []
        for now in (0.0, 59.0, 60.0, 61.0):
            logger.info("line")
            found += [of_span.is_due for of_span in rig.batch(now)]
    assert found == [True, False, True, False]


def test_a_batch_is_bounded(rig: Rig) -> None:
    """At most 1,000 lines, and 200 of each node."""
    for _ in range(8):
        with block():
            for number in range(210):
                logger.info("line %d", number)
    rig.round()
    sizes = []
    while batch := rig.drain.take_batch(0):
        sizes.append([len(of_span.lines) for of_span in batch])
    assert sizes == [[200] * 5, [200] * 3]
    assert rig.drain.waiting == 0


def test_what_cannot_wait_is_lost_and_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """During an outage 10,000 lines wait; those that come later leave a gap."""
    monkeypatch.setattr("otel_bridge.lines.drain._MAX_WAITING", 2)
    with block():
        for number in range(4):
            logger.info("line %d", number)
        (found,) = rig.batch()
        assert decoded(found) == [(1, "line 0"), (2, "line 1")]
        logger.info("later")
    assert [decoded(of_span) for of_span in rig.batch()] == [[(5, "later")]]
    assert rig.drain.dropped == 2


def test_a_lost_batch_is_counted_and_its_ends_are_tried_again(rig: Rig) -> None:
    """The lines may have been stored, so they are not sent a second time."""
    with block() as job:
        logger.info("line")
    rig.end(job, "failed")
    rig.round()
    batch = rig.batch()
    rig.drain.lose(batch)
    assert rig.drain.dropped == 1
    assert rig.batch() == [SpanLines(id_of(job), [], "p", "failed", True)]


def test_a_long_text_is_not_truncated_inside_of_a_secret(rig: Rig) -> None:
    """Of 2,001 characters the last word is left out before the search, then 1,000 are kept."""
    with block():
        logger.info("%s sk-proj-abcdefghijklmnop1234", "x " * 990)
    ((_, text),) = decoded(rig.batch()[0])
    assert len(text) == 1000
    assert "sk-" not in text


def test_what_fails_is_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the masking costs the line, and no exception reaches the bus."""

    def fail(text: str) -> str:
        raise RuntimeError(text)

    monkeypatch.setattr("otel_bridge.lines.drain.redact_text", fail)
    with block():
        logger.info("line")
    assert (rig.batch(), rig.drain.dropped) == ([], 1)


def test_only_so_many_nodes_are_remembered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not used longest is forgotten; its lines go on by the number that it had."""
    monkeypatch.setattr("otel_bridge.lines.drain._MAX_NODES", 1)
    with block():
        logger.info("first")
        with block():
            logger.info("second")
        assert len(rig.batch()) == 2
        logger.info("first again")
    assert [decoded(of_span) for of_span in rig.batch()] == [[(2, "first again")]]
