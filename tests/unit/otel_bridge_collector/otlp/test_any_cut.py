"""A trace's card is the same however its spans were cut into requests, and in whatever order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.snapshot.cards import task_cards
from otel_bridge_collector.otlp.correlation import correlate
from otel_bridge_collector.otlp.mapping import OtlpReceiver, read_spans
from otel_bridge_collector.otlp.rejections import Rejections

START_NS: Final = 1_795_521_600_000_000_000
SECOND: Final = 1_000_000_000
REMOTE: Final = 0x300
"""Flags of a span whose parent is in another process; ``LOCAL`` of one whose parent is not."""
LOCAL: Final = 0x100
ELSEWHERE: Final = 99
"""A parent that is sent to another backend."""

Kind = Span.SpanKind
REQUEST: Final = {"http.request.method": "POST", "http.route": "/ask"}
AGENT: Final = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
CHAT: Final = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


def span(
    number: int,
    name: str,
    start: float,
    end: float,
    parent: int = 0,
    attributes: dict[str, str] | None = None,
    kind: Any = Kind.SPAN_KIND_INTERNAL,
    flags: int = LOCAL,
    trace: int = 1,
    *,
    is_failed: bool = False,
) -> Span:
    """A span; times in seconds after the story's start."""
    status = Status(code=Status.STATUS_CODE_ERROR if is_failed else Status.STATUS_CODE_UNSET)
    return Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=kind,
        flags=flags,
        start_time_unix_nano=START_NS + int(start * SECOND),
        end_time_unix_nano=START_NS + int(end * SECOND),
        attributes=[
            KeyValue(key=key, value=AnyValue(string_value=value))
            for key, value in (attributes or {}).items()
        ],
        status=status,
    )


