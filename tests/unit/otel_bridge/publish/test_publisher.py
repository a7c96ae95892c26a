"""The publish path without its thread: encoding of items, counts, and lines in the log."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event
from opentelemetry.trace import SpanKind

from otel_bridge.errors import TransportError, TransportRejectedError
from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.forking import current_incarnation
from otel_bridge.lines.line_queue import line_queue_of
from otel_bridge.publish.buffer import EventQueue
from otel_bridge.publish.publisher import POSITION_MAX_BYTES, Publisher
from otel_bridge.publish.retry import OPEN_AFTER_FAILURES
from otel_bridge.publish.transports.base import SpanStack, splice_position
from otel_bridge.publish.transports.memory import MemoryLog, MemorySender
from otel_bridge.settings import BridgeSettings
from tests.support.faults import FakeClock, FaultySender
from tests.support.spans import SpanRecorder, job_attributes, tracer_with

MakeSettings = Callable[..., BridgeSettings]


class Rig:
    """A publisher without a thread: it works only when the test calls it."""

    def __init__(self, settings: BridgeSettings, forked_at_ns: int = 0) -> None:
        self.log = MemoryLog()
        self.sender = FaultySender(MemorySender(self.log))
        self.clock = FakeClock()
        self.queue = EventQueue(100_000)
        self.publisher = Publisher(
            self.sender,
            settings,
            self.clock,
            self.queue,
            line_queue_of(settings.logs),
            forked_at_ns,
        )

    def put(self, *items: Any) -> None:
        for item in items:
            self.queue.append(item)
            next(self.queue.counter)

    def publish(self, *items: Any) -> None:
        self.put(*items)
        self.publisher.convert()
        self.publisher.send()

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(entry.data) for entry in reversed(self.log.newest(100_000, None))]


@pytest.fixture
def rig(make_settings: MakeSettings) -> Rig:
    return Rig(make_settings(bus_url="memory://:hunter2@publisher"))


def event(number: int, **fields: Any) -> MonitoringEvent:
    kind = fields.pop("event_type", MonitoringEventType.TASK_STARTED)
    return MonitoringEvent(event_type=kind, task_id=str(number), **fields)


def test_converting_returns_whether_there_were_items(rig: Rig) -> None:
    """An empty queue gives False, so that the thread can sleep; any item gives True."""
    assert not rig.publisher.convert()
    rig.put(event(1))
    assert rig.publisher.convert()
    assert not rig.publisher.convert()


def test_all_queued_items_are_converted(rig: Rig) -> None:
    """One call converts every queued item, also more than are taken from the queue at a time."""
    rig.put(*(event(number) for number in range(5000)))
    rig.publisher.convert()
    assert (len(rig.queue), len(rig.publisher.send_buffer)) == (0, 5000)


def test_both_sides_of_a_span_are_events(rig: Rig) -> None:
    """A live span gives its start, the read-only copy its end, in order of arrival."""
    recorder = SpanRecorder()
    span = tracer_with(recorder).start_span(
        "job", kind=SpanKind.CONSUMER, attributes=job_attributes()
    )
    span.end()
    rig.publish(*recorder.started, *recorder.ended)
    assert [(found["event_type"], found["task_id"]) for found in rig.entries()] == [
        ("task_started", "j1"),
        ("task_completed", "j1"),
    ]


def test_spans_that_are_no_events_are_counted_apart(rig: Rig) -> None:
    """The span of a request is no job: it counts as ignored, not as rejected."""
    recorder = SpanRecorder()
    tracer_with(recorder).start_span("GET /", kind=SpanKind.SERVER).end()
    rig.publish(*recorder.ended, event(1))
    assert (rig.publisher.ignored, rig.publisher.rejected, len(rig.entries())) == (1, 0, 1)


def test_a_request_is_published_before_the_job_inside_it(rig: Rig) -> None:
    """Its start was ignored when it came, and is one event more than was handed in."""
    recorder = SpanRecorder()
    tracer = tracer_with(recorder)
    with tracer.start_as_current_span("POST /ask", kind=SpanKind.SERVER):
        tracer.start_span("job", attributes=job_attributes()).end()
    (request, job), (job_end, request_end) = recorder.started, recorder.ended
    rig.publish(request, job, job_end, request_end)
    assert [(found["event_type"], found.get("name")) for found in rig.entries()] == [
        ("span_started", "POST /ask"),
        ("task_started", None),
        ("task_completed", None),
        ("span_ended", "POST /ask"),
    ]
    publisher = rig.publisher
    assert (publisher.intermediate, publisher.ignored, publisher.published) == (2, 2, 4)


def test_a_request_that_cannot_be_encoded_costs_no_job(make_settings: MakeSettings) -> None:
    """An intermediate span with an id that is too long is rejected alone."""
    rig = Rig(make_settings(max_event_size_bytes=1024))
    recorder = SpanRecorder()
    tracer = tracer_with(recorder)
    project = {"nexus.project.id": "p" * 2000}
    with tracer.start_as_current_span("POST /ask", kind=SpanKind.SERVER, attributes=project):
        tracer.start_span("job", attributes=job_attributes()).end()
    rig.publish(*recorder.started, *recorder.ended)
    assert [found["event_type"] for found in rig.entries()] == ["task_started", "task_completed"]
    publisher = rig.publisher
    assert (publisher.intermediate, publisher.rejected, publisher.ignored) == (2, 2, 2)


def test_events_of_spans_name_this_process(rig: Rig) -> None:
    """The events of a span carry the incarnation of the process that publishes it."""
    recorder = SpanRecorder()
    tracer_with(recorder).start_span("job", attributes=job_attributes()).end()
    rig.publish(*recorder.started, *recorder.ended)
    assert {found["incarnation"] for found in rig.entries()} == {current_incarnation()}


def test_a_forked_child_ignores_the_spans_of_its_parent(make_settings: MakeSettings) -> None:
    """In a forked child, spans that started before the fork belong to the parent."""
    recorder = SpanRecorder()
    tracer_with(recorder).start_span("job", attributes=job_attributes()).end()
    rig = Rig(make_settings(), forked_at_ns=2**63)
    rig.put(*recorder.ended)
    rig.publisher.convert()
    assert (rig.publisher.ignored, len(rig.publisher.send_buffer)) == (1, 0)


def test_an_event_has_room_for_its_position(make_settings: MakeSettings) -> None:
    """With the longest position that a log can set, an event is within the size limit."""
    rig = Rig(make_settings(max_event_size_bytes=2048))
    rig.put(event(1, message="x" * 5000))
    rig.publisher.convert()
    (outgoing,) = rig.publisher.send_buffer.form_batch(1)
    position = f"{'f' * 8}:{2**64 - 1}-{2**64 - 1}"
    assert 1900 < len(splice_position(position, outgoing.data)) <= 2048
    assert len(f'"position":"{position}",') <= POSITION_MAX_BYTES
    assert json.loads(outgoing.data)["meta"]["truncated"] is True


def test_secrets_do_not_leave_the_process(rig: Rig) -> None:
    """Texts and meta are masked before sending, also in events that the application made."""
    rig.publish(
        event(
            1,
            message="redis://u:hunter2@db",
            error="Bearer abcdefghijklmnop1234",
            meta={"password": "hunter2"},
        )
    )
    assert "hunter2" not in json.dumps(rig.entries())
    assert "abcdefghijklmnop1234" not in json.dumps(rig.entries())


@pytest.mark.parametrize(
    ("kind", "is_stats"),
    [("stats_snapshot", True), ("queue_depth_update", True), ("task_started", False)],
)
def test_aggregates_also_go_to_the_stats_channel(rig: Rig, kind: str, is_stats: bool) -> None:
    """Aggregates are marked for the stats channel, and events for their project."""
    rig.put(event(1, event_type=kind, project_id="p"))
    rig.publisher.convert()
    (outgoing,) = rig.publisher.send_buffer.form_batch(1)
    assert (outgoing.is_stats, outgoing.project_id) == (is_stats, "p")


def test_an_item_of_an_unknown_type_is_rejected_alone(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """An item that cannot be converted is counted and logged once a minute; the rest is sent."""
    rig.publish(event(1), object(), event(2), None)
    assert [found["task_id"] for found in rig.entries()] == ["1", "2"]
    assert (rig.publisher.rejected, len(caplog.records)) == (2, 1)
    rig.clock.advance(60)
    rig.publish(object())
    assert caplog.records[1].getMessage().startswith("3 events rejected so far; the last: ")


def fail_attempts(rig: Rig, attempts: int, reason: str = "refused") -> None:
    rig.sender.failure = TransportError(reason)
    for _ in range(attempts):
        rig.publisher.send()
    rig.sender.failure = None


def test_an_outage_is_two_lines_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A lost packet is not logged; an outage is one line, its end another with its length."""
    rig.publish(event(1))
    rig.put(event(2))
    rig.publisher.convert()
    fail_attempts(rig, OPEN_AFTER_FAILURES - 1)
    rig.publisher.send()
    assert (caplog.records, rig.publisher.is_connected) == ([], True)
    rig.put(event(3))
    rig.publisher.convert()
    fail_attempts(rig, OPEN_AFTER_FAILURES + 5)
    assert not rig.publisher.is_connected
    rig.clock.advance(7)
    rig.publisher.send()
    first, second = [record.getMessage() for record in caplog.records]
    assert "cannot publish to memory://publisher (refused); the application goes on" in first
    assert second == "publishing to memory://publisher again after 7.0 s; 0 events were dropped"
    assert "hunter2" not in caplog.text


