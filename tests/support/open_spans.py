"""What senders report of open spans, taken by a real ingest and folded by a real model."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otel_bridge_collector.log.decoding import decode_event
from otel_bridge_collector.model.events import SELF, microseconds
from otel_bridge_collector.otlp.decode import OtlpError, decode
from otel_bridge_collector.otlp.ingest import OtlpIngest
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.runtime import Collector
from otel_bridge_collector.security.tokens import ANONYMOUS
from otel_bridge_collector.settings import CollectorSettings

from otel_bridge.publish.transports.memory import memory_log
from otel_bridge.settings import BridgeSettings

__all__ = [
    "ENDS",
    "SHAPES",
    "SPANS",
    "IdleCollector",
    "SpanReport",
    "bodies_of",
    "facts_after",
    "facts_of",
]

_SECOND: Final = 1_000_000_000
_START: Final = 1_790_000_000 * _SECOND
_TRACE: Final = b"trace of a story"
_GO_ZERO_TIME: Final = 11_651_379_494_838_206_464
SPANS: Final = (1, 2, 3, 4)
"""A root, an agent in it, a tool that fails in that, and a consumer in the root."""
_PARENTS: Final = {1: 0, 2: 1, 3: 2, 4: 1}
_ATTRIBUTES: Final[dict[int, dict[str, str]]] = {
    1: {},
    2: {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"},
    3: {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"},
    4: {},
}
_NAMES: Final = ("gen_ai.agent.name", "gen_ai.tool.name")
_names = itertools.count()


class SpanReport(NamedTuple):
    """What a sender says of a span: a shape of a snapshot or end, and a text that may change."""

    span: int
    shape: str
    text: int = 0


def _span(report: SpanReport) -> Span:
    """The span without an end."""
    number = report.span
    found = Span(
        trace_id=_TRACE,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=_PARENTS[number].to_bytes(8, "big") if _PARENTS[number] else b"",
        name=f"text {report.text}",
        kind=Span.SPAN_KIND_CONSUMER if number == 4 else Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=_START + number * _SECOND,
    )
    for key, value in _ATTRIBUTES[number].items():
        named = f"{value} {report.text}" if key in _NAMES else value
        found.attributes.add(key=key).value.string_value = named
    return found


def _with_end(report: SpanReport) -> Span:
    """The true end, which is the same whenever it is sent."""
    found = _span(report._replace(text=99))
    found.end_time_unix_nano = _START + (20 - report.span) * _SECOND
    if report.span == 3:
        found.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="no such school"))
    return found


def _go(report: SpanReport) -> Span:
    found = _span(report)
    found.end_time_unix_nano = _GO_ZERO_TIME
    return found


def _flagged(name: str) -> Callable[[SpanReport], Span]:
    def make(report: SpanReport) -> Span:
        found = _span(report)
        found.end_time_unix_nano = found.start_time_unix_nano + next(_names)
        found.attributes.add(key=name).value.bool_value = True
        return found

    return make


def _pending(report: SpanReport) -> Span:
    found = _span(report)
    parent = found.parent_span_id.hex() or "0" * 16
    found.attributes.add(key="logfire.span_type").value.string_value = "pending_span"
    found.attributes.add(key="logfire.pending_parent_id").value.string_value = parent
    found.parent_span_id = found.span_id
    found.span_id = (1000 + report.span).to_bytes(8, "big")
    found.end_time_unix_nano = found.start_time_unix_nano
    return found


def _promised(report: SpanReport) -> Span:
    found = _span(report)
    found.attributes.add(key="nexus.span.beat_ms").value.int_value = 10_000
    return found


_TRACES: Final[dict[str, Callable[[SpanReport], Span]]] = {
    "no end": _promised,
    "zero time": _go,
    "flag": _flagged("nexus.span.open"),
    "in flight": _flagged("agentops.in-flight"),
    "partial version": _flagged("_dd.partial_version"),
    "pending": _pending,
    "given up": _flagged("partial.gc"),
    "end": _with_end,
}
_LOGS: Final[dict[str, tuple[str, bool]]] = {
    "heartbeat": ("heartbeat", True),
    "heartbeat of Java": ("heartbeat", False),
    "stop": ("stop", True),
}
SHAPES: Final = (*_TRACES, *_LOGS)
ENDS: Final = ("end", "stop")


def bodies_of(reports: Sequence[SpanReport], *, is_json: bool) -> list[tuple[str, bytes]]:
    """The requests that say these reports: path and body; log records go to another path."""
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    spans = traces.resource_spans.add().scope_spans.add().spans
    records = logs.resource_logs.add().scope_logs.add().log_records
    for report in reports:
        if report.shape in _TRACES:
            spans.append(_TRACES[report.shape](report))
            continue
        event, is_body_json = _LOGS[report.shape]
        body = ExportTraceServiceRequest()
        span = _with_end(report) if event == "stop" else _span(report)
        body.resource_spans.add().scope_spans.add().spans.append(span)
        record = records.add()
        named = {"partial.event": event, "partial.frequency": "5000ms"}
        if is_body_json:
            named["partial.body.type"] = "json/v1"
            record.body.string_value = json.dumps(_hex_ids(MessageToDict(body)))
        else:
            record.body.string_value = base64.b64encode(body.SerializeToString()).decode()
        for key, value in named.items():
            record.attributes.add(key=key).value.string_value = value
    found: list[tuple[str, bytes]] = []
    for path, message, items in (("traces", traces, spans), ("logs", logs, records)):
        if items:
            data = message.SerializeToString()
            if is_json:
                data = json.dumps(_hex_ids(MessageToDict(message))).encode()
            found.append((path, data))
    return found


def _hex_ids(value: Any) -> Any:
    """Protobuf's JSON with ids as OTLP's JSON has them."""
    if isinstance(value, list):
        return [_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex() if key.endswith(("traceId", "panId")) else _hex_ids(item)
        for key, item in value.items()
    }


class IdleCollector:
    """
    A collector that is not started; ``post`` takes a body, ``fold`` folds what is new in its log.

    Use it within one event loop; ``close`` ends it.
    """

    def __init__(self) -> None:
        self._name = f"open-spans-{next(_names)}"
        bridge = BridgeSettings(bus_url=f"memory://{self._name}")
        self._collector = Collector(CollectorSettings(), bridge)
        self._ingest = OtlpIngest(self._collector)
        self._folded = 0

    def restart(self) -> None:
        """Forget what was received, as another collector, or this one after a restart."""
        self._ingest = OtlpIngest(self._collector)

    async def post(self, path: str, body: bytes, *, is_json: bool) -> int | None:
        """How many items were rejected; None if the request was refused."""
        rejected = Rejections()
        message = ExportLogsServiceRequest() if path == "logs" else ExportTraceServiceRequest()
        try:
            decode(message, body, is_json=is_json, rejected=rejected)
        except OtlpError:
            return None
        take = self._ingest.logs if path == "logs" else self._ingest.traces
        await take(message, ANONYMOUS, rejected)
        return rejected.total

    async def fold(self) -> None:
        """Fold what was appended since the last call, heartbeats that wait included."""
        await self._ingest.flush_heartbeats(self._ingest.receiver_of(ANONYMOUS))
        entries = list(reversed(memory_log(self._name).newest(1_000_000, None)))
        for entry in entries[self._folded :]:
            event = decode_event(entry.data)
            self._collector.model.apply(event, microseconds(event.ts))
        self._folded = len(entries)

    def appended(self) -> int:
        """Events in the log."""
        return len(memory_log(self._name).newest(1_000_000, None))

    def facts(self) -> dict[int, tuple[Any, ...]]:
        """What is known of each span, as far as what others say does not matter."""
        return facts_of(self._collector.model.tree.nodes)

    def close(self) -> None:
        self._collector.bus.shutdown(0)


def facts_of(nodes: Any) -> dict[int, tuple[Any, ...]]:
    """Start, end, how it ended, kind, name and error by span id; an end by a rule has no time."""
    return {
        key: (
            node.start,
            node.end if node.ended >> 3 == SELF else 0,
            node.ended,
            node.kind,
            node.name,
            node.error,
        )
        for key, node in nodes.items()
        if key in SPANS
    }


async def facts_after(
    requests: Iterable[tuple[Sequence[SpanReport], bool]],
    *,
    is_folded_at_once: bool = True,
    restarts: Sequence[int] = (),
) -> dict[int, tuple[Any, ...]]:
    """
    What a collector knows after these requests.

    Args:
        requests: Words, and whether they are JSON.
        is_folded_at_once: Else the model learns of everything at the end only.
        restarts: Numbers of requests before which the receiver forgets everything.
    """
    collector = IdleCollector()
    try:
        for number, (reports, is_json) in enumerate(requests):
            if number in restarts:
                collector.restart()
            for path, body in bodies_of(reports, is_json=is_json):
                assert await collector.post(path, body, is_json=is_json) == 0
            if is_folded_at_once:
                await collector.fold()
        await collector.fold()
        return collector.facts()
    finally:
        collector.close()
