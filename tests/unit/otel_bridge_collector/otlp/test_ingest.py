"""OTLP requests reach the log once, within a token's projects; a bad span costs only itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otel_bridge_collector.otlp.decode import decode
from otel_bridge_collector.otlp.ingest import MAX_RECEIVERS, OtlpIngest
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.tokens import ANONYMOUS, Principal
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.errors import TransportError
from otel_bridge.events import semconv
from otel_bridge.events.model import MonitoringEvent
from otel_bridge.publish.transports.base import SpanStack
from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings
from tests.support.folding import apply
from tests.support.open_spans import ENDS, SHAPES, SPANS, SpanReport, facts_after

_names = itertools.count()

ALPHA = Principal("alpha", frozenset({"alpha"}), digest="a" * 64)
BOTH = Principal("both", frozenset({"alpha", "beta"}), digest="b" * 64)


class Site:
    """A collector that is not started: what is appended stays in its log, for the test to read."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"ingest-{next(_names)}"
        self.collector = Collector(
            CollectorSettings(), BridgeSettings(bus_url=f"memory://{self.name}")
        )
        self.ingest = OtlpIngest(self.collector)

    def events(self) -> list[dict[str, Any]]:
        entries = memory_log(self.name).newest(100_000, None)
        return [json.loads(entry.data) for entry in reversed(entries)]

    def story(self) -> list[tuple[str, str]]:
        return [(event["event_type"], event["task_id"]) for event in self.events()]

    async def fold(self) -> None:
        """Fold what the log holds."""
        assert await self.collector.feed.start(10)
        await self.collector.feed.stop()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    yield made
    made.collector.bus.shutdown(1)


def job(number: int, project: str | None = None, **attributes: str) -> dict[str, Any]:
    given = {semconv.SPAN_KIND: "job", semconv.TASK_ID: f"j{number}", **attributes}
    if project is not None:
        given[semconv.PROJECT_ID] = project
    return {
        "traceId": "ab" * 16,
        "spanId": f"{number:016x}",
        "startTimeUnixNano": 1_790_000_000_000_000_000 + number,
        "endTimeUnixNano": 1_790_000_001_000_000_000 + number,
        "attributes": [
            {"key": key, "value": {"stringValue": value}} for key, value in given.items()
        ],
    }


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def spans(*given: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(given)}]}]}


def request_of(*given: dict[str, Any]) -> ExportTraceServiceRequest:
    return decode(ExportTraceServiceRequest(), json.dumps(spans(*given)), is_json=True)


def records(*given: tuple[str, dict[str, Any]]) -> ExportLogsServiceRequest:
    logs = [
        {
            "attributes": [
                {"key": "partial.event", "value": {"stringValue": event}},
                {"key": "partial.body.type", "value": {"stringValue": "json/v1"}},
            ],
            "body": {"stringValue": json.dumps(spans(span))},
        }
        for event, span in given
    ]
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}
    return decode(ExportLogsServiceRequest(), json.dumps(body), is_json=True)


async def traces(site: Site, request: ExportTraceServiceRequest, principal: Principal) -> int:
    """How many spans were rejected."""
    success = (await site.ingest.traces(request, principal, Rejections())).partial_success
    return success.rejected_spans


async def logs(site: Site, request: ExportLogsServiceRequest, principal: Principal) -> int:
    success = (await site.ingest.logs(request, principal, Rejections())).partial_success
    return success.rejected_log_records


async def test_spans_reach_the_log(site: Site) -> None:
    """Spans that have ended are starts and ends in the log, and none is rejected."""
    assert await traces(site, request_of(job(1), job(2)), ANONYMOUS) == 0
    assert sorted(site.story()) == [
        ("task_completed", "j1"),
        ("task_completed", "j2"),
        ("task_started", "j1"),
        ("task_started", "j2"),
    ]


async def test_stacks_are_stored_beside_the_log(site: Site) -> None:
    """Under the id of the failed span, with its project."""
    text = "AppError: bad\n    at find (/srv/shop/orders.js:1:2)\n"
    failed = {**job(2, "p1"), "status": {"code": 2}}
    failed["events"] = [
        {"name": "exception", "attributes": [attribute("exception.stacktrace", text)]}
    ]
    await traces(site, request_of(failed), ANONYMOUS)
    stack = await site.collector.stack(f"{2:016x}")
    assert stack == SpanStack(f"{2:016x}", text, "p1")


