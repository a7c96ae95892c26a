"""OTLP spans map to the same events as live ones, in order; a bad span costs only itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from otel_bridge_collector.otlp import mapping
from otel_bridge_collector.otlp.mapping import OtlpReceiver, Received, read_spans
from otel_bridge_collector.otlp.rejections import Rejections

from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.events.redaction import MASK, MetaAllowlist, redact_fields
from otel_bridge.mapping.mapper import SpanMapper
from tests.support.spans import START_NS, SpanRecorder, job_attributes, tracer_with

SECOND = 1_000_000_000
TRACE = bytes.fromhex("5b8efff798038103d269b633813fc60c")


def value_of(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, list):
        found = AnyValue()
        found.array_value.values.extend(value_of(item) for item in value)
        return found
    if isinstance(value, dict):
        found = AnyValue()
        found.kvlist_value.values.extend(pairs(value))
        return found
    return AnyValue(string_value=str(value))


def pairs(attributes: Any) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in attributes.items()]


def span(number: int, start: float, end: float, parent: int = 0, **options: Any) -> Span:
    """A span of the test's trace; times in seconds after the story's start."""
    attributes = options.pop("attributes", {})
    return Span(
        trace_id=TRACE,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=options.pop("name", f"span {number}"),
        start_time_unix_nano=START_NS + int(start * SECOND),
        end_time_unix_nano=START_NS + int(end * SECOND),
        attributes=pairs(attributes),
        **options,
    )


def job(number: int, start: float, end: float, parent: int = 1, **options: Any) -> Span:
    attributes = job_attributes(f"j{number}")
    return span(number, start, end, parent, attributes=attributes, **options)


def request_of(*spans: Span, **resource: Any) -> ExportTraceServiceRequest:
    scopes = ScopeSpans(spans=spans)
    attributes = pairs({name.replace("_", "."): value for name, value in resource.items()})
    one = ResourceSpans(resource=Resource(attributes=attributes), scope_spans=[scopes])
    return ExportTraceServiceRequest(resource_spans=[one])


def read(
    receiver: OtlpReceiver, *spans: Span, project_id: str | None = None, **resource: Any
) -> tuple[Received, int]:
    """What a request gives, and how many of its spans were rejected."""
    rejected = Rejections()
    found = receiver.read(request_of(*spans, **resource), project_id, rejected)
    return receiver.receive(found, rejected), rejected.total


def receive(*spans: Span, project_id: str | None = None) -> Received:
    return read(OtlpReceiver(), *spans, project_id=project_id)[0]


def open_job(number: int, **attributes: Any) -> Span:
    """A job's snapshot without an end."""
    found = job(number, 0, 0)
    found.end_time_unix_nano = 0
    found.attributes.extend(pairs(attributes))
    return found


def story(received: Received) -> list[tuple[str, str | None]]:
    return [(str(event.event_type), event.task_id) for event in received.events]


def test_a_span_is_a_start_and_an_end() -> None:
    """A span that arrives has ended, so it gives both events, with its own times."""
    received = receive(job(2, 0, 1.5))
    assert story(received) == [("task_started", "j2"), ("task_completed", "j2")]
    assert [event.duration_ms for event in received.events] == [None, 1500]
    assert [event.ts.microsecond for event in received.events] == [123_456, 623_456]


def test_events_are_in_the_order_in_which_things_happened() -> None:
    """Spans sent children first, as exporters do, give parents' starts first and ends last."""
    received = receive(job(3, 1, 2), job(2, 0, 3), job(4, 1, 3))
    assert story(received) == [
        ("task_started", "j2"),
        ("task_started", "j3"),
        ("task_started", "j4"),
        ("task_completed", "j3"),
        ("task_completed", "j4"),
        ("task_completed", "j2"),
    ]


def test_secrets_of_third_party_spans_are_masked() -> None:
    """What looks like a secret in a third-party span is masked before it reaches the log."""
    secret = "password=hunter2"
    status = Status(code=Status.STATUS_CODE_ERROR, message=f"refused: {secret}")
    failed = span(2, 0, 1, 0, attributes={"nexus.meta.dsn": "redis://:hunter2@db"}, status=status)
    received = receive(failed)
    assert [event.error for event in received.events] == [None, f"refused: password={MASK}"]
    assert "hunter2" not in "".join(event.to_json(8192).decode() for event in received.events)


