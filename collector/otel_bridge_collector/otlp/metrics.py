"""
OTLP metrics are answered and not kept, over HTTP and gRPC alike.

An SDK sends all its signals to one endpoint. An answer that is no success would make it log an
error at each export, every 60 s. So a request succeeds, and says that all data points are rejected.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from otel_bridge_collector.otlp.decode import OtlpError
from otel_bridge_collector.otlp.rejections import Rejections
from otel_bridge_collector.security.tokens import Principal

__all__ = ["MAX_METRICS_PARTS", "METRICS_NOT_KEPT", "decode_metrics", "reject_metrics"]

METRICS_NOT_KEPT: Final = (
    "this collector keeps no metrics; send them to a metrics backend, or set "
    "OTEL_METRICS_EXPORTER=none"
)
MAX_METRICS_PARTS: Final = 100_000
"""Parts of a request that are looked at to count its data points; a larger one is refused, as for
spans and logs. A few KiB of gzip can hold millions of empty parts."""


def decode_metrics(
    message: ExportMetricsServiceRequest, body: bytes, *, is_json: bool, rejected: Rejections
) -> None:
    """
    Decode the body of a request for metrics, as ``decode`` does for spans; blocks.

    Args:
        message: An empty request; the body is read into it.
        body: Decompressed by the caller, who also limits its bytes.
        is_json: Whether it is OTLP JSON; else it is protobuf.
        rejected: Not used.

    Raises:
        OtlpError: It is no such request, or has over 100,000 JSON objects and lists.
    """
    del rejected  # of metrics nothing is kept
    if is_json and body.count(b"{") + body.count(b"[") > MAX_METRICS_PARTS:
        raise OtlpError(f"more than {MAX_METRICS_PARTS} JSON objects and lists")
    try:
        if is_json:
            fields = json.loads(body)
            if not isinstance(fields, dict):
                raise ValueError("not a JSON object")
            # Ids in exemplars are hexadecimal and read as base64 here; nothing uses them.
            ParseDict(fields, message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, ParseError, ValueError, RecursionError) as error:
        raise OtlpError(f"not OTLP metrics: {str(error)[:200]}") from None


async def reject_metrics(
    message: ExportMetricsServiceRequest, _: Principal, __: Rejections
) -> ExportMetricsServiceResponse:
    """
    Answer a request: a success that says that all its data points are rejected (async).

    They are counted in a thread, in the time that their number takes.

    Args:
        message: The decoded request; the caller limits its bytes (4 MiB).
        _: The sender. Not used: everyone gets the same answer, as for the next one.
        __: What decoding rejected.

    Returns:
        A response whose ``partial_success`` has the number of data points, and as ``error_message``
        that the collector keeps no metrics, also for 0.

    Raises:
        OtlpError: More than 100,000 resources, scopes and metrics, of all kinds together.
    """
    rejected = await asyncio.to_thread(_count_data_points, message)
    success = ExportMetricsPartialSuccess(
        rejected_data_points=rejected, error_message=METRICS_NOT_KEPT
    )
    return ExportMetricsServiceResponse(partial_success=success)


def _count_data_points(message: ExportMetricsServiceRequest) -> int:
    items: list[Any] = [message]
    parts = 0
    for name in ("resource_metrics", "scope_metrics", "metrics"):
        parts += sum(len(getattr(item, name)) for item in items)
        if parts > MAX_METRICS_PARTS:
            raise OtlpError(f"more than {MAX_METRICS_PARTS} resources, scopes and metrics")
        items = [part for item in items for part in getattr(item, name)]
    kinds = [(metric, metric.WhichOneof("data")) for metric in items]
    return sum(len(getattr(metric, kind).data_points) for metric, kind in kinds if kind)