async def test_a_request_sent_again_is_not_appended_again(site: Site) -> None:
    """Events that the collector has folded are known by their ids, whichever way they came."""
    await traces(site, request_of(job(1)), ANONYMOUS)
    await site.fold()
    assert await traces(site, request_of(job(1), job(2)), ANONYMOUS) == 0
    assert [task for _, task in site.story()] == ["j1", "j1", "j2", "j2"]


async def test_a_token_writes_into_its_own_projects_only(site: Site) -> None:
    """Spans of another project are rejected and counted once each; its own are in the log."""
    request = request_of(job(1, "alpha"), job(2, "gamma"), job(3))
    assert await traces(site, request, BOTH) == 2
    assert {event["project_id"] for event in site.events()} == {"alpha"}


async def test_a_token_of_one_project_gives_it_to_spans_that_name_none(site: Site) -> None:
    """With one project to choose from, a span that names none belongs to that project."""
    assert await traces(site, request_of(job(1), job(2, "beta")), ALPHA) == 1
    assert [(event["task_id"], event["project_id"]) for event in site.events()] == [
        ("j1", "alpha"),
        ("j1", "alpha"),
    ]


async def test_an_event_that_cannot_fit_costs_its_span_alone(site: Site) -> None:
    """A span whose ids alone are over the limit is rejected; the request is not refused for it."""
    request = request_of(job(1), job(2, **{semconv.PARENT_TASK_ID: "x" * 10_000}), job(3))
    assert await traces(site, request, ANONYMOUS) == 1
    assert sorted({task for _, task in site.story()}) == ["j1", "j3"]


async def test_a_large_request_is_appended_whole(site: Site) -> None:
    """More events than one batch holds are appended in several, in order, without a hole."""
    assert await traces(site, request_of(*(job(n) for n in range(1, 1501))), ANONYMOUS) == 0
    assert len(site.events()) == 3000
    assert [task for kind, task in site.story() if kind == "task_started"] == [
        f"j{n}" for n in range(1, 1501)
    ]


async def test_records_of_open_spans_are_starts(site: Site) -> None:
    """A heartbeat is the start of its span, a stop is start and end; other records are counted."""
    request = records(("heartbeat", job(1)), ("stop", job(2)), ("gossip", job(3)))
    assert await logs(site, request, ANONYMOUS) == 1
    assert site.story() == [
        ("task_started", "j1"),
        ("task_started", "j2"),
        ("task_completed", "j2"),
    ]


async def test_heartbeats_of_a_known_span_are_not_appended(site: Site) -> None:
    """Its start is in the log once; the repeated ones are one event that says that it is alive."""
    await logs(site, records(("heartbeat", job(1))), ANONYMOUS)
    await site.fold()
    for _ in range(3):
        assert await logs(site, records(("heartbeat", job(1))), ANONYMOUS) == 0
    start, beats = site.events()
    assert (start["event_type"], start["task_id"]) == ("task_started", "j1")
    assert (beats["event_type"], beats["spans"]) == ("span_beats", [start["span_id"]])


async def test_heartbeats_that_wait_are_sent_without_another_request(site: Site) -> None:
    """A second later, and once; a killed sender's would otherwise wait for the next sender's."""
    for _ in range(3):
        await logs(site, records(("heartbeat", job(1))), ANONYMOUS)
    receiver = site.ingest.receiver_of(ANONYMOUS)
    assert receiver.has_heartbeats
    for _ in range(2):
        await site.ingest.flush_heartbeats(receiver)
    assert [event["event_type"] for event in site.events()] == [
        "task_started",
        "span_beats",
        "span_beats",
    ]