def test_open_spans_have_no_end() -> None:
    """An open span gives its start alone, and the same start again with its end."""
    receiver = OtlpReceiver()
    opened, _ = read(receiver, open_job(2))
    ended, _ = read(receiver, job(2, 0, 5))
    assert story(opened) == [("task_started", "j2")]
    assert [event.event_id for event in ended.events][:1] == [opened.events[0].event_id]


def test_a_snapshot_that_says_something_new_is_an_update() -> None:
    """It is in the log after the start of the span, whether or not that was folded yet."""
    receiver = OtlpReceiver()
    first, _ = read(receiver, open_job(2, **{"nexus.span.beat_ms": 5000}))
    receiver.confirm()
    second, _ = read(receiver, open_job(2, **{"nexus.span.beat_ms": 5000, "nexus.phase": "late"}))
    (start,), (update,) = first.events, second.events
    assert (start.event_type, start.beat_ms) == ("task_started", 5000)
    assert (update.event_type, update.phase, update.beat_ms) == ("span_updated", "late", 5000)
    assert update.ts > start.ts
    assert update.event_id not in {start.event_id, first.updates[start.event_id].event_id}


def test_a_collector_that_knows_the_start_gets_what_a_snapshot_says() -> None:
    """Of the first snapshot here; the same one has the same id wherever it is received."""
    (one, other) = (receive(open_job(2, **{"nexus.phase": "late"})) for _ in range(2))
    (start,) = one.events
    assert one.updates[start.event_id].phase == "late"
    assert one.updates[start.event_id].event_id == other.updates[start.event_id].event_id


def test_what_a_span_says_again_after_something_else_is_news() -> None:
    """A state that changes to and fro is shown as it is."""
    receiver = OtlpReceiver()
    ids, phases = set(), []
    for phase in ("wait", "run", "wait", "run"):
        (event,) = read(receiver, open_job(2, **{"nexus.phase": phase}))[0].events
        receiver.confirm()
        ids.add(event.event_id)
        phases.append(event.phase)
    assert (len(ids), phases) == (4, ["wait", "run", "wait", "run"])


def test_a_request_between_does_not_confirm_one_that_failed() -> None:
    """The log did not take the first request; sent again, its span is new and no heartbeat."""
    receiver = OtlpReceiver()
    read(receiver, open_job(2))
    read(receiver, open_job(3))
    receiver.confirm()
    assert story(read(receiver, open_job(2))[0]) == [("task_started", "j2")]


def test_a_role_that_a_later_snapshot_shows_is_a_start() -> None:
    """No rule knew the span at first; a log that has it as a plain span gets the start as well."""
    receiver = OtlpReceiver()
    plain, late = span(2, 0, 0, 1), span(2, 0, 0, 1, attributes=TOOL)
    for one in (plain, late):
        one.end_time_unix_nano = 0
    assert read(receiver, plain)[0].events == []
    receiver.confirm()
    found, _ = read(receiver, late)
    start, update = found.events
    again = found.updates[start.event_id]
    assert [str(event.event_type) for event in (start, again, update)] == [
        "task_started",
        "task_started",
        "span_updated",
    ]
    assert len({event.event_id for event in (start, again, update)}) == 3


def test_a_snapshot_that_repeats_is_a_heartbeat() -> None:
    """Many of them are one event; a request that was not confirmed counts as new when it comes."""
    receiver = OtlpReceiver()
    spans = [open_job(number) for number in range(2, 500)]
    assert len(read(receiver, *spans)[0].events) == 498
    assert len(read(receiver, *spans)[0].events) == 498
    receiver.confirm()
    assert read(receiver, *spans)[0].events == []
    assert [(event.event_type, len(event.spans or ())) for event in receiver.heartbeats()] == [
        ("span_beats", 400),
        ("span_beats", 98),
    ]


def test_a_snapshot_that_is_not_read_before_is_a_heartbeat_too() -> None:
    """``receive`` compares as well, for spans that ``read_spans`` has read."""
    receiver = OtlpReceiver()
    for count in (1, 0):
        found = read_spans(request_of(open_job(2)), None, Rejections())
        assert len(receiver.receive(found, Rejections()).events) == count
        receiver.confirm()
    assert [event.spans for event in receiver.heartbeats()] == [[f"{2:016x}"]]


