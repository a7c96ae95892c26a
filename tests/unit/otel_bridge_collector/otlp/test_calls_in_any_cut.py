"""
Over OTLP too: late roles live, one call once, linked traces; however a trace is cut into requests.

The spans are as OpenInference's LangChain 0.1.80 and openai-v2 2.3b0 send them (run).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from otel_bridge_collector.model.fold import Fold
from otel_bridge_collector.model.nodes import Task
from otel_bridge_collector.otlp.mapping import OtlpReceiver
from otel_bridge_collector.otlp.rejections import Rejections

from otel_bridge.events.model import MonitoringEvent
from tests.support.folding import apply
from tests.support.spans import START_NS

SECOND = 1_000_000_000
TRACE = bytes.fromhex("5b8efff798038103d269b633813fc60c")
LANGCHAIN = "openinference.instrumentation.langchain"
LLM = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-2024-08-06"}
CHAIN = {"openinference.span.kind": "CHAIN"}
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}


class Sender:
    """A program that sends spans over OTLP to a collector's model."""

    def __init__(self) -> None:
        self.model = Fold()
        self._receiver = OtlpReceiver()

    def send(self, *spans: tuple[str, Span]) -> list[MonitoringEvent]:
        """One request with spans, each with its instrumentation scope; what is new of it."""
        scopes = [
            ScopeSpans(scope=InstrumentationScope(name=scope), spans=[span])
            for scope, span in spans
        ]
        request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=scopes)])
        rejected = Rejections()
        received = self._receiver.receive(self._receiver.read(request, None, rejected), rejected)
        assert rejected.total == 0
        self._receiver.confirm()
        found = []
        for event in received.events:
            known = self.model.knows(event.event_id)
            one = received.updates.get(event.event_id) if known else event
            if one is not None:
                apply(self.model, one)
                found.append(one)
        return found

    @property
    def task(self) -> Task:
        return self.model.tasks.by_id[TRACE.hex()]


def span(
    number: int,
    start: float,
    end: float | None,
    parent: int = 0,
    attributes: Mapping[str, str] | None = None,
    **more: Any,
) -> Span:
    """A span; one without an end is open."""
    pairs = [
        KeyValue(key=key, value=AnyValue(string_value=value))
        for key, value in (attributes or {}).items()
    ]
    return Span(
        trace_id=more.pop("trace_id", TRACE),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=more.pop("name", f"span {number}"),
        start_time_unix_nano=START_NS + int(start * SECOND),
        end_time_unix_nano=0 if end is None else START_NS + int(end * SECOND),
        attributes=pairs,
        **more,
    )


def story(events: list[MonitoringEvent]) -> list[tuple[str, str | None]]:
    return [(str(event.event_type), event.name) for event in events]


def test_a_late_library_is_live_from_its_first_snapshot() -> None:
    """LangChain's spans are shown by name while they run, and what they are when it is known."""
    sender = Sender()
    opened = sender.send(
        (LANGCHAIN, span(1, 0, None, name="LangGraph")),
        (LANGCHAIN, span(2, 1, None, 1, name="plan")),
    )
    assert story(opened) == [("span_started", "plan"), ("task_started", "LangGraph")]
    assert opened[0].parent_span_id == opened[1].span_id
    ended = sender.send((LANGCHAIN, span(2, 1, 2, 1, CHAIN, name="plan")))
    assert [(str(event.event_type), event.phase) for event in ended] == [
        ("phase_completed", "plan")
    ]


def test_other_open_spans_show_nothing_alone() -> None:
    """An open query of a web service is no event: only agents' libraries are shown early."""
    sender = Sender()
    assert sender.send(("app", span(1, 0, None, kind=Span.SPAN_KIND_SERVER))) == []
    assert sender.send(("sqlalchemy", span(2, 0, None, 1, kind=Span.SPAN_KIND_CLIENT))) == []


def test_an_open_span_with_another_name_is_updated_once() -> None:
    """A snapshot that renames a span without a role is an event; one that repeats it is not."""
    sender = Sender()
    sender.send((LANGCHAIN, span(1, 0, None)), (LANGCHAIN, span(2, 1, None, 1)))
    first = sender.send((LANGCHAIN, span(2, 1, None, 1, name="plan the trip")))
    again = sender.send((LANGCHAIN, span(2, 1, None, 1, {"x": "y"}, name="plan the trip")))
    assert (story(first), story(again)) == ([("span_updated", "plan the trip")], [])
    assert sender.model.tree.nodes[2].name == "plan the trip"


SPANS = [
    ("app", span(1, 0, 20, name="root")),
    (LANGCHAIN, span(2, 1, 9, 1, CHAIN, name="node")),
    (LANGCHAIN, span(3, 2, 5, 2, LLM, name="ChatOpenAI")),
    ("app", span(4, 2.5, 4.5, 3, name="retry")),
    ("opentelemetry.instrumentation.openai_v2", span(5, 3, 4, 4, CHAT, name="chat gpt-4o")),
    ("pydantic-ai", span(6, 10, 19, 1, CHAT, name="chat")),
    ("openinference.instrumentation.openai", span(7, 11, 18, 6, LLM, name="ChatCompletion")),
    ("pydantic-ai", span(8, 12, 17, 7, TOOL, name="fetch")),
    ("opentelemetry.instrumentation.openai_v2", span(9, 13, 16, 8, CHAT, name="inner")),
]
BY_END = sorted(SPANS, key=lambda pair: pair[1].end_time_unix_nano)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, len(BY_END) - 1)))
def test_two_descriptions_are_one_job_in_any_cut(cuts: set[int]) -> None:
    """Two model calls described twice, a tool in one and a model in that: the same four jobs."""
    sender = Sender()
    borders = [0, *sorted(cuts), len(BY_END)]
    for start, end in pairwise(borders):
        sender.send(*BY_END[start:end])
    names = {sender.model.tree.nodes[number].name for number in (5, 7, 8, 9)}
    jobs = {node.name for node in sender.model.tree.nodes.values() if node.kind == 2}
    assert jobs == names
    assert len(sender.task.jobs) == 4


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_two_descriptions_are_one_job_with_snapshots(data: st.DataObject) -> None:
    """Whatever snapshots come before the ends, and however the ends are cut."""
    sender = Sender()
    for scope, ended in SPANS:
        if data.draw(st.booleans()):
            opened = Span()
            opened.CopyFrom(ended)
            opened.end_time_unix_nano = 0
            sender.send((scope, opened))
    cuts = data.draw(st.sets(st.integers(1, len(BY_END) - 1)))
    borders = [0, *sorted(cuts), len(BY_END)]
    for start, end in pairwise(borders):
        sender.send(*BY_END[start:end])
    assert len(sender.task.jobs) == 4


def test_a_trace_that_continues_another_names_its_task() -> None:
    """Restate's link, on the root of another trace; all spans of that trace follow."""
    other = bytes(15) + b"\x07"
    mark = KeyValue(key="restate.runtime", value=AnyValue(bool_value=True))
    link = Span.Link(trace_id=TRACE, span_id=bytes(7) + b"\x01", attributes=[mark])
    sender = Sender()
    events = sender.send(
        ("services", span(11, 0, 3, name="ingress", trace_id=other, links=[link])),
        ("app", span(12, 1, 2, 11, CHAT, trace_id=other)),
    )
    assert {event.parent_task_id for event in events} == {TRACE.hex()}
    assert {event.trace_id for event in events} == {other.hex()}