async def test_heartbeats_that_the_log_does_not_take_are_dropped(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised, and the next ones are sent as usual."""

    async def refuse(*_: object) -> None:
        raise TransportError("unreachable")

    for _ in range(3):
        await logs(site, records(("heartbeat", job(1))), ANONYMOUS)
    receiver = site.ingest.receiver_of(ANONYMOUS)
    with monkeypatch.context() as patch:
        patch.setattr(site.collector, "append", refuse)
        await site.ingest.flush_heartbeats(receiver)
    await site.ingest.flush_heartbeats(receiver)
    assert [event["event_type"] for event in site.events()] == ["task_started", "span_beats"]


async def test_an_open_span_changes_and_ends(site: Site) -> None:
    """The same span first without an end: processing, then what its snapshots say, then its end."""
    opened = {**job(1), "endTimeUnixNano": 0}
    named = {**opened, "attributes": [*opened["attributes"], attribute("nexus.task.type", "late")]}
    for one in (opened, named, job(1)):
        assert await traces(site, request_of(one), ANONYMOUS) == 0
        await site.fold()
    assert [event["event_type"] for event in site.events()] == [
        "task_started",
        "span_updated",
        "task_completed",
    ]
    assert site.events()[1]["task_type"] == "late"


async def test_a_change_is_in_the_log_before_the_start_was_folded(site: Site) -> None:
    """Two snapshots, one after the other: what the second says does not wait for a third."""
    opened = {**job(1), "endTimeUnixNano": 0}
    named = {**opened, "attributes": [*opened["attributes"], attribute("nexus.task.type", "late")]}
    for one in (opened, named, named):
        assert await traces(site, request_of(one), ANONYMOUS) == 0
    assert [event["event_type"] for event in site.events()] == [
        "task_started",
        "span_updated",
        "span_beats",
    ]


async def test_a_snapshot_that_the_log_has_is_a_heartbeat(site: Site) -> None:
    """Another collector, or this one before a restart, has appended it; the span is alive."""
    opened = {**job(1), "endTimeUnixNano": 0}
    named = {**opened, "attributes": [*opened["attributes"], attribute("nexus.task.type", "late")]}
    for one in (opened, named, named):
        other = Site(site.name)
        await other.fold()
        assert await traces(other, request_of(one), ANONYMOUS) == 0
        other.collector.bus.shutdown(1)
    *_, last = site.events()
    assert (last["event_type"], last["spans"]) == ("span_beats", [job(1)["spanId"]])


async def test_a_refused_snapshot_is_counted_each_time(site: Site) -> None:
    """It is no heartbeat of another project's span, which stays as it is."""
    opened = {**job(1, "beta"), "endTimeUnixNano": 0}
    for _ in range(3):
        assert await traces(site, request_of(opened, {**opened, **job(2)}), ALPHA) == 1
    assert {event["project_id"] for event in site.events()} == {"alpha"}
    assert site.ingest.rejected_by_cause["project"] == 3


async def test_a_token_cannot_end_the_span_of_another_project(site: Site) -> None:
    """Span ids travel with calls, and the model knows a span by its id alone."""
    opened = {**job(1, "alpha"), "endTimeUnixNano": 0}
    ended = {**job(1, "beta"), "traceId": "cd" * 16}
    beta = Principal("beta", frozenset({"beta"}), digest="c" * 64)
    assert await traces(site, request_of(opened), ALPHA) == 0
    await site.fold()
    for one in (ended, {**ended, "endTimeUnixNano": 0}):
        assert await traces(site, request_of(one), beta) == 1
    assert [event["project_id"] for event in site.events()] == ["alpha"]
    assert await traces(site, request_of(job(1, "alpha")), BOTH) == 0


async def test_causes_of_rejection_are_counted_apart(site: Site) -> None:
    """An operator sees why, a sender reads it with an example."""
    request = request_of(job(1, "gamma"), job(2, **{semconv.PARENT_TASK_ID: "x" * 10_000}))
    request.resource_spans[0].scope_spans[0].spans.add(name="no ids")
    answer = await site.ingest.traces(request, ALPHA, Rejections())
    assert answer.partial_success.rejected_spans == 3
    for part in ("trace_id of 0 bytes", "nexus.project.id", "MONITORING_MAX_EVENT_SIZE_BYTES"):
        assert part in answer.partial_success.error_message
    counted = {cause: count for cause, count in site.ingest.rejected_by_cause.items() if count}
    assert counted == {"id": 1, "project": 1, "size": 1}


async def test_tokens_do_not_share_what_they_know(site: Site) -> None:
    """What one token's spans say of a trace does not reach another token's spans."""
    root = job(1, "alpha", **{semconv.PARENT_TASK_ID: "alpha's secret"})
    child = {**job(9), "attributes": [], "parentSpanId": root["spanId"], "name": "chat"}
    child["attributes"] = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}}
    ]
    await traces(site, request_of(root), ALPHA)
    other = Principal("beta", frozenset({"beta"}), digest="c" * 64)
    await traces(site, request_of(child), other)
    of_beta = [event for event in site.events() if event.get("project_id") == "beta"]
    assert "alpha's secret" not in json.dumps(of_beta)