def test_a_span_that_its_sender_gave_up_is_stalled() -> None:
    """Its made-up end is no end: it stalls with a reason, which a later word takes back."""
    given_up = job(2, 0, 9)
    given_up.attributes.extend(pairs({"partial.gc": True}))
    start, stalled = receive(given_up).events
    assert (start.event_type, stalled.event_type) == ("task_started", "task_stalled")
    assert (stalled.reason, stalled.ended_by) == ("heartbeat_lost", "rule")


def test_a_span_that_was_given_up_says_something_again() -> None:
    """The words from before are news then; that it was given up is reported once."""
    receiver = OtlpReceiver()
    given_up = job(2, 0, 9)
    given_up.attributes.extend(pairs({"partial.gc": True}))
    found = []
    for one in (open_job(2), given_up, given_up, open_job(2), given_up):
        found.append([str(event.event_type) for event in read(receiver, one)[0].events])
        receiver.confirm()
    stalled = ["task_stalled"]
    assert found == [["task_started"], stalled, [], ["span_updated"], stalled]


def test_a_span_that_is_sent_twice_has_the_same_events() -> None:
    """A request that is sent again, also to another collector, gives events with the same ids."""
    one, other = receive(job(2, 0, 1), job(3, 0, 1)), receive(job(3, 0, 1), job(2, 0, 1))
    assert {event.event_id for event in one.events} == {event.event_id for event in other.events}
    assert len({event.event_id for event in one.events}) == 4


def test_live_and_over_otlp_are_the_same_events() -> None:
    """A span of our own that was published live gives the same ids and fields over OTLP."""
    recorder = SpanRecorder()
    live = tracer_with(recorder).start_span("job", attributes=job_attributes(), start_time=START_NS)
    live.end(START_NS + SECOND)
    (ended,) = recorder.ended
    context = ended.get_span_context()
    assert context is not None
    mapped = SpanMapper(MetaAllowlist([])).fields(ended, is_end=True)
    sent = Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        start_time_unix_nano=START_NS,
        end_time_unix_nano=START_NS + SECOND,
        attributes=pairs(job_attributes()),
    )
    assert receive(sent).events[1] == MonitoringEvent.model_validate(mapped)


def test_live_and_over_otlp_the_same_attributes_pass() -> None:
    """Prompts and secrets in values, keys and names stay out alike on both paths."""
    attributes = {
        **job_attributes(),
        semconv.QUEUE: "amqp://u:hunter2@host/q",
        "gen_ai.input.messages": "hunter2",
        "tool_response": ["hunter2"],
        "http.url": "https://h/a?sig=hunter2",
        "password=hunter2": 1,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.response.finish_reasons": ["stop"],
        "notice": "hunter2 " * 40,
    }
    recorder = SpanRecorder()
    tracer_with(recorder).start_span("job", attributes=attributes, start_time=START_NS).end()
    live = SpanMapper(MetaAllowlist(["*"])).fields(recorder.ended[0], is_end=True)
    assert live is not None
    redact_fields(live)
    sent = span(2, 0, 1, attributes=attributes)
    received = read(OtlpReceiver(["*"]), sent)[0].events[1]
    assert received.meta is not None
    assert received.meta == live["meta"]
    assert received.queue == live["queue"] == f"amqp://u:{MASK}@host/q"
    assert "hunter2" not in f"{live} {received!r}"
    assert received.meta["gen_ai.usage.input_tokens"] == 5
    assert received.meta["http.url"] == f"https://h/a?sig={MASK}"


def test_the_project_of_a_span() -> None:
    """A span's own project takes precedence over its resource's, and that over the token's."""
    own = span(2, 0, 1, attributes={**job_attributes(), semconv.PROJECT_ID: "own"})
    bare = span(3, 0, 1, attributes={semconv.SPAN_KIND: "job", semconv.TASK_ID: "j"})
    receiver = OtlpReceiver()
    by_resource, _ = read(receiver, own, bare, project_id="token", nexus_project_id="resource")
    by_token, _ = read(receiver, bare, project_id="token")
    assert {event.project_id for event in by_resource.events} == {"own", "resource"}
    assert {event.project_id for event in by_token.events} == {"token"}
    assert {event.project_id for event in receive(bare).events} == {None}


