"""
What open spans cost the collector: the processor's time to read and map what arrives over OTLP.

``python -m tests.benchmarks open_spans``. All cases map 1,000 spans of the same size in each round,
in turn, so that a busy machine changes the ratios little. Appending and folding are left out.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otel_bridge_collector.otlp.decode import decode
from otel_bridge_collector.otlp.mapping import OtlpReceiver
from otel_bridge_collector.otlp.rejections import Rejections

from tests.benchmarks.results import row

SPANS: Final = 1000
"""As many snapshots as 10,000 open spans with a heartbeat of 10 s send in a second."""
_ROUNDS: Final = 15
_SECOND: Final = 1_000_000_000
_START: Final = 1_790_000_000 * _SECOND


def request_of(*, is_open: bool, text: str = "", first: int = 1) -> bytes:
    """Tool calls of an agent with ten attributes each."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, value in (("service.name", "agents"), ("nexus.project.id", "alpha")):
        resource.resource.attributes.add(key=key).value.string_value = value
    spans = resource.scope_spans.add().spans
    for number in range(first, first + SPANS):
        one = spans.add(
            trace_id=(number // 10 + 1).to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name="execute_tool fetch",
            start_time_unix_nano=_START + number,
            end_time_unix_nano=0 if is_open else _START + _SECOND + number,
        )
        named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fetch"}
        named |= {"nexus.meta.step": f"{text}{number}"}
        for key, value in (
            named | {f"http.request.header.x{n}": "value" for n in range(5)}
        ).items():
            one.attributes.add(key=key).value.string_value = value
        if is_open:
            one.attributes.add(key="nexus.span.open").value.bool_value = True
            one.attributes.add(key="nexus.span.beat_ms").value.int_value = 10_000
    return bytes(request.SerializeToString())


def _take(receiver: OtlpReceiver, body: bytes) -> int:
    rejected = Rejections()
    message = decode(ExportTraceServiceRequest(), body, is_json=False, rejected=rejected)
    received = receiver.receive(receiver.read(message, None, rejected), rejected)
    events = [*received.events, *receiver.heartbeats(is_due=True)]
    size = sum(len(event.to_json()) for event in events)
    receiver.confirm()
    assert rejected.total == 0
    return size


def _ended() -> Callable[[], object]:
    body = request_of(is_open=False)
    return lambda: _take(OtlpReceiver(), body)


def _opened() -> Callable[[], object]:
    body = request_of(is_open=True)
    return lambda: _take(OtlpReceiver(), body)


def _unchanged() -> Callable[[], object]:
    receiver, body = OtlpReceiver(), request_of(is_open=True)
    _take(receiver, body)
    return lambda: _take(receiver, body)


def _changed() -> Callable[[], object]:
    receiver = OtlpReceiver()
    bodies = itertools.cycle([request_of(is_open=True, text=text) for text in "ab"])
    _take(receiver, next(bodies))
    return lambda: _take(receiver, next(bodies))


def main() -> None:
    """Print the rows."""
    print(f"open spans over OTLP, of {SPANS} spans a request")
    cases = {"ended": _ended(), "new": _opened(), "changed": _changed(), "unchanged": _unchanged()}
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(_ROUNDS):
        for name, case in cases.items():
            gc.collect()
            begun = time.process_time()
            case()
            found[name].append((time.process_time() - begun) / SPANS * 1e6)
    for name, what in (
        ("new", "the first snapshot of a span"),
        ("changed", "a snapshot that says something new"),
        ("unchanged", "a snapshot that says nothing new"),
    ):
        ratios = [one / ended for one, ended in zip(found[name], found["ended"], strict=True)]
        goal = "<= 0.1" if name == "unchanged" else "<= 1"
        row(f"OTLP: {what} / an ended span", ratios, goal, 3)
    row("OTLP: an ended span, us of the processor", found["ended"], "", 1)
    row("OTLP: a snapshot that says nothing new, us of the processor", found["unchanged"], "", 1)
    per_sec = [one * SPANS / 1000 for one in found["unchanged"]]
    row("OTLP: 10,000 open spans with a heartbeat of 10 s, ms/s", per_sec, "<= 10", 1)


if __name__ == "__main__":
    main()