async def test_receivers_are_bounded(site: Site) -> None:
    """Receivers are limited in number; the least recently used one is dropped first."""
    first = Principal("first", None, digest="first")
    kept = site.ingest.receiver_of(first)
    for number in range(MAX_RECEIVERS - 1):
        site.ingest.receiver_of(Principal("x", None, digest=str(number)))
    assert site.ingest.receiver_of(first) is kept
    site.ingest.receiver_of(Principal("x", None, digest="one more"))
    assert site.ingest.receiver_of(first) is kept
    assert len(site.ingest._receivers) == MAX_RECEIVERS


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[tuple[list[SpanReport], bool]], dict[int, SpanReport]]:
    """Requests in any order, with repeats; and of the spans without an end the last snapshot."""
    shape = st.sampled_from([shape for shape in SHAPES if shape not in ENDS])
    snapshots = draw(
        st.lists(
            st.builds(SpanReport, st.sampled_from(SPANS), shape, st.integers(0, 2)), max_size=8
        )
    )
    ends = [
        SpanReport(span, draw(st.sampled_from(ENDS)))
        for span in draw(st.sets(st.sampled_from(SPANS)))
    ]
    reports = draw(st.permutations(snapshots + ends))
    reports += draw(st.lists(st.sampled_from(reports), max_size=3)) if reports else []
    requests = [([report], draw(st.booleans())) for report in reports]
    while len(requests) > 1 and draw(st.booleans()):
        at = draw(st.integers(0, len(requests) - 2))
        requests[at : at + 2] = [(requests[at][0] + requests[at + 1][0], requests[at][1])]
    last: dict[int, SpanReport] = {}
    for one, _ in requests:
        # Traces are sent before logs here.
        last.update(
            {report.span: report for report in one if not report.shape.startswith("heartbeat")}
        )
        last.update({report.span: report for report in one if report.shape.startswith("heartbeat")})
    over = {report.span for report in ends}
    return requests, {span: report for span, report in last.items() if span not in over}


@settings(max_examples=40)
@given(stories(), st.booleans(), st.booleans())
async def test_any_order_of_snapshots_and_ends_gives_one_state(
    story: tuple[list[tuple[list[SpanReport], bool]], dict[int, SpanReport]],
    is_folded: bool,
    restarts: bool,
) -> None:
    """A true end always wins, whatever else comes, before or after; else the last snapshot does."""
    requests, last = story
    restarted = range(len(requests)) if restarts and is_folded else ()
    found = await facts_after(requests, is_folded_at_once=is_folded, restarts=restarted)
    ended = {report.span for reports, _ in requests for report in reports if report.shape in ENDS}
    for span in ended:
        alone = await facts_after([([SpanReport(span, "end")], False)])
        assert found[span] == alone[span]
    for span, report in last.items():
        start, end, _, _, name, error = found[span]
        assert (start is not None, end, error) == (True, 0, None)
        texts = [one.text for reports, _ in requests for one in reports if one.span == span]
        if restarted and texts.count(report.text) < len(texts) and texts.count(report.text) > 1:
            # A collector that has just started does not know that the span said something else
            # in between: what it says again has the id of what it said at first.
            continue
        assert name.endswith(f" {report.text}") or report.shape == "given up"


def log_of(span: int, text: str) -> ExportLogsServiceRequest:
    record = {"traceId": "ab" * 16, "spanId": f"{span:016x}", "body": {"stringValue": text}}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    return decode(ExportLogsServiceRequest(), body, is_json=True)


def fold_now(site: Site) -> None:
    """Fold what the log holds by now; may be called again."""
    apply(site.collector.model, *map(MonitoringEvent.model_validate, site.events()))


async def test_a_log_record_is_shown_at_the_job_that_its_span_is_inside(site: Site) -> None:
    """Not at what is above the job, while the job is not folded yet; it is no rejected record."""
    plain = {
        "traceId": "ab" * 16,
        "spanId": f"{9:016x}",
        "parentSpanId": f"{2:016x}",
        "startTimeUnixNano": 1_790_000_000_000_000_002,
        "endTimeUnixNano": 1_790_000_000_000_000_003,
    }
    assert await traces(site, request_of(job(1)), ANONYMOUS) == 0
    fold_now(site)
    inside = {**job(2), "parentSpanId": f"{1:016x}"}
    assert await traces(site, request_of(inside, plain), ANONYMOUS) == 0
    for span in (2, 9):
        answer = await site.ingest.logs(log_of(span, f"of {span}"), ANONYMOUS, Rejections())
        assert not answer.HasField("partial_success")
    assert (site.ingest.lines.held, site.ingest.lines.stored) == (2, 0)
    fold_now(site)
    await site.ingest.lines.look_again()
    await site.ingest.lines.close()
    stored = [json.loads(line)[3] for line in memory_log(site.name).lines(f"{2:016x}")]
    assert stored == ["of 2", "of 9"]