def test_the_service_is_shown() -> None:
    """The resource's service name is in ``meta``, because spans of many services look alike."""
    received, _ = read(OtlpReceiver(), job(2, 0, 1), service_name="billing")
    assert [event.meta for event in received.events] == [{"service": "billing"}] * 2


def test_a_status_of_error_fails() -> None:
    """A span whose status is an error is a failed job, with the status's text."""
    status = Status(code=Status.STATUS_CODE_ERROR, message="no such school")
    attributes = {semconv.SPAN_KIND: "job", semconv.TASK_ID: "j"}
    (_, ended) = receive(span(2, 0, 1, attributes=attributes, status=status)).events
    assert (ended.event_type, ended.error) == ("task_failed", "no such school")


def test_an_exception_is_the_reason() -> None:
    """A recorded exception is shown instead of the status, because it says more."""
    attributes = pairs({"exception.type": "KeyError", "exception.message": "'page'"})
    event = Span.Event(name="exception", attributes=attributes)
    status = Status(code=Status.STATUS_CODE_ERROR, message="failed")
    given = {semconv.SPAN_KIND: "job", semconv.TASK_ID: "j"}
    (_, ended) = receive(span(2, 0, 1, attributes=given, status=status, events=[event])).events
    assert ended.error == "KeyError: 'page'"


JAVA = """java.lang.IllegalStateException: password=hunter2hunter2
\tat com.acme.shop.Orders.find(Orders.java:12)
Caused by: java.io.IOException: closed
\tat com.acme.shop.Store.read(Store.java:99)
"""


def thrown(text: str = JAVA) -> list[Span.Event]:
    return [Span.Event(name="exception", attributes=pairs({"exception.stacktrace": text}))]


@pytest.mark.parametrize("is_job", [True, False])
def test_the_stack_of_a_failure_comes_with_its_event(is_job: bool) -> None:
    """Of any language, masked, with its key; of a span that is no task, phase or job too."""
    make = job if is_job else span
    status = Status(code=Status.STATUS_CODE_ERROR)
    receiver = OtlpReceiver()
    read(receiver, job(9, 0, 1, parent=2))  # work below it, so that it is an intermediate span
    received, _ = read(receiver, make(2, 0, 1, 0, status=status, events=thrown()))
    (failed,) = [event for event in received.events if event.status == "failed"]
    assert (failed.stack, len(failed.error_key or "")) == (True, 16)
    stack = received.stacks[failed.event_id]
    assert stack.span_id == failed.span_id
    assert stack.text == JAVA.replace("hunter2hunter2", MASK)
    receiver.confirm()
    assert read(receiver, job(3, 0, 1))[0].stacks == {}


def test_a_failure_with_a_key_of_its_sender_is_grouped_by_it() -> None:
    """``nexus.error.key`` on the span, as a program of any language may set it."""
    status = Status(code=Status.STATUS_CODE_ERROR)
    attributes = {**job_attributes("j2"), "nexus.error.key": "declined"}
    received = receive(span(2, 0, 1, 1, attributes=attributes, status=status, events=thrown()))
    assert [event.error_key for event in received.events] == [None, "declined"]


def test_a_pending_span_is_the_start_of_its_parent() -> None:
    """Logfire's pending span, a child that ends at once, is the start of the span it names."""
    given = {
        **job_attributes(),
        "logfire.span_type": "pending_span",
        "logfire.pending_parent_id": "00000000000000aa",
    }
    (started,) = receive(span(9, 0, 0, parent=2, attributes=given)).events
    (real, _) = receive(job(2, 0, 5, parent=0xAA)).events
    assert started.event_id == real.event_id
    assert (started.span_id, started.parent_span_id) == ("0000000000000002", "00000000000000aa")