def outage_of(rig: Rig) -> object:
    """The publisher's outage at this moment; a type checker would take an earlier one for it."""
    return rig.publisher.outage


def test_an_outage_has_its_reason_until_it_ends(rig: Rig) -> None:
    """The reason is the error of the last attempt; a bug of a sender is named by its class only."""
    rig.put(event(1))
    rig.publisher.convert()
    fail_attempts(rig, OPEN_AFTER_FAILURES - 1)
    assert outage_of(rig) is None
    rig.sender.failure = TransportError("denied", needs_operator=True)
    rig.publisher.send()
    assert outage_of(rig) is rig.sender.failure
    rig.sender.failure = ZeroDivisionError("hunter2")
    rig.publisher.send()
    outage = outage_of(rig)
    assert (str(outage), getattr(outage, "needs_operator", None)) == ("ZeroDivisionError", False)
    rig.sender.failure = None
    rig.publisher.send()
    assert outage_of(rig) is None


def test_the_recovery_line_counts_the_drops_of_the_outage(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """The line at the end of an outage counts its own drops, and not those before it."""
    rig = Rig(make_settings(buffer_max_events=10))
    rig.put(*(event(number) for number in range(14)))
    rig.publisher.convert()
    fail_attempts(rig, OPEN_AFTER_FAILURES)
    assert not rig.publisher.was_connected
    rig.put(*(event(number) for number in range(7)))
    rig.publisher.convert()
    rig.publisher.send()
    assert caplog.records[-1].getMessage().endswith("; 7 events were dropped")


def test_a_line_about_a_rejection_names_the_reason(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is the error's own sentence; an unexpected exception has its class in front."""
    rig.publish(event(1).model_copy(update={"task_id": "x" * 9000}))
    rig.clock.advance(60)
    rig.publish(object())
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("1 events rejected so far; the last: event is 9")
    assert second.startswith("2 events rejected so far; the last: AttributeError: ")


def test_a_rejection_ends_an_outage_too(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A log that rejects a batch can be reached again."""
    rig.put(event(1))
    rig.publisher.convert()
    fail_attempts(rig, OPEN_AFTER_FAILURES)
    rig.sender.failure = TransportRejectedError("line 1 is not JSON")
    rig.publisher.send()
    assert (rig.publisher.is_connected, rig.publisher.was_connected) == (True, True)
    assert [record.getMessage().split(" ", 2)[0] for record in caplog.records] == [
        "cannot",
        "publishing",
        "1",
    ]


def test_a_batch_keeps_its_numbers_until_it_is_acknowledged(rig: Rig) -> None:
    """After a lost answer the same events are sent under the same numbers, and skipped."""
    rig.put(*(event(number) for number in range(3)))
    rig.publisher.convert()
    rig.sender.answers_lost = 1
    rig.publisher.send()
    rig.put(event(3))
    rig.publisher.convert()
    rig.publisher.send()
    rig.publisher.send()
    assert [(first, length) for _, first, length in rig.sender.batches] == [(1, 3), (1, 3), (4, 1)]
    assert [found["task_id"] for found in rig.entries()] == ["0", "1", "2", "3"]
    assert (rig.publisher.published, rig.publisher.skipped) == (4, 3)


def test_drops_are_logged_at_most_once_a_minute(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Drops by a slow thread are logged with their exact number, not one by one."""
    rig = Rig(make_settings(buffer_max_events=10))
    for count in (15, 20, 0):
        rig.put(*(event(number) for number in range(count)))
        rig.publisher.convert()
    assert len(caplog.records) == 1
    rig.clock.advance(60)
    rig.publisher.convert()
    assert [record.getMessage() for record in caplog.records] == [
        "5 events dropped: the buffer was full",
        "20 events dropped: the buffer was full",
    ]


@pytest.mark.parametrize(("left", "is_clean"), [(0, True), (2, False)])
def test_the_end_counts_the_remaining_events(
    rig: Rig, caplog: pytest.LogCaptureFixture, left: int, is_clean: bool
) -> None:
    """Events left at the end are dropped, counted and logged, and the sender is closed."""
    rig.put(*(event(number) for number in range(left)))
    rig.publisher.convert()
    with caplog.at_level(logging.WARNING):
        assert rig.publisher.abandon() is is_clean
    assert (rig.publisher.send_buffer.dropped, rig.sender.closed) == (left, 1)
    assert [record.getMessage() for record in caplog.records] == (
        [] if is_clean else ["2 events could not be published to memory://publisher"]
    )


def fail(tracer: Any, name: str = "job", **attributes: Any) -> None:
    """One failed job whose span has an exception event."""
    with (
        contextlib.suppress(ValueError),
        tracer.start_as_current_span(name, attributes=job_attributes(**attributes)),
    ):
        raise ValueError("password=hunter2hunter2")


def test_a_stack_goes_beside_the_log(rig: Rig) -> None:
    """The event has its key and that it is stored; the text is under the span's id, masked."""
    tracer = tracer_with(recorder := SpanRecorder())
    fail(tracer)
    rig.publish(*recorder.ended)
    (failed,) = rig.entries()
    assert (failed["event_type"], failed["stack"]) == ("task_failed", True)
    assert re.fullmatch("[0-9a-f]{16}", failed["error_key"])
    stored = rig.log.stack(failed["span_id"])
    assert stored is not None
    assert "in fail" in stored.text
    assert "hunter2" not in stored.text


def test_stacks_of_one_kind_are_limited_and_counted(rig: Rig) -> None:
    """After five of a kind the event names the span that has one; a minute later one is stored."""
    tracer = tracer_with(recorder := SpanRecorder())
    for _ in range(7):
        fail(tracer)
    rig.publish(*recorder.ended)
    found = rig.entries()
    assert [event.get("stack") for event in found] == [True] * 5 + [None] * 2
    assert {event.get("stack_of") for event in found[5:]} == {found[4]["span_id"]}
    assert rig.publisher.stacks.limiter.limited == 2
    rig.clock.advance(60)
    recorder.ended.clear()
    fail(tracer)
    rig.publish(*recorder.ended)
    assert rig.entries()[-1]["stack"] is True


def test_stacks_that_are_lost_are_counted_and_logged_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they cannot be stored, the events are published, and one line says why."""
    tracer = tracer_with(recorder := SpanRecorder())
    fail(tracer)
    (span,) = recorder.ended
    assert span.context is not None
    other = SpanStack(f"{span.context.span_id:016x}", "text", "another project")
    rig.log.store_stack(other)
    rig.publish(span)
    fail(tracer)
    rig.publish(span)
    assert len(rig.entries()) == 2
    assert rig.publisher.stacks_lost == 2
    assert caplog.text.count("stacks of failures cannot be stored") == 1


def test_a_stack_that_cannot_be_read_costs_no_event(rig: Rig) -> None:
    """An attribute of another SDK's event may be any object."""

    class Unreadable:
        def __str__(self) -> str:
            raise RuntimeError

    given = {"exception.type": "ValueError", "exception.stacktrace": Unreadable()}
    tracer = tracer_with(recorder := SpanRecorder())
    fail(tracer)
    (span,) = recorder.ended
    span._events = [Event("exception", given)]  # type: ignore[arg-type]
    rig.publish(span)
    (failed,) = rig.entries()
    assert (failed["error"], "stack" in failed) == ("ValueError", False)