def fold(requests: Sequence[Sequence[Span]], judged: float = 40) -> Fold:
    """Send requests to a collector's mapping and model, one after the other."""
    model, receiver = Fold(), OtlpReceiver()
    for spans in requests:
        message = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])]
        )
        rejected = Rejections()
        read = read_spans(message, None, rejected)
        correlated = correlate(model, read.parents, lambda project: True)
        received = receiver.receive(read, rejected, correlated=correlated)
        receiver.confirm()
        assert rejected.total == 0
        for event in received.events:
            one = decode_event(event.to_json())
            model.apply(one, int(one.ts.timestamp() * 1e6))
    model.sweep(START_NS // 1000 + int(judged * 1e6))
    return model


def shown(model: Fold) -> list[dict[str, Any]]:
    """All cards with their bars, but for when something was last heard."""
    cards = [card.model_dump(exclude={"last_event_at"}) for card in task_cards(model)]
    for card in cards:
        card["spans"].sort(key=lambda bar: bar["span_id"])
        for bar in card["spans"]:
            # The phase that a job's own events name; it is drawn below its agent in any case.
            bar.pop("phase")
    return sorted(cards, key=lambda card: str(card["task_id"]))


def facts(model: Fold) -> list[tuple[object, ...]]:
    return [
        (card["title"], card["status"], card["duration_ms"], card["completed"], card["failed"])
        for card in shown(model)
    ]


# --- traces that people have ----------------------------------------------------------------------

SERVED: Final[dict[str, Any]] = {"attributes": REQUEST, "kind": Kind.SPAN_KIND_SERVER}
AGENT_SPANS: Final = [
    span(3, "chat gpt-4o", 0.2, 6, 2, CHAT, Kind.SPAN_KIND_CLIENT),
    span(4, "chat gpt-4o", 6.1, 12, 2, CHAT, Kind.SPAN_KIND_CLIENT),
    span(2, "invoke_agent planner", 0.1, 13, 1, AGENT),
]
PUT: Final = {"messaging.operation.type": "send", "messaging.destination.name": "orders"}
TAKEN: Final = {"messaging.operation.type": "process", "messaging.destination.name": "orders"}

STORIES: dict[str, tuple[list[Span], list[tuple[object, ...]]]] = {
    "an agent in a request": (
        [*AGENT_SPANS, span(1, "POST /ask", 0, 14, **SERVED)],
        [("planner", "completed", 12_900.0, 2, 0)],
    ),
    "an agent behind a gateway that sends its spans elsewhere": (
        [*AGENT_SPANS, span(1, "POST /ask", 0, 14, ELSEWHERE, flags=REMOTE, **SERVED)],
        [("planner", "completed", 12_900.0, 2, 0)],
    ),
    "an agent that failed, in a request that did not": (
        [
            *AGENT_SPANS[:2],
            span(2, "invoke_agent planner", 0.1, 13, 1, AGENT, is_failed=True),
            span(1, "POST /ask", 0, 14, **SERVED),
        ],
        [("planner", "failed", 12_900.0, 2, 0)],
    ),
    "a local root": (
        [*AGENT_SPANS, span(1, "nightly research", 0, 14, ELSEWHERE, flags=REMOTE)],
        [("nightly research", "completed", 14_000.0, 2, 0)],
    ),
    "a local root that failed": (
        [*AGENT_SPANS, span(1, "nightly", 0, 14, ELSEWHERE, flags=REMOTE, is_failed=True)],
        [("nightly", "failed", 14_000.0, 2, 0)],
    ),
    "a local root whose true root comes too": (
        [
            *AGENT_SPANS,
            span(1, "nightly research", 0, 14, ELSEWHERE, flags=REMOTE),
            span(ELSEWHERE, "cron", -1, 15),
        ],
        [("cron", "completed", 16_000.0, 2, 0)],
    ),
    "a request that calls models itself": (
        [
            span(3, "chat gpt-4o", 0.2, 6, 1, CHAT, Kind.SPAN_KIND_CLIENT),
            span(4, "chat gpt-4o", 8, 12, 1, CHAT, Kind.SPAN_KIND_CLIENT),
            span(1, "POST /ask", 0, 14, **SERVED),
        ],
        [("POST /ask", "completed", 14_000.0, 2, 0)],
    ),
    "a request that only publishes": (
        [
            span(2, "orders publish", 0.1, 0.2, 1, PUT, Kind.SPAN_KIND_PRODUCER),
            span(1, "POST /orders", 0, 1, **SERVED),
        ],
        [],
    ),
    "a job that a request put into its queue": (
        [
            span(2, "orders publish", 0.1, 0.2, 1, PUT, Kind.SPAN_KIND_PRODUCER),
            span(1, "POST /orders", 0, 1, **SERVED),
            span(3, "charge", 2, 4, 2, TAKEN, Kind.SPAN_KIND_CONSUMER, flags=REMOTE),
        ],
        [("charge", "completed", 4_000.0, 1, 0)],
    ),
    "two roots, of which the first has failed": (
        [span(1, "one", 0, 5, is_failed=True), span(2, "two", 1, 9)],
        [("one", "failed", 9_000.0, 0, 0)],
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_cards_of_services(name: str) -> None:
    """Each kind of trace has the card that a user expects, sent at once or a span at a time."""
    spans, expected = STORIES[name]
    assert facts(fold([spans])) == expected
    for order in (spans, spans[::-1]):
        assert facts(fold([[one] for one in order])) == expected


def test_a_card_goes_on_while_what_is_around_it_is_awaited() -> None:
    """A process sends a span when it ends, so what is above one that came is still running."""
    model = fold([AGENT_SPANS[:1]], judged=7)
    assert facts(model) == [("chat gpt-4o", "processing", None, 1, 0)]
    assert facts(fold([AGENT_SPANS[:1]], judged=70)) == [
        ("chat gpt-4o", "completed", 5_800.0, 1, 0)
    ]


def test_traces_linked_by_their_roots_are_one_card() -> None:
    """Three traces, each of which says by a link that it continues the one before."""
    spans = [
        span(2, "chat gpt-4o", 0.1, 2, 1, CHAT, Kind.SPAN_KIND_CLIENT),
        span(1, "order", 0, 3),
        span(12, "chat gpt-4o", 10.1, 12, 11, CHAT, Kind.SPAN_KIND_CLIENT, trace=2),
        span(11, "POST /resume", 10, 13, trace=2, **SERVED),
        span(21, "finish", 20, 23, trace=3),
    ]
    is_link = KeyValue(key="nexus.link.continues", value=AnyValue(bool_value=True))
    for later, before in ((3, 1), (4, 3)):
        one = spans[before]
        link = Span.Link(trace_id=one.trace_id, span_id=one.span_id, attributes=[is_link])
        spans[later].links.append(link)
    expected = [("order", "completed", 23_000.0, 2, 0)]
    assert facts(fold([spans])) == expected
    for order in itertools.permutations(spans):
        assert facts(fold([[one] for one in order])) == expected


# --- random traces --------------------------------------------------------------------------------

ROOTS: Final[tuple[dict[str, Any], ...]] = (
    {"kind": Kind.SPAN_KIND_SERVER, "attributes": REQUEST},
    {"kind": Kind.SPAN_KIND_SERVER, "attributes": REQUEST, "parent": ELSEWHERE, "flags": REMOTE},
    {"parent": ELSEWHERE, "flags": REMOTE},
    {},
    {"attributes": AGENT, "parent": ELSEWHERE, "flags": REMOTE},
)
INSIDE: Final[tuple[dict[str, Any], ...]] = (
    {"attributes": AGENT},
    {"attributes": CHAT, "kind": Kind.SPAN_KIND_CLIENT},
    {},
    {"kind": Kind.SPAN_KIND_CLIENT, "attributes": REQUEST},
    {"kind": Kind.SPAN_KIND_PRODUCER, "attributes": PUT},
)


def random_trace(chooser: random.Random) -> list[Span]:
    """
    A tree of at most 12 spans; some run on a machine whose clock is 2 s behind.

    Nothing is inside a model call: of two in one another, one is the same call described twice.
    """
    spans = [span(1, "root", 0, 30, **chooser.choice(ROOTS))]
    kinds = [spans[0].kind]
    parents = [1]
    for number in range(2, chooser.randrange(3, 13)):
        parent = chooser.choice(parents)
        fields = dict(chooser.choice(INSIDE))
        if kinds[parent - 1] == Kind.SPAN_KIND_PRODUCER:
            fields = {"kind": Kind.SPAN_KIND_CONSUMER, "attributes": TAKEN, "flags": REMOTE}
        start = number * 0.5 - chooser.choice((0, 0, 2))
        failed = chooser.random() < 0.2
        name = f"step {number % 4}"
        end = start + chooser.uniform(0, 9)
        spans.append(span(number, name, start, end, parent, is_failed=failed, **fields))
        kinds.append(spans[-1].kind)
        if fields.get("attributes") is not CHAT:
            parents.append(number)
    return spans


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_any_cut_gives_one_card(seed: int) -> None:
    """A random trace in one request, in many, in any order, some sent twice: the same cards."""
    chooser = random.Random(seed)
    spans = random_trace(chooser)
    expected = shown(fold([spans]))
    by_end = sorted(spans, key=lambda one: one.end_time_unix_nano)
    assert shown(fold([[one] for one in by_end])) == expected
    order = [*spans, *chooser.sample(spans, len(spans) // 3)]
    chooser.shuffle(order)
    pieces = []
    while order:
        size = chooser.randrange(1, 5)
        pieces.append(order[:size])
        order = order[size:]
    assert shown(fold(pieces)) == expected