@pytest.mark.parametrize(
    "bad",
    [
        Span(name="no ids"),
        Span(trace_id=TRACE, span_id=b"short"),
        Span(trace_id=bytes(16), span_id=bytes(8)),
        span(
            9,
            0,
            0,
            2,
            attributes={"logfire.span_type": "pending_span", "x": "y"}
            | {"logfire.pending_parent_id": "no hex"},
        ),
        span(9, 0, 1, attributes={**job_attributes(), semconv.PARENT_TASK_ID: [1, 2]}),
    ],
    ids=["no ids", "short id", "zero ids", "pending of no parent", "a list for an id"],
)
def test_one_bad_span_does_not_cost_the_others(bad: Span) -> None:
    """A span that cannot be read or mapped is at most counted; the others are events."""
    received = receive(job(2, 0, 1), bad, job(3, 2, 3))
    found = [pair for pair in story(received) if pair[1] in ("j2", "j3")]
    assert found == [
        ("task_started", "j2"),
        ("task_completed", "j2"),
        ("task_started", "j3"),
        ("task_completed", "j3"),
    ]


def test_unreadable_spans_are_counted() -> None:
    """The number of rejected spans is counted for the sender, each span once."""
    received, rejected = read(
        OtlpReceiver(), Span(name="no ids"), Span(trace_id=TRACE), job(2, 0, 1)
    )
    assert (rejected, len(received.events)) == (2, 2)


def test_an_end_before_the_start_is_the_start() -> None:
    """A clock that was set back gives a duration of zero, not a negative one."""
    (started, ended) = receive(job(2, 5, 1)).events
    assert (ended.ts, ended.duration_ms) == (started.ts, 0)


@pytest.mark.parametrize("kind", [list, dict])
def test_deep_values_are_truncated(kind: type) -> None:
    """A value is shown down to seven levels of lists or mappings, and what is deeper is not."""
    shown = []
    for levels in (7, 8):
        value: Any = "the bottom"
        for _ in range(levels):
            value = [value] if kind is list else {"a": value}
        given = {**job_attributes(), f"{semconv.META_PREFIX}deep": value}
        received = receive(span(2, 0, 1, attributes=given))
        assert len(received.events) == 2
        shown.append("the bottom" in repr(received.events))
    assert shown == [True, False]


AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
KINDS: dict[str, dict[str, Any]] = {
    "request": {"kind": Span.SPAN_KIND_SERVER},
    "call": {"kind": Span.SPAN_KIND_CLIENT, "attributes": {"http.request.method": "POST"}},
    "wrapper": {},
    "agent": {"attributes": AGENT},
    "tool": {"attributes": TOOL},
    "enqueue": {"kind": Span.SPAN_KIND_PRODUCER},
    "work": {"kind": Span.SPAN_KIND_CONSUMER},
}


