"""
Coverage-guided fuzzing of what strangers send: ``python -m tests.support.fuzz <target> [options]``.

Targets: ``traces`` and ``logs`` (OTLP, protobuf or JSON), ``shapes`` (stories of open spans in
every shape and any order, then with damaged requests), ``push`` (NDJSON of events), ``event``.
Options are libFuzzer's: ``-max_total_time=60``, ``-runs=20000``. A refusal with the error meant for
it is fine; anything else is a finding and ends the run with its input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["otel_bridge_collector", "otel_bridge"]):
    from otel_bridge_collector.otlp.decode import OtlpError, decode
    from otel_bridge_collector.otlp.lifecycle import read_lifecycle
    from otel_bridge_collector.otlp.mapping import OtlpReceiver
    from otel_bridge_collector.otlp.rejections import Rejections

    from otel_bridge.errors import TransportRejectedError
    from otel_bridge.events.model import MonitoringEvent
    from otel_bridge.publish.transports.http import FIRST_N_HEADER, PRODUCER_HEADER, decode_push

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import ValidationError

from tests.support.open_spans import (
    ENDS,
    SHAPES,
    SPANS,
    IdleCollector,
    SpanReport,
    bodies_of,
    facts_after,
)


def traces(data: bytes) -> None:
    is_json = bool(data[:1] and data[0] & 1)
    try:
        message = decode(ExportTraceServiceRequest(), data[1:], is_json=is_json)
    except OtlpError:
        return
    _receive(message)


def logs(data: bytes) -> None:
    is_json = bool(data[:1] and data[0] & 1)
    try:
        message = decode(ExportLogsServiceRequest(), data[1:], is_json=is_json)
    except OtlpError:
        return
    _receive(read_lifecycle(message, Rejections()))


def _receive(message: ExportTraceServiceRequest) -> None:
    """Twice: no more is rejected than was sent, and the second time no snapshot is news."""
    sent = sum(len(scope.spans) for one in message.resource_spans for scope in one.scope_spans)
    receiver = OtlpReceiver(["*"])
    for is_again in (False, True):
        rejected = Rejections()
        received = receiver.receive(receiver.read(message, "p", rejected), rejected)
        assert rejected.total <= sent
        for event in received.events:
            assert len(event.to_json(4096)) <= 4096
            assert not is_again or event.event_type != "span_updated"
        for event in receiver.heartbeats(is_due=True):
            assert len(event.to_json(8192)) <= 8192
        receiver.confirm()


def shapes(data: bytes) -> None:
    """Whatever else is said of a span, and in whichever order, its true end is what is known."""
    fuzzed = atheris.FuzzedDataProvider(data)
    requests: list[tuple[list[SpanReport], bool]] = []
    for _ in range(fuzzed.ConsumeIntInRange(0, 5)):
        reports = [
            SpanReport(
                fuzzed.PickValueInList(list(SPANS)),
                fuzzed.PickValueInList(list(SHAPES)),
                fuzzed.ConsumeIntInRange(0, 2),
            )
            for _ in range(fuzzed.ConsumeIntInRange(1, 4))
        ]
        requests.append((reports, fuzzed.ConsumeBool()))
    ended = {report.span for reports, _ in requests for report in reports if report.shape in ENDS}
    is_folded_at_once = fuzzed.ConsumeBool()
    found = asyncio.run(facts_after(requests, is_folded_at_once=is_folded_at_once))
    for span in ended:
        assert found[span] == _ALONE.setdefault(span, _alone(span)), (span, found[span], requests)
    asyncio.run(_damaged(requests, fuzzed))


_ALONE: dict[int, tuple[object, ...]] = {}


def _alone(span: int) -> tuple[object, ...]:
    return asyncio.run(facts_after([([SpanReport(span, "end")], False)]))[span]


async def _damaged(
    requests: list[tuple[list[SpanReport], bool]], fuzzed: atheris.FuzzedDataProvider
) -> None:
    """A damaged request is refused, or costs no more than the items that it has."""
    collector = IdleCollector()
    try:
        for reports, is_json in requests:
            for path, body in bodies_of(reports, is_json=is_json):
                changed = bytearray(body)
                for _ in range(fuzzed.ConsumeIntInRange(0, 3)):
                    changed[fuzzed.ConsumeIntInRange(0, len(changed) - 1)] = (
                        fuzzed.ConsumeInt(1) & 255
                    )
                await collector.post(path, bytes(changed), is_json=is_json)
                await collector.fold()
    finally:
        collector.close()


def push(data: bytes) -> None:
    headers = {PRODUCER_HEADER: "p", FIRST_N_HEADER: "1"}
    try:
        decode_push(data, headers, 8192)
    except TransportRejectedError:
        return


def event(data: bytes) -> None:
    try:
        found = MonitoringEvent.model_validate_json(data)
    except ValidationError:
        return
    assert len(found.to_json(1024)) <= 1024


TARGETS: dict[str, Callable[[bytes], None]] = {
    "traces": traces,
    "logs": logs,
    "shapes": shapes,
    "push": push,
    "event": event,
}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
