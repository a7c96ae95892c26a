"""
Coverage-guided fuzzing of what strangers send: ``python -m tests.support.fuzz <target> [options]``.

Targets: ``traces`` and ``logs`` (OTLP, protobuf or JSON), ``push`` (NDJSON of events), ``event``.
Options are libFuzzer's: ``-max_total_time=60``, ``-runs=20000``. A refusal with the error meant for
it is fine; anything else is a finding and ends the run with its input.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["collector", "otel_bridge"]):
    from otel_bridge_collector.otlp.decode import OtlpError, decode
    from otel_bridge_collector.otlp.lifecycle import read_lifecycle
    from otel_bridge_collector.otlp.mapping import OtlpReceiver, read_spans
    from otel_bridge_collector.otlp.rejections import Rejections

    from otel_bridge.errors import TransportRejectedError
    from otel_bridge.events.model import MonitoringEvent
    from otel_bridge.publish.transports.http import FIRST_N_HEADER, PRODUCER_HEADER, decode_push

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import ValidationError


def traces(data: bytes) -> None:
    is_json = bool(data[:1] and data[0] & 1)
    try:
        message = decode(ExportTraceServiceRequest(), data[1:], is_json=is_json)
    except OtlpError:
        return
    rejected = Rejections()
    received = OtlpReceiver(["*"]).receive(read_spans(message, None, rejected), rejected)
    for event in received.events:
        assert len(event.to_json(4096)) <= 4096


def logs(data: bytes) -> None:
    is_json = bool(data[:1] and data[0] & 1)
    try:
        message = decode(ExportLogsServiceRequest(), data[1:], is_json=is_json)
    except OtlpError:
        return
    rejected = Rejections()
    spans = read_lifecycle(message, rejected)
    OtlpReceiver(["*"]).receive(read_spans(spans, "p", rejected), rejected)


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
    "push": push,
    "event": event,
}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