@st.composite
def traces_in_pieces(draw: st.DrawFn) -> tuple[list[Span], list[list[Span]]]:
    """The spans of a trace, each inside an earlier one; and the same in any order, cut anywhere."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8))
    spans = [
        span(
            number,
            draw(st.integers(0, 9)),
            10,
            draw(st.integers(0, number - 1)),
            name=kind,
            **{**KINDS[kind], "attributes": dict(KINDS[kind].get("attributes", {}))},
        )
        for number, kind in enumerate(kinds, start=1)
    ]
    order = draw(st.permutations(spans))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=3)))
    bounds = [0, *cuts, len(order)]
    return spans, [order[a:b] for a, b in itertools.pairwise(bounds)]


def facts(events: list[MonitoringEvent]) -> set[tuple[Any, ...]]:
    names = ("event_id", "event_type", "status", "task_id", "task_type", "name", "span_kind")
    links = ("span_id", "parent_span_id", "remote_parent", "ts", "duration_ms")
    return {tuple(getattr(event, name) for name in (*names, *links)) for event in events}


@given(traces_in_pieces())
def test_facts_do_not_depend_on_how_requests_were_cut(
    trace: tuple[list[Span], list[list[Span]]],
) -> None:
    """A trace in one request, or its spans in any order in several, gives the same events."""
    together, pieces = trace
    receiver = OtlpReceiver()
    found: list[MonitoringEvent] = []
    for piece in pieces:
        found += read(receiver, *piece)[0].events
        receiver.confirm()
    assert facts(found) == facts(receive(*together).events)


def test_a_request_is_sent_when_it_arrives_after_its_agent() -> None:
    """Exporters send a span when it ends: the wrapper and the request come after what is inside."""
    receiver = OtlpReceiver()
    agent = span(3, 1, 2, 2, attributes=AGENT)
    wrapper = span(2, 0.5, 3, 1)
    request = span(1, 0, 4, kind=Span.SPAN_KIND_SERVER)
    shown = []
    for one in (agent, wrapper, request):
        received = read(receiver, one)[0]
        receiver.confirm()
        shown.append([(str(event.event_type), event.span_id) for event in received.events])
    assert shown == [
        [("phase_started", f"{3:016x}"), ("phase_completed", f"{3:016x}")],
        [("span_started", f"{2:016x}"), ("span_ended", f"{2:016x}")],
        [("span_started", f"{1:016x}"), ("span_ended", f"{1:016x}")],
    ]


def test_intermediate_spans_are_sent_until_the_log_has_them() -> None:
    """A request that could not be appended is sent again, and then has the same events."""
    spans = (span(1, 0, 4, kind=Span.SPAN_KIND_SERVER), span(2, 1, 2, 1, attributes=AGENT))
    receiver = OtlpReceiver()
    first = read(receiver, *spans)[0]
    again = read(receiver, *spans)[0]
    receiver.confirm()
    after = read(receiver, *spans)[0]
    assert facts(first.events) == facts(again.events)
    assert [str(event.event_type) for event in after.events] == ["phase_started", "phase_completed"]


def test_unconfirmed_spans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the log cannot be reached, the oldest events of intermediate spans are dropped."""
    monkeypatch.setattr(mapping, "_MAX_UNCONFIRMED", 3)
    receiver = OtlpReceiver()
    for number in range(10, 30, 2):
        request = span(number, 0, 4, kind=Span.SPAN_KIND_SERVER)
        inside = span(number + 1, 1, 2, number, attributes=TOOL)
        received = read(receiver, request, inside)[0]
    kinds = [event for event in received.events if event.event_type.startswith("span_")]
    assert len(kinds) == 3


@pytest.mark.parametrize(("flags", "expected"), [(0x301, True), (0x101, None), (1, None)])
def test_a_remote_parent_is_what_the_sender_says(flags: int, expected: bool | None) -> None:
    """The bit is set if the parent is in another process; without it that is not known."""
    received = receive(span(2, 0, 1, 1, attributes=TOOL, flags=flags))
    assert {event.remote_parent for event in received.events} == {expected}


def test_no_number_is_reserved_twice() -> None:
    """Events of one receiver are numbered without holes, whether they are sent or not."""
    receiver = OtlpReceiver()
    assert [receiver.reserve_numbers(count) for count in (3, 0, 2, 1)] == [1, 4, 4, 6]
    assert receiver.producer_id != OtlpReceiver().producer_id


@given(
    st.lists(
        st.builds(
            Span,
            trace_id=st.sampled_from([TRACE, b"", bytes(16)]),
            span_id=st.sampled_from([b"\1" * 8, b"\2" * 8, b""]),
            parent_span_id=st.sampled_from([b"", b"\1" * 8, b"\1"]),
            name=st.text(max_size=5),
            start_time_unix_nano=st.integers(0, 2**64 - 1),
            end_time_unix_nano=st.integers(0, 2**64 - 1),
            kind=st.integers(0, 7),
            attributes=st.lists(
                st.builds(
                    KeyValue,
                    key=st.sampled_from(
                        [
                            semconv.SPAN_KIND,
                            semconv.TASK_ID,
                            semconv.OUTCOME,
                            semconv.RETRY_COUNT,
                            semconv.WORKER_ID,
                            "logfire.span_type",
                            "gen_ai.operation.name",
                        ]
                    ),
                    value=st.sampled_from(["job", "phase", "pending_span", -1, True, [1]]).map(
                        value_of
                    ),
                ),
                max_size=4,
            ),
        ),
        max_size=4,
    )
)
def test_any_spans_are_events_or_rejected(spans: list[Span]) -> None:
    """Whatever spans come, nothing is raised, and no more are rejected than came."""
    received, rejected = read(OtlpReceiver(), *spans)
    assert rejected <= len(spans)
    assert len(received.events) <= 2 * len(spans)
