"""
Which links say that a span goes on with another trace.

Sources, read and not run: Vercel Workflow 5.0 (``core/src/telemetry.ts``), Restate's server
(``invocation_span!``), Sentry's link types, the messaging conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind

from otel_bridge.events.redaction import MetaAllowlist
from otel_bridge.mapping.links import CONTINUES, continued_trace
from otel_bridge.mapping.mapper import SpanMapper
from tests.support.spans import START_NS

OWN, ORIGIN, OTHER = 0xA, 0xB, 0xC


def link(trace_id: int = ORIGIN, attributes: Mapping[str, Any] | None = None) -> Link:
    return Link(SpanContext(trace_id, 7, is_remote=True), dict(attributes or {}))


def span(
    *links: Link,
    name: str = "work",
    scope: str = "app",
    parent: int = 0,
    is_remote: bool = False,
    number: int = 1,
    trace_id: int = OWN,
) -> ReadableSpan:
    return ReadableSpan(
        name,
        context=SpanContext(trace_id, number, is_remote=False),
        parent=SpanContext(trace_id, parent, is_remote=is_remote) if parent else None,
        kind=SpanKind.INTERNAL,
        links=links,
        attributes={},
        start_time=START_NS,
        instrumentation_scope=InstrumentationScope(scope),
    )


@pytest.mark.parametrize(
    ("links", "options", "expected"),
    [
        ((), {}, None),
        ((link(attributes={CONTINUES: True}),), {}, ORIGIN),
        ((link(OTHER), link(attributes={"restate.runtime": True})), {}, ORIGIN),
        ((link(OWN, {CONTINUES: True}),), {}, None),
        ((link(0, {CONTINUES: True}),), {}, None),
        ((link(attributes={CONTINUES: "yes"}),), {}, None),
        ((link(attributes={"sentry.link.type": "previous_trace"}),), {}, None),
        ((link(),), {}, None),
        ((link(), link(OTHER)), {}, None),
        ((link(),), {"scope": "workflow", "name": "step.execute charge"}, ORIGIN),
        ((link(),), {"scope": "workflow", "name": "workflow.execute order", "parent": 5}, ORIGIN),
        (
            (link(),),
            {"scope": "workflow", "name": "step.execute x", "parent": 5, "is_remote": True},
            None,
        ),
        ((link(), link(OTHER)), {"scope": "workflow", "name": "step.execute charge"}, None),
        ((link(),), {"scope": "app", "name": "step.execute charge"}, None),
        ((link(), link(OTHER)), {"name": "autogen publish writer", "parent": 5}, ORIGIN),
        ((link(OWN),), {"name": "autogen process writer", "parent": 5}, None),
        ((link(attributes={CONTINUES: True}),), {"parent": 5}, None),
        ((link(attributes={CONTINUES: True}),), {"parent": 5, "is_remote": True}, ORIGIN),
    ],
)
def test_only_a_link_that_says_so_continues_a_trace(
    links: tuple[Link, ...], options: dict[str, Any], expected: int | None
) -> None:
    """Marked links, and Vercel's, join traces; those of batches, fan-ins and pages do not."""
    assert continued_trace(span(*links, **options)) == expected


def test_a_span_without_links_continues_nothing() -> None:
    """A decoder may leave links out."""

    class Bare:
        parent, kind = None, SpanKind.INTERNAL

    assert continued_trace(Bare()) is None  # type: ignore[arg-type]


def tasks_of(*spans: ReadableSpan) -> list[str | None]:
    """The task that the event of each span's start names."""
    mapper = SpanMapper(MetaAllowlist(()))
    found = [mapper.fields(one, is_end=False) for one in spans]
    return [None if fields is None else fields["parent_task_id"] for fields in found]


def test_all_spans_of_a_trace_belong_to_the_one_that_it_continues() -> None:
    """Those below the span with the link, and those whose parent is not known here."""
    chat = {"gen_ai.operation.name": "chat"}
    root = span(link(attributes={CONTINUES: True}))
    below, lost = span(number=2, parent=1), span(number=3, parent=99)
    below._attributes = lost._attributes = chat
    assert tasks_of(root, below, lost) == [f"{ORIGIN:032x}"] * 3


def test_a_chain_of_traces_belongs_to_the_first() -> None:
    """A trace that continues one which continues another names the task of that."""
    first = span(link(attributes={CONTINUES: True}))
    second = span(link(OWN, {CONTINUES: True}), trace_id=OTHER, number=4)
    assert tasks_of(first, second) == [f"{ORIGIN:032x}"] * 2


def test_the_root_of_a_trace_that_continues_another_keeps_its_own_id() -> None:
    """It is a task by its own trace id inside the other's card, which the collector joins."""
    fields = SpanMapper(MetaAllowlist(())).fields(
        span(link(attributes={CONTINUES: True})), is_end=False
    )
    assert fields is not None
    assert (fields["event_type"], fields["task_id"]) == ("task_started", f"{OWN:032x}")


def test_the_request_that_delivers_a_run_is_not_shown() -> None:
    """Vercel's run is a root of the card, a step of it a job; neither shows what is above it."""
    mapper = SpanMapper(MetaAllowlist(()))
    events = []
    for one in (
        span(name="POST /flow", number=9),
        span(link(), scope="workflow", name="workflow.execute order", parent=9, number=2),
        span(link(), scope="workflow", name="step.execute pay", parent=9, number=3),
    ):
        one._kind = SpanKind.SERVER if one.parent is None else SpanKind.CONSUMER
        found = mapper.fields(one, is_end=False)
        events += [*mapper.take_intermediate(), *([] if found is None else [found])]
    kinds = [(event["event_type"], event["name"], event["task_id"]) for event in events]
    assert kinds == [
        ("task_started", "workflow.execute order", f"{OWN:032x}"),
        ("task_started", "step.execute pay", f"{3:016x}"),
    ]
